"""Results of calls: `at: exit` and `only: errors`, and calls whose end nobody sees."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from msgspec import UNSET

from harness import Daemon, attached, compile_c
from tracing import EXIT, NOBODY, OTHER, Blocked, drain, enforce, native, open_tracer, rules
from uidtraced.events.cgroups import find_hierarchy
from uidtraced.events.line import strace_line
from uidtraced.rules import Flag, ScopePlan

RESULTS = {"on_sys_exit", "on_thread_end", "on_exec"}
ERRORS = Flag.LOG | Flag.EXIT


def run(code: str, uid: int = NOBODY) -> subprocess.CompletedProcess:
    code = f"import os, time, signal\nos.setresuid({uid}, {uid}, {uid})\n{code}"
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, check=False)


def results(events, call):
    return [(one.ret, one.errno) for one in events if one.syscall == call]


@pytest.mark.kernels
def test_a_result_has_a_number_an_error_s_name_and_a_duration(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir", "clock_nanosleep", flags=EXIT)}))
    run("os.chdir('/')\ntime.sleep(0.02)\nos.chdir('/nowhere')")
    good, slept, bad = drain(tracer)
    assert (good.ret, good.errno, good.args) == (0, None, {"filename": "/"})
    assert 0 < good.duration_ns < slept.duration_ns
    assert slept.duration_ns >= 20_000_000
    assert (bad.ret, bad.errno) == (-2, "ENOENT")
    assert strace_line(good) == 'chdir("/") = 0'
    assert strace_line(bad) == 'chdir("/nowhere") = -1 ENOENT (No such file or directory)'
    assert tracer.books.counters()[NOBODY].matched == 3


@pytest.mark.kernels
def test_only_errors_are_sent_and_only_they_match(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir", flags=ERRORS)}))
    code = (
        "for n in range(50):\n try: os.chdir('/' if n % 5 else f'/nowhere{n}')\n except OSError: 0"
    )
    run(code)
    events = drain(tracer)
    assert [one.args["filename"] for one in events] == [f"/nowhere{n}" for n in range(0, 50, 5)]
    assert {(one.ret, one.errno) for one in events} == {(-2, "ENOENT")}
    assert tracer.books.counters()[NOBODY].matched == 10


def test_errors_can_be_counted_without_events(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir", flags=Flag.COUNT | Flag.EXIT)}))
    run("for n in range(9):\n try: os.chdir('/' if n % 3 else '/nowhere')\n except OSError: 0")
    assert drain(tracer) == []
    counters = tracer.books.counters()[NOBODY]
    assert (counters.matched, counters.counted) == (3, 3)


def test_a_limit_is_of_the_events_not_of_the_calls(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir", flags=ERRORS, limit=10)}))
    run("for n in range(300):\n try: os.chdir('/' if n % 3 else '/nowhere')\n except OSError: 0")
    events, counters = drain(tracer), tracer.books.counters()[NOBODY]
    assert 10 <= len(events) < 100
    assert counters.matched == 100
    assert counters.limited == 100 - len(events)


def test_what_waits_for_results_is_attached_only_while_a_rule_wants_it(tracer) -> None:
    plan = enforce(tracer, ScopePlan({NOBODY: rules("chdir")}))
    assert not attached() & RESULTS
    plan = enforce(tracer, ScopePlan({NOBODY: rules("chdir", flags=EXIT)}), plan)
    assert attached() >= {"on_sys_exit", "on_thread_end"}
    plan = enforce(tracer, ScopePlan({NOBODY: rules("chdir")}), plan)
    assert not attached() & RESULTS
    plan = enforce(tracer, ScopePlan({OTHER: rules("chdir", flags=ERRORS)}), plan)
    assert attached() & RESULTS
    enforce(tracer, ScopePlan(), plan)
    assert not attached() & RESULTS


def test_a_call_that_was_under_way_when_its_rule_came_has_no_event(tracer) -> None:
    with Blocked() as blocked:
        enforce(tracer, ScopePlan({NOBODY: rules("read", "chdir", flags=EXIT)}))
        blocked.release()
        assert [one.syscall for one in drain(tracer)] == ["chdir"]


@pytest.mark.kernels
def test_a_call_under_way_when_the_last_such_rule_goes_is_sent_without_result(tracer) -> None:
    plan = enforce(tracer, ScopePlan({NOBODY: rules("read", flags=EXIT)}))
    with Blocked() as blocked:
        drain(tracer)
        plan = enforce(tracer, ScopePlan({NOBODY: rules("chdir")}), plan)
        (event,) = drain(tracer)
        assert (event.syscall, event.args["fd"]) == ("read", 0)
        assert (event.ret, event.errno) == (None, None)
        assert strace_line(event).endswith(" = ?")
        blocked.release()
        assert [one.syscall for one in drain(tracer)] == ["chdir"]
    counters = tracer.books.counters()[NOBODY]
    assert counters.ring_full == 0


def test_a_call_under_way_when_its_rule_goes_ends_as_ever_while_others_have_one(tracer) -> None:
    plan = ScopePlan({NOBODY: rules("read", flags=EXIT), OTHER: rules("read", flags=EXIT)})
    old = enforce(tracer, plan)
    with Blocked() as blocked:
        drain(tracer)
        enforce(tracer, ScopePlan({OTHER: rules("read", flags=EXIT)}), old)
        assert drain(tracer) == []
        blocked.release()
        assert results(drain(tracer), "read") == [(2, None)]


def test_calls_under_way_are_sent_when_tracing_ends(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("read", flags=EXIT)}))
    with Blocked() as blocked, Blocked() as other:
        drain(tracer)
        tracer.detach()
        assert results(drain(tracer), "read") == [(None, None)] * 2
        blocked.release()
        other.release()
        assert drain(tracer) == []


@pytest.mark.kernels
def test_a_call_under_way_that_has_much_data_keeps_all_of_it(tracer) -> None:
    wanted = rules("chdir", native("symlink", "symlinkat"), flags=EXIT)
    enforce(tracer, ScopePlan({NOBODY: wanted}))
    name = "/x" * 2000
    run(f"for _ in range(20):\n try: os.symlink('{name}', '{name}2')\n except OSError: 0")
    events = drain(tracer)
    assert {(one.args["oldname"], one.args["newname"]) for one in events} == {(name, name + "2")}
    assert len(events) == 20
    assert {one.errno for one in events} == {"ENOENT"}


@pytest.mark.kernels
def test_exit_and_execve_have_the_results_they_can_have(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("execve", "exit_group", flags=EXIT)}))
    run("os.execv('/bin/true', ['true', 'x'])")
    first, last = drain(tracer)
    assert (first.syscall, first.ret, first.args["argv"]) == ("execve", 0, ["true", "x"])
    assert (last.syscall, last.ret, last.errno) == ("exit_group", None, None)
    assert strace_line(last) == "exit_group(0) = ?"


@pytest.mark.kernels
def test_a_process_that_is_killed_inside_a_call_has_an_event_of_it(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("read", flags=EXIT)}))
    with Blocked() as blocked:
        drain(tracer)
        os.kill(blocked.process.pid, signal.SIGKILL)
        blocked.process.wait()
        assert results(drain(tracer), "read") == [(-512, "ERESTARTSYS")]


def test_calls_for_which_there_is_no_room_are_sent_at_once_without_result() -> None:
    with open_tracer(calls_waited_for=2) as tracer:
        enforce(tracer, ScopePlan({NOBODY: rules("read", flags=EXIT)}))
        with contextlib.ExitStack() as stack:
            blocked = [stack.enter_context(Blocked()) for _ in range(4)]
            at_once = results(drain(tracer), "read")
            assert at_once.count((None, None)) >= 2
            for one in blocked:
                one.release()
            ended = results(drain(tracer), "read")
        assert (2, None) in ended
        counters = tracer.books.counters()[NOBODY]
        assert counters.matched == len(at_once) + len(ended)


LOOP = """
import os, select
os.setresuid({uid}, {uid}, {uid})
calls = 0
while not select.select([0], [], [], 0.0001)[0]:
    for path in ("/", "/nowhere"):
        try:
            os.chdir(path)
        except OSError:
            pass
        calls += 1
