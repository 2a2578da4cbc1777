"""The service under real systemd: its start, its memory and CPU at rest, and the real journal.

The machine is the one that the tests of the service boot (tests/system/rig.py).
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rig
from bench.events import UID
from bench.programs import CALLER_CPU, compile_program
from bench.report import Goal, Report, Row
from bench.service import Usage, usage_of
from harness import public_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

STARTS = 10
TURNS = 3
EVENTS = 20_000
REST_SECONDS = 10
POLICY = f"version: 1\nusers:\n  {UID}: [openat]\n"
_UNLIMITED = "LogRateLimitIntervalSec=1s\nLogRateLimitBurst=10000000\n"
_SENDER = "/usr/local/bin/sender /run/entries"
_NEW_FILE = "journalctl --rotate --vacuum-files=1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--starts", type=int, default=STARTS, help="of the service")
    parser.add_argument("--turns", type=int, default=TURNS, help="of writing to the journal")
    parser.add_argument("--events", type=int, default=EVENTS, help="in such a turn")


def run(options: argparse.Namespace) -> Report:
    """Boot a machine and measure in it."""
    report = Report("weight")
    with _machine() as machine:
        machine.run("tee", "/etc/uidtrace.yaml", stdin=POLICY)
        starts = [_start_ms(machine) for _ in range(options.starts)]
        report.rows.append(Row.of("systemctl start to READY", "ms", starts, Goal(700)))
        report.rows += _at_rest(machine)
        report.rows += _journal(machine, options.turns, options.events)
        loaded = _usage(machine).rss_kib / 1024
        report.rows.append(Row.of("resident memory after that", "MiB", [loaded]))
    return report


@contextlib.contextmanager
def _machine() -> Iterator[rig.Machine]:
    with rig.overlay(rig.prepared_tree()) as tree, public_directory() as directory:
        rig.copy_checkout(tree)
        rig.chroot(tree, f"/{rig.SOURCE}/script/install")
        for name in ("burst", "sender"):
            shutil.copy(compile_program(name, directory, "-static"), tree / "usr/local/bin")
        settings = tree / "etc/systemd/journald.conf.d/bench.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text("[Journal]\nStorage=persistent\nSystemMaxUse=2G\n")
        machine = rig.Machine(tree)
        try:
            yield machine
        finally:
            machine.stop()


def _start_ms(machine: rig.Machine) -> float:
    machine.shell("systemctl stop uidtraced; systemctl reset-failed; systemctl start uidtraced")
    # of systemd's own times the first is that at which the start began, the second that of READY
    names = ("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    shown = machine.show(*names)
    began_us, ready_us = (int(shown[name]) for name in names)
    return (ready_us - began_us) / 1000


def _usage(machine: rig.Machine) -> Usage:
    pid = int(machine.show("MainPID")["MainPID"])
    return usage_of(pid, Path(f"/proc/{machine.pid}/root/proc"))


def _at_rest(machine: rig.Machine) -> list[Row]:
    time.sleep(2)
    before = _usage(machine)
    time.sleep(REST_SECONDS)
    after = _usage(machine)
    cpu = 100 * (after.cpu_seconds - before.cpu_seconds) / REST_SECONDS
    wakes = (after.switches - before.switches) / REST_SECONDS
    return [
        Row.of("resident memory at rest", "MiB", [after.rss_kib / 1024], Goal(70)),
        Row.of("CPU at rest", "%", [cpu], Goal(0.05, said="0.0")),
        Row.of("wake-ups at rest, all threads", "1/s", [wakes], Goal(1)),
    ]


def _journal(machine: rig.Machine, turns: int, events: int) -> list[Row]:
    """Have uidtraced and sender.c write the same entries to the journal, in turns."""
    ours, theirs = [], []
    # a unit of its own, with the same exception from journald's limit
    unit = f"[Service]\nType=oneshot\n{_UNLIMITED}ExecStart={_SENDER}\n"
    machine.run("tee", "/run/systemd/system/sender.service", stdin=unit)
    machine.run("systemctl", "daemon-reload")
    match = "--unit=uidtraced UIDTRACE_SYSCALL=openat"
    for turn in range(turns):
        mark = f"BENCH_TURN={turn}"
        machine.shell(_NEW_FILE)
        machine.run("/usr/local/bin/burst", *(str(one) for one in (CALLER_CPU, UID, events, 0)))
        ours.append(_entries_a_second(machine, events, *match.split()))
        # the export format is that of entries; what journald adds begins with a line below
        edit = f"sed -e /^_/d -e 's/^$/{mark}\\n/' >/run/entries"
        machine.shell(f"journalctl --output=export {match} | {edit}; {_NEW_FILE}")
        machine.run("systemctl", "start", "sender")
        theirs.append(_entries_a_second(machine, events, mark))
    parts = [100 * one / other for one, other in zip(ours, theirs, strict=True)]
    return [
        Row.of("journal: uidtraced", "events/s", ours),
        Row.of("journal: a C program, same entries", "events/s", theirs),
        Row.of("journal: uidtraced, of what C reaches", "%", parts, Goal(95, at_least=True)),
    ]


def _entries_a_second(machine: rig.Machine, count: int, *match: str) -> float:
    """Wait for *count* entries and return how fast journald took them, by its own clock."""
    deadline = time.monotonic() + rig.WAIT_SECONDS
    command = ("journalctl", "--quiet", "--output=short-unix", *match)
    while True:
        machine.run("journalctl", "--sync")
        times = [line.split(maxsplit=1)[0] for line in machine.run(*command).splitlines()]
        if len(times) >= count:
            return (len(times) - 1) / (float(times[-1]) - float(times[0]))
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(times)} of {count} entries came")
        time.sleep(0.2)
