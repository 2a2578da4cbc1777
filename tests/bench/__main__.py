"""Runs one benchmark, prints its table, and writes its figures as JSON where asked to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cost, events, growth, ranges, reload, weight
from bench.report import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS = {
    "reload": reload,
    "cost": cost,
    "events": events,
    "ranges": ranges,
    "growth": growth,
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
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
        module.add_arguments(command)
    options = parser.parse_args(arguments)
    report = BENCHMARKS[options.benchmark].run(options)
    print(report.text())
    if options.json is not None:
        options.json.write_text(to_json([report]) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
