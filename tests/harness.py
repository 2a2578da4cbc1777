"""Runs the daemon for real, and traced programs under real uids."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import pytest

from uidtraced.control import SOCKET, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

COMMAND = [sys.executable, "-P", "-m", "uidtraced.cli"]
TEST_DIRECTORY = "uidtraced-test-"
PATIENCE = float(os.environ.get("UIDTRACED_TEST_PATIENCE", "1"))
"""How many times as long as here all may take: emulated machines are slow."""

WAIT_SECONDS = 20.0 * PATIENCE

# a /run of its own: the lock is that of the machine, and a test must not meet an administrator's
OWN_RUN = ["unshare", "--mount", "--propagation", "private"]
MOUNT_RUN = 'mount -t tmpfs tmpfs /run && exec "$@"'


def own_run(command: Sequence[str], prepare: str = "") -> list[str]:
    """Return *command* with an empty /run, after the shell commands *prepare*."""
    return [*OWN_RUN, "sh", "-ec", f"{prepare}\n{MOUNT_RUN}", "sh", *command]


def altered(code: str) -> list[str]:
    """Return the command of a daemon in which *code* has run before all else."""
    run = "import runpy; runpy.run_module('uidtraced.cli', run_name='__main__')"
    return [COMMAND[0], "-P", "-c", f"{code}\n{run}"]


def as_user(uid: int, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run *command* under the real, effective and saved uid *uid*."""
    return subprocess.run(
        ["setpriv", "--reuid", str(uid), "--clear-groups", *command],
        check=True,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        **options,
    )


