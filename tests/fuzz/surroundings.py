"""What the daemon is started with, and what it finds in /proc: taken, or refused in a line."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import TYPE_CHECKING

import structlog

from fuzz import hostile
from uidtraced import systemd
from uidtraced.events.cgroups import find_hierarchy
from uidtraced.journald import find_journald
from uidtraced.options import parser
from uidtraced.scrape import Address

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

_NAMES = (
    *("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC"),
    *("WATCHDOG_PID", "JOURNAL_STREAM"),
)
_WORDS = (
    *(
        b"0",
        b"1",
        b"-1",
        b"3",
        b"65536",
        b"30000000",
        b"9" * 30,
        b"9" * 5000,
        b"1.5",
        b"1e9",
        b" 1",
    ),
    *("\u0661".encode(), b"", b":", b"a:a:b", b"/run/nowhere", b"@", b"@x", b"vsock:2:1", b"8:1"),
    b"/" + b"a" * 200,
)
_ARGUMENTS = (
    *("run", "check", "plan", "status", "syscalls", "doctor", "schema", "--policy", "--output"),
    *("json", "--ring-size", "4096", "4097", "9" * 5000, "\u0664\u0660", "--pin-dir", "--metrics"),
    *("127.0.0.1:9464", ":0", "[::1]:1", "0.0.0.0:1", "::1:1", "[127.0.0.1]:1", "localhost:65536"),
    *(":\u0661", "--metrics-public", "--format", "text", "--", "-", "--abi", "x32", "@all", "-h"),
    *("1.2.3.4:" + "9" * 5000, "--version", "[::1%eth0]:5", "127.1:1", "/etc/uidtrace.yaml"),
)


def run(random: Random, count: int, directory: Path) -> None:
    """Try *count* surroundings; AssertionError, or whatever is raised, where one does harm."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for _ in range(count):
        one = random.choices((_environment, _arguments, _address, _proc), (8, 1, 8, 3))[0]
        one(random, directory)


def _word(random: Random) -> bytes:
    if random.random() < 0.2:
        return str(os.getpid()).encode()
    if random.random() < 0.6:
        return random.choice(_WORDS)
    return hostile.environment(random, 300)


def _environment(random: Random, _: Path) -> None:
    for name in _NAMES:
        os.environb.pop(name.encode(), None)
        if random.random() < 0.7:
            os.environb[name.encode()] = _word(random)
    if random.random() < 0.3:
        os.environ["LISTEN_PID"] = str(os.getpid())
    assert systemd.runs_as_service() in (True, False)
    limit = systemd.watchdog_seconds()
    assert limit is None or limit > 0
    before = set(os.listdir("/proc/self/fd"))
    store = systemd.SystemdStore()
    assert store.kept() == {}
    store.keep("name", 0)
    store.settle()
    systemd.show(hostile.raw(random, 60).replace(b"\0", b"").decode("utf-8", "replace"))
    assert set(os.listdir("/proc/self/fd")) == before
    for name in _NAMES:
        os.environb.pop(name.encode(), None)


def _arguments(random: Random, _: Path) -> None:
    words = [
        os.fsdecode(hostile.environment(random, 60))
        if random.random() < 0.3
        else random.choice(_ARGUMENTS)
        for _ in range(random.randrange(6))
    ]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser(words).parse_args(words)
    except SystemExit as end:
        assert end.code in (0, 1, 2)
        if end.code:
            usage, error, text = said.getvalue().partition(": error: ")
            assert usage.startswith("usage: uidtraced ")
            assert error
            assert text.endswith("\n")
            assert text[:-1].isprintable(), text


def _address(random: Random, _: Path) -> None:
    text = random.choice(
        (random.choice(_ARGUMENTS), os.fsdecode(hostile.environment(random, 40)) + ":80")
    )
    try:
        found = Address.parse(text)
    except ValueError as error:
        assert str(error).isprintable(), str(error)
    else:
        assert 0 <= found.port < 2**16
        assert Address.parse(str(found)) == found


def _proc(random: Random, directory: Path) -> None:
    def name() -> bytes:
        # the kernel escapes these in mountinfo, and takes no such name for a group
        found = hostile.raw(random, 100).replace(b"\0", b"").replace(b"\n", b"")
        return re.sub(rb"[ \t\\#/]", lambda one: b"\\%03o" % ord(one[0]), found)

    mounts = b"30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    mounts += b"".join(
        b"40 1 0:9 / /home/%s rw - fuse %s rw\n" % (name(), name()) for _ in range(3)
    )
    assert find_hierarchy(mounts) == b"/sys/fs/cgroup"
    group = b"/user.slice/" + name() + b"0::/system.slice/systemd-journald.service"
    (directory / "7" / "cgroup").write_bytes(b"0::" + group + b"\n")
    assert find_journald(directory) is None


def prepare(directory: Path) -> None:
    """Make what looks like /proc."""
    for name in ("self", "7"):
        (directory / name).mkdir()
    (directory / "self" / "cgroup").write_text("0::/system.slice/uidtraced.service\n")
