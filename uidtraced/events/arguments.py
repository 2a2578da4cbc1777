"""Renders the arguments of a system call by name and type, and the call as strace prints it."""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from uidtraced.events.flags import WORDS
from uidtraced.rules import Abi

Argument: TypeAlias = int | str
_Convert: TypeAlias = Callable[[int], Argument]

_AT_FDCWD: Final = -100  # include/uapi/linux/fcntl.h
_REGISTERS: Final = 6
_WORD_BITS: Final[Mapping[Abi, int]] = {
    Abi.X86_64: 64,
    Abi.I386: 32,
    Abi.X32: 64,  # its registers are 64 bits wide, and pointers zero-extended
    Abi.ARM64: 64,
    Abi.ARM: 32,
}
_DIRECTORY_FD: Final = re.compile(r"\w*dfd|dirfd")
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
        return f"{address:#x}" if address else "NULL"

    return convert


def _directory(raw: int) -> Argument:
    fd = _INT(raw)
    return "AT_FDCWD" if fd == _AT_FDCWD else fd


_INT: Final = _signed(32)


def _id(raw: int) -> int:
    number = raw & 0xFFFFFFFF
    return -1 if number == 0xFFFFFFFF else number  # noqa: PLR2004  (uid_t)-1: leave as it is


def _converter(call: str, name: str, kind: str, word: int) -> _Convert:
    """Return what turns a register into the argument *name* of C type *kind*."""
    words = WORDS.get((call, name))
    if words is not None:
        unsigned = _unsigned(word if kind in _UNSIGNED_WORD | _SIGNED_WORD else 32)
        return lambda raw: words(unsigned(raw))
    if kind.endswith("*") or kind.startswith(_POINTERS):
        return _pointer(word)
    if _DIRECTORY_FD.fullmatch(name):
        return _directory
    if _FD.fullmatch(name):
        return _INT
    return _number(kind, word)


def _number(kind: str, word: int) -> Callable[[int], int]:
    """Return what turns a register into a number of C type *kind*."""
    if _USER.fullmatch(kind):
        return _id
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
def _signatures() -> Mapping[str, list[tuple[str, str]]]:
    data = importlib.resources.files(__package__).joinpath("signatures.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, list[tuple[str, str]]])


@functools.cache
def _plan(abi: Abi, call: str) -> tuple[tuple[str, int, int, _Convert], ...]:
    """Return name, first register, second register (-1 for none) and converter, by argument."""
    word = _WORD_BITS[abi]
    known = _signatures().get(call)
    if known is None:
        return tuple((f"arg{n}", n, -1, _unsigned(word)) for n in range(_REGISTERS))
    plan = []
    at = 0
    for name, kind in known:
        wide = word == 32 and kind in _SIGNED_64 | _UNSIGNED_64  # noqa: PLR2004
        if wide and abi is Abi.ARM:
            at += at % 2  # the procedure call standard wants pairs to start at an even register
        last = at + 1 if wide else at
        if last >= _REGISTERS:
            break
        plan.append((name, at, last if wide else -1, _converter(call, name, kind, word)))
        at = last + 1
    return tuple(plan)


def render_args(abi: Abi, call: str, raw: Sequence[int]) -> dict[str, Argument]:
    """Return the arguments of *call* by name, from the registers *raw* (unsigned, 64 bits).

    Integers have the width and sign of their C type; pointers, flags and the like are words.
    """
    return {
        name: convert(raw[first] if second < 0 else raw[first] | raw[second] << 32)
        for name, first, second, convert in _plan(abi, call)
    }


@functools.cache
def _modes(call: str) -> frozenset[str]:
    """Return the arguments of *call* that are permission bits, which strace prints in octal."""
    return frozenset(
        name
        for name, kind in _signatures().get(call, ())
        if (kind in _MODE or name == "mode") and (call, name) not in WORDS
    )


def strace_line(call: str, args: Mapping[str, Argument]) -> str:
    """Return the call as strace prints it, without its result."""
    modes = _modes(call)
    parts = []
    for name, value in args.items():
        if name in modes and isinstance(value, int):
            if name == "mode" and not _may_create(args):
                continue
            parts.append(f"0{value:o}".zfill(3) if value else "000")
        else:
            parts.append(str(value))
    return f"{call}({', '.join(parts)})"


def _may_create(args: Mapping[str, Argument]) -> bool:
    """Whether the mode of an open means anything; of other calls it always does."""
    flags = args.get("flags")
    if not isinstance(flags, str) or not flags.startswith("O_"):
        return True
    return "O_CREAT" in flags or "O_TMPFILE" in flags
