"""An upgrade: a daemon with other BPF programs, or another layout, takes the place of the last."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from harness import Daemon, altered, as_user, check_seq, looping

HEAD = "version: 1\nusers:\n"
LARGE = ("--ring-size", str(2**27))
LOOP = """
import os, select
calls = 0
while not select.select([0], [], [], 0)[0]:
    for _ in range(20):
        calls += 1
        try:
            os.fchdir(10_000_000 + calls)
        except OSError:
            pass
    select.select([], [], [], 0.002)
print(calls)
"""
CHDIRS = "import os\nfor _ in range({}): os.chdir('/')"
OTHER_PROGRAMS = """
import uidtraced.kernel.kept as kept, uidtraced.kernel.objects as objects
kept.object_digest = objects.object_digest = lambda: "f" * 16
"""
OTHER_LAYOUT = """
import uidtraced.kernel.kept as kept, uidtraced.kernel.objects as objects
import uidtraced.kernel.inner as inner
kept.LAYOUT = objects.LAYOUT = inner.LAYOUT = "e" * 16
"""
KILLED_AT = """
import os, signal
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
import uidtraced.kernel.predecessor as predecessor
"""


def numbers_to(last: int) -> set[int]:
    """Return the numbers, less 10,000,000, that LOOP called fchdir with."""
    return set(range(1, last + 1))


def kill(daemon: Daemon) -> None:
    daemon.signal(signal.SIGKILL)
    daemon.wait()


def links(pins) -> set[str]:
    return {path.name for path in pins.iterdir() if path.name.startswith("l-")}


@pytest.mark.kernels
def test_programs_of_another_version_take_over_without_a_hole(pins) -> None:
    """Each call has a number of its own, one user's calls are logged with their results."""
    policy = HEAD + "  64601: [fchdir]\n  64602: {syscalls: [fchdir], at: exit}\n"
    arguments = ("--pin-dir", str(pins), *LARGE)
    with contextlib.ExitStack() as stack:
        with Daemon(policy, *arguments).ready() as daemon:
            stops = {uid: stack.enter_context(looping(uid, LOOP)) for uid in (64601, 64602)}
            for uid in stops:
                daemon.records.wait(lambda one, uid=uid: one.get("uid") == uid)
            kill(daemon)
            records = list(daemon.calls())
        old = links(pins)
        with Daemon(policy, *arguments, command=altered(OTHER_PROGRAMS)).ready() as daemon:
            assert not old & links(pins)
            assert len(links(pins)) >= 3  # more on kernels that have more to attach to
            for uid in stops:
                start = len(daemon.records.all)
                daemon.records.wait(lambda one, uid=uid: one.get("uid") == uid, start)
            made = {uid: numbers_to(stop()) for uid, stop in stops.items()}
            daemon.at_rest()
            assert daemon.stop() == 0
            assert daemon.records.all[0]["lost"] == 0
            records += daemon.calls()
    for uid, numbers in made.items():
        seen = {(one["cpu"], one["seq"]): one["args"]["fd"] for one in records if one["uid"] == uid}
        times = Counter(seen.values())
        assert {number - 10_000_000 for number in times} == numbers
        # at the moment of the change a cpu may log one call twice, never not at all
        assert times.total() <= len(numbers) + (os.cpu_count() or 1)
    results = {(one["ret"], one["errno"]) for one in records if one["uid"] == 64602}
    assert results == {(-9, "EBADF")}


def test_a_daemon_that_is_killed_while_it_takes_over_is_followed_without_a_hole(pins) -> None:
    policy = HEAD + "  64601: [fchdir]\n"
    arguments = ("--pin-dir", str(pins), *LARGE)
    dies = OTHER_PROGRAMS + KILLED_AT + "objects.Objects.keep = kill"
    with contextlib.ExitStack() as stack:
        with Daemon(policy, *arguments).ready() as daemon:
            stop = stack.enter_context(looping(64601, LOOP))
            daemon.records.wait(lambda one: one.get("uid") == 64601)
            kill(daemon)
            records = list(daemon.calls())
        with Daemon(policy, *arguments, command=altered(dies)) as daemon:
            assert daemon.wait() == -signal.SIGKILL
        with Daemon(policy, *arguments, command=altered(OTHER_PROGRAMS)).ready() as daemon:
            numbers = numbers_to(stop())
            daemon.at_rest()
            assert len(links(pins)) == 1
            assert daemon.stop() == 0
            records += daemon.calls()
            assert {one["event"] for one in daemon.records.all} == {"gap", "policy", "syscall"}
    times = Counter({(one["cpu"], one["seq"]): one["args"]["fd"] for one in records}.values())
    assert {number - 10_000_000 for number in times} == numbers
    assert times.total() <= len(numbers) + 2 * (os.cpu_count() or 1)


