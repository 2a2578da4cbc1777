"""Figures, and the forms in which they are shown."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a row's figure: on its median, unless *of* says p99."""

    bound: float
    of: str = "median"
    at_least: bool = False
    said: str = ""
    """The bound in words, where it was measured too."""

    def met(self, row: Row) -> bool:
        """Whether *row* is within it."""
        found: float = getattr(row, self.of)
        return found >= self.bound if self.at_least else found <= self.bound

    def words(self) -> str:
        """Return it as it is shown."""
        return f"{self.of} {'>=' if self.at_least else '<='} {self.said or f'{self.bound:,g}'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured *count* times, in *unit*; 0 times where *note* says why not."""

    what: str
    unit: str
    count: int
    median: float
    p99: float
    max: float
    goals: tuple[Goal, ...] = ()
    note: str = ""
    at: int | None = None
    """What it grows with: rows of one name are a curve over it."""

    @classmethod
    def of(
        cls,
        what: str,
        unit: str,
        samples: Iterable[float],
        *goals: Goal,
        note: str = "",
        at: int | None = None,
    ) -> Self:
        """Sum *samples* up: percentiles by the nearest rank."""
        ordered = sorted(samples)

        def percentile(part: float) -> float:
            return round(ordered[math.ceil(part * len(ordered)) - 1], 3)

        high = (percentile(0.5), percentile(0.99), percentile(1.0))
        return cls(what, unit, len(ordered), *high, goals, note, at)

    @classmethod
    def of_ns(cls, what: str, samples_ns: Iterable[float], *goals: Goal) -> Self:
        """Sum up times in ns, as ms."""
        return cls.of(what, "ms", (one / 1e6 for one in samples_ns), *goals)

    @classmethod
    def missing(cls, what: str, unit: str, why: str) -> Self:
        """Return the row of what could not be measured."""
        return cls(what, unit, 0, 0.0, 0.0, 0.0, note=why)

    def goal(self) -> str:
        """Return the goals and whether they are met, as words; empty where there are none."""
        if not self.goals or not self.count:
            return ""
        return ", ".join(
            f"{goal.words()}: {'met' if goal.met(self) else 'MISSED'}" for goal in self.goals
        )


@dataclass(slots=True)
class Report:
    """The rows of one benchmark."""

    benchmark: str
    rows: list[Row] = field(default_factory=list)

    def text(self) -> str:
        """Return the table."""
        names = [_name(row) for row in self.rows]
        width = max(len(name) for name in names)
        lines = [f"{self.benchmark}: {_machine_words()}", ""]
        lines.append(f"{'':{width}} {'unit':8} {'n':>5} {'median':>11} {'p99':>11} {'max':>11}")
        for name, row in zip(names, self.rows, strict=True):
            if not row.count:
                lines.append(f"{name:{width}} not measured: {row.note}")
                continue
            shown = " ".join(f"{one:11,.1f}" for one in (row.median, row.p99, row.max))
            rest = "; ".join(one for one in (row.goal(), row.note) if one)
            lines.append(f"{name:{width}} {row.unit:8} {row.count:5} {shown}  {rest}".rstrip())
        return "\n".join(lines)

    def plain(self) -> dict[str, object]:
        """Return the same for programs."""
        return {"benchmark": self.benchmark, "machine": _machine(), "rows": self._rows()}

    def _rows(self) -> list[dict[str, object]]:
        return [
            {**asdict(row), "met": all(one.met(row) for one in row.goals) if row.goals else None}
            for row in self.rows
        ]


def summary(reports: Iterable[Report]) -> str:
    """Return how many goals are met, and which are not, as words."""
    rows = [(report, row) for report in reports for row in report.rows if row.count]
    found = [(report, row, goal.met(row)) for report, row in rows for goal in row.goals]
    missed = [f"{report.benchmark}: {_name(row).strip()}" for report, row, met in found if not met]
    lines = [f"{len(found) - len(missed)} goals met, {len(missed)} missed"]
    return "\n".join([*lines, *(f"- {one}" for one in missed)])


def _name(row: Row) -> str:
    return row.what if row.at is None else f"{row.what}, {row.at:,}"


def to_json(reports: Sequence[Report]) -> str:
    """Return *reports* for programs: one as an object, several as a list."""
    plain = [one.plain() for one in reports]
    return json.dumps(plain[0] if len(plain) == 1 else plain, indent=2)


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
