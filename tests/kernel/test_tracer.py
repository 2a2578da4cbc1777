"""The tracer on this kernel, in this process."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from harness import need, of_this_test
from tracing import NOBODY, OTHER, drain, enforce, put, rules
from uidtraced.errors import KernelError, PermissionDeniedError
from uidtraced.kernel.inner import InnerMaps, create_inner_map
from uidtraced.kernel.kept import NoStore
from uidtraced.kernel.libbpf import MapFd, check
from uidtraced.kernel.ring import EVENT_OFFSETS, EVENT_SIZE
from uidtraced.kernel.tracer import Tracer, constants
from uidtraced.reconcile import apply
from uidtraced.rules import (
    NR_MAX,
    Abi,
    Flag,
    Plan,
    Scope,
    ScopePlan,
    Uid,
    UidRange,
)


def chdir(times: int, *, real: int = NOBODY, effective: int | None = None) -> None:
    """Call chdir as a process of these uids."""
    code = f"import os; os.setresuid({real}, {effective or real}, 0)\n"
    code += f"for _ in range({times}): os.chdir('/')"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


def test_numbers_are_those_of_the_header() -> None:
    found = constants()
    assert {abi.name: found[f"UIDTRACED_{abi.name}"] for abi in Abi} == {
        abi.name: abi.value for abi in Abi
    }
    assert {flag.name: found[f"UIDTRACED_F_{flag.name}"] for flag in Flag} == {
        flag.name: flag.value for flag in Flag
    }
    assert found["UIDTRACED_NR_MAX"] == NR_MAX


def test_the_object_and_the_module_agree_on_every_struct(tracer) -> None:
    # the BPF object's BTF is clang's layout, cffi's is the C compiler's of the same header
    ids = [one["id"] for one in of_this_test()["map"] if one.get("name") == ".data.control"]
    assert len(ids) == 1
    program = next(one for one in of_this_test()["prog"] if one["name"] == "on_sys_enter")
    dump = subprocess.run(
        ["bpftool", "--json", "btf", "dump", "id", str(program["btf_id"])],
        check=True,
        capture_output=True,
    )
    types = json.loads(dump.stdout)["types"]
    event = next(one for one in types if one["kind"] == "STRUCT" and one["name"] == "event")
    assert event["size"] == EVENT_SIZE
    offsets = {member["name"]: member["bits_offset"] // 8 for member in event["members"]}
    assert offsets == EVENT_OFFSETS


@pytest.mark.kernels
def test_no_program_takes_the_verifier_long(tracer) -> None:
    # 1,000,000 would be refused; 600,000 took a second of the daemon's start, 55,000 take 0.1 s
    steps = {}
    for path in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            fields = dict(line.split(":\t") for line in path.read_text().splitlines())
            if "verified_insns" in fields:
                steps[fields["prog_id"]] = int(fields["verified_insns"])
    need("verified_insns", steps)
    assert len(steps) > 1
    assert max(steps.values()) < 100_000


@pytest.mark.kernels
def test_calls_of_one_uid_are_logged_and_no_others(tracer) -> None:
    put(tracer, Scope.REAL, NOBODY, rules("chdir"), revision=7)
    tracer.attach()
    chdir(5)
    chdir(5, real=OTHER)
    os.chdir(".")
    events = drain(tracer)
    assert [(one.uid, one.syscall, one.revision) for one in events] == [(NOBODY, "chdir", 7)] * 5
    assert tracer.books.counters()[NOBODY].matched == 5
    assert OTHER not in tracer.books.counters()


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("scope", "real", "effective", "seen"),
    [
        (Scope.REAL, NOBODY, OTHER, 3),
        (Scope.REAL, OTHER, NOBODY, 0),
        (Scope.EFFECTIVE, OTHER, NOBODY, 3),
        (Scope.EFFECTIVE, NOBODY, OTHER, 0),
    ],
)
def test_each_scope_matches_its_own_uid(tracer, scope, real, effective, seen) -> None:
    put(tracer, scope, NOBODY, rules("chdir"))
    tracer.attach()
    chdir(3, real=real, effective=effective)
    assert [(one.uid, one.euid) for one in drain(tracer)] == [(real, effective)] * seen


@pytest.mark.kernels
def test_the_login_uid_is_that_of_audit(tracer) -> None:
    put(tracer, Scope.LOGIN, NOBODY, rules("chdir"))
    tracer.attach()
    code = f"open('/proc/self/loginuid', 'w').write('{NOBODY}')\nimport os; os.chdir('/')"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"this kernel lets loginuid not be set: {done.stderr}"
    (event,) = drain(tracer)
    assert (event.uid, event.loginuid) == (0, NOBODY)


def test_a_rule_that_counts_sends_no_event(tracer) -> None:
    put(tracer, Scope.REAL, NOBODY, rules("chdir", flags=Flag.COUNT))
    tracer.attach()
    chdir(4)
    assert drain(tracer) == []
    counters = tracer.books.counters()[NOBODY]
    assert (counters.matched, counters.counted, counters.ring_full) == (4, 4, 0)


@pytest.mark.kernels
def test_events_that_find_the_ring_full_are_counted_and_leave_a_hole() -> None:
    with Tracer(ring_bytes=4096) as tracer:
        put(tracer, Scope.REAL, NOBODY, rules("chdir"))
        tracer.attach()
        code = f"import os; os.setuid({NOBODY}); os.sched_setaffinity(0, [0])\n"
        subprocess.run(
            [sys.executable, "-S", "-c", code + "for _ in range(100): os.chdir('/')"], check=True
        )
        first = drain(tracer)
        counters = tracer.books.counters()[NOBODY]
        assert counters.matched == 100
        assert len(first) + counters.ring_full == 100
        assert counters.ring_full > 0
        chdir(1)
        (last,) = drain(tracer)
        if last.cpu == first[-1].cpu:
            assert last.seq == first[-1].seq + counters.ring_full + 1


def test_a_detached_tracer_sees_nothing(tracer) -> None:
    put(tracer, Scope.REAL, NOBODY, rules("chdir"))
    tracer.attach()
    tracer.detach()
    assert not tracer.attached
    chdir(2)
    assert drain(tracer) == []
    tracer.attach()
    chdir(2)
    assert len(drain(tracer)) == 2


@pytest.mark.kernels
def test_this_process_is_never_traced(tracer) -> None:
    put(tracer, Scope.REAL, Uid(0), rules("chdir"))
    tracer.attach()
    os.chdir(".")
    assert [one for one in drain(tracer) if one.pid == os.getpid()] == []
    subprocess.run(["env", "--chdir=/", "true"], check=True)
    assert len(drain(tracer)) == 1


def test_the_journal_is_left_out_by_its_pid(tracer) -> None:
    put(tracer, Scope.REAL, NOBODY, rules("chdir"))
    tracer.attach()
    code = "import os\ninput()\nfor _ in range(3): os.chdir('/')\nprint(flush=True); input()"
    with subprocess.Popen(
        ["setpriv", "--reuid", str(NOBODY), "--clear-groups", "/usr/bin/python3", "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        tracer.exclude_journal(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdin.write(b"\n")
    assert drain(tracer) == []
    tracer.exclude_journal(0)
    chdir(1)
    assert len(drain(tracer)) == 1


@pytest.mark.kernels
def test_a_range_holds_for_its_uids_and_a_uid_of_its_own_comes_first(tracer) -> None:
    wide = UidRange(Uid(65_500), Uid(65_507))
    plan = ScopePlan({NOBODY: rules("fchdir")}, {wide: rules("chdir")})
    enforce(tracer, plan)
    for uid in (65_499, 65_500, NOBODY, 65_507, 65_508):
        chdir(1, real=uid)
    assert [one.uid for one in drain(tracer)] == [65_500, 65_507]
    assert tracer.read_blocks(Scope.REAL) == plan.blocks()


@pytest.mark.kernels
def test_others_are_those_whom_nothing_else_names(tracer) -> None:
    wide = UidRange(Uid(1), Uid(65_500))
    enforce(tracer, ScopePlan({Uid(0): frozenset()}, {wide: frozenset()}, rules("chdir")))
    for uid in (0, 1, 65_500, NOBODY, 4_000_000_000):
        chdir(1, real=uid)
    assert [one.uid for one in drain(tracer)] == [NOBODY, 4_000_000_000]


def test_others_by_login_uid_are_not_those_who_have_none(tracer) -> None:
    apply(Plan(), Plan({Scope.LOGIN: ScopePlan(others=rules("chdir"))}), tracer, 1)
    code = "import os; print(open('/proc/self/loginuid').read()); os.chdir('/')"
    said = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert int(said.stdout) == 2**32 - 1, "this test must run without a login uid"
    assert drain(tracer) == []


def test_a_hundred_thousand_uids_by_range_cost_a_few_blocks(tracer) -> None:
    plan = ScopePlan({}, {UidRange(Uid(100_000), Uid(200_000)): rules("chdir")})
    enforce(tracer, plan)
    chdir(1, real=150_000)
    assert len(drain(tracer)) == 1
    assert len(tracer.read_blocks(Scope.REAL)) < 34
    assert {one["name"] for one in of_this_test()["map"]} >= {"real_blocks", "classes"}


LOOP = """
import os, select, sys
os.setresuid({uid}, {uid}, {uid})
calls = 0
while not select.select([0], [], [], 0.0001)[0]:
    os.chdir("/")
    calls += 1
