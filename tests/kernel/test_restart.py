"""One daemon after another: what the kernel holds goes on, and nothing is lost between."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

import harness
from harness import COMMAND, Daemon, altered, as_user, looping
from uidtraced.kernel.libbpf import MapFd, check, ffi, lib

HEAD = "version: 1\nusers:\n"
LARGE = ("--ring-size", str(2**27))  # half of it is for what a loop makes between two daemons
LOOP = f"""
import os, select
calls = 0
while not select.select([0], [], [], 0)[0]:
    for _ in range(50):
        os.chdir("/")
        calls += 1
    select.select([], [], [], {0.002 * harness.PATIENCE})
print(calls)
"""


def chdirs(records, uid: int = 1000):
    return [one for one in records if one["event"] == "syscall" and one["uid"] == uid]


def kill(daemon: Daemon) -> None:
    daemon.signal(signal.SIGKILL)
    daemon.wait()


def check_whole(records) -> None:
    """Check that each cpu's numbers are all there, and twice only where a mark says so."""
    seen = Counter()
    marked = set()
    for one in records:
        if one["event"] == "syscall":
            seen[one["cpu"], one["seq"]] += 1
            if one.get("repeated"):
                marked.add((one["cpu"], one["seq"]))
    for cpu in {cpu for cpu, _ in seen}:
        numbers = sorted(seq for of, seq in seen if of == cpu)
        assert numbers == list(range(1, len(numbers) + 1)), f"cpu {cpu}"
    assert {key for key, times in seen.items() if times > 1} <= marked


def held(pins: Path) -> set[int]:
    """Return the bytes that users are said to have in the ring, but for none."""
    size = ffi.sizeof("struct shares")
    (path,) = pins.glob("m-*-shares")
    with MapFd(check("bpf_obj_get", lib.bpf_obj_get(os.fsencode(path)))) as shares:
        numbers = struct.unpack(f"={size // 4}I", shares.lookup(bytes(4), size))
    half = len(numbers) // 2
    assert sum(numbers[:half]) > 0
    return {sent - taken for sent, taken in zip(numbers[:half], numbers[half:], strict=True)} - {0}


@pytest.mark.kernels
def test_a_daemon_that_was_killed_is_followed_without_a_loss(pins) -> None:
    policy = HEAD + '  1000: [chdir]\n  "2000-2999": [chdir]\n'
    arguments = ("--pin-dir", str(pins), *LARGE)
    records = []
    rounds = 12 if harness.PATIENCE == 1 else 3
    with contextlib.ExitStack() as stack:
        for number in range(rounds):
            with Daemon(policy, *arguments).ready() as daemon:
                if not number:
                    stop = stack.enter_context(looping(1000, LOOP))
                else:
                    first = daemon.records.wait(lambda one: one["event"] == "policy")
                    gap = daemon.records.all[0]
                    assert (gap["event"], gap["lost"]) == ("gap", 0)
                    assert 0 < gap["duration_ns"] < 60e9
                    counts = [first[one] for one in ("created", "swapped", "deleted", "unchanged")]
                    assert (first["event"], first["revision"]) == ("policy", 1)
                    assert counts == [0, 0, 0, 2]
                time.sleep(random.random() * 0.3)
                kill(daemon)
                records += daemon.records.all
            as_user(2001, "env", "--chdir=/", "true")  # while there is no daemon
        with Daemon(policy, *arguments).ready() as daemon:
            made = stop()
            daemon.at_rest()
            assert held(pins) == set()
            assert daemon.stop() == 0
            records += daemon.records.all
    assert len({(one["cpu"], one["seq"]) for one in chdirs(records)}) == made
    assert len({(one["cpu"], one["seq"]) for one in chdirs(records, 2001)}) == rounds
    check_whole(records)
    assert list(pins.iterdir()) == []  # a clean stop leaves nothing


def test_the_accounts_go_on_over_restarts(pins) -> None:
    policy = HEAD + "  1000: [chdir]\n  1002: {syscalls: [chdir], mode: count}\n"
    code = "import os\nfor _ in range(300): os.chdir('/')"
    for number in range(1, 4):
        with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
            for uid in (1000, 1002):
                as_user(uid, "/usr/bin/python3", "-S", "-c", code)
            daemon.records.wait(lambda one: one["event"] == "syscall")
            users = {one["uid"]: one for one in settled(daemon)["users"]}
            assert users[1000]["matched"] == users[1000]["written"] == 300 * number
            assert users[1002]["matched"] == users[1002]["counted"] == 300 * number
            kill(daemon)
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        assert daemon.stop() == 0


def settled(daemon: Daemon):
    """Return the status once nothing is pending."""
    deadline = time.monotonic() + harness.WAIT_SECONDS
    while True:
        status = daemon.status()
        if not any(one["pending"] for one in status["users"]):
            return status
        assert time.monotonic() < deadline, status


def test_a_policy_that_changed_meanwhile_is_compared_with_the_kernel(pins) -> None:
    policy = HEAD + "  1000: [chdir]\n  1001: [chdir]\n"
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        daemon.edit(policy + "  1002: [fchdir]\n")
        kill(daemon)
    changed = HEAD + '  1000: [chdir]\n  1002: [fchdir, kill]\n  "*": [uname]\n'
    with Daemon(changed, "--pin-dir", str(pins)).ready() as daemon:
        record = daemon.records.wait(lambda one: one["event"] == "policy")
        keys = ("revision", "created", "swapped", "deleted", "unchanged")
        assert tuple(record[key] for key in keys) == (3, 1, 1, 1, 1)
        as_user(1000, "env", "--chdir=/", "true")
        event = daemon.records.wait(lambda one: one["event"] == "syscall" and one["uid"] == 1000)
        assert event["revision"] == 1  # its rule set has been in force since
        assert daemon.stop() == 0


