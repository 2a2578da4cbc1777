"""System-call names and numbers per ABI, and the words by which a policy selects them."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from system_calls import syscalls

from uidtraced.rules import NR_MAX, Abi, Nr, machine_abis

if TYPE_CHECKING:
    from collections.abc import Mapping

_X32_BIT: Final = 0x40000000  # __X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h
_WORD: Final = re.compile(r"(?P<no>!?)(?:(?P<abi>[a-z0-9_]+):)?(?P<name>@?[a-z0-9_-]+)")


@functools.cache
def numbers(abi: Abi) -> Mapping[str, Nr]:
    """Return the numbers of *abi*'s system calls by name, without the x32 bit."""
    table = syscalls().load_arch_table(abi.label)
    return {name: Nr(nr & ~_X32_BIT) for name, nr in table.items()}


@functools.cache
def _names(abi: Abi) -> Mapping[Nr, str]:
    return {nr: name for name, nr in numbers(abi).items()}


def call_name(abi: Abi, nr: Nr) -> str:
    """Return the name of call *nr* in *abi*; ``syscall_N`` for one that the table lacks."""
    return _names(abi).get(nr) or f"syscall_{nr}"


class UnknownWordError(ValueError):
    """A word that nothing known is called; *known* are the words among which it was looked up."""

    def __init__(self, message: str, word: str, known: frozenset[str]) -> None:
        super().__init__(message)
        self.word = word
        self.known = known


@dataclass(frozen=True, slots=True)
class Selector:
    """One word of a list of system calls: the calls it stands for, to be added or taken away."""

    calls: frozenset[tuple[Abi, Nr]]
    excludes: bool = False


@functools.lru_cache(maxsize=4096)
def parse_selector(word: str | int, abis: tuple[Abi, ...] | None = None) -> Selector:
    """Return what *word* (``openat``, ``i386:execve``, ``!close``, 321) selects on *abis*.

    A bare name is that call in every ABI that has it. A number is one of the native ABI unless
    an ABI stands before it. *abis* are by default this machine's. ValueError says what is wrong
    and what would be right.
    """
    abis = machine_abis() if abis is None else abis
    if isinstance(word, int):
        return Selector(frozenset({(abis[0], _number(word))}))
    match = _WORD.fullmatch(word)
    if match is None:
        raise _unknown(word, word.strip().lower(), abis)
    excludes = bool(match["no"])
    among = abis if match["abi"] is None else (_abi(match["abi"], abis),)
    name = match["name"]
    if name.startswith("@"):
        raise ValueError(f'"{word}": sets are not supported yet; name the calls one by one')
    if name.isdecimal():
        return Selector(frozenset({(among[0], _number(int(name)))}), excludes)
    calls = frozenset((abi, numbers(abi)[name]) for abi in among if name in numbers(abi))
    if not calls:
        raise _unknown(word, name, among)
    return Selector(calls, excludes)


def _unknown(word: str, name: str, abis: tuple[Abi, ...]) -> ValueError:
    others = [abi.label for abi in machine_abis() if abi not in abis and name in numbers(abi)]
    if others:
        return ValueError(f'"{word}": {abis[0].label} has no such call, {" and ".join(others)} has')
    known = frozenset().union(*(numbers(abi) for abi in abis))
    return UnknownWordError(f'"{word}" is no system call', name, known)


def _number(number: int) -> Nr:
    if not 0 <= number < NR_MAX:
        raise ValueError(f"{number} is no system-call number; they are 0 to {NR_MAX - 1}")
    return Nr(number)


def _abi(label: str, abis: tuple[Abi, ...]) -> Abi:
    for abi in abis:
        if abi.label == label:
            return abi
    known = ", ".join(abi.label for abi in abis)
    raise ValueError(f'"{label}" is no ABI of this machine; it has {known}')


def nearest(word: str, known: frozenset[str]) -> str | None:
    """Return the *known* word that *word* may be a slip of; takes about 1 ms."""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1)
    return close[0] if close else None
