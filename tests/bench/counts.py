"""Whether every call is counted: the daemon's `matched` beside bpftrace's exact counts, by uid.

Eight processes of two users call as fast as they can; one user's calls are logged, the other's
only counted. A logged call that found the ring full was matched all the same.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

from bench.peers import Background
from bench.programs import CALLER_CPU, TRACER_CPU, compile_program
from bench.report import Goal, Report, Row
from bench.service import Service
from harness import COMMAND, as_user, public_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

CALLS = 10_000_000
LOGGED, COUNTED, POKED = 2001, 2002, 2003
NUMBERS = {"sched_yield": 24, "getpid": 39, "getuid": 102, "getppid": 110}  # x86_64
POLICY = (
    f"version: 1\nusers:\n  {LOGGED}: [{', '.join(NUMBERS)}]\n"
    f"  {COUNTED}: {{syscalls: [{', '.join(NUMBERS)}], mode: count}}\n"
)
PROGRAM = (
    f'tracepoint:raw_syscalls:sys_enter /uid == {POKED}/ {{ printf("ready\\n"); }} '
    "tracepoint:raw_syscalls:sys_enter { @[uid, args->id] = count(); }"
)
COUNT = re.compile(r"^@\[(\d+), (\d+)\]: (\d+)$", re.MULTILINE)
ROUNDS = 25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--calls", type=int, default=CALLS, help="of all processes together")


def run(options: argparse.Namespace) -> Report:
    """Count both ways."""
    each = options.calls // (2 * len(NUMBERS) * ROUNDS)
    with public_directory() as directory:
        output = directory / "counts"
        peer = Background(["bpftrace", "-q", "-B", "line", "-e", PROGRAM], output, _poke)
        with Service(POLICY) as service:
            with peer.running():
                _call(compile_program("loop", directory), each)
            said = COUNT.findall(output.read_text())
            found = {user["uid"]: user for user in _status(service)["users"]}
    report = Report("counts")
    report.rows += _rows(found, [(int(uid), int(nr), int(n)) for uid, nr, n in said])
    return report


def _poke() -> None:
    as_user(POKED, "true")


def _call(loop: Path, each: int) -> None:
    """Let a process for each call and user make it *each* times a round."""
    processes = [
        subprocess.Popen(
            [str(loop), str(cpu), str(uid), str(nr), str(each), str(ROUNDS)],
            stdout=subprocess.DEVNULL,
        )
        for uid in (LOGGED, COUNTED)
        for cpu, nr in zip((CALLER_CPU, TRACER_CPU) * 2, NUMBERS.values(), strict=True)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError("a process that calls ended before its time")


def _status(service: Service) -> dict[str, Any]:
    inside = ["nsenter", "--target", str(service.pid), "--mount", "--wd=/"]
    command = [*inside, *COMMAND, "status", "--format", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # 1: lost some
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _rows(found: dict[int, dict[str, Any]], counts: list[tuple[int, int, int]]) -> Iterator[Row]:
    for uid in (LOGGED, COUNTED):
        exact = sum(n for whose, nr, n in counts if whose == uid and nr in NUMBERS.values())
        mine = found[uid]
        note = f"of these {mine['ring_full']:,} found the ring full" if uid == LOGGED else ""
        what = f"uid {uid}, {'logged' if uid == LOGGED else 'counted'}"
        yield Row.of(f"{what}: bpftrace", "calls", [exact])
        yield Row.of(f"{what}: matched", "calls", [mine["matched"]], note=note)
        yield Row.of(f"{what}: difference", "calls", [abs(mine["matched"] - exact)], Goal(0))
