"""The daemon's small parts: pump, lock, names, losses, journald."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Never

import pytest

from fakes import EVENT
from uidtraced.errors import AlreadyRunningError
from uidtraced.journald import find_journald
from uidtraced.kernel.probe import missing_capabilities
from uidtraced.lock import instance_lock
from uidtraced.log import PatientStream
from uidtraced.pump import Pump
from uidtraced.reload import Reloader
from uidtraced.rules import Uid
from uidtraced.users import UserNames
from uidtraced.worker import Worker

if TYPE_CHECKING:
    from pathlib import Path


class PipeRing:
    """A ring whose fd is a pipe's: one byte an event."""

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe()
        os.set_blocking(self.fd, False)
        self._waiting = b""
        self.released = 0

    def add(self, events: bytes) -> None:
        os.write(self._writer, events)

    def add_silently(self, events: bytes) -> None:
        self._waiting += events

    def copy(self) -> tuple[memoryview, memoryview]:
        with contextlib.suppress(BlockingIOError):
            self._waiting += os.read(self.fd, 3)
        return memoryview(self._waiting), memoryview(b"")

    def release(self) -> None:
        self.released += len(self._waiting)
        self._waiting = b""

    def pending_bytes(self) -> int:
        self.copy()
        return len(self._waiting)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._writer)


class Slow:
    """A sink that takes so many records and then waits for `room`."""

    retry_seconds = 0.01

    def __init__(self, room: int) -> None:
        self.room = room
        self.will_refuse = []
        self.waiting: deque[str] = deque()
        self.got: list[str] = []

    def write(self, records) -> bool:
        self.waiting.extend(records)
        return self.flush()

    def flush(self) -> bool:
        while self.waiting and self.room:
            self.got.append(self.waiting.popleft())
            self.room -= 1
        return not self.waiting

    def refused(self):
        found, self.will_refuse = self.will_refuse, []
        return found

    def writable_fd(self) -> None:
        return None

    def close(self) -> None: ...


def run_pump(steps) -> None:
    async def main() -> None:
        ring = PipeRing()
        failed = []
        wrote = []
        refused = []
        sink = Slow(0)
        decode = lambda batch, data: [chr(one) for one in batch]  # noqa: E731

        def note(batch, of_these) -> None:
            wrote.extend(batch)
            refused.extend(of_these)

        pump = Pump(ring, decode, sink, note, failed.append)
        pump.wrote, pump.refused = wrote, refused
        try:
            await steps(pump, ring, sink, failed)
        finally:
            pump.stop()
            ring.close()

    asyncio.run(main())


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_batch_leaves_the_ring_only_once_it_is_written() -> None:
    async def steps(pump, ring, sink, failed) -> None:
        sink.room = 2
        pump.start()
        ring.add(b"abc")
        await until(lambda: sink.got == ["a", "b"])
        assert ring.released == 0
        assert pump.wrote == []
        assert ring.pending_bytes() == 3
        sink.room = 9
        await until(lambda: ring.released == 3)
        assert sink.got == pump.wrote == ["a", "b", "c"]
        assert not failed

    run_pump(steps)


def test_what_comes_fast_wakes_nobody_and_is_written_all_the_same() -> None:
    async def steps(pump, ring, sink, failed) -> None:
        sink.room = 100
        pump.start()
        ring.add(b"first")
        await until(lambda: sink.got == list("first"))
        ring.add_silently(b"more")  # its fd does not say so
        await until(lambda: sink.got == list("firstmore"))
        watched = asyncio.get_running_loop()._selector.get_map()
        await until(lambda: ring.fd in watched)  # quiet again
        ring.add(b"!")
        await until(lambda: sink.got == list("firstmore!"))
        assert ring.released == 10
        assert not failed

    run_pump(steps)


