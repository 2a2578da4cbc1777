"""A cpu that goes away and a wall clock that jumps: only for a machine that is there for it."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from pathlib import Path

import pytest

from harness import Daemon, check_seq, looping

ONLINE = Path("/sys/devices/system/cpu/cpu1/online")
USER, LIMITED = 1000, 1001
POLICY = "version: 1\nusers:\n  {}: [chdir]\n  {}: {{syscalls: [chdir], limit: {}/s}}\n"
YEAR = 365 * 86_400
JUMPS = (3600.0, -7200.0, 30.0 * YEAR, -30.0 * YEAR + 3600)
NEAR_SECONDS = 600.0
LOOP = """
import os, select
calls = 0
while not select.select([0], [], [], 0)[0]:
    for _ in range(20):
        os.chdir("/")
        calls += 1
    select.select([], [], [], 0.02)
print(calls)
"""


@pytest.mark.kernels
def test_no_event_is_lost_where_a_cpu_goes_and_comes_back() -> None:
    policy = f"version: 1\nusers:\n  {USER}: [chdir]\n"
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon(policy, "--ring-size", str(2**26)).ready())
        loops = [stack.enter_context(looping(USER, LOOP)) for _ in range(3)]

        def wait_for_events(cpu: int) -> None:
            start = len(daemon.records.all)
            daemon.records.wait(lambda one: one.get("cpu") == cpu, start)

        wait_for_events(1)
        for _ in range(3):
            ONLINE.write_text("0")
            assert ONLINE.read_text() == "0\n"
            wait_for_events(0)
            ONLINE.write_text("1")
            wait_for_events(1)
        made = sum(stop() for stop in loops)
        user = daemon.at_rest()[USER]
        assert daemon.stop() == 0
    assert (user["matched"], user["written"]) == (made, made)
    assert len(daemon.calls()) == made
    check_seq(daemon.calls())


def seconds(stamp: str) -> float:
    return dt.datetime.fromisoformat(stamp).timestamp()


@pytest.mark.kernels
def test_where_the_wall_clock_jumps_nothing_is_lost_and_times_follow() -> None:
    with Daemon(POLICY.format(USER, LIMITED, 5), "--ring-size", str(2**26)).ready() as daemon:
        with looping(USER, LOOP) as stop, looping(LIMITED, LOOP) as stop_limited:
            for number, jump in enumerate(JUMPS, start=6):
                time.clock_settime(time.CLOCK_REALTIME, time.time() + jump)
                start = len(daemon.records.all)
                daemon.records.wait(  # the batch that was on its way may have the time before
                    lambda one: abs(seconds(one["ts"]) - time.time()) < NEAR_SECONDS, start
                )
                record = daemon.edit(POLICY.format(USER, LIMITED, number))
                assert abs(seconds(record["ts"]) - time.time()) < NEAR_SECONDS
                assert 0 < record["duration_ns"] < NEAR_SECONDS * 1e9
                for uid in (USER, LIMITED):
                    start = len(daemon.records.all)
                    daemon.records.wait(lambda one, uid=uid: one.get("uid") == uid, start)
            made = {USER: stop(), LIMITED: stop_limited()}
        users = daemon.at_rest()
        status = daemon.status()
        assert daemon.stop() == 0
    assert {uid: users[uid]["matched"] for uid in made} == made
    assert users[USER]["written"] == made[USER]
    one = users[LIMITED]
    assert one["limited"] > 0
    assert one["written"] + one["limited"] == made[LIMITED]
    assert status["healthy"]
    assert {"tamper", "gap"}.isdisjoint(record["event"] for record in daemon.records.all)
    check_seq(daemon.calls())
