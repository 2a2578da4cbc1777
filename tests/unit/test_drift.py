"""When the kernel is looked at for what others changed, and what is made of it."""

from __future__ import annotations

import pytest

from uidtraced import drift
from uidtraced.drift import Drift
from uidtraced.errors import KernelError
from uidtraced.kernel.guard import Wrong
from uidtraced.rules import Abi, Nr, Plan, Rule, Scope, ScopePlan, Uid

CHDIR, OTHER = (frozenset({Rule(Abi.X86_64, Nr(nr))}) for nr in (80, 81))
PLAN = Plan({Scope.REAL: ScopePlan({Uid(1): CHDIR, Uid(2): frozenset()})})


class Guard:
    def __init__(self, kernel) -> None:
        self.kernel = kernel
        self.others_called = 0
        self.page: list[Wrong] = []
        self.looks = 0

    def put_page_right(self):
        found, self.page = self.page, []
        return found

    def attach_again(self):
        return []

    def frozen(self):
        return []

    def put_classes_right(self):
        self.looks += 1
        return []

    def expect(self, plan) -> None:
        self.right = {scope: dict(uids) for scope, (uids, _) in plan.items()}

    def is_as_expected(self, scope) -> bool:
        return self.kernel.uids[scope] == self.right.get(scope, {})


class Kernel:
    def __init__(self) -> None:
        self.guard = Guard(self)
        self.uids = {scope: {} for scope in Scope}
        self.uids[Scope.REAL] = dict(PLAN.scopes[Scope.REAL].uids)
        self.error: KernelError | None = None

    def prepare(self, *_) -> None:
        pass

    def read(self, scope):
        return dict(self.uids[scope])

    def read_blocks(self, scope):
        return {}

    def put(self, scope, entries) -> None:
        if self.error is not None:
            raise self.error
        self.uids[scope].update(entries)

    def remove(self, scope, uids) -> None:
        for uid in uids:
            del self.uids[scope][uid]


class Keeper:
    plan = PLAN
    revision = 3
    settled = True


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def rest(kernel):
    """A daemon that has looked, and has no reason to look again."""
    found = Drift(Keeper(), kernel)
    for _ in range(5):
        assert found.check() is None
    kernel.guard.looks = 0
    return found


def test_maps_are_looked_at_after_calls_of_bpf_and_now_and_then(kernel, rest, monkeypatch) -> None:
    for _ in range(5):
        assert rest.check() is None
    assert kernel.guard.looks == 0
    kernel.guard.others_called += 1
    for _ in range(5):  # the call may have been seen before it changed anything
        assert rest.check() is None
    assert kernel.guard.looks == 2
    now = drift.time.monotonic()
    monkeypatch.setattr(drift.time, "monotonic", lambda: now + 61)
    for _ in range(5):
        assert rest.check() is None
    assert kernel.guard.looks == 3


def test_what_is_wrong_is_put_right_and_told_of_by_entry(kernel, rest) -> None:
    kernel.uids[Scope.REAL] = {Uid(1): OTHER, Uid(2): None, Uid(3): CHDIR}
    kernel.guard.others_called += 1
    found = rest.check()
    assert kernel.uids[Scope.REAL] == PLAN.scopes[Scope.REAL].uids
    records = list(found.records("now", {1: "alice"}.get))
    assert [(one.object, one.uid, one.user, one.found, one.restored) for one in records] == [
        ("real", 1, "alice", "fchdir", "chdir"),
        ("real", 2, None, "a map of others", "no calls"),
        ("real", 3, None, "chdir", "nothing"),
    ]
    assert (rest.total, rest.lately()) == (3, True)
    assert rest.check() is None


def test_many_are_counted_and_few_told_of(kernel, rest) -> None:
    kernel.uids[Scope.LOGIN] = {Uid(one): CHDIR for one in range(100)}
    kernel.guard.others_called += 1
    records = list(rest.check().records("now", lambda _: None))
    assert [one.uid for one in records] == list(range(20))
    assert [one.more for one in records] == [0] * 19 + [80]
    assert (kernel.uids[Scope.LOGIN], rest.total) == ({}, 100)


def test_what_cannot_be_put_right_is_told_once_and_tried_again(kernel, rest, capsys) -> None:
    kernel.uids[Scope.REAL] = {}
    kernel.error = KernelError("bpf", 1, "frozen")
    kernel.guard.others_called += 1
    kernel.guard.page = [Wrong(".data.control", "scopes", "0", "1")]
    assert rest.check().count == 1  # what was put right is told of
    for _ in range(5):
        assert rest.check() is None
        assert rest.error == "frozen"
    assert capsys.readouterr().out.count("not_put_right") == 1
    kernel.error = None
    assert rest.check().count == 2
    assert rest.error is None


def test_what_a_failed_change_left_is_not_told_of(kernel, rest, capsys) -> None:
    rest._keeper.settled = False
    kernel.uids[Scope.REAL] = {}
    assert rest.check() is None
    assert kernel.uids[Scope.REAL] == PLAN.scopes[Scope.REAL].uids
    assert rest._keeper.settled
    assert (rest.total, rest.lately()) == (0, False)
    assert "put_right_after_a_failure" in capsys.readouterr().out
