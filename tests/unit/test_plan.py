"""From a policy's text to its plan: whom each entry names, and how entries add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidtraced.policy.identity import Identities
from uidtraced.policy.load import load_source
from uidtraced.policy.model import Entry, Policy
from uidtraced.policy.plan import TooMuchError, make_plan, rules_of
from uidtraced.policy.source import Source
from uidtraced.policy.who import Group, Others, User
from uidtraced.rules import (
    DEFAULT_FLAGS,
    Abi,
    Flag,
    Nr,
    Rule,
    Scope,
    ScopePlan,
    Uid,
    UidRange,
    add_rules,
)

IDENTITIES = Identities(
    users={"alice": Uid(1000), "bob": Uid(1001)},
    groups={"dev": frozenset({Uid(1000), Uid(1002)}), "empty": frozenset()},
)


def plan(text: str):
    source = Source("p.yaml", f"version: 1\nusers:\n{text}", "")
    return make_plan(load_source(source).policy, IDENTITIES)


def real(text: str) -> ScopePlan:
    return plan(text).scopes.get(Scope.REAL, ScopePlan())


def named(rules) -> set[int]:
    return {rule.nr for rule in rules if rule.abi is Abi.X86_64}


OPEN, CLOSE, CHDIR = 2, 3, 80


def test_every_kind_of_key_finds_its_uids() -> None:
    found = real(
        '  alice: [open]\n  7: [close]\n  "8": [chdir]\n  "@dev": [chdir]\n'
        '  "10-19": [open]\n  "*": [close]\n  "@empty": [open]\n  carol: [open]\n'
    )
    assert {uid: named(rules) for uid, rules in found.uids.items()} == {
        1000: {OPEN, CHDIR},
        1002: {CHDIR},
        7: {CLOSE},
        8: {CHDIR},
    }
    assert {uids: named(rules) for uids, rules in found.ranges.items()} == {
        UidRange(Uid(10), Uid(19)): {OPEN}
    }
    assert named(found.others) == {CLOSE}


def test_a_uid_in_a_range_has_the_rules_of_both() -> None:
    found = real('  15: [close]\n  "10-19": [open]\n')
    assert named(found.find(Uid(15))) == {OPEN, CLOSE}
    assert named(found.find(Uid(16))) == {OPEN}


def test_who_is_named_is_not_among_the_others() -> None:
    found = real(
        '  alice: []\n  "10-19": []\n  bob: {syscalls: [open], match: login}\n  "*": [open]\n'
    )
    for uid in (1000, 10, 19, 1001):
        assert found.find(Uid(uid)) == frozenset(), uid
    assert named(found.find(Uid(1003))) == {OPEN}
    # and where there are no others, nothing is held for those who have no rules
    assert real('  alice: []\n  "10-19": []\n') == ScopePlan()


def test_ranges_that_overlap_add_up_in_their_common_part() -> None:
    found = real('  "10-30": [open]\n  "20-40": [close]\n  "35-35": [chdir]\n')
    expected = {(10, 19): {OPEN}, (20, 30): {OPEN, CLOSE}, (31, 34): {CLOSE}, (36, 40): {CLOSE}}
    expected[35, 35] = {CLOSE, CHDIR}
    assert {(u.first, u.last): named(rules) for u, rules in found.ranges.items()} == expected


def test_a_wide_range_is_one_entry() -> None:
    found = real('  "524288-4294967294": [open]\n')
    assert len(found.ranges) == 1
    assert len(found.blocks()) <= 62


def entry(**words) -> Entry:
    return Entry.model_validate({"syscalls": ["x86_64:open"], **words})


@pytest.mark.parametrize(
    ("words", "flags", "limit"),
    [
        ({}, Flag.LOG | Flag.SUCCESS, 0),
        ({"at": "exit"}, Flag.LOG | Flag.SUCCESS | Flag.EXIT, 0),
        ({"at": "exit", "only": "errors"}, Flag.LOG | Flag.EXIT, 0),
        ({"limit": "100/s"}, Flag.LOG | Flag.SUCCESS, 100),
        ({"mode": "count"}, Flag.COUNT, 0),
    ],
)
def test_when_and_how_much_are_bits_of_the_rule(words, flags, limit) -> None:
    (rule,) = rules_of(entry(**words))
    assert (rule.flags, rule.limit) == (flags, limit)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ((DEFAULT_FLAGS, 0), (DEFAULT_FLAGS, 5), (DEFAULT_FLAGS, 0)),
        ((DEFAULT_FLAGS, 3), (DEFAULT_FLAGS, 5), (DEFAULT_FLAGS, 5)),
        ((Flag.COUNT, 0), (DEFAULT_FLAGS, 5), (DEFAULT_FLAGS | Flag.COUNT, 5)),
        ((Flag.LOG | Flag.EXIT, 0), (DEFAULT_FLAGS, 0), (DEFAULT_FLAGS | Flag.EXIT, 0)),
        ((Flag.LOG | Flag.EXIT, 0), (Flag.COUNT, 0), (Flag.LOG | Flag.EXIT | Flag.COUNT, 0)),
    ],
    ids=["no limit wins", "the larger limit wins", "a count has none", "all, with result", "count"],
)
def test_two_rules_for_one_call_give_whatever_either_wants(one, other, both) -> None:
    rules = [Rule(Abi.X86_64, Nr(2), *words) for words in (one, other, both)]
    for first, second in (rules[:2], rules[1::-1]):
        assert add_rules(frozenset({first}), frozenset({second})) == frozenset({rules[2]})


keys = st.one_of(
    st.integers(0, 30).map(Uid),
    st.sampled_from([User("a"), User("gone"), Group("g")]),
    st.just(Others()),
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda one: UidRange(*sorted(one))),
)


def an_entry(calls: list[str], match: str, limit: str | None) -> Entry:
    words = {"syscalls": [f"{one[:-4]}x86_64:{one[-4:]}" for one in calls], "match": match}
    return Entry.model_validate(words | ({"limit": limit} if limit else {}))


entries = st.builds(
    an_entry,
    st.lists(st.sampled_from(["open", "read", "!open"]), max_size=3),
    st.sampled_from(["real", "login"]),
    st.sampled_from([None, "5/s", "9/s"]),
)
SMALL = Identities({"a": Uid(3)}, {"g": frozenset({Uid(3), Uid(4), Uid(17)})})


def covers(who, uid: int) -> bool:
    match who:
        case User(name):
            return SMALL.users.get(name) == uid
        case Group(name):
            return uid in SMALL.groups[name]
        case UidRange(first, last):
            return first <= uid <= last
        case Others():
            return False
        case _:
            return who == uid


@given(st.dictionaries(keys, entries, max_size=8))
def test_a_plan_is_for_each_uid_what_its_entries_say_together(users) -> None:
    found = make_plan(Policy.model_construct(version=1, users=users), SMALL)
    for scope in (Scope.REAL, Scope.LOGIN):
        for uid in range(33):
            by = [who for who in users if covers(who, uid)] or [
                who for who in users if isinstance(who, Others)
            ]
            expected = frozenset()
            for who in by:
                if users[who].match is scope:
                    expected = add_rules(expected, rules_of(users[who]))
            assert found.scopes.get(scope, ScopePlan()).find(Uid(uid)) == expected, uid
    backwards = Policy.model_construct(version=1, users=dict(reversed(users.items())))
    assert make_plan(backwards, SMALL) == found


def test_more_uids_than_there_is_room_for_is_a_bound_with_a_way_out() -> None:
    crowd = Identities({}, {"all": frozenset(map(Uid, range(131_073)))})
    policy = load_source(Source("p", 'version: 1\nusers: {"@all": [open]}\n', "")).policy
    with pytest.raises(TooMuchError, match=r"131073 uids one by one .*; name ranges"):
        make_plan(policy, crowd)


def test_ranges_that_overlap_too_much_end_in_time() -> None:
    everything = Entry.model_validate({"syscalls": [f"x86_64:{n}" for n in range(60)]})
    users = {
        UidRange(Uid(n), Uid(1_000_000 - n)): everything.model_copy(update={"limit": n + 1})
        for n in range(5000)
    }
    with pytest.raises(TooMuchError, match=r"too many entries overlap, from uid .*; name fewer"):
        make_plan(Policy.model_construct(version=1, users=users), Identities())


def test_uids_in_a_range_that_all_differ_end_in_time() -> None:
    everything = Entry.model_validate({"syscalls": ["@all"]})
    one = Entry.model_validate({"syscalls": ["open"]})
    users = {UidRange(Uid(0), Uid(20_000)): everything} | {
        Uid(n): one.model_copy(update={"limit": n + 1}) for n in range(10_000)
    }
    with pytest.raises(TooMuchError, match=r"too many entries overlap, from uid .*; name fewer"):
        make_plan(Policy.model_construct(version=1, users=users), Identities())


def test_more_rules_than_can_be_thought_through_are_refused() -> None:
    everything = Entry.model_validate({"syscalls": [f"x86_64:{n}" for n in range(300)]})
    users = {Uid(n): everything.model_copy(update={"limit": n + 1}) for n in range(1400)}
    with pytest.raises(TooMuchError, match=r"more than 400000 rules .*; let users share"):
        make_plan(Policy.model_construct(version=1, users=users), Identities())


def test_ranges_that_make_more_blocks_than_there_is_room_for_are_refused() -> None:
    rules = Entry.model_validate({"syscalls": ["x86_64:open"]})
    ends = [(n * 4096 + 1, n * 4096 + 4094) for n in range(24_000)]  # 22 blocks each
    odd = {UidRange(Uid(first), Uid(last)): rules for first, last in ends}
    with pytest.raises(TooMuchError, match=r"make \d+ blocks, and 524288 have room; name fewer"):
        make_plan(Policy.model_construct(version=1, users=odd), Identities())
