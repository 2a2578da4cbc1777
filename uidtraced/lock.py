"""One instance a machine: a lock that the kernel lets go of when its holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from uidtraced.errors import AlreadyRunningError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_DIRECTORY: Final = Path("/run/uidtraced")
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@contextlib.contextmanager
def instance_lock(directory: Path = RUN_DIRECTORY) -> Iterator[None]:
    """Hold the machine's lock; AlreadyRunningError names the pid that holds it."""
    path = directory / "lock"
    try:
        directory.mkdir(mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise PermissionDeniedError(
            f"{path} cannot be opened ({error.strerror}); run it as root or by its systemd unit"
        ) from error
    try:
        _check(path, os.fstat(fd))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            raise AlreadyRunningError(
                f"uidtraced runs already, as pid {holder} ({path} is locked); stop that one first"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(fd)


def _check(path: Path, status: os.stat_result) -> None:
    """PermissionDeniedError where the lock is not one, or others could take its place."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # it is truncated, and written to
        raise PermissionDeniedError(f"{path} is no file that is only that; remove it")
    for place, mode in ((path, status.st_mode), (path.parent, path.parent.stat().st_mode)):
        if mode & _OTHERS_MAY_WRITE:
            raise PermissionDeniedError(
                f"{place} is open to others (mode {stat.S_IMODE(mode):04o}); chmod go-w {place}"
            )
