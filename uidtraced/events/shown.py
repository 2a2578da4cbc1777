"""Which arguments strace shows of a call, and how it calls them: those that the call uses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uidtraced.events.records import Argument

_NO_ARGUMENT: Final = frozenset(
    {
        *("F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE"),
        *("F_GETPIPE_SZ", "F_GET_SEALS"),
    }
)
_FUTEX: Final[Mapping[str, tuple[str, ...]]] = {
    # what do_futex() of kernel/futex/syscalls.c passes on
    "FUTEX_WAIT": ("val", "utime"),
    "FUTEX_WAKE": ("val",),
    "FUTEX_FD": ("val",),
    "FUTEX_REQUEUE": ("val", "utime", "uaddr2"),
    "FUTEX_LOCK_PI": ("utime",),
    "FUTEX_LOCK_PI2": ("utime",),
    "FUTEX_UNLOCK_PI": (),
    "FUTEX_TRYLOCK_PI": (),
    "FUTEX_WAIT_BITSET": ("val", "utime", "val3"),
    "FUTEX_WAKE_BITSET": ("val", "val3"),
    "FUTEX_WAIT_REQUEUE_PI": ("val", "utime", "uaddr2"),
}
_PRCTL: Final[Mapping[str, int]] = {
    # options that take fewer than four arguments, prctl(2)
    **dict.fromkeys(
        (
            *("PR_GET_DUMPABLE", "PR_GET_KEEPCAPS", "PR_GET_SECCOMP", "PR_GET_SECUREBITS"),
            *("PR_GET_TIMERSLACK", "PR_GET_TIMING", "PR_TASK_PERF_EVENTS_DISABLE"),
            "PR_TASK_PERF_EVENTS_ENABLE",
        ),
        0,
    ),
    **dict.fromkeys(
        (
            *("PR_SET_DUMPABLE", "PR_SET_KEEPCAPS", "PR_SET_NAME", "PR_GET_NAME"),
            *("PR_SET_PDEATHSIG", "PR_GET_PDEATHSIG", "PR_CAPBSET_READ", "PR_CAPBSET_DROP"),
            *("PR_SET_CHILD_SUBREAPER", "PR_GET_CHILD_SUBREAPER", "PR_SET_SECUREBITS"),
            *("PR_SET_TIMERSLACK", "PR_SET_TIMING", "PR_GET_TID_ADDRESS", "PR_GET_TSC"),
        ),
        1,
    ),
    "PR_SET_SECCOMP": 2,
}
CLONE: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "newsp": ("child_stack", ()),
    "clone_flags": ("flags", ()),
    "parent_tidptr": ("parent_tid", ("CLONE_PARENT_SETTID", "CLONE_PIDFD")),
    "tls": ("tls", ("CLONE_SETTLS",)),
    "child_tidptr": ("child_tidptr", ("CLONE_CHILD_SETTID", "CLONE_CHILD_CLEARTID")),
}
"""strace's order and names, and the flags of which one is needed."""


SOMETIMES: Final = frozenset(
    {
        *("open", "openat", "mq_open", "fcntl", "fcntl64", "mremap", "mknod", "mknodat"),
        *("prctl", "clone", "futex", "futex_time64"),
    }
)
"""Calls of which strace does not always show all arguments in the kernel's order."""


def shown(call: str, args: Mapping[str, Argument]) -> list[str]:
    """Return the names of the arguments that strace shows of *call*, in its order."""
    match call:
        case "clone":
            has = str(args["clone_flags"]).split("|")
            return [
                name
                for name, (_, wanted) in CLONE.items()
                if not wanted or any(one in has for one in wanted)
            ]
        case "futex" | "futex_time64":
            operation = str(args["op"]).partition("|")[0].removesuffix("_PRIVATE")
            return ["uaddr", "op", *_FUTEX.get(operation, ("val", "utime", "uaddr2", "val3"))]
    return [name for name in args if not _is_unused(call, name, args)]


def _is_unused(call: str, name: str, args: Mapping[str, Argument]) -> bool:
    match call, name:
        case ("open" | "openat" | "mq_open", "mode"):
            flags = str(args.get("flags", args.get("oflag")))
            return "O_CREAT" not in flags and "O_TMPFILE" not in flags
        case ("fcntl" | "fcntl64", "arg"):
            return args["cmd"] in _NO_ARGUMENT
        case ("mremap", "new_addr"):
            flags = str(args["flags"])
            return "MREMAP_FIXED" not in flags and "MREMAP_DONTUNMAP" not in flags
        case ("mknod" | "mknodat", "dev"):
            return not str(args["mode"]).startswith(("S_IFCHR", "S_IFBLK"))
        case ("prctl", _) if name != "option":
            return int(name.removeprefix("arg")) - 2 >= _PRCTL.get(str(args["option"]), 4)
    return False


def device(number: int) -> str:
    """Return a device's number as strace prints it."""
    return f"makedev({_hex(os.major(number))}, {_hex(os.minor(number))})"


def _hex(number: int) -> str:
    return f"{number:#x}" if number else "0"
