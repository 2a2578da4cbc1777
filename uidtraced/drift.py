"""Finds what others changed of the daemon's in the kernel, and puts it right."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import structlog

from uidtraced import reconcile
from uidtraced.errors import UidtracedError
from uidtraced.events.records import TamperRecord
from uidtraced.kernel.guard import Wrong
from uidtraced.policy import call_name
from uidtraced.rules import EVERYBODY, Block, Plan, RuleSet, Scope, ScopePlan, Uid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from uidtraced.kernel.guard import Guard

log = structlog.get_logger("drift")

_AT_REST_SECONDS: Final = 60.0
"""So often the maps are looked at where nobody was seen who could have changed them."""
_LOOK_SHARE: Final = 100
"""But where a look takes long, for no more than one part in so many of the time."""
_LOOKS: Final = 2
"""So many looks follow a call of bpf(2), which is seen before it has changed anything."""
_LATELY_SECONDS: Final = 60.0
_TOLD_AT_MOST: Final = 20
_CALLS_AT_MOST: Final = 5
_NOTHING: Final = ScopePlan()
_Key = TypeVar("_Key", Uid, Block)


class Kernel(reconcile.RuleStore, reconcile.RuleReader, Protocol):
    """What is in the kernel; `kernel.tracer.Tracer` is one."""

    guard: Guard


class InForce(Protocol):
    """Knows the plan in force; `keeper.Keeper` is one."""

    plan: Plan
    revision: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a scope has in the kernel; None for what is not ours."""

    uids: Mapping[Uid, RuleSet | None]
    by_block: Mapping[Block, RuleSet | None]

    def blocks(self) -> Mapping[Block, RuleSet | None]:
        """Return the rules of blocks, as a plan does."""
        return self.by_block


@dataclass(slots=True)
class Tampering:
    """What was found at one time: *count* entries and programs, *told* are the first of them."""

    told: list[tuple[Wrong, Uid | None]] = field(default_factory=list)
    count: int = 0

    def add(self, count: int, found: Iterable[tuple[Wrong, Uid | None]]) -> None:
        """Count *count* more; of *found*, no more is made than is told of."""
        self.count += count
        self.told += islice(found, _TOLD_AT_MOST - len(self.told))

    def records(self, now: str, name: Callable[[Uid], str | None]) -> Iterator[TamperRecord]:
        """Return a record for each that is told of."""
        more = self.count - len(self.told)
        for at, (one, uid) in enumerate(self.told, start=1):
            yield TamperRecord(
                ts=now,
                event="tamper",
                object=one.of,
                entry=one.entry or None,
                uid=uid,
                user=None if uid is None else name(uid),
                found=one.found,
                restored=one.restored,
                more=more if at == len(self.told) else 0,
            )


