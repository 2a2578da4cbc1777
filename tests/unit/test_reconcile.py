from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidtraced.errors import KernelError
from uidtraced.reconcile import ApplyError, Create, Delete, Swap, apply, count, diff
from uidtraced.rules import Abi, Nr, Plan, Rule, RuleSet, Scope, ScopePlan, Uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

rule_sets = st.frozensets(
    st.builds(Rule, st.sampled_from(list(Abi)), st.integers(0, 5).map(Nr)), min_size=1, max_size=4
)
scope_plans = st.dictionaries(st.integers(0, 6).map(Uid), rule_sets, min_size=1).map(ScopePlan)
plans = st.dictionaries(st.sampled_from(list(Scope)), scope_plans).map(Plan)


class Kernel:
    """What a kernel holds, and a fault at the n-th call into it."""

    def __init__(self, fail_at: int = -1) -> None:
        self.maps: dict[Scope, dict[Uid, RuleSet]] = {scope: {} for scope in Scope}
        self.wanted: set[tuple[Abi, Nr]] = set()
        self.scopes: set[Scope] = set()
        self.prepared: set[RuleSet] = set()
        self.attached = False
        self.left = fail_at

    def _call(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise KernelError("bpf", 12, "no memory")

    def attach(self) -> None:
        self._call()
        self.attached = True

    def detach(self) -> None:
        self._call()
        self.attached = False

    def want(self, calls: Iterable[tuple[Abi, Nr]]) -> None:
        self.wanted = set(calls)
        in_force = {(r.abi, r.nr) for s in self.scopes for q in self.maps[s].values() for r in q}
        assert in_force <= self.wanted, "a call in force was shut out"

    def use_scopes(self, scopes: Iterable[Scope]) -> None:
        self.scopes = set(scopes)

    def prepare(self, rule_sets: Iterable[RuleSet], revision: int) -> None:
        self._call()
        self.prepared |= set(rule_sets)

    def put(self, scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        for number, (uid, rules) in enumerate(entries.items()):
            if number:
                self._call()  # a batch can fail half-way
            assert rules in self.prepared, "a map that was not complete"
            self.maps[scope][uid] = rules
        self._call()

    def remove(self, scope: Scope, uids: Iterable[Uid]) -> None:
        for uid in uids:
            self.maps[scope].pop(uid, None)
        self._call()

    def keep_only(self, rule_sets: Iterable[RuleSet]) -> None:
        self.prepared &= set(rule_sets)

    def holds(self) -> dict[Scope, dict[Uid, RuleSet]]:
        return {scope: uids for scope, uids in self.maps.items() if uids}


def contents(plan: Plan) -> dict[Scope, dict[Uid, RuleSet]]:
    return {scope: dict(one.uids) for scope, one in plan.scopes.items()}


def in_force(plan: Plan, fail_at: int = -1) -> Kernel:
    kernel = Kernel()
    apply(diff(Plan(), plan), Plan(), plan, kernel, 1)
    kernel.left = fail_at
    return kernel


@given(plans, plans)
def test_applying_the_difference_gives_the_desired_plan(old, new) -> None:
    kernel = in_force(old)
    apply(diff(old, new), old, new, kernel, 2)
    assert kernel.holds() == contents(new)
    assert kernel.attached == bool(new.scopes)
    assert kernel.scopes == set(new.scopes)
    assert kernel.prepared == {r for s in new.scopes.values() for r in s.uids.values()}
    assert kernel.wanted == {(r.abi, r.nr) for rules in kernel.prepared for r in rules}


@given(plans)
def test_equal_plans_differ_in_nothing(plan) -> None:
    assert diff(plan, plan) == ()


@given(plans, plans)
def test_the_order_of_entries_does_not_matter(old, new) -> None:
    turned = Plan(
        {
            scope: ScopePlan(dict(reversed(one.uids.items())))
            for scope, one in reversed(new.scopes.items())
        }
    )
    assert diff(old, new) == diff(old, turned)


@given(plans, plans, st.integers(0, 12))
def test_an_apply_that_fails_anywhere_leaves_what_was(old, new, fail_at) -> None:
    kernel = in_force(old, fail_at)
    try:
        apply(diff(old, new), old, new, kernel, 2)
    except ApplyError as error:
        assert str(error) == (
            "the new policy could not be applied, what was in force is in force again: no memory"
        )
        assert kernel.holds() == contents(old)
        assert kernel.attached == bool(old.scopes)
        assert kernel.prepared == {r for s in old.scopes.values() for r in s.uids.values()}
    else:
        assert kernel.holds() == contents(new)


@given(plans, plans)
def test_a_user_in_both_plans_is_never_without_rules(old, new) -> None:
    kernel = in_force(old)
    held = {(s, uid) for s, one in old.scopes.items() for uid in one.uids}
    stay = held & {(s, uid) for s, one in new.scopes.items() for uid in one.uids}
    remove = kernel.remove

    def watched(scope: Scope, uids: Iterable[Uid]) -> None:
        uids = list(uids)
        assert not stay & {(scope, uid) for uid in uids}
        remove(scope, uids)

    kernel.remove = watched
    apply(diff(old, new), old, new, kernel, 2)


def test_counts_are_of_outer_map_entries() -> None:
    one, two = frozenset({Rule(Abi.X86_64, Nr(1))}), frozenset({Rule(Abi.X86_64, Nr(2))})
    old = Plan({Scope.REAL: ScopePlan({Uid(1): one, Uid(2): one, Uid(3): one})})
    new = Plan({Scope.REAL: ScopePlan({Uid(2): two, Uid(3): one, Uid(4): one, Uid(5): one})})
    actions = diff(old, new)
    assert actions == (
        Delete(Scope.REAL, Uid(1), one),
        Swap(Scope.REAL, Uid(2), one, two),
        Create(Scope.REAL, Uid(4), one),
        Create(Scope.REAL, Uid(5), one),
    )
    assert count(actions, new) == {"created": 2, "swapped": 1, "deleted": 1, "unchanged": 1}


def test_where_neither_plan_can_be_applied_it_says_so() -> None:
    plan = Plan({Scope.REAL: ScopePlan({Uid(1): frozenset({Rule(Abi.X86_64, Nr(1))})})})
    kernel = in_force(plan, 0)

    def fails(scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        raise KernelError("bpf", 12, "still no memory")

    kernel.put = fails
    with pytest.raises(ApplyError, match=r"nor the old one be put back \(still no memory\)"):
        apply(diff(plan, Plan()), plan, Plan(), kernel, 2)
