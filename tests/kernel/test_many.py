"""Changes of many entries, on this kernel as it is and as if it were an old one."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tracing import enforce
from uidtraced.errors import KernelError, UnsupportedError
from uidtraced.kernel import many
from uidtraced.kernel.libbpf import MapFd
from uidtraced.kernel.many import side_by_side
from uidtraced.kernel.tracer import Tracer
from uidtraced.rules import NR_MAX, Block, Nr, Rule, Scope, ScopePlan, Uid, machine_abis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST, SECOND = (frozenset({Rule(machine_abis()[0], Nr(nr))}) for nr in (1, 2))


@pytest.fixture(params=["as it is", "no batches", "batches that wait for each"])
def tracer(request, monkeypatch):
    """A tracer that takes this kernel for an old one too."""
    if request.param == "no batches":

        def refuse(*_) -> None:
            raise UnsupportedError("ENOTSUPP")

        monkeypatch.setattr(many, "_update_batch", refuse)
        monkeypatch.setattr(MapFd, "delete_batch", refuse)
    elif request.param == "batches that wait for each":
        waits = iter(range(0, 10_000, 100))
        monkeypatch.setattr(many, "_waits", lambda: next(waits))
    with Tracer() as tracer:
        yield tracer
    if request.param != "as it is":
        assert tracer.batches is False


@pytest.mark.kernels
def test_many_changes_are_whole(tracer) -> None:
    tracer.prepare([FIRST, SECOND], 1)
    everybody = {Uid(uid): FIRST for uid in range(3000)}
    tracer.put(Scope.REAL, everybody)
    assert tracer.read(Scope.REAL) == everybody
    half = {uid: SECOND for uid in everybody if uid % 2}
    tracer.put(Scope.REAL, half)
    assert tracer.read(Scope.REAL) == {**everybody, **half}
    tracer.remove(Scope.REAL, [*half, Uid(5000)])  # one that is not in is left so
    assert tracer.read(Scope.REAL) == {uid: FIRST for uid in everybody if uid not in half}
    assert {one.name for one in threading.enumerate() if one.name == "change"} == set()


def test_many_rule_sets_of_ranges_are_whole(tracer) -> None:
    abi = machine_abis()[0]
    sets = [frozenset({Rule(abi, Nr(nr))}) for nr in range(NR_MAX)]
    blocks = {Block(Uid(nr * 256), 24): rules for nr, rules in enumerate(sets)}
    tracer.prepare(sets, 1)
    tracer.put_blocks(Scope.REAL, blocks)
    assert tracer.read_blocks(Scope.REAL) == blocks
    tracer.remove_blocks(Scope.REAL, blocks)
    assert tracer.read_blocks(Scope.REAL) == {}
    tracer.keep_only([])
    assert tracer._classes.read() == {}


def test_the_first_error_ends_it_and_no_thread_is_left() -> None:
    done: list[int] = []

    def change(number: int) -> None:
        done.append(number)
        if number == 500:
            raise KernelError("change", 7, "E2BIG")

    with pytest.raises(KernelError, match="E2BIG"):
        side_by_side(change, range(1_000_000))
    assert len(done) < 1_000_000
    assert [one for one in threading.enumerate() if one.name == "change"] == []


def test_where_no_thread_can_be_had_the_caller_does_it_all(monkeypatch) -> None:
    def refuse(_) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    side_by_side(done.append, range(1000))
    assert done == list(range(1000))


@contextlib.contextmanager
def bpf_calls(log: Path) -> Iterator[None]:
    """Let strace write to *log* which calls of bpf(2) this process makes."""
    command = ["strace", "-f", "-e", "trace=bpf", "-o", str(log), "-p", str(os.getpid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert "attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.terminate()


def test_one_user_s_edit_of_a_hundred_thousand_is_one_change_of_one_entry(tmp_path) -> None:
    everybody = {Uid(uid): FIRST for uid in range(100_000)}
    log = tmp_path / "strace"
    with Tracer() as tracer:
        old = enforce(tracer, ScopePlan(everybody))
        with bpf_calls(log):
            enforce(tracer, ScopePlan({**everybody, Uid(77_777): SECOND}), old, revision=2)
        after = tracer.read(Scope.REAL)
        outer = tracer._objects.maps[Scope.REAL.value].fd
    assert after == {**everybody, Uid(77_777): SECOND}
    calls = re.findall(r"bpf\(BPF_MAP_(UPDATE|DELETE)(\w+), (.*)", log.read_text())
    ours = [one for one in calls if re.search(rf"\bmap_fd={outer}\b", one[2])]
    assert len(ours) == 1
    assert ours[0][:2] == ("UPDATE", "_ELEM") or "count=1," in ours[0][2]
