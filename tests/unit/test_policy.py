from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import Users
from uidtraced.errors import PolicyError
from uidtraced.policy import call_name, load, understand
from uidtraced.policy.load import load_source
from uidtraced.policy.names import numbers, parse_selector
from uidtraced.policy.source import Source
from uidtraced.rules import Abi, Nr, Rule, Scope, Uid

X86 = (Abi.X86_64, Abi.I386, Abi.X32)


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_source(Source("p.yaml", text, ""))
    return str(caught.value).splitlines()


def plan(text: str):
    return understand(load_source(Source("p.yaml", text, "")), Users())


def calls(rules) -> set[tuple[str, str]]:
    return {(rule.abi.label, call_name(rule.abi, rule.nr)) for rule in rules}


def test_a_policy_becomes_a_plan_of_uids_and_calls() -> None:
    text = "version: 1\nusers:\n  alice: [openat, 'i386:execve']\n  0: [chmod]\n"
    uids = plan(text).plan.scopes[Scope.REAL].uids
    assert uids.keys() == {1000, 0}
    assert calls(uids[Uid(1000)]) == {
        ("x86_64", "openat"),
        ("i386", "openat"),
        ("x32", "openat"),
        ("i386", "execve"),
    }


# fmt: off
@pytest.mark.parametrize(("text", "expected"), [
    ("version: 1\nusers:\n  alice: [opnat]\n",
     ['3:11: error: "opnat" is no system call; did you mean "openat"?']),
    ("version: 1\nusers:\n  alice: [opnat, clse]\n  0: [chdirr]\n",
     ['3:11: error: "opnat" is no system call; did you mean "openat"?',
      '3:18: error: "clse" is no system call; did you mean "close"?',
      '4:7: error: "chdirr" is no system call; did you mean "chdir"?']),
    ("version: 1\nuser: {}\n", ['2:1: error: unknown key "user"; did you mean "users"?']),
    ("users: {}\n", ["1:1: error: version: 1 is missing"]),
    ("version: 2\n", ["1:10: error: version must be 1"]),
    ("version: 1\nusers:\n  0: [no]\n",
     ['3:7: error: no is a truth value in YAML; to mean the name, write "no"']),
    ("version: 1\nusers:\n  0: [0777]\n",
     ["3:7: error: 0777 is octal to some and decimal to others; write 511 or 777"]),
    ("version: 1\nusers:\n  0: [1:30]\n",
     ['3:7: error: 1:30 is 90 in YAML 1.1, to base 60, else text; write 90 or "1:30"']),
    ("version: 1\nusers:\n  alice: [@x]\n",
     ['3:11: error: a word with @ must be quoted: "@x"']),
    ("version: 1\nusers:\n  *: [openat]\n", ['3:3: error: a * must be quoted: "*"']),
    ("version: 1\nusers:\n  0: [!close]\n",
     ['3:7: error: a word with ! must be quoted, such as "!close"']),
    ("version: 1\nusers:\n  alice: [open]\n  alice: [close]\n",
     ['4:3: error: "alice" stands in line 3 already; join the two']),
    ('version: 1\nusers:\n  0: [open]\n  "0": [close]\n',
     ['4:3: error: "0" stands in line 3 already; join the two']),
    ("version: 1\nusers: &a {}\n",
     ['2:8: error: "&a" is a YAML anchor, which a policy has not']),
    ("", ["1:1: error: the file is empty; the least policy is: version: 1"]),
    ("# nothing\n", ["1:1: error: the file is empty; the least policy is: version: 1"]),
    ("- a\n", ["1:1: error: a policy is a mapping: version: 1, and users:"]),
    ("version: 1\nusers: [a]\n",
     ["2:8: error: users is a mapping of users to system calls, such as alice: [openat]"]),
    ("version: 1\nusers:\n  alice: openat\n",
     ["3:10: error: a list of system calls is wanted, such as [openat]"]),
    ("version: 1\nusers:\n  alice:\n    syscalls: [open]\n    matc: real\n",
     ['5:5: error: unknown key "matc"; did you mean "match"?']),
    ("version: 1\nusers:\n  alice:\n    syscalls: [open]\n    match: rel\n",
     ["5:12: error: match must be real, effective or login"]),
    ("version: 1\nusers:\n  alice: [1024]\n",
     ["3:11: error: 1024 is no system-call number; they are 0 to 1023"]),
    ("version: 1\nusers:\n  4294967295: [open]\n",
     ["3:3: error: 4294967295 is no uid; uids are 0 to 4294967294"]),
    ("[" * 50_000, ["1:10: error: nested deeper than 8 levels"]),
])
def test_an_error_says_where_what_and_what_would_be_right(text, expected) -> None:
    assert problems(text) == [f"p.yaml:{one}" for one in expected]


def test_errors_of_the_text_and_of_its_meaning_are_told_together() -> None:
    found = problems("version: 1\nusers:\n  0: [0777, opnat]\n  -bob: [open]\n")
    assert [one.split(":")[1:3] for one in found] == [["3", "7"], ["3", "13"], ["4", "3"]]


