"""Too little memory, by a real limit of a control group: nothing half done, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

import harness
from harness import Daemon, as_user, own_run
from uidtraced.errors import NO_MEMORY

HEAD = "version: 1\nusers:\n"
POLICY = HEAD + "  64501: [chdir]\n"
CALLS = "import os\nfor _ in range(300): os.chdir('/')"
LEFT_OUT = ("chdir", "fchdir", "mkdir", "rmdir", "chmod", "chown", "link", "unlink", "rename")
MIB = 1 << 20


def large(count: int) -> str:
    """Return a policy of *count* rule sets, which take 120 KiB of the kernel's memory each."""
    entries = []
    for number in range(1, count + 1):
        but = "".join(f', "!{name}"' for bit, name in enumerate(LEFT_OUT) if number >> bit & 1)
        entries.append(f'  {3000 + number}: ["@all"{but}]\n')
    return POLICY + "".join(entries)


class MemoryGroup:
    """A control group that bounds memory, of whichever hierarchy this machine has."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.by_thread = (directory / "memory.limit_in_bytes").exists()
        """Whether a thread can be in it without its process: version 1."""
        self._old = self.by_thread

    def limit(self, size: int | None) -> None:
        name = "memory.limit_in_bytes" if self._old else "memory.max"
        none = "-1" if self._old else "max"
        (self.directory / name).write_text(none if size is None else str(size))

    def used(self) -> int:
        name = "memory.usage_in_bytes" if self._old else "memory.current"
        return int((self.directory / name).read_text())

    def killed(self) -> int:
        name = "memory.oom_control" if self._old else "memory.events"
        lines = (self.directory / name).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def wrap(self) -> list[str]:
        """Return what a command is to be started by to be in it."""
        return ["sh", "-ec", f'echo $$ >{self.directory}/cgroup.procs && exec "$@"', "sh"]


@pytest.fixture
def group():
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        root = Path(place)
        if kind == "cgroup" and "memory" in options.split(","):
            break
        control = root / "cgroup.subtree_control"
        if kind == "cgroup2" and "memory" in control.read_text().split():
            break
    else:
        pytest.fail("no hierarchy of control groups here bounds memory")
    directory = root / f"uidtraced-test-{os.getpid()}"
    directory.mkdir()
    try:
        yield MemoryGroup(directory)
    finally:
        deadline = time.monotonic() + harness.WAIT_SECONDS
        while directory.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # its last process is ending
                directory.rmdir()


def call(uid: int) -> None:
    as_user(uid, "/usr/bin/python3", "-S", "-c", CALLS)


def check_refused_whole(daemon: Daemon, reason: str) -> None:
    """Check that one line told why, and that all is as it was."""
    line = daemon.log.wait(lambda line: line["event"] == "policy_refused")
    assert reason in line["problem"]
    for uid in (64501, 3001):
        as_user(uid, "env", "--chdir=/", "true")
    daemon.records.wait(lambda one: one["event"] == "syscall")


def check_goes_on(daemon: Daemon) -> None:
    """Check that the next good edits come into force, and that nothing else came of it all."""
    assert daemon.edit(POLICY + "  64502: [chdir]\n")["created"] == 1
    assert daemon.edit(large(20))["created"] == 20
    assert daemon.status()["healthy"]
    assert daemon.stop() == 0
    assert {one["uid"] for one in daemon.calls()} == {64501}
    assert [one["event"] for one in daemon.log.all].count("policy_refused") == 1


def test_a_policy_for_which_the_kernel_may_have_no_more_memory_changes_nothing(group) -> None:
    if not group.by_thread:
        pytest.skip("control groups of version 2 cannot bound the kernel's memory alone")
    with Daemon(POLICY).ready() as daemon:
        # what the kernel takes is charged to the thread that asks, a process's own to its first
        threads = {int(one) for one in os.listdir(f"/proc/{daemon.pid}/task")} - {daemon.pid}
        for thread in threads:
            (group.directory / "tasks").write_text(str(thread))
        group.limit(4 * MIB)
        daemon.path.write_text(large(100))
        check_refused_whole(daemon, "ENOMEM")
        assert daemon.answer("status")["policy"]["revision"] == 1
        assert group.used() < 4 * MIB
        assert group.killed() == 0
        group.limit(None)
        check_goes_on(daemon)


def test_a_policy_for_which_the_daemon_may_have_no_more_memory_changes_nothing() -> None:
    users = POLICY + "".join(f"  {3000 + number}: [chdir, kill]\n" for number in range(40_000))
    with Daemon(POLICY).ready() as daemon:
        data = Path(f"/proc/{daemon.pid}/status").read_text().partition("VmData:")[2].split()[0]
        limit = int(data) * 1024 + MIB
        resource.prlimit(daemon.pid, resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        daemon.path.write_text(users)
        check_refused_whole(daemon, NO_MEMORY)
        resource.prlimit(daemon.pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
        check_goes_on(daemon)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENFILE])
def test_a_kernel_that_has_no_room_at_some_point_of_a_change_changes_nothing(number) -> None:
    """As the whole machine may run out of memory or files: strace answers in the kernel's place."""
    name = errno.errorcode[number]
    with Daemon(POLICY).ready() as daemon:
        inject = ["-e", f"inject=bpf:error={name}:when=30..90", "-p", str(daemon.pid)]
        with subprocess.Popen(
            ["strace", "-f", "-e", "trace=bpf", *inject], stderr=subprocess.PIPE, text=True
        ) as tracing:
            assert tracing.stderr is not None
            try:
                assert "attached" in tracing.stderr.readline()
                daemon.path.write_text(large(60))
                while "(INJECTED)" not in tracing.stderr.readline():
                    pass
            finally:
                tracing.send_signal(signal.SIGINT)
                tracing.communicate()
        check_refused_whole(daemon, name)
        check_goes_on(daemon)


def test_a_ring_for_which_there_is_no_memory_is_told_in_one_line_and_leaves_nothing(
    group, tmp_path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    group.limit(192 * MIB)
    command = [*harness.COMMAND, "run", "--policy", str(path), "--output", "json"]
    done = subprocess.run(
        own_run([*group.wrap(), *command, "--ring-size", str(256 * MIB)]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "ENOMEM (Cannot allocate memory); not enough memory" in done.stderr.splitlines()[-1]
    assert group.killed() == 0


def test_a_daemon_that_the_kernel_kills_for_memory_is_followed_without_a_loss(group, pins) -> None:
    arguments = ("--pin-dir", str(pins))
    with Daemon(POLICY, *arguments, wrap=group.wrap()).ready() as daemon:
        call(64501)
        group.limit(group.used() + MIB)
        daemon.path.write_text(large(400))
        assert daemon.wait() == -signal.SIGKILL
        assert group.killed() == 1
        records = daemon.records.all
    call(64501)
    with Daemon(POLICY, *arguments).ready() as daemon:
        gap = daemon.records.wait(lambda one: one["event"] == "gap")
        assert gap["lost"] == 0
        call(64501)
        users = daemon.at_rest()
        assert users[64501]["matched"] == users[64501]["written"] == 900
        assert daemon.status()["healthy"]
        assert daemon.stop() == 0
        records = records + daemon.records.all
    events = {(one["cpu"], one["seq"]) for one in records if one["event"] == "syscall"}
    assert len(events) == 900
    assert list(pins.iterdir()) == []
