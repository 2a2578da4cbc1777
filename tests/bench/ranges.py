"""A range of uids held as blocks, beside the same uids one by one in the outer map.

Both are put in force by `reconcile.apply` on a tracer of this process. The lookup's cost is that
of a wanted call which the range's own rule set does not list: all that a lookup may cost, and no
event.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from bench.kernelmaps import growth_bytes, map_bytes
from bench.peers import without_audit
from bench.programs import Loop
from bench.report import Goal, Report, Row
from harness import public_directory
from uidtraced.kernel.tracer import Tracer
from uidtraced.reconcile import apply
from uidtraced.rules import Abi, Nr, Plan, Rule, RuleSet, Scope, ScopePlan, Uid, UidRange

if TYPE_CHECKING:
    import argparse

SIZES = (1, 1_000, 65_536, 1_000_000)
TURNS = 5
FIRST = 100_000
ONE_BY_ONE_AT_MOST = 262_144  # MAX_UIDS of bpf/uidtraced.bpf.c
GETPPID, CHDIR = 110, 80  # x86_64
_LISTED: RuleSet = frozenset({Rule(Abi.X86_64, Nr(CHDIR))})
_SOMEBODY = {Uid(2001): frozenset({Rule(Abi.X86_64, Nr(GETPPID))})}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be set."""
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="uids in the range")
    parser.add_argument("--turns", type=int, default=TURNS, help="of each")


def run(options: argparse.Namespace) -> Report:
    """Measure both ways in turns."""
    report = Report("ranges")
    with public_directory() as directory, without_audit():
        loop = Loop(directory)
        for size in options.sizes:
            ways = {"blocks": _as_blocks(size)}
            if size <= ONE_BY_ONE_AT_MOST:
                ways["one by one"] = _one_by_one(size)
            found: dict[str, list[_Figures]] = defaultdict(list)
            for _ in range(options.turns):
                for way, plan in ways.items():
                    found[way].append(_measure(plan, Uid(FIRST + size // 2), loop))
            for way, figures in found.items():
                report.rows += _rows(way, size, figures)
            if "one by one" not in ways:
                why = f"the outer map holds {ONE_BY_ONE_AT_MOST:,}"
                report.rows.append(Row.missing(f"one by one: {size:,}", "ms", why))
    return report


class _Figures:
    """What one way of holding a range takes."""

    def __init__(self, apply_ns: int, lookup_ns: float, kernel_bytes: int) -> None:
        self.apply_ns = apply_ns
        self.lookup_ns = lookup_ns
        self.kernel_bytes = kernel_bytes


def _rows(way: str, size: int, figures: list[_Figures]) -> list[Row]:
    goals = [Goal(1000)] if way == "blocks" else []  # of 100,000 uids, and so of fewer
    applied = [one.apply_ns / 1e6 for one in figures]
    return [
        Row.of(f"{way}: apply", "ms", applied, *goals, at=size),
        Row.of(f"{way}: a call, over that of a uid in no entry", "ns", _lookups(figures), at=size),
        Row.of(f"{way}: kernel memory", "KiB", [_kib(one) for one in figures], at=size),
    ]


def _lookups(figures: list[_Figures]) -> list[float]:
    return [one.lookup_ns for one in figures]


def _kib(figures: _Figures) -> float:
    return figures.kernel_bytes / 1024


def _as_blocks(size: int) -> ScopePlan:
    last = Uid(FIRST + size - 1)
    return ScopePlan(_SOMEBODY, {UidRange(Uid(FIRST), last): _LISTED})


def _one_by_one(size: int) -> ScopePlan:
    return ScopePlan({**_SOMEBODY, **{Uid(FIRST + one): _LISTED for one in range(size)}})


def _measure(plan: ScopePlan, uid: Uid, loop: Loop) -> _Figures:
    """Put *plan* in force, over one that has nothing of the range, and take it out again."""
    least, whole = Plan({Scope.REAL: ScopePlan(_SOMEBODY)}), Plan({Scope.REAL: plan})
    with Tracer() as tracer:
        apply(Plan(), least, tracer, 1)
        untouched = map_bytes()
        without = statistics.median(loop.sample(uid, GETPPID, 4000))
        started = time.perf_counter_ns()
        apply(least, whole, tracer, 2)
        apply_ns = time.perf_counter_ns() - started
        bytes_more = growth_bytes(untouched)
        within = statistics.median(loop.sample(uid, GETPPID, 4000))
        apply(whole, least, tracer, 3)
        without = (without + statistics.median(loop.sample(uid, GETPPID, 4000))) / 2
        return _Figures(apply_ns, within - without, bytes_more)
