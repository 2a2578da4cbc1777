"""Figures, and the two forms in which they are shown."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured *count* times, in milliseconds; goals are upper bounds."""

    what: str
    count: int
    median_ms: float
    p99_ms: float
    max_ms: float
    goal_median_ms: float | None = None
    goal_p99_ms: float | None = None

    @classmethod
    def of(
        cls,
        what: str,
        samples_ns: Sequence[int],
        goal_median_ms: float | None = None,
        goal_p99_ms: float | None = None,
    ) -> Self:
        """Sum *samples_ns* up: percentiles by the nearest rank."""
        ordered = sorted(one / 1e6 for one in samples_ns)

        def percentile(part: float) -> float:
            return round(ordered[math.ceil(part * len(ordered)) - 1], 3)

        high = (percentile(0.5), percentile(0.99), percentile(1.0))
        return cls(what, len(ordered), *high, goal_median_ms, goal_p99_ms)

    def goal(self) -> str:
        """Return the goals and whether they are met, as words; empty where there are none."""
        goals = (
            ("median", self.median_ms, self.goal_median_ms),
            ("p99", self.p99_ms, self.goal_p99_ms),
        )
        wanted = [(name, found, goal) for name, found, goal in goals if goal is not None]
        if not wanted:
            return ""
        met = all(found < goal for _, found, goal in wanted)
        words = ", ".join(f"{name} < {goal:g}" for name, _, goal in wanted)
        return f"{words}: {'met' if met else 'MISSED'}"


@dataclass(slots=True)
class Report:
    """The rows of one benchmark."""

    benchmark: str
    rows: list[Row] = field(default_factory=list)

    def text(self) -> str:
        """Return the table."""
        lines = [f"{_machine_words()}; times in ms", ""]
        width = max(len(row.what) for row in self.rows)
        lines.append(f"{'':{width}} {'n':>5} {'median':>9} {'p99':>9} {'max':>9}  goal")
        for row in self.rows:
            figures = (row.median_ms, row.p99_ms, row.max_ms)
            shown = " ".join(f"{one:9.1f}" for one in figures)
            lines.append(f"{row.what:{width}} {row.count:5} {shown}  {row.goal()}".rstrip())
        return "\n".join(lines)

    def json(self) -> str:
        """Return the same for programs."""
        rows = [asdict(row) for row in self.rows]
        content = {"benchmark": self.benchmark, "machine": _machine(), "rows": rows}
        return json.dumps(content, indent=2)


def _machine() -> dict[str, str | int | None]:
    return {
        "arch": platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _machine_words() -> str:
    one = _machine()
    return f"{one['arch']}, {one['cpus']} cpus, kernel {one['kernel']}, Python {one['python']}"