def chdirs(count: int) -> None:
    as_user(64603, sys.executable, "-S", "-c", CHDIRS.format(count))


@pytest.mark.parametrize("killed", [False, True])
def test_a_new_layout_begins_anew_and_says_how_many_events_nobody_will_read(pins, killed) -> None:
    """More calls than the ring holds, and one under way; the next daemon may be killed at once."""
    policy = HEAD + "  64603: [chdir]\n  64604: {syscalls: [clock_nanosleep], at: exit}\n"
    arguments = ("--pin-dir", str(pins), "--ring-size", "65536")
    sleep = ["setpriv", "--reuid", "64604", "--clear-groups", "sleep", "3600"]
    with Daemon(policy, *arguments).ready() as daemon:
        chdirs(100)
        daemon.at_rest()
        kill(daemon)
        assert len(daemon.calls()) == 100
    died = time.time()
    old = {path.name for path in pins.iterdir()}
    with subprocess.Popen(sleep) as sleeper:
        chdirs(3000)
        if killed:
            dies = OTHER_LAYOUT + KILLED_AT + "predecessor.Predecessor.end = kill"
            with Daemon(policy, *arguments, command=altered(dies)) as daemon:
                assert daemon.wait() == -signal.SIGKILL
        with Daemon(policy, *arguments, command=altered(OTHER_LAYOUT)).ready() as daemon:
            gap = next(one for one in daemon.records.all if one.get("anew"))
            assert (gap["event"], gap["lost"]) == ("gap", 3001)
            assert 0 < gap["duration_ns"] / 1e9 < time.time() - died + 5
            assert not old & {path.name for path in pins.iterdir()}
            chdirs(100)
            users = daemon.at_rest()
            assert users[64603]["matched"] == users[64603]["written"] == 100
            assert daemon.status()["healthy"]
            assert daemon.stop() == 0
        check_seq(daemon.calls())
        assert daemon.records.all[-1]["revision"] == 1
        sleeper.kill()
    assert list(pins.iterdir()) == []


def test_a_new_layout_misses_no_call_of_the_moment_of_the_change(pins) -> None:
    policy = HEAD + "  64601: [fchdir]\n"
    arguments = ("--pin-dir", str(pins), *LARGE)
    with contextlib.ExitStack() as stack:
        with Daemon(policy, *arguments).ready() as daemon:
            stop = stack.enter_context(looping(64601, LOOP))
            daemon.records.wait(lambda one: one.get("uid") == 64601)
            kill(daemon)
            before = {one["args"]["fd"] for one in daemon.calls()}
        with Daemon(policy, *arguments, command=altered(OTHER_LAYOUT)).ready() as daemon:
            daemon.records.wait(lambda one: one.get("uid") == 64601)
            numbers = numbers_to(stop())
            daemon.at_rest()
            assert daemon.stop() == 0
            gap = daemon.records.all[0]
            after = {one["args"]["fd"] - 10_000_000 for one in daemon.calls()}
    written = {number - 10_000_000 for number in before} | after
    missing = numbers - written
    # what the predecessor's ring holds: all that is missing, in one piece, and a little more
    assert 0 < len(missing) <= gap["lost"]
    assert after == set(range(min(after), max(numbers) + 1))


def test_a_bad_policy_and_a_new_layout_end_it_all(pins, tmp_path) -> None:
    arguments = ("--pin-dir", str(pins))
    with Daemon(HEAD + "  64603: [chdir]\n", *arguments).ready() as daemon:
        kill(daemon)
    bad = HEAD + "  64603: [chdirr]\n"
    with Daemon(bad, *arguments, command=altered(OTHER_LAYOUT)) as daemon:
        assert daemon.wait() == 78
    assert list(pins.iterdir()) == []
