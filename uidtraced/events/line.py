"""The call as strace prints it: arguments in its quotes and braces, and the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from uidtraced.events.arguments import is_address, is_mode
from uidtraced.events.results import show_result
from uidtraced.events.shapes import shaped
from uidtraced.events.shown import CLONE, SOMETIMES, device, shown
from uidtraced.events.sockaddr import show_sockaddr
from uidtraced.events.text import quote_text
from uidtraced.events.words import octal
from uidtraced.rules import Abi, Kind

if TYPE_CHECKING:
    from uidtraced.events.records import Argument, SyscallEvent

_ABIS: Final = {abi.label: abi for abi in Abi}


def strace_line(event: SyscallEvent) -> str:
    """Return *event* as strace prints the call, with its result where it has one."""
    kinds = {name: kind for name, _, kind in shaped(_ABIS[event.abi], event.syscall)}
    cut = event.truncated if event.truncated is not msgspec.UNSET else ()
    address = event.unreadable if event.unreadable is not msgspec.UNSET else ()
    parts = []
    which = shown(event.syscall, event.args) if event.syscall in SOMETIMES else event.args
    for name in which:
        value = event.args[name]
        if isinstance(value, int):
            said = _number(event.syscall, name, value)
        else:
            said = _show(value, None if name in address else kinds.get(name), cut=name in cut)
        parts.append(f"{CLONE[name][0]}={said}" if event.syscall == "clone" else said)
    line = f"{event.syscall}({', '.join(parts)})"
    by = "" if event.via is msgspec.UNSET else f" ({event.via})"
    if event.ret is msgspec.UNSET:
        return f"{line}{by}"
    error = event.errno if event.errno is not msgspec.UNSET else None
    return f"{line} {show_result(event.syscall, event.ret, error)}{by}"


def _number(call: str, name: str, value: int) -> str:
    if is_mode(call, name):
        return octal(value)
    if is_address(call, name) and (call, name) != ("clone", "clone_flags"):
        return f"{value:#x}" if value else "NULL"
    match call, name:
        case ("mmap", "off") | ("ioctl", "arg") | ("prctl", "arg2"):
            return _hex(call, value)
        case ("mknod" | "mknodat", "dev"):
            return device(value)
        case ("clone", "tls"):
            return f"{value:#x}"
    return str(value)


def _hex(call: str, value: int) -> str:
    # small numbers are no addresses
    return f"{value:#x}" if value > (9 if call == "prctl" else 0) else str(value)


def _show(value: Argument, kind: Kind | None, *, cut: bool) -> str:
    more = "..." if cut else ""
    match value:
        case None:
            return "NULL"
        case dict():
            return show_sockaddr(value)
        case list():
            shown = [one if isinstance(one, int) else quote_text(one) for one in value]
            if more:
                shown.append(more)
            return f"[{', '.join(f'{one:#x}' if isinstance(one, int) else one for one in shown)}]"
        case str() if kind is Kind.STRING:
            return quote_text(value) + more
        case _:
            return str(value)
