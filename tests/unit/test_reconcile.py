from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import TOP, plans, rule_sets, uids
from uidtraced.drift import Found
from uidtraced.errors import NO_MEMORY, KernelError
from uidtraced.reconcile import (
    EVERYONE,
    ApplyError,
    Create,
    Delete,
    Everyone,
    Swap,
    apply,
    count,
    diff,
    put_right,
)
from uidtraced.rules import (
    Abi,
    Block,
    Nr,
    Plan,
    Rule,
    RuleSet,
    Scope,
    ScopePlan,
    Uid,
    UidRange,
    blocks_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Kernel:
    """What a kernel holds, and a fault at the n-th call into it."""

    def __init__(self, fail_at: int = -1) -> None:
        self.maps: dict[Scope, dict[Uid, RuleSet]] = {scope: {} for scope in Scope}
        self.blocks: dict[Scope, dict[Block, RuleSet]] = {scope: {} for scope in Scope}
        self.wanted: set[tuple[Abi, Nr]] = set()
        self.scopes: set[tuple[Scope, bool]] = set()
        self.prepared: set[RuleSet] = set()
        self.attached = False
        self.results = False
        self.left = fail_at
        self.fault: Exception = KernelError("bpf", 12, "no memory")
        self.watch = lambda: None

    def _call(self) -> None:
        self.watch()
        self.left -= 1
        if self.left == -1:
            raise self.fault

    def attach(self) -> None:
        self._call()
        self.attached = True

    def detach(self) -> None:
        self._call()
        self.attached = False

    def want(self, calls: Iterable[tuple[Abi, Nr]]) -> None:
        self.wanted = set(calls)

    def use_scopes(self, scopes: Iterable[tuple[Scope, bool]]) -> None:
        self.scopes = set(scopes)

    def want_results(self, *, wanted: bool) -> None:
        if wanted != self.results:
            self._call()
        self.results = wanted

    def prepare(self, rule_sets: Iterable[RuleSet], revision: int) -> None:
        self._call()
        self.prepared |= set(rule_sets)

    def _put(self, held, entries) -> None:
        for number, (key, rules) in enumerate(entries.items()):
            if number:
                self._call()  # a batch can fail half-way
            assert rules in self.prepared, "a map that was not complete"
            held[key] = rules
        self._call()

    def put(self, scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        self._put(self.maps[scope], entries)

    def put_blocks(self, scope: Scope, entries: Mapping[Block, RuleSet]) -> None:
        self._put(self.blocks[scope], entries)

    def _remove(self, held, keys) -> None:
        for key in keys:
            held.pop(key, None)
            self._call()

    def remove(self, scope: Scope, uids: Iterable[Uid]) -> None:
        self._remove(self.maps[scope], uids)

    def remove_blocks(self, scope: Scope, blocks: Iterable[Block]) -> None:
        self._remove(self.blocks[scope], blocks)

    def keep_only(self, rule_sets: Iterable[RuleSet]) -> None:
        self.prepared &= set(rule_sets)

    def holds(self) -> tuple:
        return (
            {scope: uids for scope, uids in self.maps.items() if uids},
            {scope: blocks for scope, blocks in self.blocks.items() if blocks},
        )

    def logs(self, scope: Scope, uid: Uid) -> RuleSet:
        """Return what the BPF program would find for *uid*."""
        rules = self.maps[scope].get(uid) if (scope, False) in self.scopes else None
        if rules is None and (scope, True) in self.scopes:
            blocks = [
                b for b in self.blocks[scope] if uid >> (32 - b.bits) == b.first >> (32 - b.bits)
            ]
            rules = self.blocks[scope][max(blocks, key=lambda b: b.bits)] if blocks else None
        found = rules or frozenset()
        return frozenset(rule for rule in found if (rule.abi, rule.nr) in self.wanted)


def contents(plan: Plan) -> tuple:
    scopes = plan.scopes
    return (
        {scope: dict(one.uids) for scope, one in scopes.items() if one.uids},
        {scope: one.blocks() for scope, one in scopes.items() if one.blocks()},
    )


def in_force(plan: Plan, fail_at: int = -1) -> Kernel:
    kernel = Kernel()
    apply(Plan(), plan, kernel, 1)
    kernel.left = fail_at
    return kernel


def changed(plan: Plan, actions) -> Plan:
    """Return *plan* after *actions*, by their own words alone."""
    scopes = {s: [dict(o.uids), dict(o.ranges), o.others] for s, o in plan.scopes.items()}
    for action in actions:
        single, ranges, _ = entry = scopes.setdefault(action.scope, [{}, {}, frozenset()])
        rules = None if isinstance(action, Delete) else action.rules
        if isinstance(action.key, Everyone):
            entry[2] = rules or frozenset()
            continue
        held = ranges if isinstance(action.key, UidRange) else single
        assert (action.key in held) is not isinstance(action, Create)
        held.pop(action.key, None)
        if rules is not None:
            held[action.key] = rules
    made = {scope: ScopePlan(*parts) for scope, parts in scopes.items()}
    return Plan({scope: one for scope, one in made.items() if one != ScopePlan()})


@given(plans, plans)
def test_the_difference_takes_one_plan_to_the_other(old, new) -> None:
    assert changed(old, diff(old, new)) == new


@given(plans, plans)
def test_applying_leaves_the_desired_plan_in_the_kernel(old, new) -> None:
    kernel = in_force(old)
    apply(old, new, kernel, 2)
    assert kernel.holds() == contents(new)
    assert kernel.attached == bool(new.scopes)
    assert {scope for scope, _ in kernel.scopes} == set(new.scopes)
    assert kernel.prepared == new.rule_sets()
    assert kernel.wanted == {(r.abi, r.nr) for rules in kernel.prepared for r in rules}
    for scope, one in new.scopes.items():
        for uid in range(TOP + 2):
            assert kernel.logs(scope, Uid(uid)) == one.find(Uid(uid))


@given(plans)
def test_equal_plans_differ_in_nothing(plan) -> None:
    assert diff(plan, plan) == ()


@given(plans, plans)
def test_the_order_of_entries_does_not_matter(old, new) -> None:
    def turned(one: ScopePlan) -> ScopePlan:
        return ScopePlan(
            dict(reversed(one.uids.items())), dict(reversed(one.ranges.items())), one.others
        )

    other = Plan({scope: turned(one) for scope, one in reversed(new.scopes.items())})
    assert diff(old, new) == diff(old, other)


@given(plans, plans, st.integers(0, 25), st.booleans())
def test_an_apply_that_fails_anywhere_leaves_what_was(old, new, fail_at, no_memory) -> None:
    kernel = in_force(old, fail_at)
    kernel.fault = MemoryError() if no_memory else kernel.fault
    try:
        apply(old, new, kernel, 2)
    except ApplyError as error:
        reason = NO_MEMORY if no_memory else "no memory"
        assert str(error) == (
            f"the new policy could not be applied, what was in force is in force again: {reason}"
        )
        assert kernel.holds() == contents(old)
        assert kernel.attached == bool(old.scopes)
        assert kernel.prepared == old.rule_sets()
    else:
        assert kernel.holds() == contents(new)


@given(plans, plans)
def test_at_every_moment_a_uid_has_its_old_rules_or_its_new_ones(old, new) -> None:
    kernel = in_force(old)
    nothing = ScopePlan()
    right = {
        (scope, uid): {plan.scopes.get(scope, nothing).find(Uid(uid)) for plan in (old, new)}
        for scope in Scope
        for uid in range(TOP + 2)
    }

    def watch() -> None:
        for (scope, uid), either in right.items():
            assert kernel.logs(scope, Uid(uid)) in either, f"{scope} {uid}"

    kernel.watch = watch
    apply(old, new, kernel, 2)


one_scope_each = st.dictionaries(uids, st.tuples(st.sampled_from(list(Scope)), rule_sets)).map(
    lambda users: Plan(
        {
            scope: ScopePlan({uid: rules for uid, (of, rules) in users.items() if of is scope})
            for scope in {of for of, _ in users.values()}
        }
    )
)


@given(one_scope_each, one_scope_each)
def test_a_user_who_goes_from_one_scope_to_another_misses_nothing(old, new) -> None:
    def all_scopes(plan: Plan, uid: int) -> set[Rule]:
        return set().union(*(one.find(Uid(uid)) for one in plan.scopes.values()))

    kernel = in_force(old)
    always = {uid: all_scopes(old, uid) & all_scopes(new, uid) for uid in range(TOP + 1)}

    def watch() -> None:
        for uid, rules in always.items():
            assert rules <= set().union(*(kernel.logs(scope, Uid(uid)) for scope in Scope))

    kernel.watch = watch
    apply(old, new, kernel, 2)


@given(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))
def test_blocks_are_just_the_range(one, other) -> None:
    first, last = sorted((one, other))
    blocks = blocks_of(UidRange(Uid(first), Uid(last)))
    assert len(blocks) <= 62
    at = first
    for block in blocks:
        assert block.first == at
        assert block.first % (1 << (32 - block.bits)) == 0
        at += 1 << (32 - block.bits)
    assert at == last + 1


def test_counts_are_of_entries() -> None:
    one, two = frozenset({Rule(Abi.X86_64, Nr(1))}), frozenset({Rule(Abi.X86_64, Nr(2))})
    wide = UidRange(Uid(100), Uid(199))
    old = Plan({Scope.REAL: ScopePlan({Uid(1): one, Uid(2): one, Uid(3): one}, {}, one)})
    new = Plan({Scope.REAL: ScopePlan({Uid(2): two, Uid(3): one, Uid(4): one}, {wide: two}, one)})
    actions = diff(old, new)
    assert actions == (
        Delete(Scope.REAL, Uid(1), one),
        Swap(Scope.REAL, Uid(2), one, two),
        Create(Scope.REAL, Uid(4), one),
        Create(Scope.REAL, wide, two),
    )
    assert count(actions, new) == {"created": 2, "swapped": 1, "deleted": 1, "unchanged": 2}
    assert diff(new, Plan({Scope.REAL: ScopePlan(new.scopes[Scope.REAL].uids)}))[1:] == (
        Delete(Scope.REAL, EVERYONE, one),
    )


def test_where_neither_plan_can_be_applied_it_says_so() -> None:
    plan = Plan({Scope.REAL: ScopePlan({Uid(1): frozenset({Rule(Abi.X86_64, Nr(1))})})})
    kernel = in_force(plan, 0)

    def fails(scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        raise KernelError("bpf", 12, "still no memory")

    kernel.put = fails
    with pytest.raises(ApplyError, match=r"nor the old one be put back \(still no memory\)"):
        apply(plan, Plan(), kernel, 2)


@given(plans, plans, st.sets(uids))
def test_whatever_is_found_in_the_kernel_is_made_what_the_plan_has(found, plan, foreign) -> None:
    kernel = in_force(found)
    kernel.prepared |= plan.rule_sets()
    for scope in Scope:  # others' maps
        kernel.maps[scope].update(dict.fromkeys(foreign))
    held = {scope: Found(dict(kernel.maps[scope]), dict(kernel.blocks[scope])) for scope in Scope}
    put_right(held, plan, kernel, 2)
    assert kernel.holds() == contents(plan)