print(calls)
"""


@pytest.mark.kernels
def test_rules_that_come_and_go_lose_no_call_and_send_none_twice() -> None:
    with open_tracer(ring_bytes=2**26) as tracer:
        wanted = [rules("chdir", flags=EXIT), rules("chdir")]
        old = enforce(tracer, ScopePlan({NOBODY: wanted[0]}))
        loops = [
            subprocess.Popen(
                [sys.executable, "-S", "-c", LOOP.format(uid=NOBODY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        events = []
        for number in range(1, 101):
            old = enforce(tracer, ScopePlan({NOBODY: wanted[number % 2]}), old, number + 1)
            events += drain(tracer)
        made = sum(int(loop.communicate("stop\n")[0]) for loop in loops)
        events += drain(tracer)
        assert made > 1000
        assert len(events) == made
        counters = tracer.books.counters()[NOBODY]
        assert (counters.matched, counters.ring_full) == (made, 0)
        for cpu in {one.cpu for one in events}:
            numbers = [one.seq for one in events if one.cpu == cpu]
            assert numbers == list(range(1, len(numbers) + 1))
        assert {one.ret for one in events} <= {0, -2, None, UNSET}
        assert {0, -2, UNSET} <= {one.ret for one in events}


REWRITES = """
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64] = "fifo";

