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
    """Action bits of an inner map's value (`UIDTRACED_F_*` of bpf/event.h); 0 is off.

    What several rules for one call want together is the union of their bits.
    """

    LOG = 1
    """Make an event."""
    COUNT = 2
    """Count the match."""
    EXIT = 4
    """The event has the call's result."""
    SUCCESS = 8
    """An event also for calls that succeed; without it (only with EXIT) for failed ones alone."""


DEFAULT_FLAGS: Final = Flag.LOG | Flag.SUCCESS


class Kind(enum.IntEnum):
    """How the argument in a register is read (`enum uidtraced_kind` of bpf/event.h)."""

    PLAIN = 0
    STRING = 1
    STRINGS = 2
    """A vector of strings, the last pointer NULL."""
    SOCKADDR = 3
    """A socket address; its length is the next argument."""
    SOCKADDR_BACK = 4
    """One that the kernel gives back; the next argument points to its length."""


class Mark(enum.IntFlag):
    """What is said of what was read of an argument (`enum uidtraced_mark` of bpf/event.h)."""

    TRUNCATED = 1
    UNREADABLE = 2
    AGAIN = 4
    MORE = 8
    DELETED = 16


class Outcome(enum.IntEnum):
    """What is known of a call's end (`enum uidtraced_outcome` of bpf/event.h)."""

    ENTERED = 0
    """Sent at its entry."""
    RETURNED = 1
    ENDED = 2
    """It never returned: its thread ended."""
    UNKNOWN = 3
    """Nobody waited for it."""


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """What to do with one system call: *limit* is events per second and uid, 0 for no limit."""

    abi: Abi
    nr: Nr
    flags: Flag = DEFAULT_FLAGS
    limit: int = 0

    def __add__(self, other: Rule) -> Rule:
        """Return what two entries of one uid want of the same call: whatever either wants."""
        if not self.flags & other.flags & Flag.LOG:  # a limit is of those that log
            limit = self.limit or other.limit
        else:
            limit = max(self.limit, other.limit) if self.limit and other.limit else 0
        return Rule(self.abi, self.nr, self.flags | other.flags, limit)


RuleSet: TypeAlias = frozenset[Rule]
"""All rules of one uid; at most one rule for each (abi, nr)."""


def add_rules(*rule_sets: RuleSet) -> RuleSet:
    """Return what *rule_sets* of one uid want together; takes about 0.5 us for each rule."""
    found: dict[tuple[Abi, Nr], Rule] = {}
    for rules in rule_sets:
        for rule in rules:
            call = (rule.abi, rule.nr)
            found[call] = found[call] + rule if call in found else rule
    return frozenset(found.values())


@dataclass(frozen=True, slots=True, order=True)
class UidRange:
    """Uids from *first* to *last*, both included."""

    first: Uid
    last: Uid


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """The 2**(32 - *bits*) uids whose first *bits* bits are those of *first*."""

    first: Uid
    bits: int


EVERYBODY: Final = Block(Uid(0), 0)


def blocks_of(uids: UidRange) -> list[Block]:
    """Return the fewest blocks that are *uids* exactly; 62 at the most."""
    found = []
    first = uids.first
    while first <= uids.last:
        size = first & -first or 1 << 32
        while first + size - 1 > uids.last:
            size >>= 1
        found.append(Block(Uid(first), 33 - size.bit_length()))
        first = Uid(first + size)
    return found


@dataclass(frozen=True, slots=True)
class ScopePlan:
    """What one scope wants.

    A uid has the rules that *uids* holds for it; else those of the range that it is in, of
    *ranges*, which do not overlap; else *others*. An empty rule set is there to say "nothing"
    where something less exact would match.
    """

    uids: Mapping[Uid, RuleSet] = field(default_factory=dict)
    ranges: Mapping[UidRange, RuleSet] = field(default_factory=dict)
    others: RuleSet = frozenset()

    def rule_sets(self) -> set[RuleSet]:
        """Return every rule set that is in use, the empty one too where it is."""
        found = {*self.uids.values(), *self.ranges.values()}
        return found | {self.others} if self.others else found

    def blocks(self) -> dict[Block, RuleSet]:
        """Return *ranges* and *others* as the kernel holds them: the longest block matches."""
        found = {block: rules for uids, rules in self.ranges.items() for block in blocks_of(uids)}
        return found | {EVERYBODY: self.others} if self.others else found

    def find(self, uid: Uid) -> RuleSet:
        """Return the rules of *uid*; for tests and for showing, not for speed."""
        if uid in self.uids:
            return self.uids[uid]
        for uids, rules in self.ranges.items():
            if uids.first <= uid <= uids.last:
                return rules
        return self.others


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole matrix of users and calls; a scope that is not in use is not in *scopes*."""

    scopes: Mapping[Scope, ScopePlan] = field(default_factory=dict)

    def rule_sets(self) -> set[RuleSet]:
        """Return every rule set that is in use."""
        return set().union(*(scope.rule_sets() for scope in self.scopes.values()))