print(calls)
"""


def test_a_uid_that_moves_between_ranges_and_its_own_entry_misses_nothing() -> None:
    both, one = rules("chdir", "fchdir"), rules("chdir")
    wide, narrow = UidRange(Uid(65_000), Uid(65_999)), UidRange(Uid(65_501), Uid(65_600))
    shapes = [
        ScopePlan({}, {wide: one}),
        ScopePlan({NOBODY: both}),
        ScopePlan({}, {narrow: both}),
        ScopePlan({}, {wide: one}, both),
        ScopePlan({}, {}, one),
        ScopePlan({}, {narrow: one, UidRange(Uid(70_000), Uid(71_000)): both}),
    ]
    with Tracer(ring_bytes=2**26) as tracer:
        old = enforce(tracer, shapes[0])
        loop = subprocess.Popen(
            [sys.executable, "-S", "-c", LOOP.format(uid=NOBODY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        seen = 0
        for number in range(1, 121):
            old = enforce(tracer, shapes[number % len(shapes)], old, number + 1)
            seen += len([one for one in drain(tracer) if one.uid == NOBODY])
        made = int(loop.communicate("stop\n")[0])
        seen += len([one for one in drain(tracer) if one.uid == NOBODY])
        assert tracer.books.counters()[NOBODY].ring_full == 0
        assert made > 1000
        assert seen == made


@pytest.mark.kernels
def test_a_limit_lets_a_second_s_worth_through_and_counts_the_rest(tracer) -> None:
    put(tracer, Scope.REAL, NOBODY, rules("chdir", limit=10))
    tracer.attach()
    chdir(500)
    events = drain(tracer)
    counters = tracer.books.counters()[NOBODY]
    assert 10 <= len(events) < 100  # 10 at once, and 10 more for each second that it took
    assert counters.matched == 500
    assert counters.limited == 500 - len(events)
    assert [one.seq for one in events if one.cpu == events[0].cpu][:5] == [1, 2, 3, 4, 5]


def test_a_limit_of_one_user_is_not_another_s(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir", limit=5), OTHER: rules("chdir", limit=5)}))
    chdir(50)
    chdir(5, real=OTHER)
    assert len([one for one in drain(tracer) if one.uid == OTHER]) == 5


def test_a_limit_by_login_uid_is_that_of_who_logged_in(tracer) -> None:
    wanted = rules("chdir", limit=5)
    apply(Plan(), Plan({Scope.LOGIN: ScopePlan({NOBODY: wanted, OTHER: wanted})}), tracer, 1)
    for login, times in ((NOBODY, 50), (OTHER, 3)):  # both as root
        code = f"open('/proc/self/loginuid', 'w').write('{login}')\nimport os\n"
        code += f"for _ in range({times}): os.chdir('/')"
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert len([one for one in drain(tracer) if one.loginuid == OTHER]) == 3


def test_inner_maps_that_nobody_uses_are_let_go(tracer) -> None:
    old = enforce(tracer, ScopePlan({}, {UidRange(Uid(5), Uid(9)): rules("chdir")}))
    for number in range(5):
        wanted = rules("fchdir", limit=number + 1)
        old = enforce(tracer, ScopePlan({}, {UidRange(Uid(5), Uid(9)): wanted}), old)
    names = [one["name"] for one in of_this_test()["map"]]
    assert names.count("rule_set") <= 2  # the last may still wait for the kernel to free it
    enforce(tracer, ScopePlan(), old)
    assert tracer.read_blocks(Scope.REAL) == {}


@pytest.mark.kernels
def test_what_is_put_in_is_read_back(tracer) -> None:
    many = {Uid(uid): rules("chdir") for uid in range(1000, 2000)}
    one = rules("openat", "chdir")
    tracer.prepare([rules("chdir"), one], 1)
    tracer.put(Scope.REAL, many)
    tracer.put(Scope.REAL, {Uid(5): one})
    assert tracer.read(Scope.REAL) == {**many, Uid(5): one}
    assert tracer.read(Scope.LOGIN) == {}
    tracer.remove(Scope.REAL, [*many, Uid(77)])  # one that is not in is no error
    assert tracer.read(Scope.REAL) == {Uid(5): one}


def test_a_thousand_users_share_one_inner_map(tracer) -> None:
    tracer.prepare([rules("chdir")], 1)
    tracer.put(Scope.REAL, {Uid(uid): rules("chdir") for uid in range(1000)})
    (outer,) = [one["id"] for one in of_this_test()["map"] if one.get("name") == "real"]
    command = ["bpftool", "--json", "map", "dump", "id", str(outer)]
    entries = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert len(entries) == 1000
    assert len({str(one.get("inner_map_id", one.get("value"))) for one in entries}) == 1


@pytest.mark.kernels
def test_an_inner_map_is_whole_and_frozen() -> None:
    with create_inner_map(rules("chdir", "openat"), 3) as inner:
        with pytest.raises(PermissionDeniedError, match="bpf_map_update_elem: EPERM"):
            inner.update(bytes(4), bytes(8))
        assert len(list(inner.keys(4))) == 2


def test_more_uids_than_an_outer_map_holds_is_an_error_that_says_so(tracer) -> None:
    wanted = rules("chdir")
    tracer.prepare([wanted], 1)
    with pytest.raises(KernelError, match=r"E2BIG .*the map is full: name fewer uids"):
        tracer.put(Scope.REAL, {Uid(uid): wanted for uid in range(262_145)})


def test_an_error_names_the_call_the_errno_and_the_cure() -> None:
    with pytest.raises(PermissionDeniedError, match=r"bpf_x: EPERM \(.*\); CAP_BPF and CAP_PERF"):
        check("bpf_x", -1 * 1)  # EPERM
    with pytest.raises(KernelError, match=r"bpf_x: EMFILE \(.*\); too many open files"):
        check("bpf_x", -24)


def test_no_fd_is_left_open_also_where_loading_fails() -> None:
    def fds() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = fds()
    with Tracer() as tracer:
        put(tracer, Scope.REAL, NOBODY, rules("chdir"))
        tracer.attach()
        assert fds() > before
    tracer.close()  # again is no error
    assert fds() == before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(1, 12):  # wherever on its way it finds no fd
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + room, hard))
        try:
            with contextlib.suppress(KernelError), Tracer():
                pass
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        gc.collect()
        assert fds() == before, f"with room for {room} fds"


def test_a_map_that_nobody_closed_is_told_of() -> None:
    store = InnerMaps(NoStore())
    inner = store.get(rules("chdir"), 1)
    forgotten = MapFd(os.dup(inner.fd))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del forgotten
        gc.collect()
    assert [one.category for one in caught] == [ResourceWarning]
    store.close()
