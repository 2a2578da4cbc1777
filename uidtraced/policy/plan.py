"""From the policy to the plan: whose calls are logged, by uid. Pure."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never

from uidtraced.policy.identity import Identities, Names
from uidtraced.policy.who import Group, Others, User
from uidtraced.rules import (
    Flag,
    Plan,
    Rule,
    RuleSet,
    Scope,
    ScopePlan,
    Uid,
    UidRange,
    add_rules,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from uidtraced.policy.model import Entry, Policy
    from uidtraced.policy.names import Selector

_NO_RULES: RuleSet = frozenset()

MAX_UIDS: Final = 131_072
"""Uids one by one in a scope; an outer map holds twice as many, for those that come and go."""

MAX_RULE_SETS: Final = 16_384
"""Different rule sets: each is an inner map, which takes a fd."""

MAX_BLOCKS: Final = 524_288
"""Blocks that the ranges of a scope make, 62 each at the most; likewise."""

MAX_RULES: Final = 400_000
"""Rules in all different entries together, which takes about a second to think through."""

_MAX_ADDED: Final = 700_000
"""Rules looked at to add up entries that name the same uids; takes half a second."""


class TooMuchError(ValueError):
    """A policy past a bound; the message says which, and what to do."""


def names_of(policy: Policy) -> Names:
    """Return the names that *policy* uses, which `make_plan` wants resolved."""
    return Names(
        frozenset(who.name for who in policy.users if isinstance(who, User)),
        frozenset(who.name for who in policy.users if isinstance(who, Group)),
    )


def make_plan(policy: Policy, identities: Identities) -> Plan:
    """Return the plan of *policy*, whose names stand for what *identities* says.

    Entries that name one uid in one scope add up. Whom any entry names, in whatever scope, is
    not among the others. A name that nobody has takes no part. Raises TooMuchError.
    """
    adder = _Adder()
    drafts: dict[Scope, _Draft] = defaultdict(_Draft)
    different: dict[int, RuleSet] = {}
    held = 0
    for who, entry in policy.users.items():
        rules = rules_of(entry)
        if id(rules) not in different:
            different[id(rules)] = rules
            held += len(rules)
            if held > MAX_RULES:
                raise TooMuchError(
                    f"more than {MAX_RULES} rules in different entries; "
                    "let users share rule sets, as a range or a group does"
                )
        draft = drafts[entry.match]
        match who:
            case UidRange():
                draft.ranges.append((who, rules))
            case Others():
                draft.others = rules
            case _:
                for uid in uids_of(who, identities):
                    had = draft.uids.get(uid)
                    draft.uids[uid] = rules if had is None else adder.add((had, rules), uid)
    named = _named(drafts.values())
    plans = {scope: draft.plan(named, adder) for scope, draft in drafts.items()}
    used = [scope for scope in Scope if scope in plans and any(plans[scope].rule_sets())]
    plan = Plan({scope: plans[scope] for scope in used})
    _check_bounds(plan)
    return plan


def _check_bounds(plan: Plan) -> None:
    for scope, one in plan.scopes.items():
        if len(one.uids) > MAX_UIDS:
            raise TooMuchError(
                f"{len(one.uids)} uids one by one with match: {scope}, and {MAX_UIDS} have room; "
                "name ranges, which take none"
            )
        if (number := len(one.blocks())) > MAX_BLOCKS:
            raise TooMuchError(
                f"ranges with match: {scope} make {number} blocks, and {MAX_BLOCKS} have room; "
                "name fewer or wider ranges"
            )
    if (number := len(plan.rule_sets())) > MAX_RULE_SETS:
        raise TooMuchError(
            f"{number} different rule sets, and {MAX_RULE_SETS} have room; "
            "let users share rule sets"
        )


def uids_of(who: User | Group | Uid | int, identities: Identities) -> Iterable[Uid]:
    """Return the uids of *who*; none where there is no such user or group."""
    match who:
        case User():
            uid = identities.users.get(who.name)
            return () if uid is None else (uid,)
        case Group():
            return identities.groups.get(who.name, ())
        case int():
            return (Uid(who),)
        case _:
            assert_never(who)


def rules_of(entry: Entry) -> RuleSet:
    """Return the rules of one entry: what its words add, less what they take away."""
    return _rules(entry.syscalls, entry.flags, entry.limit or 0)


@functools.lru_cache(maxsize=4096)
def _rules(selectors: tuple[Selector, ...], flags: Flag, limit: int) -> RuleSet:
    added = frozenset().union(*(one.calls for one in selectors if not one.excludes))
    taken = frozenset().union(*(one.calls for one in selectors if one.excludes))
    return _one(frozenset(_rule(abi, nr, flags, limit) for abi, nr in added - taken))


# equal rules and rule sets are the same object, so that they are compared at no cost
_rule = functools.lru_cache(maxsize=1 << 16)(Rule)


@functools.lru_cache(maxsize=1 << 14)
def _one(rules: RuleSet) -> RuleSet:
    return rules


class _Adder:
    """Adds rule sets up, the same ones once; gives up where entries overlap without end."""

    def __init__(self) -> None:
        self._looked_at = 0
        self._known: dict[tuple[RuleSet, ...], RuleSet] = {}

    def add(self, together: tuple[RuleSet, ...], uid: int) -> RuleSet:
        """Return what *together* want of *uid*."""
        found = together[0] if len(set(together)) == 1 else self._known.get(together)
        if found is None:
            self._looked_at += sum(map(len, together))
            if self._looked_at > _MAX_ADDED:
                raise TooMuchError(
                    f"too many entries overlap, from uid {uid} on; name fewer uids twice, "
                    "or let entries that overlap have the same calls"
                )
            found = self._known[together] = add_rules(*together)
        return found


@dataclass
class _Draft:
    """One scope while its entries are gathered."""

    uids: dict[Uid, RuleSet] = field(default_factory=dict)
    ranges: list[tuple[UidRange, RuleSet]] = field(default_factory=list)
    others: RuleSet = _NO_RULES

    def plan(self, named: _Draft, adder: _Adder) -> ScopePlan:
        """Return the whole; *named* has whom the entries of all scopes name."""
        uids, given = self.uids, self.ranges
        if self.others:
            uids = {**named.uids, **uids}
            given = [*given, *named.ranges]
        ranges = _disjoint(given, adder)
        starts = [one.first for one, _ in ranges]
        found = {}
        for uid, rules in uids.items():
            at = bisect_right(starts, uid) - 1
            under = ranges[at][1] if at >= 0 and uid <= ranges[at][0].last else None
            whole = rules if under is None else adder.add((rules, under), uid)
            # who has what everybody around has needs no entry of his own
            if whole != under and (whole or self.others):
                found[uid] = whole
        kept = {uids: rules for uids, rules in ranges if rules or self.others}
        return ScopePlan(found, kept, self.others)


def _named(drafts: Iterable[_Draft]) -> _Draft:
    """Return whom any of *drafts* names, with no rules."""
    found = _Draft()
    for draft in drafts:
        found.uids |= dict.fromkeys(draft.uids, _NO_RULES)
        found.ranges += [(uids, _NO_RULES) for uids, _ in draft.ranges]
    return found


def _disjoint(
    given: Sequence[tuple[UidRange, RuleSet]], adder: _Adder
) -> list[tuple[UidRange, RuleSet]]:
    """Return ranges in order that do not overlap, each with all rules that hold for its uids."""
    starts: Mapping[int, list[int]] = defaultdict(list)
    ends: Mapping[int, list[int]] = defaultdict(list)
    for number, (uids, _) in enumerate(given):
        starts[uids.first].append(number)
        ends[uids.last + 1].append(number)
    found: list[tuple[UidRange, RuleSet]] = []
    active: Counter[RuleSet] = Counter()
    first = 0
    for edge in sorted({*starts, *ends}):
        if active:
            rules = adder.add(tuple(active), first)
            if found and found[-1][1] == rules and found[-1][0].last == first - 1:
                first = found.pop()[0].first  # neighbours with the same rules are one
            found.append((UidRange(Uid(first), Uid(edge - 1)), rules))
        for number in ends.get(edge, ()):
            rules = given[number][1]
            active[rules] -= 1
            if not active[rules]:
                del active[rules]
        for number in starts.get(edge, ()):
            active[given[number][1]] += 1
        first = edge
    return found
