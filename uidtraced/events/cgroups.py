"""Names for the ids of control groups: where in the unified hierarchy each one is."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_SHARE: Final = 20
"""Looking for names takes at most one part in this many of the time."""


def find_hierarchy(mountinfo: str) -> str | None:
    """Return where the unified hierarchy is mounted, by the text of /proc/self/mountinfo.

    None where it is not. Where it is mounted more than once, the last one is the one in sight.
    """
    found = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            path = before.split(" ")[4]
            found = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), path)
    return found


class CgroupNames:
    """Paths by id; ids are inode numbers of the hierarchy's directories (kernfs_node.id).

    A group that was gone before it was looked for has no name. The whole hierarchy is read when
    an unknown id comes, and not again before a multiple of what that took has gone by.
    """

    def __init__(self, root: str | None = None) -> None:
        self._root = find_hierarchy(_MOUNTS.read_text("utf-8")) if root is None else root
        self._names: dict[int, str] = {}
        self._next_ns = 0

    def __call__(self, number: int) -> str | None:
        """Return the path of group *number*, such as ``/system.slice/cron.service``."""
        name = self._names.get(number)
        if name is None and self._root is not None and time.monotonic_ns() >= self._next_ns:
            self._look(self._root)
            name = self._names.get(number)
        return name

    def _look(self, root: str) -> None:
        started = time.monotonic_ns()
        found = {}
        for path, _, _ in os.walk(root):
            try:
                found[Path(path).stat().st_ino] = path.removeprefix(root) or "/"
            except FileNotFoundError:
                continue  # gone in the meantime
        # names of groups that are gone stay for as long as events of theirs may wait
        self._names = {**self._names, **found} if len(self._names) < _KEEP else found
        ended = time.monotonic_ns()
        self._next_ns = ended + _SHARE * (ended - started)


_KEEP: Final = 100_000
