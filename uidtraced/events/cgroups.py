"""Names for the ids of control groups: where in the unified hierarchy each one is."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from uidtraced.events.text import text

_MOUNTS: Final = Path("/proc/self/mountinfo")
_SHARE: Final = 20
"""Looking for names takes at most one part in this many of the time."""


def find_hierarchy(mountinfo: bytes) -> bytes | None:
    """Return where the unified hierarchy is mounted, by the bytes of /proc/self/mountinfo.

    None where it is not. Where it is mounted more than once, the last one is the one in sight.
    """
    found = None
    for line in mountinfo.split(b"\n"):  # and nothing else ends one: users name mounts of FUSE
        before, _, after = line.partition(b" - ")
        if after.startswith(b"cgroup2 "):
            path = before.split(b" ")[4]
            found = re.sub(rb"\\([0-3][0-7]{2})", lambda octal: bytes([int(octal[1], 8)]), path)
    return found


class CgroupNames:
    """Paths by id; ids are inode numbers of the hierarchy's directories (kernfs_node.id).

    A group that was gone before it was looked for has no name. The whole hierarchy is read when
    an unknown id comes, and not again before a multiple of what that took has gone by.
    """

    def __init__(self, root: bytes | None = None) -> None:
        self._root = find_hierarchy(_MOUNTS.read_bytes()) if root is None else root
        self._names: dict[int, str] = {}
        self._next_ns = 0

    def __call__(self, number: int) -> str | None:
        """Return the path of group *number*, such as ``/system.slice/cron.service``, as text."""
        name = self._names.get(number)
        if name is None and self._root is not None and time.monotonic_ns() >= self._next_ns:
            self._look(self._root)
            name = self._names.get(number)
        return name

    def _look(self, root: bytes) -> None:
        started = time.monotonic_ns()
        found = {}
        for path, _, _ in os.walk(root):  # bytes: users name groups, in their own subtrees
            try:
                found[os.stat(path).st_ino] = text(path.removeprefix(root)) or "/"  # noqa: PTH116
            except OSError:
                continue  # gone in the meantime, or its owner shut it
        # names of groups that are gone stay for as long as events of theirs may wait
        self._names = {**self._names, **found} if len(self._names) < _KEEP else found
        ended = time.monotonic_ns()
        self._next_ns = ended + _SHARE * (ended - started)


_KEEP: Final = 100_000
