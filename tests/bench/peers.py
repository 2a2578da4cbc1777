"""Other tracers, set up for the same job as their own documentation would.

Each is on only within `on()`, which yields the words to put before the command that is traced.
What it needs of the machine (tracefs) is mounted in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Protocol

from bench.service import wait_until
from harness import OWN_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

_TRACEFS = "/sys/kernel/tracing"
_WITH_TRACEFS = [*OWN_RUN, "sh", "-ec", f'mount -t tracefs t {_TRACEFS}; exec "$@"', "sh"]
_NO_SYSDIG = (
    "Debian's 0.29.3 wants a kernel module, or a probe built for this very kernel; "
    "its modern BPF probe came later"
)
_NEVER = "-a never,task"


class Tracing(Protocol):
    """Something that can be on or off."""

    def on(self) -> AbstractContextManager[list[str]]:
        """Have it on; yields what to put before a command that it should trace."""


def missing(program: str) -> str:
    """Return why *program* cannot be measured here; empty where it can."""
    if program == "sysdig":
        return _NO_SYSDIG
    if shutil.which(program) is None:
        return "not installed"
    if program == "auditd":
        return _no_audit()
    return ""


class Background:
    """A tracer that runs beside what it traces; what it prints goes to *output*, line by line.

    It is ready once a call that *poke* makes is there.
    """

    def __init__(self, command: Sequence[str], output: Path, poke: Callable[[], object]) -> None:
        self._command = command
        self._output = output
        self._poke = poke

    @contextlib.contextmanager
    def on(self) -> Iterator[list[str]]:
        """Start it, and end it as Ctrl-C does."""
        with self.running():
            yield []

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Start it, yield its pid, and end it as Ctrl-C does."""
        errors = self._output.with_suffix(".errors")
        with errors.open("wb") as err, self._output.open("wb") as out:
            process = subprocess.Popen([*_WITH_TRACEFS, *self._command], stdout=out, stderr=err)
        try:
            wait_until(lambda: self._answers(process, errors), what=self._command[0])
            yield process.pid
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self, process: subprocess.Popen[bytes], errors: Path) -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{self._command[0]} ended: {errors.read_text()[-500:]}")
        self._poke()
        return self._output.stat().st_size > 0


def bpftrace(
    uid: int, numbers: Sequence[int], output: Path, poke: Callable[[], object]
) -> Background:
    """Return bpftrace that prints the calls *numbers* of *uid*."""
    ids = " || ".join(f"args->id == {one}" for one in numbers)
    said = 'printf("%d %d %s %d\\n", uid, pid, comm, args->id)'
    program = f"tracepoint:raw_syscalls:sys_enter /uid == {uid} && ({ids})/ {{ {said}; }}"
    return Background(["bpftrace", "-q", "-B", "line", "-e", program], output, poke)


def perf_trace(calls: Sequence[str], output: Path, poke: Callable[[], object]) -> Background:
    """Return perf trace of *calls*, of everybody: it has no filter by uid for the whole system."""
    command = ["perf", "trace", "-a", "-e", ",".join(calls), "-o", str(output)]
    return Background(command, output, poke)


class Strace:
    """strace of *calls*: it starts what it traces."""

    def __init__(self, calls: Sequence[str], *flags: str) -> None:
        self._words = ["strace", "-f", *flags, "-e", f"trace={','.join(calls)}", "-o", os.devnull]

    @contextlib.contextmanager
    def on(self) -> Iterator[list[str]]:
        """Give the words to put before a command."""
        yield self._words


class Auditd:
    """auditd with one rule, for *calls* of *uid*, and with Debian's settings for the kernel."""

    def __init__(self, uid: int, calls: Sequence[str], directory: Path) -> None:
        self._rule = ["-a", "always,exit", "-F", "arch=b64"]
        for call in calls:
            self._rule += ["-S", call]
        self._rule += ["-F", f"uid={uid}", "-k", "uidtraced-bench"]
        self._directory = directory / "audit"
        plugins = self._directory / "plugins.d"
        plugins.mkdir(parents=True, mode=0o750)
        self._log = self._directory / "audit.log"
        # as Debian's auditd.conf, but where it writes, and that a large file is no trouble
        text = f"""
            log_file = {self._log}
            plugin_dir = {plugins}
            log_format = ENRICHED
            flush = INCREMENTAL_ASYNC
            freq = 50
            max_log_file_action = IGNORE
            space_left = 75
            space_left_action = IGNORE
            admin_space_left = 50
            admin_space_left_action = IGNORE
        """
        (self._directory / "auditd.conf").write_text(text.replace("  ", ""))

    @contextlib.contextmanager
    def on(self) -> Iterator[list[str]]:
        """Start it with its rule; afterwards the kernel's audit is as it was."""
        before, rules = _audit_status(), _auditctl("-l")
        command = ["auditd", "-n", "-c", str(self._directory)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _audit_status()["pid"] == str(process.pid), what="auditd")
            _auditctl("-D")
            _auditctl("-b", "8192")
            _auditctl("--backlog_wait_time", "60000")
            _auditctl(*self._rule)
            yield []
        finally:
            _auditctl("-D")
            process.terminate()
            process.wait(20)
            _auditctl("-b", before["backlog_limit"])
            _auditctl("--backlog_wait_time", before["backlog_wait_time"])
            _auditctl("-e", before["enabled"])
            if rules.strip() == _NEVER:
                _auditctl(*_NEVER.split())
            self._log.unlink(missing_ok=True)


@contextlib.contextmanager
def without_audit() -> Iterator[None]:
    """Keep new processes free of the kernel's audit.

    Where it was ever on since boot (audit_ever_enabled, kernel/audit.c), each process that starts
    is on the slow entry path for it, even with audit off; this rule is what prevents that.
    """
    if missing("auditd"):
        yield
        return
    _auditctl(*_NEVER.split())
    try:
        yield
    finally:
        _auditctl("-D")


def _no_audit() -> str:
    try:
        status = _audit_status()
        rules = _auditctl("-l")
    except subprocess.CalledProcessError as error:
        return f"the kernel's audit does not answer: {error.stderr.strip()}"
    if status["pid"] != "0":
        return "an auditd runs already: stop it"
    if status["enabled"] == "2" or rules.strip() not in ("No rules", _NEVER):
        return "the kernel has audit rules already"
    return ""


def _auditctl(*words: str) -> str:
    done = subprocess.run(["auditctl", *words], check=True, capture_output=True, text=True)
    return done.stdout


def _audit_status() -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in _auditctl("-s").splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}
