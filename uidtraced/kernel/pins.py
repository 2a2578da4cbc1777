"""Keeps fds by pinning them in a bpffs directory: what systemd's fd store does, outside systemd."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from uidtraced.errors import UidtracedError
from uidtraced.kernel.libbpf import check, lib, raises_kernel_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BPF_FS_MAGIC: Final = 0xCAFE4A11  # include/uapi/linux/magic.h


class PinDirectoryError(UidtracedError):
    """A directory in which nothing can be pinned, or that is not ours alone."""


class PinStore:
    """Keeps what it is given as files of *directory*, which nobody else may enter."""

    survives_stop = False

    def __init__(self, directory: Path) -> None:
        """Make *directory* (mode 0700) where it is missing; PinDirectoryError where it won't do."""
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.stat()
        except OSError as error:
            raise PinDirectoryError(f"--pin-dir {directory}: {error.strerror}") from error
        if _file_system(directory) != _BPF_FS_MAGIC:
            raise PinDirectoryError(
                f"--pin-dir {directory} is not in a bpffs; mount -t bpf bpf /sys/fs/bpf, "
                "and name a directory below it"
            )
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid() or mode & 0o077:
            raise PinDirectoryError(
                f"--pin-dir {directory} is open to others (uid {status.st_uid}, mode {mode:04o}); "
                f"chown {os.geteuid()} and chmod 0700 it"
            )

    def kept(self) -> dict[str, int]:
        """Return what is pinned."""
        found = {}
        for path in sorted(self._directory.iterdir()):
            fd = check(f"bpf_obj_get({path})", lib.bpf_obj_get(os.fsencode(path)))
            found[path.name] = fd
        return found

    def keep(self, name: str, fd: int) -> None:
        """Pin what *fd* refers to, unless it is."""
        result = lib.bpf_obj_pin(fd, os.fsencode(self._directory / name))
        if result != -errno.EEXIST:
            check("bpf_obj_pin", result)

    def drop(self, names: Iterable[str]) -> None:
        """Pin *names* no longer."""
        with raises_kernel_error("unlink of a pin"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    (self._directory / name).unlink()


def _file_system(path: Path) -> int:
    """Return the magic number of the file system at *path*: Python's statvfs does not tell it."""
    buffer = (ctypes.c_long * 32)()  # struct statfs begins with f_type, a long (statfs(2))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), ctypes.byref(buffer)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return int(buffer[0]) & 0xFFFFFFFF
