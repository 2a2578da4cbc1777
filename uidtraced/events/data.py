"""What the arguments of a call point to, as the kernel's program read it: its parts, decoded."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import UNSET, UnsetType

from uidtraced.events.sockaddr import decode_sockaddr
from uidtraced.events.text import text
from uidtraced.rules import Kind, Mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uidtraced.events.records import Argument

_PART: Final = struct.Struct("=HBB")  # struct part of bpf/event.h: length, register, marks
_PART_BYTES: Final = _PART.size
_read_part: Final = _PART.unpack_from
_POINTER: Final = struct.Struct("=Q")

# by names of our own: to look up an enum's takes 0.1 us, its operators half a microsecond
_STRING: Final = Kind.STRING
_UNREADABLE: Final = int(Mark.UNREADABLE)
_AGAIN: Final = int(Mark.AGAIN)
_MORE: Final = int(Mark.MORE)
_CUT: Final = int(Mark.TRUNCATED | Mark.MORE)

Parts: TypeAlias = dict[int, list[tuple[int, bytes]]]
"""By register: marks and bytes of each part."""

Names: TypeAlias = list[str] | UnsetType
"""Arguments of which something is to be said; unset where there are none."""


def read_parts(data: bytes, at: int, end: int) -> Parts:
    """Return the parts in *data* from *at* to *end*."""
    parts: Parts = {}
    while at < end:
        length, register, marks = _read_part(data, at)
        begin = at + _PART_BYTES
        at = begin + length
        if marks & _AGAIN:
            parts[register] = []
        elif register in parts:
            parts[register].append((marks, data[begin:at]))
        else:
            parts[register] = [(marks, data[begin:at])]
    return parts


def only_string(data: bytes, at: int, end: int) -> str | None:
    """Return the string in *data* from *at* to *end* where it is whole and all there; else None."""
    if at < end:
        length, _, marks = _read_part(data, at)
        at += _PART_BYTES
        if not marks and at + length == end:
            return text(data[at:end])
    return None


def show_data(
    args: dict[str, Argument],
    shape: Sequence[tuple[str, int, Kind]],
    parts: Parts,
    raw: Sequence[int],
) -> tuple[Names, Names]:
    """Put what was read in the place of the addresses in *args*.

    Returns the names of the arguments that are truncated, and of those that were unreadable.
    """
    cut: Names = UNSET
    address: Names = UNSET
    for name, register, kind in shape:
        if not raw[register]:
            args[name] = None
            continue
        found = parts.get(register, ())
        marks = 0
        for one, _ in found:
            marks |= one
        if marks & _CUT:
            cut = [*(cut or ()), name]
        if marks & _UNREADABLE or (not found and kind is _STRING):
            address = [*(address or ()), name]
        args[name] = _show(kind, found, args[name])
    return cut, address


def _show(kind: Kind, parts: Sequence[tuple[int, bytes]], address: Argument) -> Argument:
    """Return what *parts* say; *address* where they say nothing."""
    if kind is Kind.STRINGS:
        return _vector(parts, address)
    if not parts or parts[0][0] & _UNREADABLE:
        return address
    if kind is _STRING:
        return text(parts[0][1])
    return decode_sockaddr(parts[0][1]) or address


def _vector(parts: Sequence[tuple[int, bytes]], address: Argument) -> Argument:
    if len(parts) == 1 and parts[0][0] & _UNREADABLE:
        return address
    return [
        _POINTER.unpack(raw)[0] if marks & _UNREADABLE else text(raw)
        for marks, raw in parts
        if not marks & _MORE
    ]