def test_own_records_come_after_the_batch_that_is_being_written() -> None:
    async def steps(pump, ring, sink, failed) -> None:
        pump.start()
        ring.add(b"ab")
        await until(lambda: sink.waiting)
        pump.emit("policy")
        sink.room = 9
        await until(lambda: len(sink.got) == 3)
        assert sink.got == ["a", "b", "policy"]
        pump.emit("at once")
        assert sink.got[-1] == "at once"
        assert not failed

    run_pump(steps)


def test_a_stop_writes_the_rest_or_says_that_it_cannot() -> None:
    async def steps(pump, ring, sink, failed) -> None:
        pump.start()
        ring.add(b"abcdefgh")
        assert not pump.drain_rest(time.monotonic() + 10)
        sink.room = 99
        assert pump.drain_rest(time.monotonic() + 10)
        assert "".join(sink.got) == "abcdefgh"
        assert not failed

    run_pump(steps)


def test_what_ends_the_pump_is_told() -> None:
    async def steps(pump, ring, sink, failed) -> None:
        def broken(records) -> Never:
            raise OSError("gone")

        sink.write = broken
        pump.start()
        ring.add(b"a")
        await until(lambda: failed)
        assert not pump.alive

    run_pump(steps)


def test_what_the_sink_refuses_is_noted_as_such() -> None:
    async def steps(pump, ring, sink, failed) -> None:
        sink.room = 9
        sink.will_refuse = [EVENT]
        pump.start()
        ring.add(b"ab")
        await until(lambda: pump.wrote)
        assert (pump.wrote, pump.refused) == (["a", "b"], [EVENT])
        assert not failed

    run_pump(steps)


def test_while_the_sink_is_stuck_the_last_thousand_own_records_wait(capsys) -> None:
    async def steps(pump, ring, sink, failed) -> None:
        pump.start()
        ring.add(b"a")
        await until(lambda: sink.waiting)
        for number in range(2500):
            pump.emit(number)
        sink.room = 5000
        await until(lambda: len(sink.got) > 1)
        assert sink.got == ["a", *range(1500, 2500)]
        assert "count=1500" in capsys.readouterr().out
        pump.emit("next")
        assert sink.got[-1] == "next"

    run_pump(steps)


@pytest.mark.parametrize("blocking", [True, False])
def test_who_logs_never_waits_for_who_reads(blocking) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, blocking)
    patient = PatientStream(writer)
    lines = [f"line {number}\n" for number in range(5000)]
    for line in lines:  # more than the pipe holds, and nobody reads
        patient.write(line)
    assert not patient.drain(0.01)
    got = b""
    while not got.endswith(lines[-1].encode()):
        got += os.read(reader, 65536)
    assert patient.drain(10)
    said = got.decode().splitlines(keepends=True)
    assert said[-1000:] == lines[-1000:]  # the last ones
    assert len(said) < len(lines)
    os.close(reader)
    patient.write("nobody reads\n")
    assert patient.drain(10)
    os.close(writer)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC])
def test_a_line_for_which_there_is_no_room_now_is_written_later(monkeypatch, number) -> None:
    write, failures, got = os.write, [number, number], []

    def scarce(fd: int, data: bytes) -> int:
        if failures:
            raise OSError(failures.pop(), "scarce")
        got.append(data)
        return len(data)

    reader, writer = os.pipe()
    patient = PatientStream(writer)
    monkeypatch.setattr(os, "write", scarce)
    patient.write("a line\n")
    assert patient.drain(10)
    monkeypatch.setattr(os, "write", write)
    assert (failures, got) == ([], [b"a line\n"])
    os.close(reader)
    os.close(writer)


def test_one_instance_holds_the_lock(tmp_path) -> None:
    with instance_lock(tmp_path / "run"):
        expected = f"uidtraced runs already, as pid {os.getpid()} "
        with pytest.raises(AlreadyRunningError, match=expected), instance_lock(tmp_path / "run"):
            pass
    with instance_lock(tmp_path / "run"):
        assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"


