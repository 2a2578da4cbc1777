"""The commands: parse arguments, call, print. Exit codes are decided here and nowhere else."""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from uidtraced import __version__, daemon, systemd
from uidtraced.directory import PatientDirectory
from uidtraced.errors import (
    AlreadyRunningError,
    PermissionDeniedError,
    PolicyError,
    Problem,
    UidtracedError,
    UnsupportedError,
)
from uidtraced.kernel.probe import Finding, probe
from uidtraced.kernel.tracer import DEFAULT_RING_BYTES
from uidtraced.log import LogStyle, start_log
from uidtraced.policy import SystemDirectory, explain, load, understand
from uidtraced.rules import Abi

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_POLICY: Final = Path("/etc/uidtrace.yaml")
_RING_MIN_BYTES: Final = mmap.PAGESIZE
_RING_MAX_BYTES: Final = 2**30


class Exit(IntEnum):
    """Exit codes; systemd does not restart on those from USAGE on (see the unit)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNSUPPORTED = 69  # the names are sysexits.h's: EX_UNAVAILABLE
    ALREADY_RUNNING = 75  # EX_TEMPFAIL
    NO_PERMISSION = 77  # EX_NOPERM
    BAD_POLICY = 78  # EX_CONFIG


_EXIT_OF: Final[dict[type[UidtracedError], Exit]] = {
    UnsupportedError: Exit.UNSUPPORTED,
    AlreadyRunningError: Exit.ALREADY_RUNNING,
    PermissionDeniedError: Exit.NO_PERMISSION,
    PolicyError: Exit.BAD_POLICY,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* and return the exit code."""
    options = _parser().parse_args(arguments)
    code: int = options.command(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uidtraced", description="Log which users make which system calls, from one YAML file."
    )
    parser.add_argument("--version", action="version", version=f"uidtraced {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="trace until stopped; SIGHUP reads the policy again")
    run.add_argument("--policy", type=Path, default=DEFAULT_POLICY, metavar="FILE")
    run.add_argument(
        "--output",
        type=daemon.Output,
        choices=list(daemon.Output),
        default=daemon.Output.AUTO,
        help="auto: the journal under systemd, text on a terminal, JSON otherwise",
    )
    run.add_argument(
        "--ring-size",
        type=_ring_bytes,
        default=DEFAULT_RING_BYTES,
        metavar="BYTES",
        help=f"of the ring buffer, a power of two (default: {DEFAULT_RING_BYTES})",
    )
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="say what is wrong with a policy file")
    check.add_argument("policy", type=Path, nargs="?", default=DEFAULT_POLICY, metavar="FILE")
    check.add_argument("--format", choices=("text", "json"), default="text")
    check.set_defaults(command=_check)

    calls = commands.add_parser("syscalls", help="explain names, numbers and sets of calls")
    calls.add_argument("word", nargs="?", metavar="NAME|NUMBER|@SET", help="default: all sets")
    calls.add_argument("--abi", choices=[abi.label for abi in Abi], help="of any machine")
    calls.set_defaults(command=_syscalls)

    doctor = commands.add_parser("doctor", help="say whether this machine can run it")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.set_defaults(command=_doctor)
    return parser


def _ring_bytes(text: str) -> int:
    size = int(text) if text.isdecimal() else 0
    if not _RING_MIN_BYTES <= size <= _RING_MAX_BYTES or size & (size - 1):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no power of two from {_RING_MIN_BYTES} to {_RING_MAX_BYTES}"
        )
    return size


def _run(options: argparse.Namespace) -> int:
    start_log(_log_style(options.output))
    log = structlog.get_logger("uidtraced")
    try:
        daemon.run(daemon.Options(options.policy, options.output, options.ring_size))
    except PolicyError as error:
        for problem in error.problems:
            log.exception("not_started", problem=str(problem))
        return Exit.BAD_POLICY
    except UidtracedError as error:
        code = next((code for kind, code in _EXIT_OF.items() if isinstance(error, kind)), None)
        log.error("not_started" if code else "failed", problem=str(error))  # noqa: TRY400
        return code or Exit.FAILED
    except KeyboardInterrupt:  # before the loop takes SIGINT
        return Exit.OK
    return Exit.OK


def _log_style(output: daemon.Output) -> LogStyle:
    if output is not daemon.Output.JSON and systemd.runs_as_service():
        return LogStyle.JOURNAL
    if daemon.resolve_output(output) is daemon.Output.JSON:
        return LogStyle.JSON
    return LogStyle.TEXT


def _check(options: argparse.Namespace) -> int:
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    try:
        with contextlib.closing(PatientDirectory(SystemDirectory())) as directory:
            warnings = understand(load(options.policy), directory).warnings
    except PolicyError as error:
        problems = error.problems
    if options.format == "json":
        found = [("error", one) for one in problems] + [("warning", one) for one in warnings]
        report = {
            "valid": not problems,
            "path": str(options.policy),
            "problems": [
                {"severity": severity, "line": one.line, "column": one.column, "text": one.message}
                for severity, one in found
            ],
        }
        print(json.dumps(report))
    else:
        for one in problems:
            print(one.text("error"))
        for one in warnings:
            print(one.text("warning"))
    return Exit.FAILED if problems else Exit.OK


def _syscalls(options: argparse.Namespace) -> int:
    abi = next((one for one in Abi if one.label == options.abi), None)
    try:
        lines = explain(options.word, abi)
    except ValueError as error:
        print(f"uidtraced: {error}", file=sys.stderr)
        return Exit.FAILED
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # "| head" has read enough; nothing is left to flush at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK


_MARKS: Final = {True: "ok", False: "no", None: "?"}


def _doctor(options: argparse.Namespace) -> int:
    start_log(LogStyle.TEXT)
    findings = probe()
    able = all(one.ok is not False for one in findings if one.needed)
    sure = all(one.ok for one in findings if one.needed)
    if options.format == "json":
        keys = ("name", "ok", "needed", "detail")
        rows = [{key: getattr(one, key) for key in keys} for one in findings]
        print(json.dumps({"able": able and sure, "findings": rows}))
    else:
        for one in findings:
            print(_row(one))
        print("this machine can run uidtraced" if able and sure else "this machine cannot run it")
    return Exit.OK if able and sure else Exit.FAILED


def _row(one: Finding) -> str:
    mark = "--" if one.ok is False and not one.needed else _MARKS[one.ok]
    return f"{mark:4}{one.name:16} {one.detail}"


if __name__ == "__main__":
    sys.exit(main())
