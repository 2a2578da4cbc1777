"""The commands: call and print. Exit codes are decided here and nowhere else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import structlog

from uidtraced import daemon, reconcile, systemd
from uidtraced.changes import lines, to_rows
from uidtraced.control import ControlError, NotRunningError, ask, understood
from uidtraced.directory import PatientDirectory
from uidtraced.errors import (
    AlreadyRunningError,
    PermissionDeniedError,
    PolicyError,
    Problem,
    UidtracedError,
    UnsupportedError,
)
from uidtraced.events.text import printable
from uidtraced.kernel.probe import Finding, probe
from uidtraced.kernel.uring import look_at_uring
from uidtraced.log import LogStyle, start_log
from uidtraced.options import parser
from uidtraced.planfile import from_plain
from uidtraced.policy import SystemDirectory, explain, load, name_of, schema_text, understand
from uidtraced.rules import Abi, Plan
from uidtraced.status import status_lines
from uidtraced.users import UserNames

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from uidtraced.policy import Intent


class Exit(IntEnum):
    """Exit codes; systemd does not restart on those from USAGE on (see the unit)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CHANGES = 2  # of plan
    NOT_RUNNING = 3  # of status, as LSB's init scripts have it
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
    _fill_streams()
    if sys.stdout is None:
        _complain("standard output is closed; give it a place, such as >/dev/null")
        return Exit.USAGE
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a file says is shown in any locale
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words).parse_args(words)
    return _COMMANDS[options.command](options)


def _fill_streams() -> None:
    """Open what is closed of standard input and error: no file that is opened may take its place.

    Standard output is taken only as far as that: Python has None for it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free fd, so this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


def _show(text: str) -> None:
    """Print *text*; whoever reads may stop reading, as head does. Where it finds no room, end."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        if not isinstance(error, BrokenPipeError):
            _complain(f"standard output: {error.strerror}")
            sys.exit(Exit.FAILED)


def _show_json(value: object) -> None:
    _show(json.dumps(value))


def _complain(text: str) -> None:
    print(f"uidtraced: {text}", file=sys.stderr)


def _run(options: argparse.Namespace) -> int:
    where = options.metrics
    if where is not None and not where.is_loopback and not options.metrics_public:
        _complain(
            f"--metrics {where}: other machines could read who does how much; "
            f"listen on 127.0.0.1:{where.port}, or add --metrics-public"
        )
        return Exit.USAGE
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload; until it can be one, there is no need
    start_log(_log_style(options.output))
    log = structlog.get_logger("uidtraced")
    try:
        chosen = (options.policy, options.output, options.ring_size, options.pin_dir, where)
        daemon.run(daemon.Options(*chosen))
    except PolicyError as error:
        for problem in error.problems:  # by error(): what matters is the file, not our stack
            log.error("not_started", problem=str(problem))  # noqa: TRY400
        return Exit.BAD_POLICY
    except UidtracedError as error:
        code = next((code for kind, code in _EXIT_OF.items() if isinstance(error, kind)), None)
        log.error("not_started" if code else "failed", problem=str(error))  # noqa: TRY400
        return code or Exit.FAILED
    except MemoryError:
        log.error("failed", problem="out of memory: raise the limit of the service")  # noqa: TRY400
        return Exit.FAILED
    except KeyboardInterrupt:  # before the loop takes SIGINT
        return Exit.OK
    return Exit.OK


def _log_style(output: daemon.Output) -> LogStyle:
    if output is not daemon.Output.JSON and systemd.runs_as_service():
        return LogStyle.JOURNAL
    if daemon.resolve_output(output) is daemon.Output.JSON:
        return LogStyle.JSON
    return LogStyle.TEXT


def _intent(path: Path) -> Intent:
    """Return what the policy at *path* wants; a name service may take its time to say of whom."""
    sees = look_at_uring().tracepoint is not None
    directory = PatientDirectory(SystemDirectory(), _PATIENCE_SECONDS)
    with contextlib.closing(directory):
        return understand(load(path), directory, sees_io_uring=sees)


_PATIENCE_SECONDS: Final = 10.0


