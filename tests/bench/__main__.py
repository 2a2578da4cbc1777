"""Runs one benchmark or all, prints the tables, and writes figures (JSON) and curves (SVG)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cost, counts, events, growth, ranges, reload, weight
from bench.plot import svg
from bench.report import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.report import Report

BENCHMARKS = {
    "cost": cost,
    "counts": counts,
    "events": events,
    "ranges": ranges,
    "growth": growth,
    "reload": reload,
    "weight": weight,
}
"""By name, modules with `add_arguments(parser)` and `run(options) -> Report`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what *arguments* name."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in BENCHMARKS.items():
        said = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=said, description=said)
        _add_files(command)
        module.add_arguments(command)
    _add_files(commands.add_parser("all", help="All of them in one run, with their defaults."))
    options = parser.parse_args(arguments)
    reports = []
    for report in _run(options):
        print(report.text(), end="\n\n", flush=True)
        reports.append(report)
    if options.json is not None:
        options.json.write_text(to_json(reports) + "\n", "utf-8")
    if options.plot is not None:
        options.plot.write_text(_plot(reports), "utf-8")
    return 0


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves there, as SVG")


def _run(options: argparse.Namespace) -> Iterator[Report]:
    if options.benchmark != "all":
        yield BENCHMARKS[options.benchmark].run(options)
        return
    for module in BENCHMARKS.values():
        defaults = argparse.ArgumentParser()
        module.add_arguments(defaults)
        yield module.run(defaults.parse_args([]))


def _plot(reports: Sequence[Report]) -> str:
    rows = [row for report in reports for row in report.rows if row.at is not None]
    panels = []
    for title, axis, names in growth.PANELS:
        shown = [row for row in rows if row.what in names]
        if shown:
            panels.append((title, axis, shown))
    return svg(panels)


if __name__ == "__main__":
    sys.exit(main())
