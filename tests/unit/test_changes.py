from __future__ import annotations

from hypothesis import given

from strategies import plans
from uidtraced.changes import lines, to_rows, words
from uidtraced.planfile import from_plain, to_plain
from uidtraced.policy.names import parse_selector
from uidtraced.reconcile import diff, read
from uidtraced.rules import Abi, Flag, Nr, Plan, Rule, Scope, ScopePlan, Uid, UidRange


def rules(*names: str, flags: Flag = Flag.LOG | Flag.SUCCESS, limit: int = 0) -> frozenset[Rule]:
    calls = frozenset().union(*(parse_selector(name).calls for name in names))
    return frozenset(Rule(abi, nr, flags, limit) for abi, nr in calls)


def test_rules_read_as_a_policy_says_them() -> None:
    assert words(rules("openat", "i386:execve")) == ["i386:execve", "openat"]
    assert words(rules("stat64")) == ["stat64"]  # i386 alone has it
    assert words(rules("open", flags=Flag.COUNT)) == ["open[count]"]
    assert words(rules("open", flags=Flag.LOG | Flag.EXIT, limit=5)) == ["open[errors,5/s]"]
    exits = Flag.LOG | Flag.EXIT | Flag.SUCCESS
    assert words(rules("open", flags=exits)) == ["open[exit]"]
    assert words(frozenset({Rule(Abi.X86_64, Nr(1001))})) == ["x86_64:syscall_1001"]


def test_what_is_made_through_socketcall_is_not_told_twice() -> None:
    assert words(rules("connect", "i386:accept")) == ["connect", "i386:accept"]
    assert words(rules("accept4")) == ["accept4", "i386:accept"]
    assert words(rules("socketcall")) == ["socketcall"]
    assert words(rules("socketcall", "accept", "bind")) == ["accept", "bind", "socketcall"]


def test_a_change_shows_what_each_gains_and_loses() -> None:
    wide = UidRange(Uid(10), Uid(19))
    old = Plan({Scope.REAL: ScopePlan({Uid(0): rules("open"), Uid(5): rules("close")})})
    real = ScopePlan({Uid(0): rules("open", "bind")}, {wide: rules("close")}, rules("ptrace"))
    new = Plan({Scope.REAL: real, Scope.LOGIN: ScopePlan({Uid(0): rules("open", limit=9)})})
    rows = to_rows(diff(old, new), {0: "root"}.get)
    assert lines(rows, colored=False) == [
        "~ root (0): +bind",
        "- 5: -close",
        "+ 10-19: +close",
        "+ *: +ptrace",
        "+ root (0) by login uid: +open[9/s]",
    ]
    assert rows[0] == {
        "action": "swap",
        "match": "real",
        "who": "root",
        "uid": 0,
        "user": "root",
        "added": ["bind"],
        "removed": [],
    }
    assert lines(rows, colored=True)[1] == "\x1b[31m- 5: -close\x1b[0m"


@given(plans)
def test_a_plan_passes_through_the_socket_unchanged(plan) -> None:
    assert from_plain(to_plain(plan)) == plan


class Maps:
    """What a kernel holds of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def read(self, scope: Scope):
        return self.plan.scopes.get(scope, ScopePlan()).uids

    def read_blocks(self, scope: Scope):
        return self.plan.scopes.get(scope, ScopePlan()).blocks()


@given(plans)
def test_a_plan_is_read_back_from_the_kernel_s_maps(plan) -> None:
    found = read(Maps(plan))
    for scope in Scope:
        ours, theirs = (one.scopes.get(scope, ScopePlan()) for one in (plan, found))
        assert theirs.uids == ours.uids
        assert theirs.others == ours.others
        for uid in range(42):
            assert theirs.find(Uid(uid)) == ours.find(Uid(uid))
