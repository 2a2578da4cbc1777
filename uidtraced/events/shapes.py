"""Which arguments of a call point to strings or addresses: by rule, from the signatures.

The kernel's program gets it as a table, by register, and the decoder reads by the same.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from uidtraced.events.arguments import registers
from uidtraced.multiplexers import ABI, INNER, SOCKETCALL
from uidtraced.rules import Abi, Kind, Nr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LENGTH: Final = re.compile(r"(\w+_)?len|optlen|count|size|bufsiz")
"""Names of arguments that say how long the buffer before them is."""

_NO_STRINGS: Final = re.compile(r"\w*addr")
"""Names of ``char*`` arguments that are addresses: those of shmat and shmdt."""

IN_MEMORY: Final = {"semctl": 1, "msgrcv": 2}
"""How many arguments of a call through ipc are not in registers; of socketcall all are not."""

_MORE: Final = {("mount", "data"): Kind.STRING}
"""What the C type does not tell: mount's options are a ``void*``, by name a string."""


def kind_of(call: str, signature: Sequence[tuple[str, str]], position: int) -> Kind:
    """Return how the argument at *position* of *call* is read."""
    name, kind = signature[position]
    following, its_kind = (*signature, ("", ""))[position + 1]
    if kind == "char*" and not _LENGTH.fullmatch(following) and not _NO_STRINGS.fullmatch(name):
        return Kind.STRING
    if kind == "char**" and name == "argv":
        return Kind.STRINGS
    if kind == "struct sockaddr*":
        return Kind.SOCKADDR_BACK if its_kind == "int*" else Kind.SOCKADDR
    return _MORE.get((call, name), Kind.PLAIN)


@functools.cache
def shaped(abi: Abi, call: str) -> tuple[tuple[str, int, Kind], ...]:
    """Return name, register and kind of those arguments of *call* that are more than a number."""
    signature, where = registers(abi, call)
    return tuple(
        (signature[position][0], register, kind)
        for position, register in enumerate(where)
        if (kind := kind_of(call, signature, position)) is not Kind.PLAIN
    )


def shapes(tables: Mapping[Abi, Mapping[str, Nr]]) -> dict[tuple[Abi, Nr], bytes]:
    """Return `struct shape` of bpf/event.h for the calls of *tables* that need one.

    That is a kind for each register, and how many arguments are in memory.
    """
    found = {}
    for abi, table in tables.items():
        for call, nr in table.items():
            kinds = bytearray(6)
            for _, register, kind in shaped(abi, call):
                kinds[register] = kind
            if any(kinds):
                found[abi, nr] = bytes(kinds)
    for nr, (through, call) in INNER.items() if ABI in tables else ():
        kinds = bytearray(6)
        words = IN_MEMORY.get(call, 0)
        if through is SOCKETCALL:
            for _, register, kind in shaped(ABI, call):
                kinds[register] = kind
            words = len(registers(ABI, call)[0])
        found[ABI, nr] = bytes((*kinds, words))
    return found
