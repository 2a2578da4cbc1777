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
_POINTER: Final = struct.Struct("=Q")

Parts: TypeAlias = dict[int, list[tuple[int, bytes]]]
"""By register: marks and bytes of each part."""

Names: TypeAlias = list[str] | UnsetType
"""Arguments of which something is to be said; unset where there are none."""


def read_parts(data: memoryview, at: int, end: int) -> Parts:
    """Return the parts in *data* from *at* to *end*."""
    parts: Parts = {}
    while at < end:
        length, register, marks = _PART.unpack_from(data, at)
        at += _PART.size
        if marks & Mark.AGAIN:
            parts[register] = []
        else:
            parts.setdefault(register, []).append((marks, bytes(data[at : at + length])))
        at += length
    return parts


def show_data(
    args: dict[str, Argument],
    shape: Sequence[tuple[str, int, Kind]],
    parts: Parts,
    raw: Sequence[int],
) -> tuple[Names, Names]:
    """Put what was read in the place of the addresses in *args*.

    Returns the names of the arguments that are truncated, and of those that were unreadable.
    """
    cut, address = [], []
    for name, register, kind in shape:
        if not raw[register]:
            args[name] = None
            continue
        found = parts.get(register, ())
        marks = 0
        for one, _ in found:
            marks |= one
        if marks & (Mark.TRUNCATED | Mark.MORE):
            cut.append(name)
        if marks & Mark.UNREADABLE or (not found and kind is Kind.STRING):
            address.append(name)
        shown = _show(kind, found, args[name])
        args[name] = shown
    return cut or UNSET, address or UNSET


def _show(kind: Kind, parts: Sequence[tuple[int, bytes]], address: Argument) -> Argument:
    """Return what *parts* say; *address* where they say nothing."""
    if kind is Kind.STRINGS:
        return _vector(parts, address)
    if not parts or parts[0][0] & Mark.UNREADABLE:
        return address
    if kind is Kind.STRING:
        return text(parts[0][1])
    return decode_sockaddr(parts[0][1]) or address


def _vector(parts: Sequence[tuple[int, bytes]], address: Argument) -> Argument:
    if len(parts) == 1 and parts[0][0] & Mark.UNREADABLE:
        return address
    return [
        _POINTER.unpack(raw)[0] if marks & Mark.UNREADABLE else text(raw)
        for marks, raw in parts
        if not marks & Mark.MORE
    ]
