"""Reads a policy file: bytes that are safe to parse, and the digest that names them."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import shlex
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from uidtraced.errors import PolicyError, Problem
from uidtraced.policy.trust import faults

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 4 * 2**20
"""The largest policy file; 10,000 users by name take a tenth of it."""

_READ_TRIES: Final = 8
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Source:
    """A policy file as it was read: *path* as the user gave it, *sha256* in hex."""

    path: str
    text: str
    sha256: str


def read_source(path: Path) -> Source:
    """Read *path* whole, as it is at one moment.

    Raises PolicyError where it is missing, no plain file, too large, not UTF-8, written to all
    the while, or open to changes by others than root and this process's own user.
    """
    try:
        raw = _read(path)
    except OSError as error:
        raise _refused(path, _explain(path, error)) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = error.object[: error.start].removeprefix(codecs.BOM_UTF8)
        line = good.count(b"\n") + 1
        column = len(good[good.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        byte = error.object[error.start]
        text = f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        raise _refused(path, text, at=(line, column)) from error
    return Source(str(path), text, hashlib.sha256(raw).hexdigest())


def _read(path: Path) -> bytes:
    _check_kind(path, path.stat())  # first: merely opening some devices does something
    # O_NONBLOCK: a FIFO that took the file's place would wait for its writer
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        _check_kind(path, status)
        if found := faults(str(path), status):
            raise _refused(path, *found)
        return _read_settled(path, fd)
    finally:
        os.close(fd)


def _read_settled(path: Path, fd: int) -> bytes:
    """Return what two readings in a row agree on; times and sizes alone are too coarse for it."""
    last = None
    for attempt in range(_READ_TRIES):
        if attempt > 1:
            time.sleep(_PAUSE_SECONDS)
        os.lseek(fd, 0, os.SEEK_SET)
        raw = _read_all(fd)
        if len(raw) > MAX_BYTES:
            raise _refused(path, _TOO_LARGE)
        if raw == last:
            return raw
        last = raw
    raise _refused(path, "the file changes while it is read; save it once more when all is written")


def _read_all(fd: int) -> bytes:
    parts = []
    room = MAX_BYTES + 1
    while room and (part := os.read(fd, room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


_TOO_LARGE: Final = f"larger than {MAX_BYTES} bytes; name ranges or groups, not each user"


def _check_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")
        raise _refused(path, f"this is {kind}; a policy is a plain file")
    if status.st_size > MAX_BYTES:
        raise _refused(path, _TOO_LARGE)


_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _explain(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT if path.is_symlink():
            return f"a symlink to {path.readlink()}, where there is no file; write a policy there"
        case errno.ENOENT:
            return "no such file; write a policy there, or name another with --policy"
        case errno.EACCES | errno.EPERM:
            return (
                f"uid {os.geteuid()} may not read it; chmod a+r {shlex.quote(str(path))}, "
                "and a+x for the directories on the way"
            )
        case _:
            return f"cannot be read: {error.strerror}; a policy is a plain file"


def _refused(path: Path, *messages: str, at: tuple[int, int] = (1, 1)) -> PolicyError:
    return PolicyError([Problem(*at, message, str(path)) for message in messages])