def test_a_merge_key_bomb_is_refused_before_anything_is_composed() -> None:
    layers = "".join(f"a{i}: &a{i} {{<<: [{', '.join(f'*a{i - 1}' for _ in range(9))}]}}\n"
                     for i in range(1, 20))
    found = problems("a0: &a0 {x: 1}\n" + layers)
    assert 'p.yaml:1:5: error: "&a0" is a YAML anchor, which a policy has not' in found


def test_ten_thousand_wrong_words_are_all_told() -> None:
    words = ", ".join(f"wrong{i}" for i in range(10_000))
    assert len(problems(f"version: 1\nusers:\n  0: [{words}]\n")) == 10_000


def test_exclusions_take_away_inside_their_entry_alone() -> None:
    text = 'version: 1\nusers:\n  alice: [open, close, "!close"]\n  1000: [close]\n'
    uids = plan(text).plan.scopes[Scope.REAL].uids
    assert {name for _, name in calls(uids[Uid(1000)])} == {"open", "close"}
    text = 'version: 1\nusers:\n  alice: [open, close, "!close"]\n'
    uids = plan(text).plan.scopes[Scope.REAL].uids
    assert {name for _, name in calls(uids[Uid(1000)])} == {"open"}


def test_each_match_has_a_scope_of_its_own() -> None:
    text = (
        "version: 1\nusers:\n  alice: {syscalls: [open], match: login}\n"
        "  bob: {syscalls: [open], match: effective}\n"
    )
    scopes = plan(text).plan.scopes
    assert {scope: set(one.uids) for scope, one in scopes.items()} == {
        Scope.LOGIN: {1000},
        Scope.EFFECTIVE: {1001},
    }


def test_a_user_who_does_not_exist_is_a_warning_with_the_nearest_name() -> None:
    planned = plan("version: 1\nusers:\n  alcie: [kill]\n  0: [kill]\n")
    assert set(planned.plan.scopes[Scope.REAL].uids) == {0}
    assert [one.text("warning") for one in planned.warnings] == [
        'p.yaml:3:3: warning: no user "alcie"; did you mean "alice"?'
    ]


def test_equal_entries_of_a_policy_are_one_object() -> None:
    text = "version: 1\nusers:\n  1: [kill]\n  2: [kill]\n  3: ['62']\n  4: [62]\n"
    long = "  5: {syscalls: [kill], at: exit}\n  6: {syscalls: [kill], at: exit}\n"
    users = load_source(Source("p.yaml", text + long, "")).policy.users
    one, two, quoted, number, first, second = users.values()
    assert one is two
    assert first is second
    assert first != one
    assert quoted is not number


def test_an_entry_without_calls_traces_nothing() -> None:
    assert plan("version: 1\nusers:\n  0: []\n").plan.scopes == {}
    assert plan("version: 1\nusers:\n").plan.scopes == {}


def test_numbers_are_those_of_the_native_abi_unless_one_is_named() -> None:
    assert parse_selector(321, X86).calls == {(Abi.X86_64, 321)}
    assert parse_selector("i386:11", X86).calls == {(Abi.I386, 11)}


def test_a_call_of_another_abi_is_named_so() -> None:
    with pytest.raises(ValueError, match='"x86_64:stat64": x86_64 has no such call, i386 has'):
        parse_selector("x86_64:stat64", X86)


def test_numbers_agree_with_the_headers_of_this_machine() -> None:
    # the kernel's own, from linux-libc-dev; Python's os has none of these
    header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
    with open(header, encoding="ascii") as lines:
        theirs = {
            words[1].removeprefix("__NR_"): int(words[2])
            for words in (line.split() for line in lines)
            if len(words) == 3 and words[1].startswith("__NR_")
        }
    ours = numbers(Abi.X86_64)
    assert len(theirs) > 300
    assert {name: ours[name] for name in theirs} == theirs


def test_an_unknown_number_has_a_name_all_the_same() -> None:
    assert call_name(Abi.X86_64, Nr(999)) == "syscall_999"


words = st.one_of(
    st.sampled_from(["open", "close", "!close", "i386:stat64", "@x", "*", "0777", "no", "1.5"]),
    st.integers(-5, 2000),
    st.text(max_size=6),
)


@given(st.recursive(words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.one_of(st.integers(), st.text(max_size=5)), inner, max_size=3), max_leaves=10))
def test_any_value_is_accepted_or_refused_with_a_position(value) -> None:
    import yaml

    text = yaml.safe_dump({"version": 1, "users": value})
    try:
        load_source(Source("p.yaml", text, ""))
    except PolicyError as error:
        assert all(1 <= one.line <= text.count("\n") + 1 for one in error.problems)


@given(st.text())
def test_any_text_is_accepted_or_refused(text) -> None:
    try:
        load_source(Source("p.yaml", text, ""))
    except PolicyError as error:
        assert error.problems


def test_the_digest_is_that_of_the_file(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\n")  # with a byte-order mark
    loaded = load(path)
    assert loaded.policy.users == {}
    said = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True)
    assert loaded.source.sha256 == said.stdout.split()[0]


def test_rules_say_log_by_default() -> None:
    uids = plan("version: 1\nusers:\n  0: ['x86_64:open']\n").plan.scopes[Scope.REAL].uids
    assert uids == {0: frozenset({Rule(Abi.X86_64, Nr(2))})}