def test_a_name_service_that_hangs_costs_little_and_answers_later() -> None:
    answer = threading.Event()

    def lookup(uid: Uid) -> str | None:
        answer.wait()
        return f"user{uid}"

    names = UserNames(lookup)
    started = time.monotonic()
    assert [names(Uid(uid)) for uid in range(500)] == [None] * 500
    assert time.monotonic() - started < 5  # 500 waits of 50 ms would be 25 s
    answer.set()
    names._asked[Uid(499)].result(10)
    assert [names(Uid(uid)) for uid in (0, 499)] == ["user0", "user499"]
    names.close()


def test_a_name_that_comes_late_is_waited_for_while_few_are_late() -> None:
    """A busy machine may take its time, but a service that is always slow stops nothing."""
    asked = threading.Semaphore(0)

    def lookup(uid: Uid) -> str | None:
        asked.acquire(timeout=0.2 if uid < 3 else 1.5)  # nobody releases it
        return f"user{uid}"

    names = UserNames(lookup)
    assert [names(Uid(uid)) for uid in range(3)] == ["user0", "user1", "user2"]
    assert names(Uid(3)) is None  # what is left of the patience, some 1.4 s
    names._asked[Uid(3)].result(10)
    assert names(Uid(4)) is None  # 50 ms by now, and what was earned since: else it had come
    names._asked[Uid(4)].result(10)
    assert [names(Uid(uid)) for uid in (3, 4)] == ["user3", "user4"]
    names.close()


def test_a_worker_passes_results_and_errors_on() -> None:
    worker = Worker("test")
    assert worker.submit(lambda: 3).result(10) == 3
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 / 0).result(10)
    worker.close(10)
    assert not worker._thread.is_alive()


@pytest.mark.parametrize("turns", range(6))
def test_a_stop_ends_the_reloader_wherever_it_is(tmp_path, turns) -> None:
    class Idle:
        def look(self) -> None:
            return None

    async def main() -> None:
        reloader = Reloader(tmp_path / "p.yaml", Idle(), lambda _: None, lambda: None)
        task = asyncio.create_task(reloader.run())
        await asyncio.sleep(0)
        reloader._wake.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert task in done
        reloader.close()

    asyncio.run(main())


def process(proc: Path, pid: int | str, cgroup: str) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(cgroup)


def test_the_journal_is_known_by_its_cgroup(tmp_path) -> None:
    process(tmp_path, "self", "12:cpu:/x\n0::/machine/c1/system.slice/uidtraced.service\n")
    process(tmp_path, 7, "0::/user.slice/u1.slice/system.slice/systemd-journald.service\n")
    process(tmp_path, 8, "0::/system.slice/ssh.service\n")
    assert find_journald(tmp_path) is None
    process(tmp_path, 9, "0::/machine/c1/system.slice/systemd-journald.service\n")
    assert find_journald(tmp_path) == 9


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_no_group_that_a_user_names_is_taken_for_the_journal(tmp_path, end) -> None:
    """A group of his own holds a process of root's where he runs a setuid program in it."""
    process(tmp_path, "self", "0::/system.slice/uidtraced.service\n")
    process(tmp_path, 7, f"0::/user.slice/x{end}0::/system.slice/systemd-journald.service\n")
    assert find_journald(tmp_path) is None


def test_the_journal_is_found_under_cgroup_v1(tmp_path) -> None:
    process(tmp_path, "self", "1:name=systemd:/user.slice/session\n")
    process(tmp_path, 9, "2:cpu:/\n1:name=systemd:/system.slice/systemd-journald.service\n")
    assert find_journald(tmp_path) == 9


def test_capabilities_are_read_as_the_kernel_writes_them() -> None:
    assert missing_capabilities("CapEff:\t0000000000000000\n") == ["CAP_BPF", "CAP_PERFMON"]
    assert missing_capabilities(f"CapEff:\t{1 << 39:016x}\n") == ["CAP_PERFMON"]
    assert missing_capabilities(f"CapEff:\t{1 << 39 | 1 << 38:016x}\n") == []
    assert missing_capabilities(f"CapEff:\t{1 << 21:016x}\n") == []