def _plain_problems(
    problems: Sequence[Problem], warnings: Sequence[Problem]
) -> list[dict[str, Any]]:
    found = [("error", one) for one in problems] + [("warning", one) for one in warnings]
    return [
        {"severity": severity, "line": one.line, "column": one.column, "text": one.message}
        for severity, one in found
    ]


def _check(options: argparse.Namespace) -> int:
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    try:
        warnings = _intent(options.policy).warnings
    except PolicyError as error:
        problems = error.problems
    if options.format == "json":
        found = _plain_problems(problems, warnings)
        _show_json({"valid": not problems, "path": str(options.policy), "problems": found})
    else:
        texts = [one.text("error") for one in problems] + [one.text("warning") for one in warnings]
        if texts:
            _show("\n".join(texts))
    return Exit.FAILED if problems else Exit.OK


def _plan(options: argparse.Namespace) -> int:
    try:
        intent = _intent(options.policy)
    except PolicyError as error:
        if options.format == "json":
            found = _plain_problems(error.problems, ())
            _show_json({"valid": False, "path": str(options.policy), "problems": found})
        else:
            print(error, file=sys.stderr)
        return Exit.FAILED
    if intent.stale:
        some = ", ".join(sorted(intent.stale)[:3])
        _complain(
            f"the name service does not answer for {len(intent.stale)} names ({some}); ask again"
        )
        return Exit.FAILED
    revision: int | None = None
    actual = Plan()
    try:
        running = ask("plan")
        actual = understood(running, lambda found: from_plain(found["plan"]))
        revision = understood(running, lambda found: int(found["revision"]))
    except NotRunningError:
        pass
    except ControlError as error:
        _complain(str(error))
        return Exit.FAILED
    actions = reconcile.diff(actual, intent.plan)
    with contextlib.closing(UserNames(name_of)) as names:
        rows = to_rows(actions, names)
    counts = reconcile.count(actions, intent.plan)
    if options.format == "json":
        runs = revision is not None
        about = {"valid": True, "path": str(options.policy), "running": runs}
        found = _plain_problems((), intent.warnings)
        rest = {"revision": revision, **counts, "changes": rows, "problems": found}
        _show_json(about | rest)
    else:
        _show_plan(intent, rows, counts, running=revision is not None)
    return Exit.CHANGES if actions else Exit.OK


def _show_plan(
    intent: Intent, rows: Sequence[dict[str, Any]], counts: Mapping[str, int], *, running: bool
) -> None:
    for one in intent.warnings:
        print(one.text("warning"), file=sys.stderr)
    if not running:
        _complain("not running, so this is what a start brings into force")
    colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    summary = ", ".join(f"{number} {what}" for what, number in counts.items())
    _show("\n".join([*lines(rows, colored=colored), summary]))


def _status(options: argparse.Namespace) -> int:
    try:
        answer = ask("status")
        shown = understood(answer, status_lines)
    except NotRunningError as error:
        if options.format == "json":
            _show_json({"running": False, "healthy": False, "problems": [str(error)]})
        else:
            _complain(str(error))
        return Exit.NOT_RUNNING
    except ControlError as error:
        _complain(str(error))
        return Exit.FAILED
    if options.format == "json":
        _show_json(answer)
    else:
        _show("\n".join(map(printable, shown)))
    return Exit.OK if answer["healthy"] is True else Exit.FAILED


def _schema(_: argparse.Namespace) -> int:
    _show(schema_text().rstrip("\n"))
    return Exit.OK


def _syscalls(options: argparse.Namespace) -> int:
    abi = next((one for one in Abi if one.label == options.abi), None)
    try:
        found = explain(options.word, abi)
    except ValueError as error:
        _complain(str(error))
        return Exit.FAILED
    _show("\n".join(found))
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
        _show_json({"able": able and sure, "findings": rows})
    else:
        verdict = "can run uidtraced" if able and sure else "cannot run it"
        _show("\n".join([*map(_row, findings), f"this machine {verdict}"]))
    return Exit.OK if able and sure else Exit.FAILED


def _row(one: Finding) -> str:
    mark = "--" if one.ok is False and not one.needed else _MARKS[one.ok]
    return f"{mark:4}{one.name:16} {one.detail}"


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "run": _run,
    "check": _check,
    "plan": _plan,
    "status": _status,
    "schema": _schema,
    "syscalls": _syscalls,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
