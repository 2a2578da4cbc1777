"""Finds the journal's process, so that the kernel can leave its system calls out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PROC: Final = Path("/proc")
_SERVICE: Final = "systemd-journald.service"
_SYSTEM_SLICE: Final = "/system.slice"
_RETRY_SECONDS: Final = 0.5
_RETRY_AT_MOST_SECONDS: Final = 30.0


def find_journald(proc: Path = PROC) -> int | None:
    """Return the pid of the journal's process of this machine or container; None without one.

    It is known by its cgroup and by root's uid: no user can put a process of his own into
    system.slice, or call a slice of his own that.
    """
    slices = {_SYSTEM_SLICE} | {path.rpartition("/")[0] for path in _cgroups(proc / "self")}
    wanted = {f"{parent}/{_SERVICE}" for parent in slices if parent.endswith(_SYSTEM_SLICE)}
    try:
        directories = list(proc.iterdir())
    except OSError:  # too many open files: it is looked for again
        return None
    for directory in directories:
        if not directory.name.isdecimal() or not wanted.intersection(_cgroups(directory)):
            continue
        try:
            if directory.stat().st_uid == 0:
                return int(directory.name)
        except OSError:
            continue
    return None


def _cgroups(process: Path) -> list[str]:
    """Return the cgroup paths by which systemd knows *process* (cgroups(7): unified, and v1)."""
    try:
        said = (process / "cgroup").read_bytes()
    except OSError:
        return []
    found = []
    for line in said.split(b"\n"):  # and nothing else ends one: users name groups of their own
        _, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if controllers in (b"", b"name=systemd"):
            found.append(os.fsdecode(path))
    return found


async def follow_journald(exclude: Callable[[int], None], first: int | None) -> None:
    """Tell *exclude* the pid of the journal's process, 0 while there is none, for ever.

    *first* is the one that was told already.
    """
    pid = first
    wait = _RETRY_SECONDS
    while True:
        if pid is not None:
            await _ended(pid)
            exclude(0)
            wait = _RETRY_SECONDS
        await asyncio.sleep(wait)
        wait = min(wait * 2, _RETRY_AT_MOST_SECONDS)  # a machine without a journal has none later
        pid = find_journald()
        if pid is not None:
            exclude(pid)


async def _ended(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # it has ended already
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
