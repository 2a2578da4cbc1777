"""Outputs that are slow, stuck, full or gone: memory stays bounded and the policy stays current."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import harness
from harness import COMMAND, Daemon, as_user, own_run

HEAD = "version: 1\nusers:\n"
FLOOD = "import os\nfor _ in range({}): os.chdir('/')"


def flood(uid: int, calls: int) -> None:
    as_user(uid, "/usr/bin/python3", "-S", "-c", FLOOD.format(calls))


def wait_for(condition) -> None:
    deadline = time.monotonic() + harness.WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def memory_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0])


def test_while_nobody_reads_events_or_log_the_policy_stays_current_and_memory_bounded() -> None:
    with Daemon(HEAD + "  1000: [chdir]\n", "--ring-size", "65536").ready() as daemon:
        daemon.records.stall()
        daemon.log.stall()
        daemon.narrow()
        flood(1000, 5000)
        before = memory_kib(daemon.pid)
        for number in range(60):  # each is a line of the log, and a record
            revision = number + 2
            daemon.path.write_text(HEAD + f"  1000: [chdir]\n  {2000 + number}: [chdir]\n")
            wait_for(lambda due=revision: daemon.answer("status")["policy"]["revision"] == due)
        flood(2059, 10)
        flood(1000, 50_000)
        assert memory_kib(daemon.pid) < before + 8192
        users = {one["uid"]: one for one in daemon.answer("status")["users"]}
        assert users[1000]["matched"] == 55_000
        assert users[1000]["pending"] > 0
        assert users[2059]["matched"] == 10
        daemon.records.go_on()
        daemon.log.go_on()
        users = daemon.at_rest()
        assert users[1000]["written"] + users[1000]["ring_full"] == 55_000
        assert daemon.stop() == 0
        revisions = [one["revision"] for one in daemon.records.all if one["event"] == "policy"]
        assert revisions == list(range(1, 62))
        lost = [one for one in daemon.records.all if one["event"] == "loss" and one["uid"] == 1000]
        assert sum(one["ring_full"] for one in lost) == users[1000]["ring_full"]
        assert [line["event"] for line in daemon.log.all].count("policy_applied") == 61


@pytest.fixture
def small_disk(tmp_path):
    """A file system that holds 64 KiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def start(policy: Path, stdout) -> subprocess.Popen:
    command = [*COMMAND, "run", "--policy", str(policy), "--output", "json"]
    return subprocess.Popen(own_run(command), stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_waited_for_and_no_line_is_cut(small_disk, tmp_path_factory) -> None:
    policy = tmp_path_factory.mktemp("policy") / "p.yaml"
    policy.write_text(HEAD + "  1000: [chdir]\n")
    out = small_disk / "out"
    with out.open("wb") as file, start(policy, file) as daemon:
        assert daemon.stderr is not None
        log = harness.Lines(daemon.stderr)
        try:
            log.wait(lambda line: line["event"] == "tracing")
            flood(1000, 2000)
            log.wait(lambda line: line["event"] == "output_is_full")
            policy.write_text(HEAD + "  1000: [chdir]\n  1001: [chdir]\n")
            log.wait(lambda line: line["event"] == "policy_applied" and line["revision"] == 2)
            subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
            flood(1001, 10)
            wait_for(lambda: b'"uid":1001' in out.read_bytes())
        finally:
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(harness.WAIT_SECONDS) == 0
        log.join()
    records = [json.loads(line) for line in out.read_bytes().splitlines()]
    calls = [one["uid"] for one in records if one["event"] == "syscall"]
    assert (calls.count(1000), calls.count(1001)) == (2000, 10)


def test_a_reader_that_is_gone_ends_it_with_a_word_and_leaves_nothing(tmp_path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(HEAD + "  1000: [chdir]\n")
    reader, writer = os.pipe()
    with start(policy, writer) as daemon:
        os.close(writer)
        assert daemon.stderr is not None
        log = harness.Lines(daemon.stderr)
        log.wait(lambda line: line["event"] == "tracing")
        os.close(reader)
        flood(1000, 1)
        assert daemon.wait(harness.WAIT_SECONDS) == 1
        log.join()
    assert "standard output: Broken pipe" in log.all[-1]["problem"]


def test_a_stop_says_how_many_events_a_stuck_output_did_not_take() -> None:
    with Daemon(HEAD + "  1000: [chdir]\n", "--ring-size", "65536").ready() as daemon:
        daemon.records.stall()
        daemon.narrow()
        flood(1000, 5000)
        (user,) = daemon.answer("status")["users"]
        assert user["pending"] > 0
        daemon.signal(signal.SIGTERM)
        left = daemon.log.wait(lambda line: line["event"] == "events_left_unwritten")
        daemon.records.go_on()
        assert daemon.wait() == 0
        assert left["count"] == user["pending"]