SLOW = """
import time
from uidtraced.keeper import Keeper
Keeper.start = lambda self: time.sleep(3600)
"""


def test_what_waits_is_written_while_the_policy_is_still_read(pins) -> None:
    """Which may take long, and may end the daemon each time."""
    policy = HEAD + "  1000: [chdir]\n"
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        kill(daemon)
    as_user(1000, "env", "--chdir=/", "true")
    with Daemon(policy, "--pin-dir", str(pins), command=altered(SLOW)) as daemon:
        daemon.records.wait(lambda one: one["event"] == "syscall")
        assert [one["event"] for one in daemon.records.all] == ["gap", "syscall"]
        kill(daemon)
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        user = daemon.at_rest()[1000]
        assert (user["matched"], user["written"]) == (1, 1)
        assert daemon.stop() == 0


def test_a_stop_while_the_policy_is_still_read_loses_nothing(pins) -> None:
    policy = HEAD + "  1000: [chdir]\n"
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        kill(daemon)
    with Daemon(policy, "--pin-dir", str(pins), command=altered(SLOW)) as daemon:
        daemon.records.wait(lambda one: one["event"] == "gap")
        daemon.signal(signal.SIGSTOP)
        as_user(1000, "env", "--chdir=/", "true")
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
            daemon.signal(number)
        assert daemon.wait() == 0
        assert [one["event"] for one in daemon.records.all] == ["gap", "syscall"]


def test_a_bad_policy_at_a_restart_leaves_in_force_what_was(pins) -> None:
    policy = HEAD + "  1000: [chdir]\n"
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        kill(daemon)
    with Daemon(HEAD + "  1000: [chdirr]\n", "--pin-dir", str(pins)).ready() as daemon:
        assert [line["event"] for line in daemon.log.all].count("policy_refused") == 1
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall" and one["uid"] == 1000)
        assert daemon.edit(HEAD + "  1000: [chdir, kill]\n")["revision"] == 2
        assert daemon.stop() == 0


def test_what_the_ring_could_not_hold_is_in_the_gap_and_by_user(pins) -> None:
    policy = HEAD + "  1000: [chdir]\n"
    code = "import os\nfor _ in range(5000): os.chdir('/')"
    arguments = ("--pin-dir", str(pins), "--ring-size", "65536")
    with Daemon(policy, *arguments).ready() as daemon:
        kill(daemon)
    as_user(1000, "/usr/bin/python3", "-S", "-c", code)
    with Daemon(policy, *arguments).ready() as daemon:
        daemon.records.wait(lambda one: one["event"] == "policy")
        gap, loss, *_ = daemon.records.all
        assert (gap["event"], loss["event"], loss["uid"]) == ("gap", "loss", 1000)
        assert gap["lost"] == loss["ring_full"] > 0
        assert daemon.stop() == 0
        assert len(chdirs(daemon.records.all)) + gap["lost"] == 5000


@pytest.mark.kernels
def test_calls_under_way_when_the_daemon_dies_are_told_with_their_results(pins) -> None:
    policy = HEAD + "  1000: {syscalls: [pause, clock_nanosleep], at: exit}\n"
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        sleeper = subprocess.Popen(["setpriv", "--reuid", "1000", "--clear-groups", "sleep", "3"])
        time.sleep(0.5)
        kill(daemon)
    with Daemon(policy, "--pin-dir", str(pins)).ready() as daemon:
        event = daemon.records.wait(lambda one: one["event"] == "syscall")
        assert (event["syscall"], event["ret"]) == ("clock_nanosleep", 0)
        assert event["duration_ns"] > 2e9
        sleeper.wait()
        assert daemon.stop() == 0


def test_requests_of_io_uring_are_seen_between_two_daemons(pins, public) -> None:
    program = harness.compile_c(public, Path(__file__).with_name("ring.c").read_text())
    public.chmod(0o777)
    policy = HEAD + "  1000: [mkdirat, unlinkat]\n"
    with Daemon(policy, "--pin-dir", str(pins)).ready() as first:
        kill(first)
    subprocess.run([program, "1000"], cwd=public, check=True, capture_output=True)
    with Daemon(policy, "--pin-dir", str(pins)).ready() as second:
        second.records.wait(lambda one: one.get("args", {}).get("flag") == "AT_REMOVEDIR")
        assert second.stop() == 0
    events = [one for one in second.records.all if one["event"] == "syscall"]
    assert [one["syscall"] for one in events] == ["mkdirat", *["unlinkat"] * 4]
    assert {one["via"] for one in events} == {"io_uring"}


@pytest.mark.parametrize("place", ["tmpfs", "open"])
def test_a_directory_that_will_not_do_is_told(pins, tmp_path, place) -> None:
    directory = pins if place == "open" else tmp_path / "pins"
    if place == "open":
        directory.mkdir(mode=0o755)
    path = tmp_path / "p.yaml"
    path.write_text(HEAD)
    command = [*COMMAND, "run", "--policy", str(path), "--output", "json"]
    done = subprocess.run(
        harness.own_run([*command, "--pin-dir", str(directory)]), capture_output=True, text=True
    )
    (line,) = [json.loads(one) for one in done.stderr.splitlines()]
    expected = {"tmpfs": "is not in a bpffs; mount -t bpf", "open": "chmod 0700 it"}[place]
    assert (done.returncode, expected in line["problem"]) == (1, True), line
