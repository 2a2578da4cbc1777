"""Who floods takes nothing from others: nobody may have more in the ring than is free."""

from __future__ import annotations

import contextlib
import mmap
import struct
import subprocess
import sys
import time
from collections import Counter

import pytest

import harness
from callers import Callers, caller_program
from fakes import event
from harness import Daemon
from tracing import drain, enforce, open_tracer, rules
from uidtraced.accounts import Accounts
from uidtraced.errors import KernelError
from uidtraced.kernel.books import NO_UID
from uidtraced.kernel.libbpf import ffi
from uidtraced.kernel.ring import EVENT_SIZE, RingReader
from uidtraced.rules import DEFAULT_FLAGS, Flag, ScopePlan, Uid

QUIET, FLOODS = Uid(64_500), Uid(64_501)
SECONDS = 4
"""Of a flood: the ring is full after a tenth of one."""
RECORD = EVENT_SIZE + 16
"""Bytes in the ring of a chdir("/"): header, event, part, rounded up."""
RING = 2**20
FULL = RING // RECORD
"""Calls that would fill the ring."""


@pytest.fixture(scope="module")
def program():
    with caller_program() as path:
        yield path


def is_of_a_flood(line: str) -> bool:
    return '"event":"syscall"' in line and f'"uid":{QUIET},' not in line


@pytest.mark.parametrize("flooders", [1, 3])
def test_a_flood_takes_nothing_from_a_thousand_calls_a_second(program, flooders) -> None:
    floods = range(FLOODS, FLOODS + flooders)
    policy = "version: 1\nusers:\n" + "".join(f"  {uid}: [chdir]\n" for uid in (QUIET, *floods))
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon(policy, skip=is_of_a_flood)).ready()
        callers = Callers(stack, program)
        callers.start(QUIET, rate=1000)
        for uid in floods:
            callers.start(uid, processes=2)
        deadline = time.monotonic() + 3 * harness.WAIT_SECONDS
        while len(daemon.records.all) < SECONDS * 1000:
            assert time.monotonic() < deadline, daemon.answer("status")
            time.sleep(0.1)
        made = callers.stop()
        users = daemon.at_rest()
        assert daemon.stop() == 0
    quiet = [one for one in daemon.calls() if one["uid"] == QUIET]
    assert len(quiet) == made[QUIET] == users[QUIET]["matched"] == users[QUIET]["written"]
    for cpu in {one["cpu"] for one in quiet}:
        numbers = [one["seq"] for one in quiet if one["cpu"] == cpu]
        assert numbers == sorted(set(numbers))
    told = Counter()
    for one in daemon.records.all:
        if one["event"] == "loss":
            told[one["uid"]] += one["ring_full"]
    for uid in floods:
        one = users[uid]
        assert one["matched"] == made[uid] == one["written"] + one["ring_full"]
        assert one["ring_full"] == told.pop(uid) > 0
    assert told == {}
    assert daemon.records.skipped == sum(users[uid]["written"] for uid in floods)


def flood(uid: int, calls: int) -> None:
    code = f"import os\nos.setuid({uid})\nfor _ in range({calls}): os.chdir('/')"
    subprocess.run(["/usr/bin/python3", "-S", "-c", code], check=True)


