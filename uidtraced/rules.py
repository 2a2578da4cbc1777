"""The words that policy, reconcile and kernel share: uids, ABIs, rule sets and plans."""

from __future__ import annotations

import enum
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NewType, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Uid = NewType("Uid", int)
"""A user id as the initial user namespace has it; 0 to UID_MAX."""

Nr = NewType("Nr", int)
"""A system-call number in its ABI's own table, without the x32 bit."""

UID_MAX: Final = 2**32 - 2
"""The largest uid; 2**32 - 1 is the kernel's "no uid" (include/linux/uidgid.h)."""

NR_MAX: Final = 1024
"""Numbers from here on cannot be traced (`UIDTRACED_NR_MAX` in bpf/event.h)."""


class Abi(enum.IntEnum):
    """How a system call entered the kernel; the values are `enum uidtraced_abi` of bpf/event.h."""

    X86_64 = 0
    I386 = 1
    X32 = 2
    ARM64 = 3
    ARM = 4

    @property
    def label(self) -> str:
        """The name in policies and events, such as ``i386``."""
        return self.name.lower()


_MACHINE_ABIS: Final[Mapping[str, tuple[Abi, ...]]] = {
    "x86_64": (Abi.X86_64, Abi.I386, Abi.X32),
    "aarch64": (Abi.ARM64, Abi.ARM),
}


def machine_abis(machine: str | None = None) -> tuple[Abi, ...]:
    """Return the ABIs that *machine* (default: this one) can run, the native one first.

    Empty for a machine that uidtraced does not support.
    """
    return _MACHINE_ABIS.get(machine or platform.machine(), ())


class Scope(enum.StrEnum):
    """Which of a task's uids is compared: `match:` in the policy."""

    REAL = "real"
    EFFECTIVE = "effective"
    LOGIN = "login"


class Flag(enum.IntFlag):
    """Action bits of an inner map's value (`UIDTRACED_F_*` of bpf/event.h); 0 is off."""

    LOG = 1
    COUNT = 2
    EXIT = 4
    ERRORS = 8


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """What to do with one system call: *limit* is events per second and uid, 0 for no limit."""

    abi: Abi
    nr: Nr
    flags: Flag = Flag.LOG
    limit: int = 0


RuleSet: TypeAlias = frozenset[Rule]
"""All rules of one uid; at most one rule for each (abi, nr)."""


@dataclass(frozen=True, slots=True)
class UidRange:
    """Uids from *first* to *last*, both included."""

    first: Uid
    last: Uid


@dataclass(frozen=True, slots=True)
class ScopePlan:
    """What one scope wants.

    *uids* holds uids one by one; a uid in it takes nothing from *ranges*, whose rules were
    already added in. *ranges* do not overlap. *others* is for uids that neither names.
    """

    uids: Mapping[Uid, RuleSet] = field(default_factory=dict)
    ranges: Mapping[UidRange, RuleSet] = field(default_factory=dict)
    others: RuleSet = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole matrix of users and calls; a scope that is not in use is not in *scopes*."""

    scopes: Mapping[Scope, ScopePlan] = field(default_factory=dict)
