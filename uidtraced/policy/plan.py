"""From the policy to the plan: whose calls are logged, by uid. Pure but for the directory."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from uidtraced.errors import Problem
from uidtraced.policy.names import nearest
from uidtraced.rules import Plan, Rule, RuleSet, Scope, ScopePlan, Uid

if TYPE_CHECKING:
    from uidtraced.policy.identity import Directory
    from uidtraced.policy.load import Loaded
    from uidtraced.policy.names import Selector

_HINTS: Final = 20
"""So many missing users get the nearest name, which takes 10 ms among 10,000."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what in the policy is valid but may not be what its author meant."""

    plan: Plan
    warnings: tuple[Problem, ...]


def make_plan(loaded: Loaded, directory: Directory) -> Planned:
    """Return the plan of *loaded* for the users that *directory* has now.

    Entries that name one uid add up. An entry whose user does not exist takes no part, with a
    warning: it does as soon as there is one.
    """
    scopes: dict[Scope, dict[Uid, RuleSet]] = defaultdict(dict)
    warnings: list[Problem] = []
    for who, entry in loaded.policy.users.items():
        uid = directory.uid_of(who) if isinstance(who, str) else who
        if uid is None:
            known = directory.names() if len(warnings) < _HINTS else frozenset()
            warnings.append(_no_such_user(who, loaded, known))
            continue
        rules = rule_set(entry.syscalls)
        uids = scopes[entry.match]
        uids[uid] = uids.get(uid, frozenset()) | rules
    plans = {
        scope: ScopePlan({uid: rules for uid, rules in uids.items() if rules})
        for scope, uids in scopes.items()
    }
    plan = Plan({scope: plan for scope, plan in plans.items() if plan.uids})
    return Planned(plan, tuple(warnings))


@functools.lru_cache(maxsize=1024)
def rule_set(selectors: tuple[Selector, ...]) -> RuleSet:
    """Return the rules of one entry: what its words add, less what they take away."""
    added = frozenset().union(*(one.calls for one in selectors if not one.excludes))
    taken = frozenset().union(*(one.calls for one in selectors if one.excludes))
    return frozenset(Rule(abi, nr) for abi, nr in added - taken)


def _no_such_user(name: str | Uid, loaded: Loaded, known: frozenset[str]) -> Problem:
    hint = nearest(str(name), known)
    advice = f'did you mean "{hint}"?' if hint else "the entry takes effect when there is one"
    at = loaded.key_positions["users", name]
    return Problem(at.line, at.column, f'no user "{name}"; {advice}', loaded.source.path)
