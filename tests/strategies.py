"""What hypothesis draws plans from."""

from __future__ import annotations

from hypothesis import strategies as st

from uidtraced.rules import Abi, Nr, Plan, Rule, Scope, ScopePlan, Uid, UidRange

TOP = 40
uids = st.integers(0, TOP).map(Uid)
some_rules = st.frozensets(
    st.builds(Rule, st.sampled_from(list(Abi)[:2]), st.integers(0, 3).map(Nr)), max_size=3
)
rule_sets = some_rules.filter(bool)


@st.composite
def scope_plans(draw) -> ScopePlan:
    edges = sorted(draw(st.sets(st.integers(0, TOP), max_size=8)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    ranges = {UidRange(Uid(first), Uid(last)): draw(some_rules) for first, last in pairs}
    single = draw(st.dictionaries(uids, some_rules, max_size=5))
    others = draw(some_rules)
    return ScopePlan(single, ranges, others)


plans = st.dictionaries(
    st.sampled_from(list(Scope)), scope_plans().filter(lambda one: any(one.rule_sets()))
).map(Plan)
