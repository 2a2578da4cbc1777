"""Renders the arguments of a system call by name and type, from the registers."""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from uidtraced.events.dependent import dependents, request
from uidtraced.events.flags import WORDS
from uidtraced.rules import Abi

Number: TypeAlias = int | str
"""An argument as its register alone says it."""

_Convert: TypeAlias = Callable[[int], Number]
_ReadArgs: TypeAlias = Callable[[Sequence[int]], dict[str, Any]]

_AT_FDCWD: Final = -100  # include/uapi/linux/fcntl.h
_REGISTERS: Final = 6
_WORD_BITS: Final[Mapping[Abi, int]] = {
    Abi.X86_64: 64,
    Abi.I386: 32,
    Abi.X32: 64,  # its registers are 64 bits wide, and pointers zero-extended
    Abi.ARM64: 64,
    Abi.ARM: 32,
}
_DIRECTORY_FD: Final = re.compile(r"(old|new|(from|to)_)?dfd|dirfd")
_DIRECTORY_FDS: Final = frozenset({("execveat", "fd")})
"""Such that the name does not tell."""

_FD: Final = re.compile(
    r"fd|(in|out|ep|old|new|uf|mq|map|pid|group|ruleset|fs|img)_?fd|fildes|"
    r"fd_(in|out)|mqdes|\w+_fd"
)
_USER: Final = re.compile(r"(old_)?[ug]id_t|old_uid_t|old_gid_t")
_SIGNED_WORD: Final = frozenset({"long", "off_t", "time_t", "ssize_t", "__kernel_long_t"})
_SIGNED_64: Final = frozenset({"loff_t", "__s64", "s64"})
_UNSIGNED_64: Final = frozenset({"u64", "__u64"})
_UNSIGNED_32: Final = frozenset({"unsigned", "unsigned int", "u32", "__u32", "qid_t"})
_UNSIGNED_WORD: Final = frozenset({"unsigned long", "size_t", "aio_context_t"})
_POINTERS: Final = ("__sighandler", "cap_user")
"""Types that are pointers without a star."""

_ADDRESSES: Final = frozenset({"addr", "start", "new_addr", "brk", "newsp"})
"""Names of addresses in the caller's memory."""

_MODE: Final = frozenset({"mode", "umode_t"})


def _unsigned(bits: int) -> Callable[[int], int]:
    mask = (1 << bits) - 1
    return lambda raw: raw & mask


def _signed(bits: int) -> Callable[[int], int]:
    mask, half = (1 << bits) - 1, 1 << (bits - 1)
    return lambda raw: ((raw & mask) ^ half) - half


def _pointer(bits: int) -> _Convert:
    mask = (1 << bits) - 1

    def convert(raw: int) -> str:
        address = raw & mask
        return hex(address) if address else "NULL"

    return convert


def _directory(raw: int) -> Number:
    fd = _INT(raw)
    return "AT_FDCWD" if fd == _AT_FDCWD else fd


_INT: Final = _signed(32)
_KEEP: Final = 256
"""Of so many numbers of an argument the words are remembered: programs use few."""


def _id(raw: int) -> int:
    number = raw & 0xFFFFFFFF
    return -1 if number == 0xFFFFFFFF else number  # noqa: PLR2004  (uid_t)-1: leave as it is


def _old_id(raw: int) -> int:
    number = raw & 0xFFFF
    return -1 if number == 0xFFFF else number  # noqa: PLR2004


def _converter(call: str, name: str, kind: str, word: int) -> _Convert:
    """Return what turns a register into the argument *name* of C type *kind*."""
    if (call, name) == ("ioctl", "cmd"):
        return functools.lru_cache(_KEEP)(lambda raw: request(raw & 0xFFFFFFFF))
    words = WORDS.get((call, name))
    if words is not None:
        unsigned = _unsigned(word if kind in _UNSIGNED_WORD | _SIGNED_WORD else 32)
        return functools.lru_cache(_KEEP)(lambda raw: words(unsigned(raw)))
    if kind.endswith("*") or kind.startswith(_POINTERS):
        return _pointer(word)
    if _DIRECTORY_FD.fullmatch(name) or (call, name) in _DIRECTORY_FDS:
        return functools.lru_cache(_KEEP)(_directory)
    if _FD.fullmatch(name):
        return _INT
    return _number(kind, word)


def _number(kind: str, word: int) -> Callable[[int], int]:
    """Return what turns a register into a number of C type *kind*."""
    if _USER.fullmatch(kind):
        return _old_id if kind.startswith("old_") else _id
    sizes = {
        "umode_t": _unsigned(16),
        **dict.fromkeys(_UNSIGNED_32, _unsigned(32)),
        **dict.fromkeys(_UNSIGNED_WORD, _unsigned(word)),
        **dict.fromkeys(_SIGNED_WORD, _signed(word)),
        **dict.fromkeys(_SIGNED_64, _signed(64)),
        **dict.fromkeys(_UNSIGNED_64, _unsigned(64)),
    }
    return sizes.get(kind, _INT)