def test_with_nobody_reading_a_flood_fills_half_and_who_comes_after_it_has_room() -> None:
    with open_tracer(ring_bytes=RING) as tracer:
        enforce(tracer, ScopePlan(dict.fromkeys((FLOODS, QUIET), rules("chdir"))))
        for _ in range(3):  # what was taken is free again, to the last byte
            flood(FLOODS, FULL)
            held = tracer.ring.pending_bytes()
            assert RING // 2 < held <= RING // 2 + RECORD
            flood(QUIET, 500)
            flood(FLOODS, 100)
            by_uid = Counter(one.uid for one in drain(tracer))
            assert by_uid == {FLOODS: held // RECORD, QUIET: 500}
        assert tracer.books.counters()[QUIET].ring_full == 0
        assert tracer.books.counters()[FLOODS].ring_full == 3 * (FULL + 100 - held // RECORD)


def test_each_of_several_floods_finds_room_and_the_next_one_too() -> None:
    uids = [Uid(uid) for uid in range(64_501, 64_506)]
    with open_tracer(ring_bytes=RING) as tracer:
        enforce(tracer, ScopePlan(dict.fromkeys(uids, rules("chdir"))))
        free = RING
        for uid in uids:
            before = tracer.ring.pending_bytes()
            flood(uid, FULL)
            added = tracer.ring.pending_bytes() - before
            assert free // 2 < added <= free // 2 + RECORD
            free -= added


@pytest.mark.parametrize("wrong", [-RING, RING])
def test_what_a_daemon_that_died_left_wrong_is_put_right_by_the_next(wrong) -> None:
    """One that dies amid a release has counted records as taken that the next one takes again."""
    with open_tracer(ring_bytes=RING) as tracer:
        enforce(tracer, ScopePlan(dict.fromkeys((FLOODS, QUIET), rules("chdir"))))
        flood(FLOODS, 100)
        maps = tracer._objects.maps
        with (
            mmap.mmap(maps["shares"].fd, ffi.sizeof("struct shares")) as memory,
            ffi.from_buffer("struct shares *", memory) as shares,
        ):
            for share in range(len(shares.taken)):
                shares.taken[share] = (shares.taken[share] + wrong) % 2**32
        with RingReader(maps["events"].fd, RING, shares_fd=maps["shares"].fd):
            flood(FLOODS, FULL)
            assert RING // 2 < tracer.ring.pending_bytes() <= RING // 2 + RECORD
            flood(QUIET, 500)
            assert tracer.books.counters()[QUIET].ring_full == 0


def test_who_has_more_uids_than_there_are_counters_ends_nothing() -> None:
    """As root of a container may, under a policy of everybody."""
    uids = range(100_000, 170_000)
    with open_tracer() as tracer:
        enforce(tracer, ScopePlan(dict.fromkeys((QUIET, FLOODS), rules("chdir"))))
        flood(QUIET, 5)
        for uid in uids[:65_534]:
            while not tracer.books.has_counters(uid):  # the kernel gets memory for them bit by bit
                with contextlib.suppress(KernelError):
                    tracer.books.make_room(Uid(uid))
        flood(FLOODS, 5)
        accounts = Accounts(tracer.books, tracer.ring, str)
        accounts.wrote(drain(tracer))
        accounts.wrote([event(uid=uid) for uid in uids])
        found = {uid: row.written for uid, row in tracer.books.accounts().items()}
        assert found.pop(QUIET) == 5
        assert found.pop(NO_UID) == 5 + 70_000 - 65_534
        assert found == dict.fromkeys(uids[:65_534], 1)
        matched = {one.uid: one.matched for one in accounts.all()}
        assert matched == {QUIET: 5, NO_UID: 5}


WAITS = """
import os, sys, threading
os.setresuid({uid}, {uid}, {uid})
reader, writer = os.pipe()
threads = [threading.Thread(target=os.read, args=(reader, 1)) for _ in range({threads})]
for one in threads:
    one.start()
os.write(1, b"x")
os.read(0, 1)
os.write(writer, b"x" * {threads})
"""


LONG = "import os\nos.setuid({})\nfor _ in range(20): os.chdir('/' + './' * 400); os.chdir('/')"


def test_who_has_many_calls_under_way_leaves_places_to_others() -> None:
    wanted = rules("read", "chdir", flags=DEFAULT_FLAGS | Flag.EXIT | Flag.SUCCESS)
    with open_tracer() as tracer:
        tracer.want_results(wanted=True)
        enforce(tracer, ScopePlan(dict.fromkeys((QUIET, FLOODS), wanted)))
        under_way = tracer._objects.maps["under_way"]
        quiet, floods = (int(uid).to_bytes(4, sys.byteorder) for uid in (QUIET, FLOODS))
        most = struct.pack("=ii", 65_536 // 4, 0)
        under_way.update(floods, most)
        for uid in (FLOODS, QUIET):
            with subprocess.Popen(
                ["/usr/bin/python3", "-S", "-c", WAITS.format(uid=uid, threads=20)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as process:
                process.stdout.read(1)
                process.communicate(b"x")
        events = drain(tracer)
        assert {one.ret for one in events if one.uid == FLOODS} == {None}
        assert [one.ret for one in events if one.uid == QUIET].count(1) >= 20
        assert None not in {one.ret for one in events if one.uid == QUIET}
        assert under_way.lookup(floods, 8) == most
        assert under_way.lookup(quiet, 8) == bytes(8)

        under_way.update(floods, struct.pack("=ii", 0, 4096 // 4))  # the same of long ones
        for uid in (FLOODS, QUIET):
            subprocess.run(["/usr/bin/python3", "-S", "-c", LONG.format(uid)], check=True)
        told = Counter((one.uid, one.ret) for one in drain(tracer) if one.syscall == "chdir")
        assert told == {(FLOODS, None): 20, (FLOODS, 0): 20, (QUIET, 0): 40}
        assert under_way.lookup(floods, 8) == struct.pack("=ii", 0, 4096 // 4)
        assert under_way.lookup(quiet, 8) == bytes(8)
