"""The daemon as it is measured: on a cpu of its own, with its output in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.programs import TRACER_CPU
from harness import COMMAND, WAIT_SECONDS, Lines, own_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOBODY = "version: 1\nusers: {}\n"
"""A policy of nothing: the program is detached."""


def numbered_users(count: int, first: int = 20_000, rule_sets: int = 20) -> str:
    """Return the lines of *count* users by number, who share *rule_sets* different rule sets."""
    calls = ("chdir", "chmod", "kill", "mount", "ptrace")
    sets = [
        ", ".join(call for bit, call in enumerate(calls) if number % 31 + 1 >> bit & 1)
        for number in range(rule_sets)
    ]
    return "".join(f"  {first + one}: [{sets[one % rule_sets]}]\n" for one in range(count))


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process has used so far."""

    cpu_seconds: float
    rss_kib: int
    switches: int
    """Times that one of its threads went to sleep, so about as often as it woke."""


class Service:
    """`uidtraced run --output json` that writes to the file *output*; its records are not read."""

    def __init__(
        self, policy: str, *arguments: str, output: Path | None = None, wrap: Sequence[str] = ()
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="uidtraced-bench-")
        self.path = Path(self._directory.name) / "policy.yaml"
        self.path.write_text(policy)
        command = [*COMMAND, "run", "--policy", str(self.path), "--output", "json", *arguments]
        pinned = ["taskset", "--cpu-list", str(TRACER_CPU), *own_run([*wrap, *command])]
        with (output or Path(os.devnull)).open("wb") as out:
            self._process = subprocess.Popen(pinned, stdout=out, stderr=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.log = Lines(self._process.stderr)
        try:
            self.started = self.log.wait(lambda line: line["event"] == "policy_applied")
            self.log.wait(lambda line: line["event"] == "tracing")
        except BaseException:
            self.close()
            raise

    def put(self, policy: str) -> dict[str, Any]:
        """Bring *policy*, which differs from the one in force, into force; return the log line."""
        start = len(self.log.all)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(policy)
        fresh.rename(self.path)
        return self.log.wait(lambda line: line["event"] == "policy_applied", start)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the events wait in the ring."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def usage(self) -> Usage:
        """Return what it has used so far."""
        return usage_of(self.pid)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.log.join()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Policy:
    """A policy of *service* that is in force while it is `on`, and otherwise none."""

    def __init__(self, service: Service, text: str) -> None:
        self._service = service
        self._text = text

    @contextlib.contextmanager
    def on(self) -> Iterator[list[str]]:
        """Bring it into force."""
        self._service.put(self._text)
        try:
            yield []
        finally:
            self._service.put(NOBODY)


def usage_of(pid: int, root: Path = Path("/proc")) -> Usage:
    """Return what process *pid* has used so far; *root* is its own /proc."""
    tasks = list((root / str(pid) / "task").iterdir())
    # in ns, where /proc/PID/stat counts in hundredths of a second; of the threads that live
    cpu = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    rss = int(_status(root / str(pid) / "status")["VmRSS"].split()[0])
    switches = sum(int(_status(task / "status")["voluntary_ctxt_switches"]) for task in tasks)
    return Usage(cpu, rss, switches)


def _status(path: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def wait_until(condition: Any, seconds: float = WAIT_SECONDS, what: str = "it") -> float:
    """Wait until *condition()* is true and return how long that took, in seconds."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.002)
    return time.monotonic() - started
