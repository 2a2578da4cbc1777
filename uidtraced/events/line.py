"""The call as strace prints it: arguments in its quotes and braces, and the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from uidtraced.events.arguments import is_address, is_mode
from uidtraced.events.results import show_result
from uidtraced.events.shapes import shaped
from uidtraced.events.sockaddr import show_sockaddr
from uidtraced.events.text import quote_text
from uidtraced.rules import Abi, Kind

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from uidtraced.events.records import Argument, SyscallEvent

_ABIS: Final = {abi.label: abi for abi in Abi}


def strace_line(event: SyscallEvent) -> str:
    """Return *event* as strace prints the call, with its result where it has one."""
    kinds = {name: kind for name, _, kind in shaped(_ABIS[event.abi], event.syscall)}
    cut = event.truncated if event.truncated is not msgspec.UNSET else ()
    address = event.unreadable if event.unreadable is not msgspec.UNSET else ()
    parts = []
    for name, value in event.args.items():
        if is_mode(event.syscall, name) and isinstance(value, int):
            if name != "mode" or _may_create(event.args):
                parts.append(f"0{value:o}".zfill(3) if value else "000")
        elif is_address(event.syscall, name) and isinstance(value, int):
            parts.append(f"{value:#x}" if value else "NULL")
        elif (event.syscall, name) == ("mmap", "off") and isinstance(value, int):
            parts.append(f"{value:#x}" if value else "0")
        else:
            parts.append(_show(name, value, kinds.get(name), cut, address))
    line = f"{event.syscall}({', '.join(parts)})"
    by = "" if event.via is msgspec.UNSET else f" ({event.via})"
    if event.ret is msgspec.UNSET:
        return f"{line}{by}"
    error = event.errno if event.errno is not msgspec.UNSET else None
    return f"{line} {show_result(event.syscall, event.ret, error)}{by}"


def _show(
    name: str, value: Argument, kind: Kind | None, cut: Container[str], address: Container[str]
) -> str:
    more = "..." if name in cut else ""
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
        case str() if kind is Kind.STRING and name not in address:
            return quote_text(value) + more
        case _:
            return str(value)


def _may_create(args: Mapping[str, Argument]) -> bool:
    """Whether the mode of an open means anything; of other calls it always does."""
    flags = args.get("flags")
    if not isinstance(flags, str) or not flags.startswith("O_"):
        return True
    return "O_CREAT" in flags or "O_TMPFILE" in flags
