"""A limit is a token bucket of each uid: what it lets through, and that all the rest is counted."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter

import pytest

import harness
from callers import Callers, caller_program
from tracing import drain, enforce, open_tracer, rules
from uidtraced.kernel.ring import EVENT_SIZE
from uidtraced.rules import ScopePlan, Uid

FIRST, SECOND = Uid(64_601), Uid(64_602)
LIMIT = 20_000
RECORD = EVENT_SIZE + 16
"""Bytes in the ring of a chdir("/")."""
CPUS = os.cpu_count() or 1


@pytest.fixture(scope="module")
def program():
    with caller_program() as path:
        yield path


def test_on_all_cpus_at_once_a_limit_is_exact_and_what_is_past_it_is_counted(program) -> None:
    with open_tracer(ring_bytes=2**26) as tracer, contextlib.ExitStack() as stack:
        enforce(tracer, ScopePlan(dict.fromkeys((FIRST, SECOND), rules("chdir", limit=LIMIT))))
        callers = Callers(stack, program)
        callers.start(FIRST, processes=CPUS)
        callers.start(SECOND, rate=2000)
        deadline = time.monotonic() + harness.WAIT_SECONDS
        # the bucket, and two seconds
        while tracer.ring.pending_bytes() < 3 * LIMIT * RECORD:
            assert time.monotonic() < deadline
        made = callers.stop()
        counters = tracer.books.counters()
        passed = Counter(one.uid for one in drain(tracer))
    for uid in (FIRST, SECOND):
        one = counters[uid]
        assert (one.matched, one.limited, one.ring_full) == (made[uid], made[uid] - passed[uid], 0)
    # only in the beginning may each further cpu find a bucket that is full
    most = LIMIT * (1 + callers.seconds[FIRST]) + CPUS - 1
    assert 2 * LIMIT < passed[FIRST] <= most
    assert counters[FIRST].limited > 0
    assert counters[SECOND].limited == 0
