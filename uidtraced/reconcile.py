"""Takes the kernel from what is in force to what is wanted: `diff` thinks, `apply` acts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from uidtraced.errors import UidtracedError
from uidtraced.rules import Abi, Nr, Plan, RuleSet, Scope, ScopePlan, Uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Create:
    """Put *rules* in for a uid that has none."""

    scope: Scope
    uid: Uid
    rules: RuleSet


@dataclass(frozen=True, slots=True)
class Swap:
    """Replace the rules of *uid* in one step; readers see the old ones or the new ones."""

    scope: Scope
    uid: Uid
    old: RuleSet
    rules: RuleSet


@dataclass(frozen=True, slots=True)
class Delete:
    """Take *uid* out."""

    scope: Scope
    uid: Uid
    old: RuleSet


Action: TypeAlias = Create | Swap | Delete

_ActionT = TypeVar("_ActionT", Create, Swap, Delete)


class ApplyError(UidtracedError):
    """A plan could not be applied whole; the message says whether the old one is back."""


class RuleStore(Protocol):
    """The kernel as `apply` sees it; `kernel.tracer.Tracer` is one."""

    def attach(self) -> None:
        """Start seeing system calls."""

    def detach(self) -> None:
        """Stop seeing them."""

    def want(self, calls: Iterable[tuple[Abi, Nr]]) -> None:
        """Let exactly *calls* through to the rules."""

    def use_scopes(self, scopes: Iterable[Scope]) -> None:
        """Look up exactly *scopes*."""

    def prepare(self, rule_sets: Iterable[RuleSet], revision: int) -> None:
        """Make the inner maps that are missing."""

    def put(self, scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        """Point each uid to its prepared inner map."""

    def remove(self, scope: Scope, uids: Iterable[Uid]) -> None:
        """Take *uids* out; one that is not in is left so."""

    def keep_only(self, rule_sets: Iterable[RuleSet]) -> None:
        """Let go of all other inner maps."""


def diff(actual: Plan, desired: Plan) -> tuple[Action, ...]:
    """Return what takes *actual* to *desired*.

    Deletes come first, so that a full map has room; then all goes by scope and uid, so that
    equal inputs give equal logs.
    """
    deletes: list[Action] = []
    puts: list[Action] = []
    for scope in Scope:
        old = actual.scopes.get(scope, _NOTHING).uids
        new = desired.scopes.get(scope, _NOTHING).uids
        deletes += [Delete(scope, uid, old[uid]) for uid in sorted(old.keys() - new.keys())]
        for uid in sorted(new):
            if uid not in old:
                puts.append(Create(scope, uid, new[uid]))
            elif old[uid] != new[uid]:
                puts.append(Swap(scope, uid, old[uid], new[uid]))
    return (*deletes, *puts)


_NOTHING = ScopePlan()


def count(actions: Iterable[Action], desired: Plan) -> dict[str, int]:
    """Return the outer-map entries that were created, swapped and deleted, and those left alone."""
    created = swapped = deleted = 0
    for action in actions:
        match action:
            case Create():
                created += 1
            case Swap():
                swapped += 1
            case Delete():
                deleted += 1
    entries = sum(len(scope.uids) for scope in desired.scopes.values())
    unchanged = entries - created - swapped
    return {"created": created, "swapped": swapped, "deleted": deleted, "unchanged": unchanged}


def apply(
    actions: tuple[Action, ...], actual: Plan, desired: Plan, store: RuleStore, revision: int
) -> None:
    """Make the kernel's *actual* plan the *desired* one, or leave it as it was.

    The order keeps every call that both plans log logged throughout: what is new is let through
    before the rules change, what is gone is shut out after. Raises ApplyError.
    """
    old_sets, new_sets = _rule_sets(actual), _rule_sets(desired)
    try:
        store.prepare(new_sets, revision)
        store.want(_calls(old_sets | new_sets))
        store.use_scopes({*actual.scopes, *desired.scopes})
        for scope, gone in _by_scope(actions, Delete).items():
            store.remove(scope, [action.uid for action in gone])
        for scope, put in _puts(actions).items():
            store.put(scope, put)
        if new_sets:
            store.attach()
        else:
            store.detach()
    except UidtracedError as error:
        _put_back(actions, actual, store, error)
    store.want(_calls(new_sets))
    store.use_scopes(desired.scopes)
    store.keep_only(new_sets)


def _put_back(
    actions: tuple[Action, ...], actual: Plan, store: RuleStore, cause: UidtracedError
) -> None:
    old_sets = _rule_sets(actual)
    try:
        for scope, new in _by_scope(actions, Create).items():
            store.remove(scope, [action.uid for action in new])
        back: dict[Scope, dict[Uid, RuleSet]] = defaultdict(dict)
        for action in actions:
            if not isinstance(action, Create):
                back[action.scope][action.uid] = action.old
        for scope, entries in back.items():
            store.put(scope, entries)
        if old_sets:
            store.attach()
        else:
            store.detach()
        store.want(_calls(old_sets))
        store.use_scopes(actual.scopes)
        store.keep_only(old_sets)
    except UidtracedError as second:
        raise ApplyError(
            f"the new policy could not be applied ({cause}), nor the old one be put back "
            f"({second}); restart the daemon"
        ) from cause
    raise ApplyError(
        f"the new policy could not be applied, what was in force is in force again: {cause}"
    ) from cause


def _rule_sets(plan: Plan) -> set[RuleSet]:
    return {rules for scope in plan.scopes.values() for rules in scope.uids.values()}


def _calls(rule_sets: Iterable[RuleSet]) -> set[tuple[Abi, Nr]]:
    return {(rule.abi, rule.nr) for rules in rule_sets for rule in rules}


def _by_scope(actions: Iterable[Action], kind: type[_ActionT]) -> dict[Scope, list[_ActionT]]:
    found: dict[Scope, list[_ActionT]] = defaultdict(list)
    for action in actions:
        if isinstance(action, kind):
            found[action.scope].append(action)
    return found


def _puts(actions: Iterable[Action]) -> dict[Scope, dict[Uid, RuleSet]]:
    entries: dict[Scope, dict[Uid, RuleSet]] = defaultdict(dict)
    for action in actions:
        if not isinstance(action, Delete):
            entries[action.scope][action.uid] = action.rules
    return entries
