"""Says who else could change a policy file: by its own mode, or by replacing it on the way."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MAX_SYMLINKS: Final = 40  # as the kernel has it: MAXSYMLINKS, include/linux/namei.h


def faults(path: str, status: os.stat_result) -> list[str]:
    """Return why others than root and this process's own user could change *path*, with the fix.

    *status* is that of the opened file. Each directory and each symlink on the way is looked at
    too. Raises OSError where the way cannot be followed.
    """
    found = []
    quoted = shlex.quote(path)
    if not _is_trusted(status):
        found.append(f"owned by uid {status.st_uid}, who could change it; chown root {quoted}")
    if status.st_mode & _OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        found.append(f"mode {mode:04o} lets others write it; chmod go-w {quoted}")
    for place, what in _way(path):
        if stat.S_ISLNK(what.st_mode):
            found += _link_faults(place, what)
        elif not _is_read_only(place):
            found += _directory_faults(place, what)
    return found


def _link_faults(link: str, status: os.stat_result) -> list[str]:
    if _is_trusted(status):
        return []
    owner = f"the symlink {link} on the way is owned by uid {status.st_uid}"
    return [f"{owner}, who could turn it elsewhere; chown -h root {shlex.quote(link)}"]


def _directory_faults(directory: str, status: os.stat_result) -> list[str]:
    found = []
    quoted = shlex.quote(directory)
    start = f"the directory {directory} on the way"
    end = "could put another policy in its place"
    if not _is_trusted(status):
        found.append(f"{start} is owned by uid {status.st_uid}, who {end}; chown root {quoted}")
    if status.st_mode & _OTHERS_MAY_WRITE and not status.st_mode & stat.S_ISVTX:
        # with the sticky bit, as in /tmp, nobody removes or renames what is not his
        mode = stat.S_IMODE(status.st_mode)
        found.append(f"{start} has mode {mode:04o}, so others {end}; chmod go-w {quoted}")
    return found


def _is_trusted(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def _is_read_only(directory: str) -> bool:
    """Whether nobody can change *directory* where it is mounted, as Kubernetes does ConfigMaps."""
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def _way(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what leads to *path*, as the kernel would follow it: directories and symlinks."""
    todo = os.path.join(os.getcwd(), path).split("/")
    here = "/"
    links = 0
    yield here, os.lstat(here)
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)  # *here* is a real path: no links in it
            continue
        there = os.path.join(here, part)
        status = os.lstat(there)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MAX_SYMLINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            yield there, status
            target = os.readlink(there)
            here = "/" if target.startswith("/") else here
            todo = [*target.split("/"), *todo]
        elif stat.S_ISDIR(status.st_mode):
            here = there
            yield here, status
        # else it is the file itself, of which the caller knows more
