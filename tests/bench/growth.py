"""What grows with the number of users (cost, reload, memory) and with that of events (CPU).

The users are members of twenty groups that the policy names, each with a rule set of its own. They
exist in a mount namespace of the daemon's alone.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from bench.events import UID, Burst
from bench.kernelmaps import growth_bytes, map_bytes
from bench.peers import without_audit
from bench.programs import Loop
from bench.report import Goal, Report, Row
from bench.service import NOBODY, Service, numbered_users
from harness import public_directory

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
RATES = (0, 1_000, 10_000, 30_000, 100_000)
TURNS = 3
GROUPS = 20
ONE_BY_ONE = (10, 40_000)
FIRST_ID = 20_000
SECONDS = 3
REST_SECONDS = 10
SETTLE_SECONDS = 1
GETPPID = 110  # x86_64
OTHER = 2004
PANELS = (
    (
        "Cost of a call over an untraced one",
        "users in the policy",
        ("a wanted call, another uid", "a wanted call, own uid, not listed"),
    ),
    (
        "Policy change",
        "users in the policy",
        ("all users swapped", "  of which the kernel, all swapped", "one user edited"),
    ),
    (
        "Memory",
        "users in the policy",
        ("kernel memory", "the daemon's memory, over no policy"),
    ),
    ("The daemon's CPU", "events a second", ("events a second: CPU",)),
    ("The daemon's wake-ups", "events a second", ("events a second: wake-ups",)),
    ("The daemon's memory", "events a second", ("events a second: memory",)),
)
"""What is drawn: a title, what the x axis is, and the rows."""

_CALLS = ("chdir", "chmod", "kill", "mount", "ptrace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="users in the policy")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="events a second")
    parser.add_argument("--turns", type=int, default=TURNS, help="of each number of users")


def run(options: argparse.Namespace) -> Report:
    """Measure one number of users after the other, then one rate after the other."""
    report = Report("growth")
    with public_directory() as directory, without_audit():
        loop, burst = Loop(directory), Burst(directory)
        sizes = sorted(options.sizes)
        memory = []
        for size in sizes:
            with Service(NOBODY, wrap=_with_members(directory, size)) as service:
                memory.append(_grow(service, size, loop, options.turns, report))
        report.rows += _per_user(sizes, memory)
        with Service(NOBODY) as service:
            report.rows.append(_named_one_by_one(service))
        with Service(f"version: 1\nusers:\n  {UID}: [openat]\n") as service:
            for rate in options.rates:
                report.rows += _under(service, burst, rate)
    return report


def _with_members(directory: Path, size: int) -> list[str]:
    """Return the words that, before a command, let it and no other see so many more users."""
    passwd, group = directory / "passwd", directory / "group"
    users = (
        f"member{number}:x:{FIRST_ID + number}:{FIRST_ID + number % GROUPS}::/:/bin/sh\n"
        for number in range(size)
    )
    passwd.write_text("root:x:0:0::/root:/bin/sh\n" + "".join(users))
    groups = (f"group{number}:x:{FIRST_ID + number}:\n" for number in range(GROUPS))
    group.write_text("root:x:0:\n" + "".join(groups))
    script = 'mount --bind "$0" /etc/passwd; mount --bind "$1" /etc/group; shift; exec "$@"'
    return ["sh", "-ec", script, str(passwd), str(group)]


def _policy(groups: int, shift: int, rest: str = "") -> str:
    """Return a policy in which each group has a rule set; another *shift* swaps all of them."""
    lines = [f"version: 1\nusers:\n  {UID}: [getppid]\n"]
    for number in range(groups):
        bits = (number + shift) % 31 + 1
        calls = ", ".join(call for bit, call in enumerate(_CALLS) if bits >> bit & 1)
        lines.append(f'  "@group{number}": [{calls}]\n')
    return "".join(lines) + rest


def _grow(service: Service, size: int, loop: Loop, turns: int, report: Report) -> tuple[int, int]:
    """Measure *size* users; return the bytes of the kernel's and of the daemon's memory."""
    groups = min(size, GROUPS)
    maps, rss_kib = map_bytes(), service.usage().rss_kib
    service.put(_policy(groups, 0))
    time.sleep(SETTLE_SECONDS)  # what was needed only for the change goes back to the system
    held = growth_bytes(maps), (service.usage().rss_kib - rss_kib) * 1024
    swaps, edits, others, theirs = [], [], [], []
    for turn in range(1, turns + 1):
        service.put(NOBODY)
        time.sleep(0.1)
        untraced = statistics.median(loop.sample(OTHER, GETPPID, 4000))
        service.put(_policy(groups, turn))
        swaps.append(service.put(_policy(groups, turn + 1)))
        edit = f"  {FIRST_ID + size - 1}: [openat]\n"
        edits.append(service.put(_policy(groups, turn + 1, edit)))
        time.sleep(0.1)
        others.append(statistics.median(loop.sample(OTHER, GETPPID, 4000)) - untraced)
        theirs.append(statistics.median(loop.sample(FIRST_ID, GETPPID, 4000)) - untraced)
    goals = [Goal(100)] if size <= 10_000 else []
    report.rows += [
        Row.of("a wanted call, another uid", "ns", others, at=size),
        Row.of("a wanted call, own uid, not listed", "ns", theirs, at=size),
        Row.of("all users swapped", "ms", map(_total_ms, swaps), at=size),
        Row.of("  of which the kernel, all swapped", "ms", map(_kernel_ms, swaps), *goals, at=size),
        Row.of("one user edited", "ms", map(_total_ms, edits), at=size),
        Row.of("  of which the kernel, one edited", "ms", map(_kernel_ms, edits), at=size),
        Row.of("kernel memory", "KiB", [held[0] / 1024], at=size),
        Row.of("the daemon's memory, over no policy", "KiB", [held[1] / 1024], at=size),
    ]
    return held


def _total_ms(line: dict[str, Any]) -> float:
    return sum(float(value) for name, value in line.items() if name.endswith("_ns")) / 1e6


def _kernel_ms(line: dict[str, Any]) -> float:
    return float(line["kernel_ns"]) / 1e6


def _per_user(sizes: list[int], memory: list[tuple[int, int]]) -> list[Row]:
    """Return what each further user takes, from the smallest policy to the largest."""
    more = sizes[-1] - sizes[0]
    if not more:
        return []
    kernel, daemon = ((memory[-1][one] - memory[0][one]) / more for one in (0, 1))
    return [
        Row.of("a further user: kernel memory", "bytes", [kernel], Goal(300)),
        Row.of("a further user: the daemon's memory", "bytes", [daemon], Goal(500)),
    ]


def _named_one_by_one(service: Service) -> Row:
    """Return what the daemon takes for each user who has a line of his own in the policy."""
    held = []
    for count in ONE_BY_ONE:
        service.put(NOBODY.replace("{}", "\n" + numbered_users(count)))
        time.sleep(SETTLE_SECONDS)
        held.append(service.usage().rss_kib * 1024)
    each = (held[-1] - held[0]) / (ONE_BY_ONE[-1] - ONE_BY_ONE[0])
    return Row.of(
        "a further user, named by a line: the daemon's memory", "bytes", [each], Goal(500)
    )


def _under(service: Service, burst: Burst, rate: int) -> list[Row]:
    """Measure the daemon while *rate* events a second come."""
    if not rate:
        time.sleep(SECONDS)  # what follows a start is no rest
    before = service.usage()
    started = time.monotonic()
    if rate:
        burst(rate * SECONDS, rate)
    else:
        time.sleep(REST_SECONDS)
    seconds = time.monotonic() - started
    after = service.usage()
    cpu = 100 * (after.cpu_seconds - before.cpu_seconds) / seconds
    sleeps = (after.switches - before.switches) / seconds
    return [
        Row.of("events a second: CPU", "%", [cpu], at=rate),
        Row.of("events a second: wake-ups", "1/s", [sleeps], at=rate),
        Row.of("events a second: memory", "MiB", [after.rss_kib / 1024], at=rate),
    ]
