"""The command line: which commands and options there are."""

from __future__ import annotations

import argparse
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from uidtraced import __version__
from uidtraced.daemon import Output
from uidtraced.events.text import printable
from uidtraced.kernel.tracer import DEFAULT_RING_BYTES
from uidtraced.rules import Abi
from uidtraced.scrape import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_POLICY: Final = Path("/etc/uidtrace.yaml")
_RING_MIN_BYTES: Final = mmap.PAGESIZE
_RING_MAX_BYTES: Final = 2**30


class _Parser(argparse.ArgumentParser):
    """A parser whose wrong usage is 1 where a command's own answers have 2."""

    usage_exit = 2

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(self.usage_exit, f"{self.prog}: error: {printable(message)}\n")


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for *arguments*; the command's name is in `command`."""
    top = _Parser(
        prog="uidtraced", description="Log which users make which system calls, from one YAML file."
    )
    top.add_argument("--version", action="version", version=f"uidtraced {__version__}")
    _Parser.usage_exit = 1 if "plan" in arguments[:1] else 2
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")

    _add_run(commands.add_parser("run", help="trace until stopped; SIGHUP reads the policy again"))

    check = commands.add_parser("check", help="say what is wrong with a policy file")
    _add_policy(check)
    _add_format(check)

    plan = commands.add_parser("plan", help="say what a policy file would change; changes nothing")
    _add_policy(plan)
    _add_format(plan)

    _add_format(commands.add_parser("status", help="say how the running daemon is"))

    commands.add_parser("schema", help="print the JSON Schema of the policy, for editors")

    calls = commands.add_parser("syscalls", help="explain system calls, their numbers and sets")
    calls.add_argument(
        "word",
        nargs="?",
        metavar="NAME|NUMBER|@SET",
        help="such as openat, 257, i386:execve or @process; without it all sets are listed",
    )
    calls.add_argument(
        "--abi",
        choices=[abi.label for abi in Abi],
        help="of this ABI alone, also of another machine (default: those of this machine)",
    )

    _add_format(commands.add_parser("doctor", help="say whether this machine can run it"))
    return top


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--policy", type=_path, default=DEFAULT_POLICY, metavar="FILE")
    run.add_argument(
        "--output",
        type=Output,
        choices=list(Output),
        default=Output.AUTO,
        help="auto: the journal under systemd, text on a terminal, JSON otherwise",
    )
    run.add_argument(
        "--ring-size",
        type=_ring_bytes,
        default=DEFAULT_RING_BYTES,
        metavar="BYTES",
        help=f"of the ring buffer, a power of two (default: {DEFAULT_RING_BYTES})",
    )
    run.add_argument(
        "--pin-dir",
        type=_path,
        metavar="DIR",
        help="in a bpffs: what is in the kernel goes on without the daemon, for the next one",
    )
    run.add_argument(
        "--metrics",
        type=_address,
        metavar="ADDR:PORT",
        help="serve Prometheus metrics at http://ADDR:PORT/metrics; ADDR is 127.0.0.1 where left "
        "out, and no other than a loopback address without --metrics-public",
    )
    run.add_argument(
        "--metrics-public",
        action="store_true",
        help="let --metrics listen where other machines can connect and see who does how much",
    )


def _add_policy(command: argparse.ArgumentParser) -> None:
    command.add_argument("policy", type=Path, nargs="?", default=DEFAULT_POLICY, metavar="FILE")


def _add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=("text", "json"), default="text")


def _path(text: str) -> Path:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON and the journal cannot name it
        raise argparse.ArgumentTypeError(f"{text!a} is not UTF-8; rename it") from None
    return Path(text)


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _ring_bytes(text: str) -> int:
    size = int(text) if text.isdecimal() else 0
    if not _RING_MIN_BYTES <= size <= _RING_MAX_BYTES or size & (size - 1):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no power of two from {_RING_MIN_BYTES} to {_RING_MAX_BYTES}"
        )
    return size
