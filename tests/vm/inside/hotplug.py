"""A cpu that goes away and comes back under load: only for a machine that is there for it."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from harness import Daemon, check_seq

ONLINE = Path("/sys/devices/system/cpu/cpu1/online")
USER = 1000
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


@contextlib.contextmanager
def looping():
    """Run chdir in a loop; yields the process, which ends and says how many when told to."""
    command = ["setpriv", "--reuid", str(USER), "--clear-groups", "/usr/bin/python3", "-S", "-c"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, LOOP], **pipes) as loop:
        try:
            yield loop
        finally:
            loop.kill()


@pytest.mark.kernels
def test_no_event_is_lost_where_a_cpu_goes_and_comes_back() -> None:
    policy = f"version: 1\nusers:\n  {USER}: [chdir]\n"
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon(policy, "--ring-size", str(2**26)).ready())
        loops = [stack.enter_context(looping()) for _ in range(3)]

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
        made = sum(int(loop.communicate("stop\n")[0]) for loop in loops)
        user = daemon.at_rest()[USER]
        assert daemon.stop() == 0
    assert (user["matched"], user["written"]) == (made, made)
    assert len(daemon.calls()) == made
    check_seq(daemon.calls())
