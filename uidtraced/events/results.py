"""What a call returned: its number, the error's name, and both as strace prints them."""

from __future__ import annotations

import errno
import os
from typing import Final

from uidtraced.rules import Abi

_MAX_ERRNO: Final = 4095  # include/linux/err.h
_32_BIT: Final = frozenset({Abi.I386, Abi.ARM})
_ADDRESSES: Final = frozenset({"brk", "mmap", "mmap2", "mremap", "shmat"})
"""Calls that return an address."""

_RESTARTS: Final = {
    # include/linux/errno.h: a program never sees these, the call is made again or is EINTR
    512: ("ERESTARTSYS", "To be restarted if SA_RESTART is set"),
    513: ("ERESTARTNOINTR", "To be restarted"),
    514: ("ERESTARTNOHAND", "To be restarted if no handler"),
    516: ("ERESTART_RESTARTBLOCK", "Interrupted by signal"),
}
_INTERNAL: Final = {515: "ENOIOCTLCMD", 517: "EPROBE_DEFER", 518: "EOPENSTALE", 524: "ENOTSUPP"}
_NAMES: Final = {
    **{number: name for number, (name, _) in _RESTARTS.items()},
    **_INTERNAL,
    **errno.errorcode,
    # of two names for a number, strace's
    errno.EDEADLK: "EDEADLK",
    errno.EAGAIN: "EAGAIN",
    errno.EOPNOTSUPP: "EOPNOTSUPP",
}


def result(abi: Abi, call: str, raw: int) -> tuple[int, str | None]:
    """Return what *call* returned, from the register (unsigned), and the error's name or None."""
    bits = 32 if abi in _32_BIT else 64
    number = raw & ((1 << bits) - 1)
    signed = number - (1 << bits) if number >> (bits - 1) else number
    if -_MAX_ERRNO <= signed < 0:
        return signed, _NAMES.get(-signed, f"errno {-signed}")
    return number if call in _ADDRESSES else signed, None


def show_result(call: str, ret: int | None, name: str | None) -> str:
    """Return the result as strace prints it, such as ``= -1 ENOENT (No such file or directory)``.

    A call that never returned (None) has ``= ?``.
    """
    if ret is None:
        return "= ?"
    if name is not None:
        if -ret in _RESTARTS:
            return f"= ? {name} ({_RESTARTS[-ret][1]})"
        return f"= -1 {name} ({os.strerror(-ret)})"
    if call in _ADDRESSES:
        return f"= {ret:#x}" if ret else "= NULL"
    if call == "umask":
        return f"= 0{ret:o}" if ret else "= 0"
    return f"= {ret}"
