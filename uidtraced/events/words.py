"""Turns numbers into words: sets of flags, and one of several values, in strace's spelling."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

Words: TypeAlias = Callable[[int], str]
"""Turns a number (unsigned) into words."""

WordsOrNumber: TypeAlias = Callable[[int], int | str]
"""Likewise, or says that it is but a number."""

# the kernel's headers spell these otherwise than strace and the manual pages
_STRACE: Final = {
    "PTRACE_PEEKUSR": "PTRACE_PEEKUSER",
    "PTRACE_POKEUSR": "PTRACE_POKEUSER",
    "SCHED_NORMAL": "SCHED_OTHER",
}


@functools.cache
def _constants() -> dict[str, dict[str, int]]:
    """Return what script/gen-constants wrote, by group."""
    data = importlib.resources.files(__package__).joinpath("constants.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, dict[str, int]])


def constants(groups: str) -> dict[str, int]:
    """Return the constants of *groups*, in their order; of each group the smallest come first."""
    found: dict[str, int] = {}
    for group in groups.split():
        found |= {_STRACE.get(name, name): number for name, number in _constants()[group].items()}
    return found


def bits(groups: str) -> dict[str, int]:
    """Return those constants of *groups* that are one bit."""
    return {name: number for name, number in constants(groups).items() if number.bit_count() == 1}


def flags(known: Mapping[str, int], zero: str = "0") -> Words:
    """Return words for a set of bits; composite ones stand before their parts in *known*."""
    pairs = [(name, value) for name, value in known.items() if value]

    def words(number: int) -> str:
        if not number:
            return zero
        found = []
        for name, value in pairs:
            if number & value == value:
                found.append(name)
                number &= ~value
        if number or not found:
            found.append(f"{number:#x}")
        return "|".join(found)

    return words


def choice(values: Mapping[str, int]) -> Words:
    """Return the word for one of several values; an unknown one stays a number, in hexadecimal."""
    names = _names(values)
    return lambda number: names.get(number) or f"{number:#x}"


def word_or_number(values: Mapping[str, int], signed_bits: int = 0) -> WordsOrNumber:
    """Return the word for a value that has one; others are plain numbers."""
    names = _names({name: value for name, value in values.items() if value >= 0})
    half = 1 << signed_bits - 1 if signed_bits else 0

    def words(number: int) -> int | str:
        if half:
            number &= 2 * half - 1
        return names.get(number) or ((number ^ half) - half)

    return words


def _names(values: Mapping[str, int]) -> dict[int, str]:
    """Return the first name of each value."""
    return {value: name for name, value in reversed(list(values.items()))}


def mixed(
    values: Mapping[str, int], mask: int, known: Mapping[str, int], zero: str | None = None
) -> Words:
    """Return words for a value under *mask* with bits beside it.

    Where 0 is no value of its own it is not told beside bits, and *zero* alone.
    """
    names, many = _names(values), flags(known)

    def words(number: int) -> str:
        value, rest = number & mask, number & ~mask
        if value in names:
            one = names[value]
        elif value or not rest:
            one = f"{value:#x}" if value or zero is None else zero
        else:
            return many(rest)
        return f"{one}|{many(rest)}" if rest else one

    return words


def shifted(words: Words, shift: int, name: str, width: int = 6) -> Words:
    """Return *words* with a number of *width* bits from bit *shift* on, strace's ``21<<NAME``."""
    mask = ((1 << width) - 1) << shift

    def both(number: int) -> str:
        high = (number & mask) >> shift
        if not high:
            return words(number)
        low = words(number & ~mask)
        return f"{high}<<{name}" if low == "0" else f"{low}|{high}<<{name}"

    return both


def octal(mode: int) -> str:
    """Return permissions as strace prints them, such as 0644 and 000."""
    return f"0{mode:o}".zfill(3)


def with_mode(words: Words, bits_of_mode: int = 0o777) -> Words:
    """Return *words* for flags with permissions in their lowest bits, which are octal."""

    def both(number: int) -> str:
        mode = octal(number & bits_of_mode)
        high = number & ~bits_of_mode
        return f"{words(high)}|{mode}" if high else mode

    return both


def for_each(
    calls: str, argument: str, words: WordsOrNumber
) -> Iterable[tuple[tuple[str, str], WordsOrNumber]]:
    """Yield *argument* of each of *calls* with *words*."""
    return [((call, argument), words) for call in calls.split()]
