"""Whole programs: every call of every thread is what strace says of the same run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import harness
from harness import Daemon, as_user
from oracle.compare import compare
from oracle.programs import PROGRAMS, SOURCES
from oracle.strace_log import trace
from oracle.sweep import sweep
from uidtraced.rules import Abi

USER, UID = "nobody", 65534
POLICY = f"version: 1\nusers:\n  {UID}: {{syscalls: ['@all'], at: exit}}\n"
SWEEPS = {"every_flag": (Abi.X86_64,), "every_flag_32": (Abi.I386, "-m32")}
SCRIPTS = {**PROGRAMS, **{name: f"$BIN/{name}" for name in SWEEPS}}
C_SOURCES = Path(__file__).parents[1] / "oracle" / "sources"


@pytest.fixture(scope="module")
def daemon():
    harness.need_root()
    with Daemon(POLICY, "--ring-size", str(2**26)).ready() as daemon:
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture(scope="module")
def programs():
    """The compiled C programs, for every user to run."""
    with harness.public_directory() as directory:
        for name, flags in SOURCES.items():
            built = ["gcc", "-O1", "-w", *flags, str(C_SOURCES / f"{name}.c")]
            subprocess.run([*built, "-o", str(directory / name)], check=True)
        for name, (abi, *flags) in SWEEPS.items():
            built = ["gcc", "-O1", *flags, "-x", "c", "-", "-o", str(directory / name)]
            subprocess.run(built, check=True, input=sweep(abi), text=True)
        yield directory


def events_since(daemon: Daemon, start: int, marker: str) -> dict[int, list[dict]]:
    """Return the events from number *start* on, by thread; all that were sent are there."""
    as_user(UID, "sh", "-c", f"[ -e {marker} ] || :")
    daemon.records.wait(lambda one: marker in one.get("args", {}).values(), start)
    found: dict[int, list[dict]] = {}
    for record in daemon.records.all[start:]:
        assert record["event"] == "syscall", record
        found.setdefault(record["tid"], []).append(record)
    return found


def from_exec_on(events: list[dict]) -> list[dict]:
    """Leave out what strace's child does before it becomes the program."""
    first = next(n for n, one in enumerate(events) if one["syscall"] == "execve" and not one["ret"])
    return events[first:]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_program_s_events_are_what_strace_says(daemon, programs, public, name) -> None:
    public.chmod(0o777)
    start = len(daemon.records.all)
    calls = trace(USER, SCRIPTS[name], public, programs)
    events = events_since(daemon, start, f"/marker/{name}")
    root = min(calls)
    events[root] = from_exec_on(events[root])
    found = [(tid, one) for tid in calls for one in compare(calls[tid], events.get(tid, []))]
    assert found == []
    assert sum(len(one) for one in calls.values()) > 20