class Drift:
    """Keeps the kernel equal to what *keeper* put there; in the keeper's thread, between looks."""

    def __init__(self, keeper: InForce, kernel: Kernel) -> None:
        self._keeper = keeper
        self._kernel = kernel
        self._plan: Plan | None = None
        self._others_called = -1
        self._looks = 0
        self._look_at = 0.0
        self._last = -_LATELY_SECONDS
        self._frozen: set[str] = set()
        self.total = 0
        """Entries and programs that were found changed."""
        self.error: str | None = None
        """Why what was found last could not be put right."""

    def lately(self) -> bool:
        """Whether something was found within the last minute."""
        return time.monotonic() - self._last < _LATELY_SECONDS

    def check(self) -> Tampering | None:
        """Return what others changed, all of which is put right; None where that is nothing.

        What a change of the policy left that failed is put right too, and not told of.
        """
        found, ours = Tampering(), not self._keeper.settled
        try:
            self._check(found)
        except UidtracedError as error:
            if self.error != str(error):
                log.error("not_put_right", problem=str(error))  # noqa: TRY400  it is one line
            self.error = str(error)
            self._plan = None  # look again at the next turn
        else:
            self.error, self._keeper.settled = _cure(self._frozen), True
        if not found.count:
            return None
        first, _ = found.told[0]
        about = {"object": first.of, "entry": first.entry, "found": first.found}
        if ours:
            log.info("put_right_after_a_failure", count=found.count, **about)
            return None
        log.error("tampered", count=found.count, **about, restored=first.restored)
        self._last = time.monotonic()
        self.total += found.count
        return found

    def _check(self, found: Tampering) -> None:
        """Put right what is wrong, and add it to *found* once it is."""
        guard = self._kernel.guard
        for wrong in (guard.put_page_right(), guard.attach_again()):
            found.add(len(wrong), ((one, None) for one in wrong))
        if found.count or self._is_due():
            started = time.monotonic()
            self._look(found)
            took = time.monotonic() - started
            self._look_at = started + max(_AT_REST_SECONDS, _LOOK_SHARE * took)

    def _is_due(self) -> bool:
        """Whether anybody can have changed the maps since they were looked at."""
        if (called := self._kernel.guard.others_called) != self._others_called:
            self._others_called = called
            self._looks = _LOOKS
        due = (
            self._looks > 0
            or self._plan is not self._keeper.plan
            or not self._keeper.settled
            or time.monotonic() >= self._look_at
        )
        self._looks -= self._looks > 0
        return due

    def _look(self, found: Tampering) -> None:
        """Look at all maps, and put right what is wrong."""
        plan, kernel = self._keeper.plan, self._kernel
        kernel.prepare(plan.rule_sets(), self._keeper.revision)
        if plan is not self._plan:
            blocks = {scope: one.blocks() for scope, one in plan.scopes.items()}
            kernel.guard.expect({s: (one.uids, blocks[s]) for s, one in plan.scopes.items()})
            self._plan = plan
        frozen = set(kernel.guard.frozen()) - self._frozen
        self._frozen |= frozen
        found.add(
            len(frozen), ((Wrong(one, "", "frozen", "not yet"), None) for one in sorted(frozen))
        )
        classes = kernel.guard.put_classes_right()  # by which blocks find their rules
        found.add(len(classes), ((one, None) for one in classes))
        wrong = {
            scope: Found(kernel.read(scope), kernel.read_blocks(scope))
            for scope in Scope
            if not kernel.guard.is_as_expected(scope)
        }
        if wrong:
            reconcile.put_right(wrong, plan, kernel, self._keeper.revision)
        for scope, held in wrong.items():
            _tell(scope, held, plan.scopes.get(scope, _NOTHING), found)


def _cure(frozen: Collection[str]) -> str | None:
    """Return what to do about maps that nobody can change again; None where there are none."""
    if not frozen:
        return None
    return f"{' and '.join(sorted(frozen))} frozen; systemctl stop uidtraced, and start it again"


def _tell(scope: Scope, held: Found, right: ScopePlan, found: Tampering) -> None:
    """Add to *found* what differs in *held* from *right*."""
    uids = _differing(held.uids, right.uids)
    words = (
        Wrong(scope.value, str(uid), _words(held.uids, uid), _words(right.uids, uid))
        for uid in uids
    )
    found.add(len(uids), zip(words, uids, strict=False))
    by_block, name = right.blocks(), f"{scope.value}_blocks"
    blocks = _differing(held.by_block, by_block)
    found.add(
        len(blocks),
        (
            (Wrong(name, _range(one), _words(held.by_block, one), _words(by_block, one)), None)
            for one in blocks
        ),
    )


def _differing(found: Mapping[_Key, RuleSet | None], right: Mapping[_Key, RuleSet]) -> list[_Key]:
    """Return what is not in both, with the same rules, in order."""
    return sorted(
        key
        for key in found.keys() | right.keys()
        if key not in found or key not in right or found[key] != right[key]
    )


def _words(entries: Mapping[_Key, RuleSet | None], key: _Key) -> str:
    if key not in entries:
        return "nothing"
    rules = entries[key]
    if rules is None:
        return "a map of others"
    names = list(dict.fromkeys(call_name(rule.abi, rule.nr) for rule in sorted(rules)))
    more = len(names) - _CALLS_AT_MOST
    shown = ", ".join(names[:_CALLS_AT_MOST]) or "no calls"
    return f"{shown} and {more} more" if more > 0 else shown


def _range(block: Block) -> str:
    if block == EVERYBODY:
        return "*"
    last = block.first + (1 << (32 - block.bits)) - 1
    return str(block.first) if last == block.first else f"{block.first}-{last}"
