"""Runs one benchmark or all, prints the tables, and writes figures (JSON) and curves (SVG)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cost, counts, events, growth, ranges, reload, weight
from bench.plot import svg
from bench.report import summary, to_json

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
    """Run what *arguments* name; all where they name nothing."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in BENCHMARKS.items():
        said = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=said, description=said)
        _add_files(command)
        module.add_arguments(command)
    said = "All of them in one run, with their defaults; so also where nothing is said."
    command = commands.add_parser("all", help=said, description=said)
    _add_files(command, json="uidtraced-bench.json", plot="uidtraced-bench.svg")
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words or ["all"])
    reports: list[Report] = []
    for report in _run(options):
        print(report.text(), end="\n\n", flush=True)
        reports.append(report)
        _write(options, reports)  # also if what follows fails
    print(summary(reports))
    return 0


def _write(options: argparse.Namespace, reports: Sequence[Report]) -> None:
    if options.json is not None:
        options.json.write_text(to_json(reports) + "\n", "utf-8")
    if options.plot is not None:
        options.plot.write_text(_plot(reports), "utf-8")


def _add_files(
    command: argparse.ArgumentParser, json: str | None = None, plot: str | None = None
) -> None:
    for name, default, said in (
        ("--json", json, "write the figures there"),
        ("--plot", plot, "draw the curves there, as SVG"),
    ):
        usual = "" if default is None else f" (default: {default})"
        command.add_argument(name, type=Path, metavar="FILE", default=default, help=said + usual)


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
