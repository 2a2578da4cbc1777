"""Reads a policy file: bytes that are safe to parse, and the digest that names them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from uidtraced.errors import PolicyError, Problem

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 4 * 2**20
"""The largest policy file; 10,000 users by name take a tenth of it."""

_READ_TRIES: Final = 3
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Source:
    """A policy file as it was read: *path* as the user gave it, *sha256* in hex."""

    path: str
    text: str
    sha256: str


def read_source(path: Path) -> Source:
    """Read *path* whole.

    Raises PolicyError where it is missing, no plain file, too large, not UTF-8, or writable by
    others than root and this process's own user.
    """
    try:
        raw = _read(path)
    except PolicyError:
        raise
    except OSError as error:
        raise _refused(path, _explain(error)) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = raw[: error.start]
        line = good.count(b"\n") + 1
        column = error.start - (good.rfind(b"\n") + 1) + 1
        text = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _refused(path, text, line, column) from error
    return Source(str(path), text, hashlib.sha256(raw).hexdigest())


def _read(path: Path) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for its writer
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        for _ in range(_READ_TRIES):
            before = os.fstat(fd)
            _check_file(path, before)
            os.lseek(fd, 0, os.SEEK_SET)
            raw = _read_all(fd)
            after = os.fstat(fd)
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                break  # else somebody is writing; the last try stands, and the watcher looks again
        if len(raw) > MAX_BYTES:
            raise _refused(path, _TOO_LARGE)
        return raw
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    parts = []
    room = MAX_BYTES + 1
    while room and (part := os.read(fd, room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


_TOO_LARGE: Final = f"larger than {MAX_BYTES} bytes; name ranges or groups, not each user"


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")
        raise _refused(path, f"this is {kind}; a policy is a plain file")
    if status.st_size > MAX_BYTES:
        raise _refused(path, _TOO_LARGE)
    if status.st_uid not in (0, os.geteuid()):
        raise _refused(
            path, f"owned by uid {status.st_uid}, who could change it; chown root {path}"
        )
    if status.st_mode & _OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise _refused(path, f"mode {mode:04o} lets others write it; chmod go-w {path}")


_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _explain(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "no such file; write a policy there, or name another with --policy"
    if error.errno == errno.ENXIO:
        return "this is a socket or a FIFO; a policy is a plain file"
    return f"cannot be read: {error.strerror}"


def _refused(path: Path, message: str, line: int = 1, column: int = 1) -> PolicyError:
    return PolicyError([Problem(line, column, message, str(path))])
