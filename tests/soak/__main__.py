"""Runs the daemon for long under load and mishaps, and says whether all is accounted for."""

from __future__ import annotations

import argparse
import socket
import sys
from typing import TYPE_CHECKING

from soak import kills, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRIALS = {"mixed": mixed, "kills": kills}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what *arguments* name; 0 where all held."""
    parser = argparse.ArgumentParser(prog="script/soak", description=__doc__)
    commands = parser.add_subparsers(dest="trial", required=True)
    for name, module in _TRIALS.items():
        said = (module.__doc__ or "").partition("\n")[0]
        module.add_arguments(commands.add_parser(name, help=said, description=said))
    options = parser.parse_args(arguments)
    alone = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:  # a name that is gone with this process
        alone.bind("\0uidtraced-soak")
    except OSError:
        print("soak: another one runs on this machine, and calls as the same users: let it end")
        return 1
    try:
        wrong, figures = _TRIALS[options.trial].run(options)
    except AssertionError as error:
        wrong, figures = [str(error)], {}
    print("\n| what | figure |\n|---|---|")
    for what, figure in figures.items():
        print(f"| {what} | {figure} |")
    for one in wrong:
        print(f"wrong: {one}")
    print(f"\n{'FAILED' if wrong else 'passed'}: {options.trial}, {vars(options)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
