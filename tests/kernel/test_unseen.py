"""Calls whose end the programs did not see, since others detached them or a daemon died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from harness import Daemon, altered
from tracing import EXIT, NOBODY, Blocked, drain, enforce, rules
from uidtraced.rules import ScopePlan

LONG = "/" + "/".join(["a" * 90] * 9)
CALLS = f"""
import os, sys
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
for line in sys.stdin:
    try:
        os.chdir(line.rstrip())
    except OSError:
        pass
    print(flush=True)
"""


class Caller:
    """A process of NOBODY that calls chdir where it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", CALLS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def chdir(self, *paths: str) -> None:
        for path in paths:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
            self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.communicate()


def taken(tracer) -> int:
    """Return how many places calls under way have, as the kernel counts them by uid."""
    return sum(any(value) for _, value in tracer._objects.maps["under_way"].items(4, 8))


def told(events):
    return [(one.args["filename"], one.ret, one.errno) for one in events if one.syscall == "chdir"]


@pytest.mark.kernels
@pytest.mark.parametrize("first", ["/", LONG])
def test_calls_whose_end_was_not_seen_are_told_of_without_a_result(tracer, first) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("chdir", flags=EXIT)}))
    with Caller() as caller:
        os.close(tracer._objects._links["on_sys_exit"])
        caller.chdir(first, LONG, "/")
        (wrong,) = tracer.guard.attach_again()
        assert (wrong.of, wrong.found) == ("on_sys_exit", "detached")
        unseen = told(drain(tracer))
        assert sorted(unseen) == sorted((path, None, None) for path in (first, LONG, "/"))
        caller.chdir(*[LONG] * 3, "/")
    assert told(drain(tracer)) == [*[(LONG, -2, "ENOENT")] * 3, ("/", 0, None)]
    assert taken(tracer) == 0
    assert tracer.books.counters()[NOBODY].matched == 7


DIES = """
import os, signal
from uidtraced.kernel.tracer import Tracer
Tracer._give_up = lambda self: os.kill(os.getpid(), signal.SIGKILL)
"""
POLICY = "version: 1\nusers:\n  {uid}: {{syscalls: [read], at: {at}}}\n"


def is_blocked(one) -> bool:
    """Whether it is the call that Blocked is inside of."""
    return one.get("syscall") == "read" and (one["args"]["fd"], one["args"]["count"]) == (0, 99)


@pytest.mark.kernels
def test_a_daemon_gives_up_what_one_before_it_died_over(pins) -> None:
    """The programs that see ends were detached, and calls under way not given up yet."""
    arguments = ("--pin-dir", str(pins))
    waits, does_not = (POLICY.format(uid=NOBODY, at=at) for at in ("exit", "enter"))
    with Daemon(waits, *arguments, command=altered(DIES)).ready() as dies, Blocked() as blocked:
        dies.write(does_not)
        assert dies.wait() == -signal.SIGKILL
        with Daemon(does_not, *arguments).ready() as daemon:
            read = daemon.records.wait(is_blocked)
            assert (read["ret"], read["errno"]) == (None, None)
            daemon.edit(waits)
            blocked.release()
            assert daemon.stop() == 0
            assert len(list(filter(is_blocked, daemon.calls()))) == 1