@contextlib.contextmanager
def looping(uid: int, code: str) -> Iterator[Callable[[], int]]:
    """Run *code*, Python that ends by a line and prints a number, as *uid*.

    Yields a function that lets it end and returns the number.
    """
    command = ["setpriv", "--reuid", str(uid), "--clear-groups", "/usr/bin/python3", "-S", "-c"]
    with subprocess.Popen(
        [*command, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as loop:
        try:
            yield lambda: int(loop.communicate("stop\n")[0])
        finally:
            loop.kill()


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """Make a directory that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix=TEST_DIRECTORY))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def compile_c(directory: Path, source: str, *flags: str) -> Path:
    """Compile *source* to a program in *directory*."""
    program = directory / "program"
    subprocess.run(
        ["gcc", "-O1", "-Wall", *flags, "-x", "c", "-", "-o", str(program)],
        input=source,
        check=True,
        text=True,
    )
    return program


def control_socket(pid: int) -> Path:
    """Return the way to the control socket of the daemon *pid*, which has a /run of its own."""
    return Path(f"/proc/{pid}/root{SOCKET}")


class Lines:
    """The JSON lines of a stream, as they come; those of which *skip* is true are only counted."""

    def __init__(self, stream: Any, skip: Callable[[str], bool] | None = None) -> None:
        self.all: list[dict[str, Any]] = []
        self.skipped = 0
        self.broken = ""
        """The first line that is not JSON, and all after it."""
        self._skip = skip
        self.ended = False
        self._changed = threading.Condition()
        self._reads = threading.Event()
        self._reads.set()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        while self._reads.wait() and (line := stream.readline()):
            if not line.endswith("\n"):
                break  # the writer was killed amid a line
            if self._skip is not None and self._skip(line):
                self.skipped += 1
                continue
            try:
                found = json.loads(line)
            except ValueError:
                self.broken = line
                self.broken += stream.read()
                break
            with self._changed:
                self.all.append(found)
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        stream.close()

    def stall(self) -> None:
        """Read no more until `go_on`, as a reader that is stuck."""
        self._reads.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reads.set()

    def wait(self, condition: Callable[[dict[str, Any]], bool], start: int = 0) -> dict[str, Any]:
        """Return the first line from number *start* on for which *condition* holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        at = start
        with self._changed:
            while True:
                while at < len(self.all):
                    if condition(self.all[at]):
                        return self.all[at]
                    at += 1
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(f"no such line among {self.all[-5:]}\n{self.broken}")
                self._changed.wait(left)

    def join(self) -> None:
        """Wait for the stream's end."""
        self._thread.join(WAIT_SECONDS)
        assert self.ended
        assert not self.broken, self.broken


class Daemon:
    """`uidtraced run --output json`; `records` are its events, `path` is its policy.

    That is a file of its own with the text *policy*, or the file *policy* where it is a path.
    Records of whose lines *skip* is true are only counted.
    """

    def __init__(
        self,
        policy: str | Path,
        *arguments: str,
        wrap: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        skip: Callable[[str], bool] | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix=TEST_DIRECTORY)
        if isinstance(policy, Path):
            self.path = policy
        else:
            self.path = Path(self._directory.name) / "policy.yaml"
            self.path.write_text(policy)
        command = [*command, "run", "--policy", str(self.path), "--output", "json", *arguments]
        self._process = subprocess.Popen(
            own_run([*wrap, *command]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.records = Lines(self._process.stdout, skip)
        self.log = Lines(self._process.stderr)

    def ready(self) -> Daemon:
        """Wait until the policy is in force, and its record is there."""
        self.log.wait(lambda line: line["event"] == "tracing")
        if not any(line["event"] == "policy_refused" for line in self.log.all):
            self.records.wait(lambda record: record["event"] == "policy")
        return self

    def edit(self, policy: str) -> dict[str, Any]:
        """Replace the policy as an editor does; return the record of its coming into force."""
        start = len(self.records.all)
        self.write(policy)
        return self.records.wait(lambda record: record["event"] == "policy", start)

    def write(self, policy: str) -> None:
        """Replace the policy as an editor does."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(policy)
        fresh.rename(self.path)

    def calls(self) -> list[dict[str, Any]]:
        """Return the system-call events so far."""
        return [record for record in self.records.all if record["event"] == "syscall"]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ask(self, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run another command beside it, in its mount namespace."""
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--wd=/", *prefix]
        return subprocess.run([*inside, *COMMAND, *arguments], capture_output=True, text=True)

    def status(self) -> dict[str, Any]:
        """Return its status."""
        found: dict[str, Any] = json.loads(self.ask("status", "--format", "json").stdout)
        return found

    def narrow(self) -> None:
        """Let the pipes to its readers hold no more than the kernel must let them."""
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, mmap.PAGESIZE)

    def at_rest(self) -> dict[int, dict[str, Any]]:
        """Wait until nothing is pending; return the users of the status by uid."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            status = self.answer("status")
            if not status["kernel"]["pending_bytes"] + sum(
                one["pending"] for one in status["users"]
            ):
                return {one["uid"]: one for one in status["users"]}
            assert time.monotonic() < deadline, status

    def answer(self, question: str) -> dict[str, Any]:
        """Return what its control socket answers, without a command's start-up."""
        found: dict[str, Any] = ask(question, control_socket(self.pid))
        return found

    def stop(self) -> int:
        """End it, wait for its last records, and return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and its last records, and return its exit code."""
        code = self._process.wait(WAIT_SECONDS)
        self.records.join()
        self.log.join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.records.go_on()
        self.log.go_on()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(WAIT_SECONDS)
        self.records.join()
        self.log.join()
        self._directory.cleanup()


def check_seq(events: Sequence[dict[str, Any]]) -> None:
    """Check that each cpu's events are numbered from 1 without a hole."""
    by_cpu: dict[int, list[int]] = {}
    for event in events:
        by_cpu.setdefault(event["cpu"], []).append(event["seq"])
    for cpu, numbers in by_cpu.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"cpu {cpu}"


BpfObject: TypeAlias = tuple[str, int, str]
"""Kind, id and name."""


def bpf_objects() -> set[BpfObject]:
    """Return all programs and maps of the kernel that are ours by name."""
    return {
        (kind, one["id"], one["name"])
        for kind, rows in of_this_test().items()
        for one in rows
        if one.get("name") in OURS
    }


def attached() -> set[str]:
    """Return the names of the programs that are attached."""
    names = {one["id"]: one.get("name", "") for one in of_this_test()["prog"]}
    return {names[one["prog_id"]] for one in _shown("link") if one.get("prog_id") in names}


def of_this_test() -> dict[str, list[dict[str, Any]]]:
    """Return what bpftool shows of programs ("prog") and maps ("map").

    Not those of a daemon that runs on this machine beside the tests, nor what it has pinned.
    """
    shown = {kind: _shown(kind) for kind in ("prog", "map")}
    others = _held_by_others()
    for kind, rows in shown.items():
        others |= {(kind, one["id"]) for one in rows if _is_pinned_by_others(one)}
    for one in shown["prog"]:
        if ("prog", one["id"]) in others:
            others |= {("map", number) for number in one.get("map_ids", ())}
    return {
        kind: [one for one in rows if (kind, one["id"]) not in others]
        for kind, rows in shown.items()
    }


def _shown(kind: str) -> list[dict[str, Any]]:
    command = ["bpftool", "--json", "--bpffs", kind, "show"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def _is_pinned_by_others(one: dict[str, Any]) -> bool:
    """Whether it is pinned elsewhere than where tests do."""
    return any(TEST_DIRECTORY not in path for path in one.get("pinned", ()))


def _held_by_others() -> set[tuple[str, int]]:
    """Return the programs and maps of which processes have an fd that do not come from this one."""
    found: set[tuple[str, int]] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text() == "bpftool\n":
                continue  # it looks at one after the other
            bpf = [fd for fd in process.glob("fd/*") if "bpf" in os.readlink(fd)]
            if bpf and not _is_of_this_test(int(process.name)):
                for fd in bpf:
                    info = (process / "fdinfo" / fd.name).read_text()
                    fields = dict(line.split(":\t", 1) for line in info.splitlines())
                    found |= {
                        (kind, int(fields[f"{kind}_id"]))
                        for kind in ("prog", "map")
                        if f"{kind}_id" in fields
                    }
    return found


def _is_of_this_test(pid: int) -> bool:
    """Whether *pid* is this process or comes from it; so is one that has ended."""
    while pid not in (0, 1, os.getpid()):
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return True
    return pid == os.getpid()


def left_behind(
    before: AbstractSet[tuple[str, int, str]] = frozenset(),
) -> set[tuple[str, int, str]]:
    """Return what is there and was not *before*; the kernel frees maps after a grace period."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (left := bpf_objects() - before) and time.monotonic() < deadline:
        pass
    return left


OURS = {
    *("on_sys_enter", "who_am_i", "real", "effective", "login", "rule_set", "events", "counts"),
    *("last_seq", ".data.control", "uidtrace.bss", "uidtrace.rodata", ".rodata.shapes"),
    *("on_sys_exit", "on_thread_end", "on_exec", "give_up", "passages", "long_passages"),
    *("workspaces", "exes", "shares", "under_way"),
}


def need(feature: str, present: object) -> None:
    """Skip the test where the kernel lacks *feature* and may: fail where it should have it."""
    if not present:
        assert feature in os.environ.get("UIDTRACED_MAY_LACK", "").split(","), f"no {feature}"
        pytest.skip(f"the kernel lacks {feature}")


def need_root() -> None:
    """Fail where the real thing cannot run, rather than test nothing."""
    assert os.geteuid() == 0, "kernel tests run as root: script/test says so"
