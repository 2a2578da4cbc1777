"""From a saved policy to the rules in force: a small one, and one of thousands of users by name.

The clock starts when rename(2) returns and stops at the time that the policy record carries,
which the daemon takes after the kernel has the rules. Another row has the time at which a reader
of the daemon's output held the record. Users exist in a mount namespace of the daemon's alone.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import Goal, Report, Row
from harness import Daemon, public_directory
from uidtraced.policy import load_source, read_source
from uidtraced.policy.document import parse

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

SMALL_EDITS = 200
MANY_EDITS = 10
USERS = 10_000
RULE_SETS = 100
FIRST_UID = 20_000
PAUSE_SECONDS = 0.02
CALLS = ("openat", "chdir", "execve", "connect", "bind", "chmod", "kill", "ptrace", "mount")
STEPS = {
    "read_ns": "reading",
    "parse_ns": "YAML and validation",
    "plan_ns": "names to uids, plan",
    "diff_ns": "difference",
    "kernel_ns": "kernel",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--edits", type=int, default=SMALL_EDITS, help="of the small policy")
    parser.add_argument("--users", type=int, default=USERS, help="in the large policy")
    parser.add_argument("--large-edits", type=int, default=MANY_EDITS, help="of the large policy")


def run(options: argparse.Namespace) -> Report:
    """Measure both policies."""
    report = Report("reload")
    report.rows += _small(options.edits)
    with public_directory() as directory:
        report.rows += _large(directory, options.users, options.large_edits)
    return report


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit's times, in ns from the rename's return; *steps* are the daemon's own."""

    in_force_ns: int
    told_ns: int
    steps: dict[str, int]


def save(daemon: Daemon, text: str, entries: int | None = None) -> Edit:
    """Replace the policy by one rename and wait for the record of it.

    Where *entries* are said, it is the record of that many: on a busy machine the name service may
    answer too late for all users to be in the first.
    """
    start = len(daemon.records.all)
    fresh = daemon.path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(daemon.path)
    saved_ns = time.time_ns()
    record = daemon.records.wait(
        lambda one: one["event"] == "policy" and entries in (None, _entries(one)), start
    )
    told_ns = time.time_ns()
    revision = record["revision"]
    line = daemon.log.wait(
        lambda one: one["event"] == "policy_applied" and one["revision"] == revision
    )
    steps = {name: line[name] for name in STEPS}
    return Edit(_ns(record["ts"]) - saved_ns, told_ns - saved_ns, steps)


def _entries(record: dict[str, Any]) -> int:
    """Return how many entries the outer maps have after a change."""
    return sum(record[one] for one in ("created", "swapped", "unchanged"))


def _ns(timestamp: str) -> int:
    """Return *timestamp*, RFC 3339 with nanoseconds, as ns since the epoch."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0"))


def _small(edits: int) -> list[Row]:
    """Swap, create and delete in turn, each by an edit of its own."""
    head = "version: 1\nusers:\n  1000: [openat, chdir]\n"
    cycle = (
        head + "  0: [chmod, bind]\n",
        head + "  0: [chmod]\n",
        head + "  0: [chmod]\n  1001: [execve]\n",
        head + "  0: [chmod]\n",
    )
    done = []
    with Daemon(cycle[0]).ready() as daemon:
        for number in range(1, edits + 1):
            time.sleep(PAUSE_SECONDS)
            done.append(save(daemon, cycle[number % len(cycle)]))
        daemon.stop()
    return [
        Row.of_ns(
            "small policy: edit to in force",
            [one.in_force_ns for one in done],
            Goal(50),
            Goal(250, of="p99"),
        ),
        Row.of_ns("  to the record in a reader's hand", [one.told_ns for one in done]),
        *_steps(done),
    ]


def _steps(done: list[Edit], kernel_goal_ms: float | None = None) -> list[Row]:
    goals = {} if kernel_goal_ms is None else {"kernel_ns": [Goal(kernel_goal_ms)]}
    return [
        Row.of_ns(f"  of which {words}", [one.steps[name] for one in done], *goals.get(name, []))
        for name, words in STEPS.items()
    ]


def _large(directory: Path, users: int, edits: int) -> list[Row]:
    """Save a policy of *users* names over a small one, and then edit one line of it."""
    few = "version: 1\nusers:\n  1000: [openat, chdir]\n"
    saves, lines = [], []
    with _with_users(directory, users) as wrap, Daemon(few, wrap=wrap).ready() as daemon:
        for number in range(edits):
            saves.append(save(daemon, large_policy(users), users))
            lines.append(save(daemon, large_policy(users, last=CALLS[number % 2]), users))
            save(daemon, few)
        daemon.path.write_text(large_policy(users))
        apart = _yaml_apart(daemon.path, edits)
        daemon.stop()
    goal = Goal(3000)
    return [
        Row.of_ns(f"{users} users: save to in force", [one.in_force_ns for one in saves], goal),
        *_steps(saves, kernel_goal_ms=100),
        Row.of_ns(f"{users} users: one line edited", [one.in_force_ns for one in lines], goal),
        *_steps(lines, kernel_goal_ms=100),
        *apart,
    ]


def large_policy(users: int, last: str = "mount") -> str:
    """Return a policy of *users* entries by name with RULE_SETS rule sets; *last* is the last's."""
    lines = ["version: 1", "users:"]
    for number in range(users - 1):
        bits = number % RULE_SETS + 1
        calls = [call for bit, call in enumerate(CALLS) if bits >> bit & 1]
        lines.append(f"  {name(number)}: [{', '.join(calls)}]")
    lines.append(f"  {name(users - 1)}: [{last}]")
    return "\n".join(lines) + "\n"


def name(number: int) -> str:
    """Return the name of the benchmark's user *number*."""
    return f"user{number:05}"


@contextlib.contextmanager
def _with_users(directory: Path, users: int) -> Iterator[list[str]]:
    """Yield the words that, before a command, let it and no other see so many more users."""
    passwd = directory / "passwd"
    lines = [
        f"{name(number)}:x:{FIRST_UID + number}:{FIRST_UID}::/nonexistent:/bin/sh"
        for number in range(users)
    ]
    passwd.write_text(Path("/etc/passwd").read_text() + "\n".join(lines) + "\n")
    yield ["sh", "-ec", 'mount --bind "$0" /etc/passwd; exec "$@"', str(passwd)]


def _yaml_apart(path: Path, times: int) -> list[Row]:
    """Measure the YAML part in this process, where nothing else runs."""
    source = read_source(path)
    parsed, loaded = [], []
    for _ in range(times):
        started = time.perf_counter_ns()
        parse(source)
        parsed.append(time.perf_counter_ns() - started)
        started = time.perf_counter_ns()
        load_source(source)
        loaded.append(time.perf_counter_ns() - started)
    return [
        Row.of_ns("  YAML and validation, apart", loaded),
        Row.of_ns("  of which YAML to values", parsed),
    ]