@functools.cache
def is_mode(call: str, name: str) -> bool:
    """Whether the argument *name* of *call* is permission bits, which strace prints in octal."""
    kinds = dict(_signatures().get(call, ()))
    return (kinds.get(name) in _MODE or name == "mode") and (call, name) not in WORDS


@functools.cache
def is_address(call: str, name: str) -> bool:
    """Whether the argument *name* of *call* is an address that the kernel declares as a number."""
    kinds = dict(_signatures().get(call, ()))
    return kinds.get(name) == "unsigned long" and name in _ADDRESSES


@functools.cache
def _signatures() -> Mapping[str, list[tuple[str, str]]]:
    data = importlib.resources.files(__package__).joinpath("signatures.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, list[tuple[str, str]]])


_TLS_FIRST: Final = frozenset({Abi.I386, Abi.ARM64, Abi.ARM})
"""ABIs whose clone has its last two arguments the other way round (CLONE_BACKWARDS)."""


def _signature(abi: Abi, call: str) -> list[tuple[str, str]]:
    """Return what is known of *call* in *abi*."""
    if _WORD_BITS[abi] == 32 and f"32:{call}" in _signatures():  # noqa: PLR2004
        return _signatures()[f"32:{call}"]
    known = _signatures().get(call, [])
    if call == "clone" and abi in _TLS_FIRST:
        return [*known[:3], known[4], known[3]]
    return known


@functools.cache
def registers(abi: Abi, call: str) -> tuple[Sequence[tuple[str, str]], list[int]]:
    """Return name and C type of each argument of *call*, and the first register of each.

    No arguments for a call that is not known; those that have no register are left out.
    """
    signature = _signature(abi, call)
    where: list[int] = []
    at = 0
    for _, kind in signature:
        wide = _is_wide(abi, kind)
        if wide and abi is Abi.ARM:
            at += at % 2  # the procedure call standard wants pairs to start at an even register
        if at + wide >= _REGISTERS:
            break
        where.append(at)
        at += 1 + wide
    return signature[: len(where)], where


def _is_wide(abi: Abi, kind: str) -> bool:
    """Whether an argument takes two registers."""
    return _WORD_BITS[abi] == 32 and kind in _SIGNED_64 | _UNSIGNED_64  # noqa: PLR2004


@functools.cache
def _plan(abi: Abi, call: str) -> tuple[tuple[str, int, int, _Convert], ...]:
    """Return name, first register, second register (-1 for none) and converter, by argument."""
    word = _WORD_BITS[abi]
    if call not in _signatures():
        return tuple((f"arg{n}", n, -1, _unsigned(word)) for n in range(_REGISTERS))
    return tuple(
        (name, at, at + 1 if _is_wide(abi, kind) else -1, _converter(call, name, kind, word))
        for (name, kind), at in zip(*registers(abi, call), strict=True)
    )


@functools.cache
def args_reader(abi: Abi, call: str) -> _ReadArgs:
    """Return what reads the arguments of *call* from its registers, as `render_args` does."""
    plan = _plan(abi, call)
    read = _reader(plan)
    depend = [
        (name, other, words, first, _unsigned(_WORD_BITS[abi] if is_word else 32))
        for name, other, words in dependents(call)
        for argument, first, _, _ in plan
        if argument == name
        for is_word in [dict(_signature(abi, call))[name] in _UNSIGNED_WORD | _SIGNED_WORD]
    ]
    if not depend:
        return read

    def read_all(raw: Sequence[int]) -> dict[str, Any]:
        args = read(raw)
        for name, other, words, first, unsigned in depend:
            convert = words.get(args[other])
            if convert is not None:
                args[name] = convert(unsigned(raw[first]))
        return args

    return read_all


def _reader(plan: Sequence[tuple[str, int, int, _Convert]]) -> _ReadArgs:
    """Return what reads the arguments of *plan*, each by itself."""
    if any(second >= 0 for _, _, second, _ in plan):
        return lambda raw: {
            name: convert(raw[first] if second < 0 else raw[first] | raw[second] << 32)
            for name, first, second, convert in plan
        }
    narrow = tuple((name, first, convert) for name, first, _, convert in plan)

    def read(raw: Sequence[int]) -> dict[str, Any]:
        args: dict[str, Any] = {}
        for name, first, convert in narrow:  # a comprehension is a function more to make and call
            args[name] = convert(raw[first])
        return args

    return read


def render_args(abi: Abi, call: str, raw: Sequence[int]) -> dict[str, Number]:
    """Return the arguments of *call* by name, from the registers *raw* (unsigned, 64 bits).

    Integers have the width and sign of their C type; pointers, flags and the like are words.
    """
    found: dict[str, Number] = args_reader(abi, call)(raw)
    return found
