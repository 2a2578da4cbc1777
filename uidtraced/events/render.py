"""Renders records: JSON lines, lines to read, and native journal entries.

What a traced user can choose (names, arguments) is data in each of them: it cannot end a line,
start a field or move a terminal's cursor.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from uidtraced.events.line import strace_line
from uidtraced.events.records import GapRecord, LossRecord, PolicyRecord, Record, SyscallEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LENGTH: Final = struct.Struct("<Q")
_INFO: Final = b"PRIORITY=6\nSYSLOG_IDENTIFIER=uidtraced\n"
_WARNING: Final = b"PRIORITY=4\nSYSLOG_IDENTIFIER=uidtraced\n"

_encoder: Final = msgspec.json.Encoder()


def printable(text: str) -> str:
    r"""Return *text* with what cannot be printed as ``\xNN``, fit for a line of a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else character.encode("unicode_escape").decode()  # noqa: PLR2004


def json_lines(records: Iterable[Record]) -> bytes:
    """Return a JSON object a line for each record."""
    return _encoder.encode_lines(records)


def message(record: Record) -> str:
    """Return *record* as one line to read; a system call is as strace prints it, after the user."""
    match record:
        case SyscallEvent():
            call = strace_line(record)
            foreign = "" if record.abi in _NATIVE else f"{record.abi}:"
            who = str(record.uid) if record.user is None else record.user
            return printable(f"{who}: {foreign}{call}")
        case PolicyRecord():
            return (
                f"policy revision {record.revision} in force: {record.created} created, "
                f"{record.swapped} swapped, {record.deleted} deleted, "
                f"{record.unchanged} unchanged"
            )
        case LossRecord():
            who = str(record.uid) if record.user is None else record.user
            return printable(f"{record.ring_full} events of {who} lost: the ring buffer was full")
        case GapRecord():
            seconds = record.duration_ns / 1e9
            return f"{seconds:.3f} s without a daemon since {record.since}; {record.lost} lost"


_NATIVE: Final = frozenset({"x86_64", "arm64"})


def text_lines(records: Iterable[Record]) -> bytes:
    """Return a line for each record, with its time and, for a call, who made it."""
    lines = []
    for record in records:
        by = ""
        if isinstance(record, SyscallEvent):
            by = f"{printable(record.comm)}[{record.tid}] "
        lines.append(f"{record.ts} {by}{message(record)}\n")
    return "".join(lines).encode()


def journal_entry(record: Record) -> bytes:
    """Return *record* in the journal's native protocol, each field as ``UIDTRACE_NAME``.

    A field that is null is left out. `args` is there as JSON.
    """
    lost = isinstance(record, LossRecord) or (isinstance(record, GapRecord) and record.lost > 0)
    parts = [_WARNING if lost else _INFO, _field("MESSAGE", message(record))]
    for name, field in _fields(type(record)):
        value = getattr(record, name)
        if isinstance(value, dict | list):
            value = _encoder.encode(value).decode()
        if value is not None and value is not msgspec.UNSET:
            parts.append(_field(field, str(value)))
    return b"".join(parts)


def _field(name: str, value: str) -> bytes:
    if "\n" not in value:
        return f"{name}={value}\n".encode()
    raw = value.encode()  # the binary form, with its length: a newline cannot start a field
    return b"%s\n%s%s\n" % (name.encode(), _LENGTH.pack(len(raw)), raw)


_FIELDS: dict[type[Record], Sequence[tuple[str, str]]] = {}


def _fields(kind: type[Record]) -> Sequence[tuple[str, str]]:
    found = _FIELDS.get(kind)
    if found is None:
        names: Any = kind.__struct_fields__
        found = _FIELDS[kind] = [(name, f"UIDTRACE_{name.upper()}") for name in names]
    return found
