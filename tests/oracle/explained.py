"""The explained differences between strace and events: all of them, each with its reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from oracle.strace_log import Call

ADDRESS: Final = re.compile(r"0x[0-9a-f]+")


BUFFERS: Final = "strace shows what a buffer or a struct holds, an event has the address"
PAGES: Final = "strace shows the offset of mmap2 in bytes, an event in pages as it was given"
NEVER_SEEN: Final = (
    "strace cannot see how the last call of a killed thread ends, the kernel's tracepoint can"
)
NO_CALL: Final = "a number without a name is in no set of calls"
UNREADABLE: Final = (
    "where the arguments of a call through socketcall or ipc are unreadable, strace shows "
    "socketcall itself, and those of ipc in the call's order, by name; an event the call with the "
    "others'"
)
IN_MEMORY: Final = "strace shows semctl's last argument through ipc in brackets"


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and ADDRESS.fullmatch(value) is not None


OPTIONS: Final = "what an argument means depends on others, which strace follows further"
DEVICES: Final = "an event has a device's number as it was given"
UNNAMED: Final = {
    **dict.fromkeys((("mknod", "dev"), ("mknodat", "dev"), ("ustat", "dev")), DEVICES),
    **dict.fromkeys((("prctl", f"arg{n}") for n in range(2, 6)), OPTIONS),
    **dict.fromkeys((("keyctl", f"arg{n}") for n in range(2, 6)), OPTIONS),
    **dict.fromkeys((("setsockopt", "optname"), ("getsockopt", "optname")), OPTIONS),
    **dict.fromkeys((("futex", "val3"), ("futex_time64", "val3")), OPTIONS),
    **dict.fromkeys((("socket", "protocol"), ("syslog", "len"), ("ptrace", "addr")), OPTIONS),
}
"""Arguments that may be plain numbers where strace has a name."""


DROPPED: Final = (
    *("MSG_SENDPAGE_NOTLAST", "MSG_NO_SHARED_FRAGS", "SCHED_ISO", "TFD_CLOEXEC", "TFD_NONBLOCK"),
    "FAN_NOFD",
)


def argument(call: Call, name: str, said: str, value: Any) -> str | None:
    """Return why an argument may differ; None where it may not."""
    if (call.name, name) == ("semctl", "third"):
        return UNREADABLE
    if (isinstance(value, int) or _is_address(value)) and (call.name, name) in UNNAMED:
        return UNNAMED[call.name, name]
    if any(one in said for one in DROPPED):
        return "the kernel has no such flag any more, or never took it in this place"
    if _is_address(value) and said[0] in '"[{':
        return BUFFERS
    if (call.name, name) == ("semctl", "arg"):
        return IN_MEMORY if said in (f"[{value:#x}]", f"[{value or 'NULL'}]") else None
    if (call.name, name) == ("mmap2", "pgoff") and int(said, 0) == value * 4096:
        return PAGES
    return None


def result(call: Call) -> str | None:
    """Return why the result may differ; None where it may not."""
    return NEVER_SEEN if call.result == "?" and call.is_last else None


def name(event: dict[str, Any]) -> str:
    """Return what strace calls the call of *event*."""
    if event.get("via") == "socketcall" and "args" in event["args"]:  # UNREADABLE
        return "socketcall"
    return str(event["syscall"])


def number_name(event: dict[str, Any]) -> str:
    """Return what strace calls the call of *event* where it is newer than strace."""
    return f"syscall_{event.get('nr', -1):#x}"


def is_no_call(call: Call) -> bool:
    """NO_CALL, or one that is newer than strace, which has its arguments as six numbers then."""
    return call.name.startswith("syscall_0x")


NAMED: Final = {
    "clone": {
        "child_stack": "newsp",
        "flags": "clone_flags",
        "parent_tid": "parent_tidptr",
        "tls": "tls",
        "child_tidptr": "child_tidptr",
    }
}
"""strace names the arguments of these calls, and gives them in an order of its own."""

FUTEX: Final = {
    "FUTEX_WAIT_BITSET": ("uaddr", "op", "val", "utime", "val3"),
    "FUTEX_WAKE_BITSET": ("uaddr", "op", "val", "val3"),
}
"""strace leaves out the arguments of futex that an operation does not use."""

NOT_ARGUMENTS: Final = {
    "rt_sigreturn": "strace shows the frame on the stack",
    "sigreturn": "the same",
    "restart_syscall": "strace shows which call goes on",
    "_llseek": "strace shows the two halves of the offset as one number",
}


def names(call: Call, args: dict[str, Any]) -> list[str]:
    """Return the names of the arguments that strace shows, in its order."""
    if call.name in NOT_ARGUMENTS:
        return []
    if call.name == "msgrcv" and "ptr" in args:  # UNREADABLE
        return ["first", "ptr", "second", "third"]
    if call.name == "futex":
        for word, found in FUTEX.items():
            if args["op"].startswith(word):
                return list(found)
    return list(args)
