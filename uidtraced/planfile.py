"""Plans as plain values, for the control socket: each rule set once, entries by its number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uidtraced.rules import Abi, Flag, Nr, Plan, Rule, RuleSet, Scope, ScopePlan, Uid, UidRange

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_plain(plan: Plan) -> dict[str, Any]:
    """Return *plan* as values that JSON has."""
    numbers: dict[RuleSet, int] = {}

    def number(rules: RuleSet) -> int:
        return numbers.setdefault(rules, len(numbers))

    scopes = {
        scope.value: {
            "uids": [[uid, number(rules)] for uid, rules in one.uids.items()],
            "ranges": [[r.first, r.last, number(rules)] for r, rules in one.ranges.items()],
            "others": number(one.others),
        }
        for scope, one in plan.scopes.items()
    }
    sets = [[[r.abi, r.nr, int(r.flags), r.limit] for r in sorted(rules)] for rules in numbers]
    return {"rule_sets": sets, "scopes": scopes}


def from_plain(plain: Mapping[str, Any]) -> Plan:
    """Return the plan that `to_plain` wrote."""
    sets = [
        frozenset(Rule(Abi(abi), Nr(nr), Flag(flags), limit) for abi, nr, flags, limit in rules)
        for rules in plain["rule_sets"]
    ]
    return Plan(
        {
            Scope(scope): ScopePlan(
                {Uid(uid): sets[number] for uid, number in one["uids"]},
                {UidRange(Uid(a), Uid(b)): sets[number] for a, b, number in one["ranges"]},
                sets[one["others"]],
            )
            for scope, one in plain["scopes"].items()
        }
    )
