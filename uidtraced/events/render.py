"""Renders records: JSON lines, lines to read, and native journal entries.

What a traced user can choose (names, arguments) is data in each of them: it cannot end a line,
start a field or move a terminal's cursor.
"""

from __future__ import annotations

import functools
import re
import struct
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from uidtraced.events.line import strace_line
from uidtraced.events.records import (
    GapRecord,
    LossRecord,
    PolicyRecord,
    Record,
    SyscallEvent,
    TamperRecord,
)
from uidtraced.events.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LENGTH: Final = struct.Struct("<Q")
_INFO: Final = ("PRIORITY=6", "SYSLOG_IDENTIFIER=uidtraced")
_WARNING: Final = ("PRIORITY=4", "SYSLOG_IDENTIFIER=uidtraced")
_ERROR: Final = ("PRIORITY=3", "SYSLOG_IDENTIFIER=uidtraced")
_NESTED: Final = (dict, list)
_UNSEEN: Final = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What JSON may hold as it is, but ends a line or moves the text for some who read or show it."""

_encoder: Final = msgspec.json.Encoder()


def json_lines(records: Iterable[Record]) -> bytes:
    """Return a JSON object a line for each record; what is not seen is escaped in it."""
    # a list: of all else msgspec (0.22) keeps the iterator for ever
    return _seen(_encoder.encode_lines(list(records)))


def _seen(said: bytes) -> bytes:
    """Return the JSON *said* with escapes for what is not seen."""
    if said.isascii() and b"\x7f" not in said:
        return said
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", said.decode()).encode()


def message(record: Record) -> str:
    """Return *record* as one line to read; a system call is as strace prints it, after the user."""
    match record:
        case SyscallEvent():
            call = strace_line(record)
            foreign = "" if record.abi in _NATIVE else f"{record.abi}:"
            who = str(record.uid) if record.user is None else record.user
            return printable(f"{_plain(who, ':')}: {foreign}{call}")
        case PolicyRecord():
            return (
                f"policy revision {record.revision} in force: {record.created} created, "
                f"{record.swapped} swapped, {record.deleted} deleted, "
                f"{record.unchanged} unchanged"
            )
        case LossRecord():
            return printable(_losses(record))
        case GapRecord():
            seconds = record.duration_ns / 1e9
            anew = "; numbers begin anew, after another version" if record.anew is True else ""
            return (
                f"{seconds:.3f} s without a daemon since {record.since}; {record.lost} lost{anew}"
            )
        case TamperRecord():
            return printable(_tampered(record))


def _tampered(record: TamperRecord) -> str:
    who = "" if record.entry is None else f" of {record.user or record.entry}"
    more = f"; so were {record.more} more" if record.more else ""
    return (
        f"{record.object}{who} was changed by others: {record.found}; "
        f"put right: {record.restored}{more}"
    )


def _plain(name: str, end: str) -> str:
    r"""Return *name* with *end* as ``\xNN``, so that the first *end* after it is not the name's."""
    return name.replace(end, f"\\x{ord(end):02x}")


def _losses(record: LossRecord) -> str:
    who = str(record.uid) if record.user is None else record.user
    causes = (
        (record.ring_full, f"events of {who} lost: the ring buffer was full"),
        (record.sink_dropped, f"events of {who} lost: the output refused them"),
        (record.limited, f"calls of {who} not logged: past the limit"),
    )
    return "; ".join(f"{number} {what}" for number, what in causes if number)


_NATIVE: Final = frozenset({"x86_64", "arm64"})


def text_lines(records: Iterable[Record]) -> bytes:
    """Return a line for each record, with its time and, for a call, who made it."""
    lines = []
    for record in records:
        by = ""
        if isinstance(record, SyscallEvent):
            by = f"{_plain(printable(record.comm), '[')}[{record.tid}] "
        lines.append(f"{record.ts} {by}{message(record)}\n")
    return "".join(lines).encode()


def journal_entry(record: Record) -> bytes:
    """Return *record* in the journal's native protocol, each field as ``UIDTRACE_NAME``.

    A field that is null is left out. `args` is there as JSON.
    """
    lost = (isinstance(record, LossRecord) and record.ring_full + record.sink_dropped > 0) or (
        isinstance(record, GapRecord) and record.lost > 0
    )
    tampered = isinstance(record, TamperRecord)
    priority = _ERROR if tampered else _WARNING if lost else _INFO
    fields = [*priority, f"MESSAGE={message(record)}"]
    for name, value in zip(_names(type(record)), astuple(record), strict=True):
        if value is None or value is UNSET:
            continue
        said = _seen(_encoder.encode(value)).decode() if isinstance(value, _NESTED) else value
        fields.append(f"{name}{said}")
    fields.append("")
    entry = "\n".join(fields)
    if entry.count("\n") == len(fields) - 1:
        return entry.encode()
    return b"".join(map(_field, fields[:-1]))


def _field(said: str) -> bytes:
    name, _, value = said.partition("=")
    if "\n" not in value:
        return f"{said}\n".encode()
    raw = value.encode()  # the binary form, with its length: a newline cannot start a field
    return b"%s\n%s%s\n" % (name.encode(), _LENGTH.pack(len(raw)), raw)


@functools.cache
def _names(kind: type[Record]) -> Sequence[str]:
    """Return how the journal calls the fields of *kind*, with the sign behind."""
    return [f"UIDTRACE_{name.upper()}=" for name in kind.__struct_fields__]