static void *rewrite(void *unused)
{
	usleep(50000);
	strcpy(path, "something else");
	close(open("fifo", O_WRONLY));
	return unused;
}

int main(void)
{
	pthread_t thread;

	mkfifo("fifo", 0600);
	pthread_create(&thread, NULL, rewrite, NULL);
	open(path, O_RDONLY); /* waits for the other end */
	pthread_join(thread, NULL);
	return 0;
}
"""


@pytest.mark.parametrize("flags", [EXIT, Flag.LOG | Flag.SUCCESS])
def test_a_path_that_is_rewritten_while_the_call_runs_is_shown_as_it_was_passed(
    tracer, public, flags
) -> None:
    program = compile_c(public, REWRITES, "-pthread")
    public.chmod(0o777)
    enforce(tracer, ScopePlan({NOBODY: rules("openat", flags=flags)}))
    command = ["setpriv", "--reuid", str(NOBODY), "--clear-groups", str(program)]
    subprocess.run(command, check=True, cwd=public)
    names = [one.args["filename"] for one in drain(tracer)]
    assert names.count("fifo") == 2
    assert "something else" not in names


UNTOUCHED = """
#include <fcntl.h>
#include <sys/mman.h>

static const char path[1 << 18] __attribute__((aligned(4096))) = "/nowhere/untouched";

int main(void)
{
	madvise((void *)path, sizeof(path), MADV_DONTNEED);
	open(path, O_RDONLY);
	open((void *)1, O_RDONLY);
	return 0;
}
"""


@pytest.mark.kernels
@pytest.mark.parametrize("flags", [EXIT, Flag.LOG | Flag.SUCCESS])
def test_a_string_that_is_not_in_memory_is_said_to_be_unreadable_or_read_later(
    tracer, public, flags
) -> None:
    program = compile_c(public, UNTOUCHED)
    enforce(tracer, ScopePlan({NOBODY: rules("openat", flags=flags)}))
    command = ["setpriv", "--reuid", str(NOBODY), "--clear-groups", str(program)]
    subprocess.run(command, check=True)
    untouched, bad = drain(tracer)[-2:]
    assert (bad.args["filename"], bad.unreadable) == ("0x1", ["filename"])
    if flags & Flag.EXIT:
        assert (untouched.args["filename"], untouched.unreadable) == ("/nowhere/untouched", UNSET)
    else:
        assert untouched.args["filename"].startswith("0x")
        assert untouched.unreadable == ["filename"]


def test_the_parent_is_told(tracer) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir")}))
    run("os.chdir('/')")
    (event,) = drain(tracer)
    assert event.ppid == os.getpid()


@pytest.mark.parametrize("more", [0, 1])
def test_a_vector_of_256_strings_is_whole(tracer, more) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("execve")}))
    given = ["true", *map(str, range(255 + more))]
    run(f"os.execv('/bin/true', {given})")
    (event,) = drain(tracer)
    assert event.args["argv"] == given[:256]
    assert event.truncated == (["argv"] if more else UNSET)


def test_the_control_group_is_told() -> None:
    with open("/proc/self/mountinfo", "rb") as file:
        root = os.fsdecode(find_hierarchy(file.read()))
    group = f"{root}/uidtraced-test"
    os.mkdir(group)
    try:
        join = f"open('{group}/cgroup.procs', 'w').write('0')"
        code = f"{join}\nimport os\nos.setresuid({NOBODY}, {NOBODY}, {NOBODY})\nos.chdir('/')"
        with Daemon(f"version: 1\nusers:\n  {NOBODY}: [chdir]\n").ready() as daemon:
            subprocess.run([sys.executable, "-S", "-c", code], check=True)
            assert daemon.stop() == 0
            assert [one["cgroup"] for one in daemon.calls()] == ["/uidtraced-test"]
    finally:
        os.rmdir(group)
