"""What a system call costs more, by ns: an empty program, uidtraced, and its peers.

Every tracer is switched on and off again many times, in turns with all others. A call is timed
before, while and after it is on; what counts is the difference, so that drift cancels.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import peers
from bench.load import Redis
from bench.peers import Auditd, Strace, bpftrace, perf_trace, without_audit
from bench.programs import EmptyProgram, Loop
from bench.report import Goal, Report, Row
from bench.service import NOBODY, Policy, Service, numbered_users
from harness import public_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from bench.peers import Tracing

VISITS = 9
USERS = 10_000
GETUID, GETPPID = 102, 110  # x86_64
LOGGED, COUNTED, TRACED, OTHER, IN_RANGE = 2001, 2002, 2003, 2004, 3000
"""uids: whose getppid is logged, counted, who is traced for another call, who is not traced."""

CALLS = ("getppid", "read", "write", "epoll_wait")
NUMBERS = (GETPPID, 0, 1, 232)
SMALL = (
    f"version: 1\nusers:\n  {LOGGED}: [{', '.join(CALLS)}]\n"
    f"  {COUNTED}: {{syscalls: [getppid], mode: count}}\n  {TRACED}: [chdir]\n"
)
MANY, FEW, SLOW = 4000, 400, 100
"""Calls of a round: FEW where each makes an event, so that no buffer is ever full."""

EMPTY = "empty program"

SETTLE_SECONDS = 0.1
"""After a tracer was switched on or off, until it has nothing more to do."""

PEERS = ("auditd", "bpftrace", "perf", "strace", "sysdig")


@dataclass(frozen=True, slots=True)
class Call:
    """What is timed while a tracer is on: *calls* calls of *nr* by *uid*, a round."""

    what: str
    uid: int
    nr: int = GETPPID
    calls: int = MANY
    over_empty_ns: float | None = None
    """The goal: so much more than the empty program at most."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A tracer, the calls that are timed under it, and whether redis is too."""

    name: str
    tracing: Tracing
    calls: tuple[Call, ...]
    load: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--visits", type=int, default=VISITS, help="of each tracer")
    parser.add_argument("--users", type=int, default=USERS, help="in the large policy")
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=PEERS, help="to compare with (default: all)"
    )


