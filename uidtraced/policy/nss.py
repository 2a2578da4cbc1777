"""Single questions to the name service whose failure can be told from "there is none".

Python's pwd and grp raise KeyError for both, which would take a dead directory for an empty one.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_BUFFER: Final = 4096
_MAX_BUFFER: Final = 1 << 24


class _Passwd(ctypes.Structure):
    """struct passwd of glibc (pwd.h)."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("gecos", ctypes.c_char_p),
        ("home", ctypes.c_char_p),
        ("shell", ctypes.c_char_p),
    )


class _Group(ctypes.Structure):
    """struct group of glibc (grp.h)."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("gid", ctypes.c_uint32),
        ("members", ctypes.POINTER(ctypes.c_char_p)),
    )


_libc: Final = ctypes.CDLL(None)
_NOBODY: Final = "uidtraced-no-such-user"


def user(name: str) -> int | None:
    """Return the uid of *name*; None where there is no such user; OSError where nobody knows."""
    found = _ask("getpwnam_r", name, _Passwd)
    return None if found is None else int(found[0].uid)


def group(name: str) -> tuple[int, list[str]] | None:
    """Return gid and listed members of *name*; None and OSError as `user`."""
    found = _ask("getgrnam_r", name, _Group)
    if found is None:
        return None
    entry, _buffer = found  # the members' names lie in the buffer
    members = []
    for member in entry.members:
        if member is None:
            break
        members.append(os.fsdecode(member))
    return int(entry.gid), members


def users() -> Iterator[tuple[str, int, int]]:
    """Yield name, uid and primary group of every user that can be listed.

    One after the other: pwd's list of 100,000 users takes 70 MB. Not for two threads at once, since
    libc has one place in the list.
    """
    size = _FIRST_BUFFER
    entry, buffer = _Passwd(), ctypes.create_string_buffer(size)
    result = ctypes.POINTER(_Passwd)()
    _libc.setpwent()
    try:
        while True:
            code = _libc.getpwent_r(
                ctypes.byref(entry), buffer, ctypes.c_size_t(size), ctypes.byref(result)
            )
            if code == errno.ERANGE and size < _MAX_BUFFER:
                size *= 4
                buffer = ctypes.create_string_buffer(size)
            elif code == errno.EINTR:
                continue
            elif code:  # ENOENT: the end; a source that fails ends it too, see `answers`
                return
            else:
                yield os.fsdecode(entry.name), entry.uid, entry.gid
    finally:
        _libc.endpwent()


def answers() -> bool:
    """Whether every source of users can be reached: a list of users is whole then."""
    try:
        user(_NOBODY)
    except OSError:
        return False
    return True


def _ask(
    function: str, name: str, kind: type[_Passwd | _Group]
) -> tuple[_Passwd | _Group, ctypes.Array[ctypes.c_char]] | None:
    size = _FIRST_BUFFER
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return None
    while True:
        entry, buffer = kind(), ctypes.create_string_buffer(size)
        result = ctypes.POINTER(kind)()
        code = getattr(_libc, function)(
            raw, ctypes.byref(entry), buffer, ctypes.c_size_t(size), ctypes.byref(result)
        )
        if code == errno.ERANGE and size < _MAX_BUFFER:
            size *= 4
        elif code == errno.EINTR:
            continue
        elif code:
            raise OSError(code, f"{function}({name}): {os.strerror(code)}")
        else:
            found = ctypes.cast(result, ctypes.c_void_p).value is not None
            return (entry, buffer) if found else None
