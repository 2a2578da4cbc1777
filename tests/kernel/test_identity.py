"""The identity: whatever happens, every match is accounted for, and compared with other counts.

What is pending is computed by the daemon as what is left over, so that its sum alone proves
nothing: here the calls are counted by who makes them, the lines by who reads them, and what waits
by reading the ring itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

import pytest

from harness import Daemon, as_user
from tracing import drain, enforce, open_tracer, rules
from uidtraced.accounts import Accounts
from uidtraced.events.clock import WallClock
from uidtraced.events.decode import Decoder, Naming
from uidtraced.kernel.libbpf import MapFd, check, lib
from uidtraced.kernel.ring import EVENT_OFFSETS, EVENT_SIZE, RingReader
from uidtraced.losses import Losses
from uidtraced.policy import call_name
from uidtraced.pump import Pump
from uidtraced.rules import ScopePlan, Uid

PARTS = ("written", "ring_full", "limited", "sink_dropped", "counted", "pending")
LOGS, LIMITED, COUNTED, RESULTS = 64_201, 64_202, 64_203, 64_204
POLICY = f"""version: 1
users:
  {LOGS}: [chdir]
  {LIMITED}: {{syscalls: [chdir], limit: 50/s}}
  {COUNTED}: {{syscalls: [chdir], mode: count}}
  {RESULTS}: {{syscalls: [chdir], at: exit, only: errors}}
"""
CALLS = """
import os, sys
for _ in range(int(sys.argv[1])):
    for path in ("/", "/nowhere"):
        try:
            os.chdir(path)
        except OSError:
            pass
"""
EVERY_CPU = """
import os
for cpu in os.sched_getaffinity(0):
    os.sched_setaffinity(0, [cpu])
    os.chdir("/")