def run(options: argparse.Namespace) -> Report:
    """Measure all tracers in turns."""
    why_not = {peer: why for peer in options.peers if (why := peers.missing(peer))}
    here = [peer for peer in options.peers if peer not in why_not]
    found: dict[str, list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(public_directory())
        stack.enter_context(without_audit())
        loop = Loop(directory)
        redis = Redis() if Redis.here() else None
        idle = Subject("uidtraced, empty policy", _Started(), (Call("any call", OTHER),))
        for _ in range(options.visits):  # first, while no other daemon of ours runs
            _visit(idle, loop, redis, found)
        empty = stack.enter_context(contextlib.closing(EmptyProgram(directory)))
        service = stack.enter_context(Service(NOBODY))
        subjects = [
            Subject(EMPTY, empty, (Call("", OTHER), Call("getuid", OTHER, GETUID))),
            *_ours(service, options.users),
            *_peers(here, directory, loop),
        ]
        for _ in range(options.visits):
            for subject in subjects:
                _visit(subject, loop, redis, found)
    report = Report("cost")
    report.rows += _rows([idle, *subjects], found)
    report.rows += [Row.missing(peer, "ns", why) for peer, why in why_not.items()]
    return report


class _Started:
    """A daemon without a policy, from its start to its end."""

    @contextlib.contextmanager
    def on(self) -> Iterator[list[str]]:
        with Service(NOBODY):
            yield []


def _ours(service: Service, users: int) -> Iterator[Subject]:
    wanted = Call("a wanted call, another uid", OTHER, over_empty_ns=60)
    calls = (
        Call("a call nobody wants", OTHER, GETUID, over_empty_ns=10),
        wanted,
        Call("own uid, call not listed", TRACED),
        Call("a call counted", COUNTED),
        Call("a call logged", LOGGED, calls=FEW, over_empty_ns=250),
    )
    yield Subject("uidtraced", Policy(service, SMALL), calls, load=True)
    ranged = SMALL + '  "3000-9999": [chdir]\n'
    inside = Call("a wanted call, uid in the range", IN_RANGE)
    yield Subject("uidtraced, a range", Policy(service, ranged), (wanted, inside))
    starred = Policy(service, SMALL + '  "*": [chdir]\n')
    yield Subject('uidtraced, "*"', starred, (Call("a wanted call, another uid", OTHER),))
    large = Policy(service, SMALL + numbered_users(users))
    yield Subject(f"uidtraced, {users:,} users", large, calls)


def _peers(names: list[str], directory: Path, loop: Loop) -> Iterator[Subject]:
    def poke() -> None:
        loop.sample(LOGGED, GETPPID, 100, rounds=1)

    other = Call("the call, another uid", OTHER)
    logged = Call("a call logged", LOGGED, calls=FEW)
    output = directory / "peer"
    if "bpftrace" in names:
        tracing = bpftrace(LOGGED, NUMBERS, output, poke)
        yield Subject("bpftrace", tracing, (other, logged), load=True)
    if "perf" in names:
        # for everybody: a call that it does not print is another one
        calls = (Call("another call", OTHER, GETUID), logged)
        yield Subject("perf trace -a", perf_trace(["getppid"], output, poke), calls, load=True)
    if "auditd" in names:
        few = Call("a call logged", LOGGED, calls=SLOW)
        yield Subject("auditd", Auditd(LOGGED, CALLS, directory), (other, few), load=True)
    if "strace" in names:
        for flags in ((), ("--seccomp-bpf",)):
            many = MANY if flags else SLOW
            under = (
                Call("traced process, another call", OTHER, GETUID, calls=many),
                Call("traced process, a call logged", OTHER, calls=SLOW),
            )
            yield Subject(" ".join(("strace", *flags)), Strace(["getppid"], *flags), under)


def _visit(
    subject: Subject, loop: Loop, redis: Redis | None, found: dict[str, list[float]]
) -> None:
    def untraced() -> dict[int, float]:
        numbers = {call.nr for call in subject.calls}
        return {nr: statistics.median(loop.sample(OTHER, nr, MANY)) for nr in numbers}

    loaded = redis is not None and subject.load
    before = untraced()
    alone = redis.seconds(OTHER) if redis and loaded else 0.0
    under = {}
    with subject.tracing.on() as wrap:
        time.sleep(SETTLE_SECONDS)
        if redis and loaded:  # before anything is logged, which keeps its cpu busy for a while
            traced = redis.seconds(OTHER)
        for call in subject.calls:
            samples = loop.sample(call.uid, call.nr, call.calls, wrap=wrap)
            under[call] = statistics.median(samples)
    time.sleep(SETTLE_SECONDS)
    after = untraced()
    for call, ns in under.items():
        found[_name(subject, call)].append(ns - (before[call.nr] + after[call.nr]) / 2)
    if redis and loaded:
        alone = (alone + redis.seconds(OTHER)) / 2
        found[_load_name(subject)].append(100 * (traced / alone - 1))


def _name(subject: Subject, call: Call) -> str:
    return ": ".join(one for one in (subject.name, call.what) if one)


def _load_name(subject: Subject) -> str:
    return f"{subject.name}: redis, another uid"


def _rows(subjects: list[Subject], found: dict[str, list[float]]) -> Iterator[Row]:
    # of the same call: what a program costs is not the same for each
    empty = {
        call.nr: statistics.median(found[_name(subject, call)])
        for subject in subjects
        for call in subject.calls
        if subject.name == EMPTY
    }
    auditd = found.get("auditd: a call logged")
    for subject in subjects:
        for call in subject.calls:
            goals = []
            if call.over_empty_ns is not None:
                bound = empty[call.nr] + call.over_empty_ns
                goals.append(Goal(bound, said=f"empty program + {call.over_empty_ns:g}"))
            if auditd and call.what == "a call logged" and subject.name.startswith("uidtraced"):
                goals.append(Goal(statistics.median(auditd) / 3, said="a third of auditd's"))
            name = _name(subject, call)
            yield Row.of(name, "ns", found[name], *goals)
    for subject in subjects:
        if samples := found.get(_load_name(subject)):
            yield Row.of(_load_name(subject), "% time", samples)
