"""What `uidtraced syscalls` answers: names, numbers and sets of system calls, as a plain table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from uidtraced.multiplexers import ABI, IPC, SOCKETCALL, made_through
from uidtraced.policy.names import (
    UnknownWordError,
    advice,
    calls_named,
    numbers,
    set_calls,
    unknown_call,
    unknown_set,
)
from uidtraced.policy.sets import ALL, call_sets
from uidtraced.rules import Abi, Nr, machine_abis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WORD: Final = re.compile(r"(?:(?P<abi>[^:@]*):)?(?P<name>.*)", re.DOTALL)
_NONE: Final = "-"
_MAX_DIGITS: Final = 10


def explain(word: str | None = None, abi: Abi | None = None) -> list[str]:
    """Return lines on *word*: a name, a number, a ``@set``, each with an ABI before it or not.

    Without *word* all sets are listed. *abi*, of any machine, leaves out all others; by default
    the ABIs are this machine's. ValueError says what is wrong and what would be right.
    """
    match = _WORD.fullmatch(word or "")
    if match and match["abi"] is not None:
        abi = _same(_labelled(match["abi"]), abi)
    abis = (abi,) if abi is not None else machine_abis() or tuple(Abi)
    if word is None:
        return _all_sets(abis)
    name = match["name"] if match else word
    if name.startswith("@"):
        return _one_set(word, name, abis)
    if name.isascii() and name.isdecimal():
        return _number(name, abis)
    return _name(word, name, abis)


def _labelled(label: str) -> Abi:
    for abi in Abi:
        if abi.label == label:
            return abi
    raise ValueError(f'"{label}" is no ABI; there are {", ".join(abi.label for abi in Abi)}')


def _same(named: Abi, asked: Abi | None) -> Abi:
    if asked not in (None, named):
        raise ValueError(f"{named.label} is named, but --abi asks for {asked.label}")
    return named


def _all_sets(abis: Sequence[Abi]) -> list[str]:
    rows = [["SET", *(abi.label for abi in abis), "ABOUT"]]
    for name, one in call_sets().items():
        rows.append([name, *(str(len(set_calls(name, abi))) for abi in abis), one.about])
    return _table(rows, "<" + ">" * len(abis) + "<")


def _one_set(word: str, name: str, abis: Sequence[Abi]) -> list[str]:
    if name not in call_sets():
        raise ValueError(f"{unknown_set(word)}; {advice(word)}")
    members: Iterable[str] = call_sets()[name].members
    if name == ALL:
        members = frozenset().union(*(numbers(abi) for abi in abis))
    rows = [["NAME", *(abi.label for abi in abis)]]
    rows.extend(
        [call, *(str(numbers(abi).get(call, _NONE)) for abi in abis)] for call in sorted(members)
    )
    return _table(rows, "<" + ">" * len(abis))


def _number(digits: str, abis: Sequence[Abi]) -> list[str]:
    rows = [["ABI", "NUMBER", "NAME"]]
    found = False
    for abi in abis:
        named = {nr: name for name, nr in numbers(abi).items()}
        name = named.get(Nr(int(digits))) if len(digits) <= _MAX_DIGITS else None
        found = found or name is not None
        rows.append([abi.label, digits, name or _NONE])
    if not found:
        here = " or ".join(abi.label for abi in abis)
        last = max(nr for abi in abis for nr in numbers(abi).values())
        raise ValueError(f"{digits} is no system call of {here}; the last is {last}")
    return _table(rows, "<><")


def _name(word: str, name: str, abis: Sequence[Abi]) -> list[str]:
    if not any(calls_named(abi, name) for abi in abis):
        error = unknown_call(word, name, tuple(abis))
        if isinstance(error, UnknownWordError):
            raise ValueError(f"{error}; {advice(word, tuple(abis))}") from None
        raise error
    rows = [["ABI", "NUMBER", "NAME"]]
    rows.extend([abi.label, str(numbers(abi).get(name, _NONE)), name] for abi in abis)
    sets = [one.name for one in call_sets().values() if one.name == ALL or name in one.members]
    found = [*_table(rows, "<><"), f"in {' '.join(sets)}"]
    return [*found, *_through(name)] if ABI in abis else found


def _through(name: str) -> list[str]:
    if through := made_through(name):
        too = " too" if name in numbers(ABI) else ""
        return [f"{ABI.label} makes it through {through.name}{too}"]
    for one in (SOCKETCALL, IPC):
        if name == one.name:
            return [f"logged as what it makes: {' '.join(one.calls)}"]
    return []


def _table(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(sides))]
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