"""
STOPPED_SECONDS = float(os.environ.get("UIDTRACED_STOPPED_SECONDS", "1"))
"""How long the daemon is stopped under load: a minute is for who has one."""


def call(uid: int, pairs: int) -> None:
    as_user(uid, "/usr/bin/python3", "-S", "-c", CALLS, str(pairs))


def holes(events) -> int:
    """Return how many numbers are missing below the last one of each cpu."""
    last: Counter[int] = Counter()
    for one in events:
        last[one["cpu"]] = max(last[one["cpu"]], one["seq"])
    return last.total() - len({(one["cpu"], one["seq"]) for one in events})


def check_sums(daemon: Daemon, made: dict[int, int]) -> dict[int, dict]:
    """Check all that must hold at rest against *made*, the matches by uid; return the users."""
    daemon.at_rest()  # or what comes now finds the ring full too
    as_user(LOGS, "/usr/bin/python3", "-S", "-c", EVERY_CPU)  # so that the last holes show
    made[LOGS] += len(os.sched_getaffinity(0))
    users = daemon.at_rest()
    lost = Counter()
    assert daemon.stop() == 0
    for one in daemon.records.all:
        if one["event"] == "loss":
            lost.update({(one["uid"], cause): one[cause] for cause in PARTS if cause in one})
    written = Counter(one["uid"] for one in daemon.calls())
    for uid, matched in made.items():
        one = users[uid]
        assert one["matched"] == matched == sum(one[part] for part in PARTS), one
        assert one["pending"] == 0
        assert one["written"] == written[uid]
        for cause in ("ring_full", "limited", "sink_dropped"):
            assert lost[uid, cause] == one[cause], (uid, cause)
    assert holes(daemon.calls()) == sum(
        number for (_, cause), number in lost.items() if cause != "limited"
    )
    return users


@pytest.mark.kernels
def test_losses_of_every_kind_at_once_add_up_to_the_last_call() -> None:
    with Daemon(POLICY, "--ring-size", "65536").ready() as daemon:
        daemon.signal(signal.SIGSTOP)
        until = time.monotonic() + STOPPED_SECONDS
        rounds = 0
        while not rounds or time.monotonic() < until:
            for uid in (LOGS, LIMITED, COUNTED, RESULTS):
                call(uid, 1000)
            rounds += 1
        daemon.signal(signal.SIGCONT)
        made = {LOGS: 2000, LIMITED: 2000, COUNTED: 2000, RESULTS: 1000}
        users = check_sums(daemon, {uid: rounds * number for uid, number in made.items()})
    assert users[LOGS]["ring_full"] > 0
    assert users[LIMITED]["limited"] > 0
    assert users[COUNTED]["counted"] == 2000 * rounds


@pytest.mark.kernels
def test_what_is_pending_is_what_is_in_the_ring(pins) -> None:
    with Daemon(POLICY, "--ring-size", "65536", "--pin-dir", str(pins)).ready() as daemon:
        daemon.records.stall()
        daemon.narrow()
        for uid in (LOGS, RESULTS):
            call(uid, 500)
        users = {one["uid"]: one for one in daemon.answer("status")["users"]}
        (events,) = pins.glob("m-*-events")
        with MapFd(check("bpf_obj_get", lib.bpf_obj_get(os.fsencode(events)))) as ring:
            waiting = in_ring(ring, 65536)
        assert waiting[LOGS] > 0
        for uid, matched in ((LOGS, 1000), (RESULTS, 500)):
            one = users[uid]
            assert one["pending"] == waiting[uid], one
            assert one["written"] + one["ring_full"] + waiting[uid] == matched, one
        daemon.records.go_on()
        check_sums(daemon, {LOGS: 1000, RESULTS: 500})


def in_ring(events: MapFd, size: int) -> Counter[int]:
    """Count the events of each uid in the ring *events*, and leave them there."""
    decoder = Decoder(EVENT_OFFSETS, EVENT_SIZE, Naming(call_name, lambda _: None))
    found: Counter[int] = Counter()
    with RingReader(events.fd, size) as reader:
        while (batch := reader.copy())[0]:
            found.update(one.uid for one in decoder.decode(*batch))
    return found


class Picky:
    """An output that takes all but every seventh event, for ever."""

    retry_seconds = 0.01

    def __init__(self) -> None:
        self.taken = []
        self.own = []
        self._refused = []
        self._seen = 0

    def write(self, records) -> bool:
        for one in records:
            self._seen += one.event == "syscall"
            if one.event != "syscall":
                self.own.append(one)
            elif self._seen % 7:
                self.taken.append(one)
            else:
                self._refused.append(one)
        return True

    def flush(self) -> bool:
        return True

    def refused(self):
        found, self._refused = self._refused, []
        return found

    def writable_fd(self) -> None: ...

    def close(self) -> None: ...


def test_what_the_output_refuses_is_told_of_by_user_and_ends_nothing() -> None:
    uids = [Uid(LOGS), Uid(LIMITED)]
    with open_tracer() as tracer:
        enforce(tracer, ScopePlan(dict.fromkeys(uids, rules("chdir"))))
        sink = Picky()
        accounts = Accounts(tracer.books, tracer.ring, str)
        losses = Losses(
            lambda: tracer.books.lost() + accounts.dropped,
            lambda: False,
            accounts,
            str,
            WallClock(),
        )

        async def main() -> None:
            decoder = Decoder(EVENT_OFFSETS, EVENT_SIZE, Naming(call_name, lambda _: None))
            failed = []
            pump = Pump(tracer.ring, decoder.decode, sink, accounts.wrote, failed.append)
            pump.start()
            for uid in uids:
                await asyncio.to_thread(call, uid, 100)
            while tracer.ring.pending_bytes():
                await asyncio.sleep(0.01)
            losses.tell(pump.emit)
            losses.tell(pump.emit)
            pump.stop()
            assert failed == []

        asyncio.run(main())
        found = {one.uid: one for one in accounts.all()}
        for uid in uids:
            one = found[uid]
            taken = sum(event.uid == uid for event in sink.taken)
            assert (one.matched, one.written, one.pending) == (200, taken, 0)
            assert one.sink_dropped == 200 - taken > 0
        told = {one.uid: one.sink_dropped for one in sink.own}
        assert told == {uid: found[uid].sink_dropped for uid in uids}
        assert len(sink.own) == len(uids)
        lines = [{"cpu": one.cpu, "seq": one.seq} for one in sink.taken]
        last = Counter({one["cpu"]: 0 for one in lines})
        for one in lines:
            last[one["cpu"]] = max(last[one["cpu"]], one["seq"])
        assert 400 - len(lines) == sum(told.values())
        assert drain(tracer) == []
        # and the next daemon's accounts know it
        assert {one.uid: one for one in Accounts(tracer.books, tracer.ring, str).all()} == found
