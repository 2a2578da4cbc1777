"""Each call goes by the rules of that moment, whatever was found for others or before."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import pytest

from tracing import NOBODY, drain, rules
from uidtraced.rules import Block, Scope, Uid

CALLER = f"""
import os, sys
open("/proc/self/loginuid", "w").write("{NOBODY}")
os.sched_setaffinity(0, [0])
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
for line in sys.stdin:
    os.chdir("/")
    print(flush=True)
"""


@contextmanager
def caller():
    """Yield what lets one process, on one cpu, call chdir once more."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-u", "-c", CALLER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def call() -> None:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "\n"

    with process:
        yield call
        process.stdin.close()


@pytest.mark.kernels
@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("by_block", [False, True])
def test_the_next_call_goes_by_the_rules_of_now(tracer, scope, by_block) -> None:
    listed, unlisted = rules("chdir"), rules("fchdir")
    key = Block(Uid(65_500), 30) if by_block else NOBODY
    put, remove = (
        (tracer.put_blocks, tracer.remove_blocks) if by_block else (tracer.put, tracer.remove)
    )
    tracer.prepare([listed, unlisted], 1)
    tracer.want([(rule.abi, rule.nr) for rule in listed])
    tracer.use_scopes([(scope, by_block)])
    tracer.attach()
    with caller() as call:

        def is_logged() -> bool:
            call()
            call()  # what the first one found holds for the second
            found = len(drain(tracer))
            assert found in (0, 2)
            return found == 2

        assert not is_logged()
        put(scope, {key: listed})
        assert is_logged()
        put(scope, {key: unlisted})
        assert not is_logged()
        put(scope, {key: listed})
        assert is_logged()
        tracer.use_scopes([])
        assert not is_logged()
        tracer.use_scopes([(scope, by_block)])
        assert is_logged()
        remove(scope, [key])
        assert not is_logged()


@pytest.mark.kernels
def test_what_was_found_for_one_is_not_for_another(tracer) -> None:
    # more callers and calls than a cpu remembers, so that some of them share a place
    uids = range(60_000, 60_040)
    names = ("chdir", "fchdir", "umask", "getpgid", "getsid", "getpriority", "getuid", "dup")
    wanted = {Uid(uid): rules(*names[: uid % len(names)]) for uid in uids}
    tracer.prepare(wanted.values(), 1)
    tracer.want([(rule.abi, rule.nr) for rule in rules(*names)])
    tracer.use_scopes([(Scope.REAL, False)])
    tracer.put(Scope.REAL, wanted)
    tracer.attach()
    numbers = {rule.nr: name for name in names for rule in rules(name)}
    code = f"""
import ctypes, os
os.sched_setaffinity(0, [0])
call = ctypes.CDLL(None).syscall
for _ in range(2):
    for uid in {list(uids)}:
        os.setresuid(uid, 0, 0)
        for number in {list(numbers)}:
            call(number, 0, 0, 0)
        os.setresuid(0, 0, 0)
"""
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    expected = {(uid, numbers[rule.nr]): 2 for uid, rule_set in wanted.items() for rule in rule_set}
    assert Counter((one.uid, one.syscall) for one in drain(tracer)) == expected
