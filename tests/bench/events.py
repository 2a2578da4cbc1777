"""From the ring to lines in a file: events a second on one cpu, without loss, beside bpftrace.

The tracer is stopped while the events are made, so that they wait in its buffer; then it goes on,
alone on its cpu, and what counts is the time until the last of them is in the file, which is in
memory: it is not the disk that is measured.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench import peers
from bench.peers import Background
from bench.programs import CALLER_CPU, TRACER_CPU, compile_program
from bench.report import Goal, Report, Row
from bench.service import Service, usage_of, wait_until
from harness import public_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EVENTS = 100_000
TURNS = 5
RING_BYTES = 128 * 2**20
UID = 2001
POLICY = f"version: 1\nusers:\n  {UID}: [openat]\n"
SUSTAINED_PART, SUSTAINED_SECONDS = 0.8, 3
_FIELDS = "nsecs, cpu, uid, pid, tid, comm, args->dfd, str(args->filename), args->flags, args->mode"


def _script(words: str, fields: str) -> str:
    probe = "tracepoint:syscalls:sys_enter_openat"
    return f'{probe} /uid == {UID}/ {{ printf("{words}\\n", {fields}); }}'


_BPFTRACE = {
    "bpftrace: printf of the same": _script(
        "%llu %d %d %d %d %s %d %s %x %o %s", f"{_FIELDS}, username"
    ),
    "bpftrace: without the user's name": _script("%llu %d %d %d %d %s %d %s %x %o", _FIELDS),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--events", type=int, default=EVENTS, help="in a turn")
    parser.add_argument("--turns", type=int, default=TURNS, help="of each")


def run(options: argparse.Namespace) -> Report:
    """Measure uidtraced and bpftrace in turns."""
    report = Report("events")
    with (
        public_directory() as programs,
        tempfile.TemporaryDirectory(prefix="uidtraced-bench-", dir="/dev/shm") as memory,
    ):
        burst = Burst(programs)
        directory = Path(memory)
        ours: list[Drained] = []
        theirs: dict[str, list[Drained]] = {what: [] for what in _BPFTRACE}
        why = peers.missing("bpftrace")
        for _ in range(options.turns):
            ours.append(_uidtraced(directory, burst, options.events))
            for what, done in () if why else theirs.items():
                done.append(_bpftrace(directory, burst, options.events, _BPFTRACE[what]))
        rates = [one.per_second for one in ours]
        goals = [Goal(300_000, at_least=True)]
        if not why:
            same = next(iter(theirs.values()))
            best = max(one.per_second for one in same)
            goals.append(Goal(best, at_least=True, said="bpftrace's"))
        report.rows += _rows("uidtraced: ring to JSON lines", ours, *goals)
        for what, done in theirs.items():
            if why:
                report.rows.append(Row.missing(what, "events/s", why))
            else:
                report.rows += _rows(what, done)
        rate = int(SUSTAINED_PART * sorted(rates)[len(rates) // 2])
        report.rows.append(_sustained(directory, burst, rate))
    return report


class Drained:
    """What became of *made* events: how many were *written*, in how long."""

    def __init__(self, made: int, written: int, seconds: float, cpu_seconds: float) -> None:
        self.lost = made - written
        self.per_second = written / seconds
        self.per_cpu_second = written / cpu_seconds


def _rows(what: str, drained: list[Drained], *goals: Goal) -> list[Row]:
    return [
        Row.of(what, "events/s", [one.per_second for one in drained], *goals),
        Row.of("  by CPU time", "events/s", [one.per_cpu_second for one in drained]),
        Row.of("  lost", "events", [one.lost for one in drained], Goal(0, of="max")),
    ]


class Burst:
    """burst.c: makes events."""

    def __init__(self, directory: Path) -> None:
        self._program = compile_program("burst", directory)

    def __call__(self, count: int, rate: int = 0, uid: int = UID) -> None:
        """Make *count* events, *rate* a second (0: as fast as it goes)."""
        words = [str(one) for one in (CALLER_CPU, uid, count, rate)]
        subprocess.run([str(self._program), *words], check=True)


class Lines:
    """Counts the lines of a growing file, at little cost."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.count = 0

    def more(self) -> int:
        """Return how many there are by now."""
        while chunk := self._file.read(1 << 20):
            self.count += chunk.count(b"\n")
        return self.count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _drain(pid: int, output: Path, burst: Burst, events: int) -> Drained:
    """Make *events* while *pid* is stopped, and time how it writes them to *output*."""
    with Lines(output) as lines:
        with _stopped(pid):
            burst(events)
            before, cpu_before = lines.more(), usage_of(pid).cpu_seconds
        started = ended = time.monotonic()
        written = 0
        while written < events and time.monotonic() - ended < 1.0:
            time.sleep(0.005)
            if (found := lines.more() - before) > written:
                written, ended = found, time.monotonic()
        return Drained(events, written, ended - started, usage_of(pid).cpu_seconds - cpu_before)


def _uidtraced(directory: Path, burst: Burst, events: int) -> Drained:
    output = directory / "events.json"
    size = ("--ring-size", str(RING_BYTES))
    with Service(POLICY, *size, output=output) as service:
        burst(100)  # names and the like are looked up once
        with Lines(output) as lines:
            wait_until(lambda: lines.more() > 100, what="the first events")
        return _drain(service.pid, output, burst, events)


def _bpftrace(directory: Path, burst: Burst, events: int, script: str) -> Drained:
    output = directory / "bpftrace.txt"
    command = ["env", "BPFTRACE_PERF_RB_PAGES=16384", "taskset", "--cpu-list", str(TRACER_CPU)]
    command += ["bpftrace", "-q", "-B", "line", "-e", script]  # line by line is its default
    with Background(command, output, lambda: burst(100)).running() as pid:
        with Lines(output) as lines:  # until what asked whether it is there is written
            seen = -1
            while seen != (seen := lines.more()):
                time.sleep(0.1)
        return _drain(pid, output, burst, events)


def _sustained(directory: Path, burst: Burst, rate: int) -> Row:
    """Return how many are lost where events come at *rate* for a while, into the usual ring."""
    output = directory / "events.json"
    made = rate * SUSTAINED_SECONDS
    with Service(POLICY, output=output) as service, Lines(output) as lines:
        start = lines.more()
        burst(made, rate)
        time.sleep(0.5)
        service.close()
        written = lines.more() - start
    what = f"uidtraced: lost, {SUSTAINED_PART:.0%} of that for {SUSTAINED_SECONDS} s"
    return Row.of(what, "events", [max(0, made - written)], Goal(0, of="max"), note=f"{rate:,}/s")
