"""System-call names and numbers per ABI, and the words by which a policy selects them."""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from system_calls import syscalls

from uidtraced.multiplexers import ABI, INNER, SELECTED
from uidtraced.policy.sets import ALL, call_sets, elsewhere
from uidtraced.rules import NR_MAX, Abi, Nr, machine_abis

if TYPE_CHECKING:
    from collections.abc import Mapping

_X32_BIT: Final = 0x40000000  # __X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h
_WORD: Final = re.compile(r"(?P<no>!?)(?:(?P<abi>[a-z0-9_]+):)?(?P<name>@?[a-z0-9_-]+)")
_PREFIX: Final = re.compile(r"\s*!?\s*(?:(?P<abi>[a-z0-9_]+):)?")
_MAX_DIGITS: Final = 20


@functools.cache
def numbers(abi: Abi) -> Mapping[str, Nr]:
    """Return the numbers of *abi*'s system calls by name, without the x32 bit.

    Calls that kernels no longer have are among them: programs can still try them.
    """
    table = syscalls().load_arch_table(abi.label)
    return {name: Nr(nr & ~_X32_BIT) for name, nr in {**_retired()[abi.label], **table}.items()}


@functools.cache
def _retired() -> Mapping[str, Mapping[str, int]]:
    """Return by ABI what the table lacks and the kernel's headers keep (gen-syscall-sets)."""
    file = importlib.resources.files("uidtraced.policy") / "retired.json"
    found: Mapping[str, Mapping[str, int]] = json.loads(file.read_text("utf-8"))
    return found


@functools.cache
def _names(abi: Abi) -> Mapping[Nr, str]:
    return {nr: name for name, nr in numbers(abi).items()}


def call_name(abi: Abi, nr: Nr) -> str:
    """Return the name of call *nr* in *abi*; ``syscall_N`` for one that the table lacks."""
    if abi is ABI and nr in INNER:
        return INNER[nr][1]
    return _names(abi).get(nr) or f"syscall_{nr}"


def calls_named(abi: Abi, name: str) -> frozenset[Nr]:
    """Return the numbers of what *name* selects in *abi*, also through socketcall and ipc."""
    return _calls(abi).get(name, frozenset())


@functools.cache
def _calls(abi: Abi) -> Mapping[str, frozenset[Nr]]:
    found = {name: frozenset({nr}) for name, nr in numbers(abi).items()}
    for name, through in SELECTED.items() if abi is ABI else ():
        found[name] = found.get(name, frozenset()) | through
    return found


class UnknownWordError(ValueError):
    """A *word* that nothing known is called; `advice` finds what it may be a slip of."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True, slots=True)
class Selector:
    """One word of a list of system calls: the calls it stands for, to be added or taken away."""

    calls: frozenset[tuple[Abi, Nr]]
    excludes: bool = False


@functools.lru_cache(maxsize=16384)
def parse_selector(word: str | int, abis: tuple[Abi, ...] | None = None) -> Selector:
    """Return what *word* (``openat``, ``i386:execve``, ``@process``, ``!close``, 321) selects.

    A bare name or set is that of every ABI of *abis*, by default this machine's, where the ABI
    has the call. A number is one of the native ABI unless an ABI stands before it. ValueError
    says what is wrong and what would be right.
    """
    abis = machine_abis() if abis is None else abis
    if isinstance(word, int):
        return Selector(_numbered(abis[0], word))
    match = _WORD.fullmatch(word)
    if match is None:
        raise unknown_call(word, word, abis)
    excludes = bool(match["no"])
    among = abis if match["abi"] is None else (_abi(match["abi"], abis),)
    name = match["name"]
    if name.startswith("@"):
        return Selector(_set(word, name, among), excludes)
    if name.isdecimal():
        return Selector(_numbered(among[0], name), excludes)
    calls = {(abi, nr) for abi in among for nr in _calls(abi).get(name, ())}
    if not calls:
        raise unknown_call(word, name, among)
    traceable = frozenset((abi, nr) for abi, nr in calls if nr < NR_MAX or nr in INNER)
    if not traceable:
        raise ValueError(f'"{word}" has a number from {NR_MAX} on, which cannot be traced')
    return Selector(traceable, excludes)


@functools.cache
def set_calls(name: str, abi: Abi) -> Mapping[str, Nr]:
    """Return the numbers of those calls of the set *name* that *abi* has; KeyError if no set."""
    members = call_sets()[name].members
    return {
        call: nr
        for call, nr in numbers(abi).items()
        if (name == ALL or call in members) and nr < NR_MAX
    }


def _set(word: str, name: str, abis: tuple[Abi, ...]) -> frozenset[tuple[Abi, Nr]]:
    if name not in call_sets():
        raise unknown_set(word)
    found = {(abi, nr) for abi in abis for nr in set_calls(name, abi).values()}
    if ABI in abis:
        names = SELECTED if name == ALL else call_sets()[name].members & SELECTED.keys()
        found |= {(ABI, nr) for one in names for nr in SELECTED[one]}
    return frozenset(found)


def unknown_set(word: str) -> UnknownWordError:
    """Return the error that *word* names no set."""
    return UnknownWordError(f'"{word}" is no set of system calls', word)


def unknown_call(word: str, name: str, abis: tuple[Abi, ...]) -> ValueError:
    """Return the error that *name*, written as *word*, is no call of *abis*."""
    others = [abi for abi in Abi if abi not in abis and name in numbers(abi)]
    near = [abi for abi in others if abi in machine_abis()]
    where = " and ".join(abi.label for abi in near or others) or elsewhere().get(name)
    if where:
        here = abis[0].label if len(abis) == 1 else "this machine"
        return ValueError(f'"{word}": {here} has no such call, {where} has')
    return UnknownWordError(f'"{word}" is no system call', word)


@functools.cache
def _known(abis: tuple[Abi, ...]) -> frozenset[str]:
    return frozenset().union(*(numbers(abi) for abi in abis))


def _numbered(abi: Abi, number: int | str) -> frozenset[tuple[Abi, Nr]]:
    nr = _number(number)
    return frozenset((abi, one) for one in (nr, *calls_named(abi, call_name(abi, nr))))


def _number(number: int | str) -> Nr:
    """Return the *number*; digits can be more than int() takes."""
    if isinstance(number, str) and len(number) <= _MAX_DIGITS:
        number = int(number)
    if isinstance(number, str) or not 0 <= number < NR_MAX:
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


def advice(word: str, abis: tuple[Abi, ...] | None = None) -> str:
    """Return what to do about *word* in a list of calls: the nearest right one; about 1 ms.

    ``!`` and the ABI of *word* are kept.
    """
    match = _PREFIX.match(word.lower())
    prefix = match.group().replace(" ", "") if match else ""
    name = word.lower()[match.end() if match else 0 :].strip()
    label = match["abi"] if match else None
    if f"@{name}" in call_sets():
        close: str | None = f"@{name}"
    elif name.startswith("@"):
        close = nearest(name, frozenset(call_sets()))
    else:
        named = tuple(abi for abi in Abi if abi.label == label)
        close = nearest(name, _known(named or abis or machine_abis()))
    return f'did you mean "{prefix}{close}"?' if close else NO_ADVICE


NO_ADVICE: Final = "see uidtraced syscalls"
