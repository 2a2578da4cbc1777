"""Takes the kernel from what is in force to what is wanted: `diff` thinks, `apply` acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Final,
    NoReturn,
    Protocol,
    TypeAlias,
    TypeVar,
    assert_never,
)

from uidtraced.errors import NO_MEMORY, UidtracedError
from uidtraced.rules import (
    EVERYBODY,
    Abi,
    Block,
    Flag,
    Nr,
    Plan,
    RuleSet,
    Scope,
    ScopePlan,
    Uid,
    UidRange,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, order=True)
class Everyone:
    """The uids that nothing else names."""


EVERYONE: Final = Everyone()

Key: TypeAlias = Uid | UidRange | Everyone
"""What has rules of its own in a scope."""


@dataclass(frozen=True, slots=True)
class Create:
    """Put *rules* in for a key that has none."""

    scope: Scope
    key: Key
    rules: RuleSet


@dataclass(frozen=True, slots=True)
class Swap:
    """Replace the rules of *key*; readers see the old ones or the new ones."""

    scope: Scope
    key: Key
    old: RuleSet
    rules: RuleSet


@dataclass(frozen=True, slots=True)
class Delete:
    """Take *key* out."""

    scope: Scope
    key: Key
    old: RuleSet


Action: TypeAlias = Create | Swap | Delete

_KeyT = TypeVar("_KeyT", Uid, UidRange, Everyone)
_AnyT = TypeVar("_AnyT")


class ApplyError(UidtracedError):
    """A plan could not be applied whole; the message says whether the old one is back."""


class RuleStore(Protocol):
    """The kernel as `apply` sees it; `kernel.tracer.Tracer` is one.

    When a change of entries returns, every run of the program that may have seen the old ones has
    ended: it may have looked at one scope before and be about to look at another.
    """

    def attach(self) -> None:
        """Start seeing system calls."""

    def detach(self) -> None:
        """Stop seeing them."""

    def want(self, calls: Iterable[tuple[Abi, Nr]]) -> None:
        """Let exactly *calls* through to the rules."""

    def want_results(self, *, wanted: bool) -> None:
        """Wait for the results of calls, or do not: before the first rule that needs them is in."""

    def use_scopes(self, scopes: Iterable[tuple[Scope, bool]]) -> None:
        """Look up exactly *scopes*: uids one by one (False), or blocks (True)."""

    def prepare(self, rule_sets: Iterable[RuleSet], revision: int) -> None:
        """Make the inner maps that are missing."""

    def put(self, scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        """Point each uid to its prepared inner map."""

    def put_blocks(self, scope: Scope, entries: Mapping[Block, RuleSet]) -> None:
        """Point each block to its prepared inner map."""

    def remove(self, scope: Scope, uids: Iterable[Uid]) -> None:
        """Take *uids* out; one that is not in is left so."""

    def remove_blocks(self, scope: Scope, blocks: Iterable[Block]) -> None:
        """Take *blocks* out; one that is not in is left so."""

    def keep_only(self, rule_sets: Iterable[RuleSet]) -> None:
        """Let go of all other inner maps."""


class RuleReader(Protocol):
    """The kernel as `read` sees it; `kernel.tracer.Tracer` is one."""

    def read(self, scope: Scope) -> Mapping[Uid, RuleSet | None]:
        """Return what is there for uids one by one; None for what is not ours."""

    def read_blocks(self, scope: Scope) -> Mapping[Block, RuleSet | None]:
        """Return what is there for blocks."""


class Held(Protocol):
    """What a scope has; of what was found in the kernel, None stands for what is not ours."""

    @property
    def uids(self) -> Mapping[Uid, RuleSet | None]:
        """The rules of uids one by one."""

    def blocks(self) -> Mapping[Block, RuleSet | None]:
        """Return the rules of blocks."""


def read(store: RuleReader) -> Plan:
    """Return the plan that is in the kernel; what is not ours there counts as no rules."""
    scopes = {}
    for scope in Scope:
        uids = {uid: rules or _NO_RULES for uid, rules in store.read(scope).items()}
        blocks = {block: rules or _NO_RULES for block, rules in store.read_blocks(scope).items()}
        others = blocks.pop(EVERYBODY, _NO_RULES)
        if uids or blocks or others:
            scopes[scope] = ScopePlan(uids, _ranges(blocks), others)
    return Plan(scopes)


_NO_RULES: RuleSet = frozenset()


def _ranges(blocks: Mapping[Block, RuleSet]) -> dict[UidRange, RuleSet]:
    """Return *blocks* as the ranges that they were made of: neighbours with the same rules."""
    found: dict[UidRange, RuleSet] = {}
    before: UidRange | None = None
    for block in sorted(blocks):
        last = Uid(block.first + (1 << (32 - block.bits)) - 1)
        uids = UidRange(block.first, last)
        if before and before.last == block.first - 1 and found[before] == blocks[block]:
            del found[before]
            uids = UidRange(before.first, last)
        found[uids] = blocks[block]
        before = uids
    return found


def diff(actual: Plan, desired: Plan) -> tuple[Action, ...]:
    """Return what takes *actual* to *desired*, by scope, kind and uid: equal inputs, equal logs."""
    found: list[Action] = []
    for scope in Scope:
        old = actual.scopes.get(scope, _NOTHING)
        new = desired.scopes.get(scope, _NOTHING)
        found += _diff(scope, old.uids, new.uids)
        found += _diff(scope, old.ranges, new.ranges)
        found += _diff(scope, _others(old), _others(new))
    return tuple(found)


_NOTHING = ScopePlan()


def _others(plan: ScopePlan) -> Mapping[Everyone, RuleSet]:
    return {EVERYONE: plan.others} if plan.others else {}


def _diff(scope: Scope, old: Mapping[_KeyT, RuleSet], new: Mapping[_KeyT, RuleSet]) -> list[Action]:
    keys = set(old) | set(new)
    changed = (key for key in keys if not _same(old.get(key), new.get(key)))
    found: list[Action] = []
    for key in sorted(changed):
        before, after = old.get(key), new.get(key)
        if before is None:
            assert after is not None  # noqa: S101  it is in one of them
            found.append(Create(scope, key, after))
        elif after is None:
            found.append(Delete(scope, key, before))
        else:
            found.append(Swap(scope, key, before, after))
    return found


def count(actions: Iterable[Action], desired: Plan) -> dict[str, int]:
    """Return how many entries were created, swapped and deleted, and how many left alone.

    An entry is a uid, a range that has rules of its own, or "*".
    """
    created = swapped = deleted = 0
    for action in actions:
        match action:
            case Create():
                created += 1
            case Swap():
                swapped += 1
            case Delete():
                deleted += 1
            case _:
                assert_never(action)
    entries = sum(
        len(scope.uids) + len(scope.ranges) + bool(scope.others)
        for scope in desired.scopes.values()
    )
    unchanged = entries - created - swapped
    return {"created": created, "swapped": swapped, "deleted": deleted, "unchanged": unchanged}


def apply(actual: Plan, desired: Plan, store: RuleStore, revision: int) -> None:
    """Make the kernel's *actual* plan the *desired* one, or leave it as it was.

    The order keeps every call that both plans log logged throughout: what is new is let through
    before the rules change, what is gone is shut out after. Raises ApplyError.
    """
    try:
        _change(actual, desired, store, revision)
    except (UidtracedError, MemoryError) as error:
        _put_back(actual, desired, store, error)
    _settle(desired, store)


def _change(old: Plan, new: Plan, store: RuleStore, revision: int) -> None:
    old_sets, new_sets = old.rule_sets(), new.rule_sets()
    store.prepare(new_sets, revision)
    store.want(_calls(old_sets | new_sets))
    store.use_scopes(_in_use(old) | _in_use(new))
    if _needs_results(new_sets):
        store.want_results(wanted=True)
    _change_entries(Scope, old.scopes, new, store)
    if any(new_sets):
        store.attach()
    else:
        store.detach()


def put_right(found: Mapping[Scope, Held], plan: Plan, store: RuleStore, revision: int) -> None:
    """Make what was *found* in the kernel, of some scopes, what *plan* has for them."""
    store.prepare(plan.rule_sets(), revision)
    _change_entries(found.keys(), found, plan, store)


def _change_entries(
    scopes: Iterable[Scope], old: Mapping[Scope, Held], new: Plan, store: RuleStore
) -> None:
    # all puts before all removals: a user who goes from one scope to another has both between
    for step in (_put_in, _take_out):
        for scope in scopes:
            step(scope, old.get(scope, _NOTHING), new.scopes.get(scope, _NOTHING), store)


def _put_in(scope: Scope, old: Held, new: ScopePlan, store: RuleStore) -> None:
    """Put in what is new, the most exact first.

    So a uid that goes from one kind of entry to another has both between, and none ever falls
    through to an entry that neither plan means for it.
    """
    if put := _missing(new.uids, old.uids):
        store.put(scope, put)
    if more := _missing(new.blocks(), old.blocks()):
        store.put_blocks(scope, {block: more[block] for block in _by_width(more, widest=False)})


def _take_out(scope: Scope, old: Held, new: ScopePlan, store: RuleStore) -> None:
    """Take out what is gone, the least exact first, for the same reason."""
    new_blocks = new.blocks()
    if less := [block for block in old.blocks() if block not in new_blocks]:
        store.remove_blocks(scope, _by_width(less, widest=True))
    if gone := [uid for uid in old.uids if uid not in new.uids]:
        store.remove(scope, gone)


def _by_width(blocks: Iterable[Block], *, widest: bool) -> list[Block]:
    """Return *blocks* with the widest first, or last."""
    return sorted(blocks, key=lambda block: block.bits if widest else -block.bits)


def _missing(
    wanted: Mapping[_AnyT, RuleSet], has: Mapping[_AnyT, RuleSet | None]
) -> dict[_AnyT, RuleSet]:
    return {key: rules for key, rules in wanted.items() if not _same(has.get(key), rules)}


def _same(one: RuleSet | None, other: RuleSet | None) -> bool:
    return one is other or one == other  # most are the same object, and large sets compare slowly


def _settle(plan: Plan, store: RuleStore) -> None:
    """Let go of what *plan* does not need."""
    store.want(_calls(plan.rule_sets()))
    store.use_scopes(_in_use(plan))
    store.want_results(wanted=_needs_results(plan.rule_sets()))
    store.keep_only(plan.rule_sets())


def _put_back(old: Plan, new: Plan, store: RuleStore, cause: Exception) -> NoReturn:
    why = NO_MEMORY if isinstance(cause, MemoryError) else str(cause)
    try:
        # all that the old plan has, for it is not known how far the change came
        for scope in Scope:
            before, after = old.scopes.get(scope, _NOTHING), new.scopes.get(scope, _NOTHING)
            changed = _missing(after.uids, before.uids)
            if back := {
                uid: rules
                for uid, rules in before.uids.items()
                if uid in changed or uid not in after.uids
            }:
                store.put(scope, back)
            old_blocks, new_blocks = before.blocks(), after.blocks()
            if old_blocks != new_blocks:
                ordered = _by_width(old_blocks, widest=False)
                store.put_blocks(scope, {block: old_blocks[block] for block in ordered})
                added_blocks = [block for block in new_blocks if block not in old_blocks]
                store.remove_blocks(scope, _by_width(added_blocks, widest=True))
            if added := [uid for uid in after.uids if uid not in before.uids]:
                store.remove(scope, added)
        if any(old.rule_sets()):
            store.attach()
        else:
            store.detach()
        _settle(old, store)
    except (UidtracedError, MemoryError) as second:
        raise ApplyError(
            f"the new policy could not be applied ({why}), nor the old one be put back "
            f"({second}); stop the daemon and start it again"
        ) from cause
    raise ApplyError(
        f"the new policy could not be applied, what was in force is in force again: {why}"
    ) from cause


def _calls(rule_sets: Iterable[RuleSet]) -> set[tuple[Abi, Nr]]:
    return {(rule.abi, rule.nr) for rules in rule_sets for rule in rules}


def _needs_results(rule_sets: Iterable[RuleSet]) -> bool:
    return any(rule.flags & Flag.EXIT for rules in rule_sets for rule in rules)


def _in_use(plan: Plan) -> set[tuple[Scope, bool]]:
    """Return the scopes in use, and whether blocks are."""
    return {
        (scope, kind)
        for scope, one in plan.scopes.items()
        for kind, used in ((False, one.uids), (True, one.ranges or one.others))
        if used
    }
