"""Work that is done through io_uring alone is logged as the system calls that it stands for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from msgspec import UNSET

from harness import attached, compile_c, need
from tracing import NOBODY, OTHER, drain, enforce, put, rules
from uidtraced.events.line import strace_line
from uidtraced.events.uring import NO_CALL, OPERATIONS
from uidtraced.kernel.uring import operations
from uidtraced.rules import Abi, Flag, Rule, Scope, ScopePlan, Uid, machine_abis

USER = Uid(1000)
EXIT = Flag.LOG | Flag.EXIT | Flag.SUCCESS
SOURCE = Path(__file__).with_name("ring.c")
FILES = (
    *("mkdirat", "openat", "pwrite64", "write", "fdatasync", "fallocate", "ftruncate", "close"),
    *("renameat2", "symlinkat", "linkat", "setxattr", "unlinkat", "openat2"),
)
SOCKETS = (
    *("socket", "connect", "accept4", "sendto", "sendmsg", "recvfrom", "shutdown", "bind"),
    "listen",
)


class Ring:
    """The program of ring.c, which works in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = compile_c(directory, SOURCE.read_text())
        directory.chmod(0o777)
        self.port = 0

    def run(self, *options: str, uid: int = USER) -> list[tuple[str, int]]:
        """Return what was asked of the ring, and the answers."""
        done = subprocess.run(
            [self._program, str(uid), *options],
            cwd=self._directory,
            check=True,
            capture_output=True,
            text=True,
        )
        self.port = int(done.stderr or "0")
        pairs = [line.split() for line in done.stdout.splitlines()]
        return [(name, int(answer)) for name, answer in pairs]


@pytest.fixture
def ring(public, tracer) -> Ring:
    need("io_uring", tracer.sees_io_uring)
    return Ring(public)


def by_uring(tracer):
    return [one for one in drain(tracer) if one.via is not UNSET]


def arguments(events, call: str):
    return [one.args for one in events if one.syscall == call]


@pytest.mark.kernels
@pytest.mark.parametrize("mode", [(), ("sqpoll",)], ids=["by the process", "by the ring's thread"])
def test_what_is_done_through_io_uring_alone_is_seen(tracer, ring, mode) -> None:
    enforce(tracer, ScopePlan({USER: rules(*FILES, *SOCKETS)}))
    asked = ring.run(*mode)
    events = by_uring(tracer)
    assert [one.syscall for one in events] == [name for name, _ in asked]
    assert {"openat", "unlinkat", "mkdirat", "connect", "sendto"} <= {name for name, _ in asked}
    assert {(one.uid, one.euid, one.via, one.abi) for one in events} == {
        (USER, USER, "io_uring", machine_abis()[0].label)
    }
    assert len({one.pid for one in events}) == 1
    threads = {(one.tid == one.pid, one.comm.startswith("iou-sqp")) for one in events}
    assert threads == ({(False, True)} if mode else {(True, False)})

    answers = dict(asked)
    fd = answers["openat"] if answers["openat"] >= 0 else dict(reversed(asked))["openat"]
    created, missing = arguments(events, "openat")
    assert created == {
        "dfd": "AT_FDCWD",
        "filename": "d/f",
        "flags": "O_RDWR|O_CREAT|O_CLOEXEC",
        "mode": 0o640,
    }
    assert (missing["filename"], missing["flags"]) == ("d/nowhere", "O_RDONLY")
    (made,) = arguments(events, "mkdirat")
    assert made == {"dfd": "AT_FDCWD", "pathname": "d", "mode": 0o750}
    (written,) = arguments(events, "pwrite64")
    assert (written["fd"], written["count"], written["pos"]) == (fd, 5, 3)
    assert arguments(events, "write")[0] | {"buf": 0} == {"fd": fd, "buf": 0, "count": 4}
    assert arguments(events, "fdatasync") == [{"fd": fd}]
    assert arguments(events, "fallocate")[0] | {"mode": 0} == {
        "fd": fd,
        "mode": 0,
        "offset": 1,
        "len": 4096,
    }
    assert arguments(events, "close") == [{"fd": fd}]
    (renamed,) = arguments(events, "renameat2")
    assert (renamed["oldname"], renamed["newname"]) == ("d/f", "d/g")
    assert renamed["flags"] == "RENAME_NOREPLACE"
    (linked,) = arguments(events, "symlinkat")
    assert linked == {"oldname": "g", "newdfd": "AT_FDCWD", "newname": "d/s"}
    (linked,) = arguments(events, "linkat")
    assert (linked["oldname"], linked["newname"]) == ("d/g", "d/h")
    (attribute,) = arguments(events, "setxattr")
    assert (attribute["pathname"], attribute["name"]) == ("d/g", "user.x")
    removed = arguments(events, "unlinkat")
    assert [one["pathname"] for one in removed] == ["d/g", "d/h", "d/s", "d"]
    assert removed[-1]["flag"] == "AT_REMOVEDIR"
    (opened,) = arguments(events, "openat2")
    assert opened["filename"] == "."
    assert opened["how"] == {"flags": "O_RDONLY|O_DIRECTORY", "mode": 0, "resolve": 8}

    inet, unix = arguments(events, "connect")
    assert inet["uservaddr"] == {
        "sa_family": "AF_INET",
        "sin_port": ring.port,
        "sin_addr": "127.0.0.1",
    }
    assert (inet["fd"], inet["addrlen"]) == (answers["socket"], 16)
    assert unix["uservaddr"] == {"sa_family": "AF_UNIX", "sun_path": "socket"}
    plain, to = arguments(events, "sendto")
    assert (plain["fd"], plain["len"], plain["addr"]) == (answers["socket"], 5, None)
    assert to["addr"] == {"sa_family": "AF_UNIX", "sun_path": "socket"}
    assert arguments(events, "socket")[0]["type"] == "SOCK_STREAM|SOCK_CLOEXEC"
    assert arguments(events, "shutdown")[0]["how"] == "SHUT_WR"
    assert arguments(events, "recvfrom")[0]["flags"] == "MSG_PEEK"
    if "bind" in answers:
        assert arguments(events, "bind")[0]["umyaddr"] == unix["uservaddr"]
    counters = tracer.books.counters()[USER]
    assert counters.matched >= len(events)
    assert counters.ring_full == 0


@pytest.mark.kernels
@pytest.mark.parametrize("mode", [(), ("sqpoll",)], ids=["by the process", "by the ring's thread"])
def test_results_are_those_of_the_requests(tracer, ring, mode) -> None:
    calls = ("mkdirat", "openat", "pwrite64", "unlinkat", "accept4", "connect")
    enforce(tracer, ScopePlan({USER: rules(*calls, flags=EXIT)}))
    asked = [(name, answer) for name, answer in ring.run(*mode) if name in calls]
    events = by_uring(tracer)
    assert [(one.syscall, one.ret) for one in events] == asked
    assert [one.errno for one in events if one.syscall == "openat"] == [None, "ENOENT"]
    assert all(one.duration_ns > 0 for one in events)
    (accepted,) = arguments(events, "accept4")
    assert accepted["upeer_sockaddr"]["sin_addr"] == "127.0.0.1"
    missing = next(one for one in events if one.errno == "ENOENT")
    assert strace_line(missing) == (
        'openat(AT_FDCWD, "d/nowhere", O_RDONLY) = -1 ENOENT (No such file or directory) (io_uring)'
    )


def test_errors_alone_can_be_asked_for(tracer, ring) -> None:
    enforce(tracer, ScopePlan({USER: rules("openat", flags=Flag.LOG | Flag.EXIT)}))
    ring.run()
    (event,) = by_uring(tracer)
    assert (event.args["filename"], event.errno) == ("d/nowhere", "ENOENT")


def test_a_request_that_completes_in_silence_is_sent_at_once(tracer, ring) -> None:
    enforce(tracer, ScopePlan({USER: rules("mkdirat", flags=EXIT)}))
    ring.run("quiet")
    (event,) = by_uring(tracer)
    assert (event.args["pathname"], event.ret, event.errno) == ("q", None, None)


def test_other_users_are_not_seen_and_unwanted_requests_cost_nothing(tracer, ring) -> None:
    enforce(tracer, ScopePlan({USER: rules("mkdirat")}))
    ring.run(uid=OTHER)
    assert by_uring(tracer) == []
    assert OTHER not in tracer.books.counters()
    ring.run()
    assert [one.syscall for one in by_uring(tracer)] == ["mkdirat"]
    assert tracer.books.counters()[USER].matched == 1


@pytest.mark.parametrize("mode", [(), ("sqpoll",)], ids=["by the process", "by the ring's thread"])
def test_whose_a_request_is_is_told_by_the_credentials_it_has(tracer, ring, mode) -> None:
    enforce(tracer, ScopePlan({NOBODY: rules("mkdirat"), Uid(0): rules("mkdirat", "unlinkat")}))
    ring.run("guest", *mode, uid=NOBODY)
    events = by_uring(tracer)
    assert [(one.uid, one.euid, one.syscall) for one in events] == [(NOBODY, NOBODY, "mkdirat")]


@pytest.mark.parametrize("scope", [Scope.REAL, Scope.EFFECTIVE])
def test_both_uids_are_those_of_the_credentials(tracer, ring, scope) -> None:
    put(tracer, scope, NOBODY, rules("mkdirat"))
    tracer.attach()
    ring.run("guest", uid=NOBODY)
    assert [one.syscall for one in by_uring(tracer)] == ["mkdirat"]


def test_a_registered_file_is_no_fd(tracer, ring) -> None:
    enforce(tracer, ScopePlan({USER: rules("pwrite64", "close")}))
    ring.run("fixed")
    written, closed = by_uring(tracer)
    assert (written.args["fd"], written.args["count"]) == ("registered 1", 1)
    assert strace_line(closed) == "close(registered 1) (io_uring)"


def test_io_uring_enter_is_logged_as_itself(tracer, ring) -> None:
    enforce(tracer, ScopePlan({USER: rules("io_uring_setup", "io_uring_enter")}))
    asked = ring.run()
    events = drain(tracer)
    assert {one.via for one in events} == {UNSET}
    assert [one.syscall for one in events].count("io_uring_setup") == 1
    assert len(events) > len(asked)


def test_a_limit_and_counting_hold_for_requests_too(tracer, ring) -> None:
    enforce(tracer, ScopePlan({USER: rules("unlinkat", flags=Flag.COUNT)}))
    asked = [name for name, _ in ring.run("twice")]
    counters = tracer.books.counters()[USER]
    assert drain(tracer) == []
    assert counters.matched == counters.counted == asked.count("unlinkat") == 8


def test_it_is_attached_only_while_a_request_can_stand_for_what_is_wanted(tracer) -> None:
    plan = enforce(tracer, ScopePlan({USER: rules("chdir", "execve")}))
    assert "on_uring_submit" not in attached()
    plan = enforce(tracer, ScopePlan({USER: rules("chdir", "openat")}), plan)
    assert "on_uring_submit" in attached()
    plan = enforce(tracer, ScopePlan({USER: rules("chdir")}), plan)
    assert "on_uring_submit" not in attached()
    plan = enforce(tracer, ScopePlan({USER: rules("connect")}), plan)
    assert "on_uring_submit" in attached()
    enforce(tracer, ScopePlan(), plan)
    assert "on_uring_submit" not in attached()


def test_a_32_bit_ring_is_of_the_32_bit_abi(tracer, public) -> None:
    subprocess.run(
        ["gcc", "-m32", "-O1", "-o", public / "ring32", "-x", "c", "-"],
        input=SOURCE.read_bytes(),
        check=True,
    )
    public.chmod(0o777)
    wanted = frozenset(Rule(Abi.I386, nr) for nr in (296, 181))  # mkdirat, pwrite64
    enforce(tracer, ScopePlan({USER: wanted}))
    subprocess.run([public / "ring32", str(USER)], cwd=public, check=True, capture_output=True)
    made, written = by_uring(tracer)
    assert (made.abi, made.nr, made.args["pathname"]) == ("i386", 296, "d")
    assert (written.abi, written.args["count"], written.args["pos"]) == ("i386", 5, 3)


def kernel_operations() -> dict[str, int]:
    """Return the operations of the running kernel."""
    command = ["bpftool", "--json", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    (found,) = [one for one in said["types"] if one["name"] == "io_uring_op"]
    start = "IORING_OP_"
    return {one["name"].removeprefix(start): one["val"] for one in found["values"]}


def header_operations(directory: Path) -> dict[str, int]:
    """Return the operations of this machine's linux/io_uring.h."""
    names = [*OPERATIONS, *NO_CALL, "LAST"]
    header = Path("/usr/include/linux/io_uring.h").read_text()
    known = [name for name in names if f"IORING_OP_{name}," in header]
    prints = "".join(f'printf("{name} %d\\n", IORING_OP_{name});' for name in known)
    source = f"#include <linux/io_uring.h>\n#include <stdio.h>\nint main(void) {{ {prints} }}"
    said = subprocess.run([compile_c(directory, source)], check=True, capture_output=True)
    return {line.split()[0]: int(line.split()[1]) for line in said.stdout.decode().splitlines()}


def test_the_numbers_of_operations_are_the_kernel_s(public) -> None:
    ours = {name: number for name, (number, _) in OPERATIONS.items()}
    assert operations() == ours
    found, header = kernel_operations(), header_operations(public)
    assert len(header) > 40
    for known in (found, header):
        last = known.pop("LAST")
        assert {name: known[name] for name in ours if name in known} == {
            name: number for name, number in ours.items() if number < last
        }
    # a new kernel's operations are looked at, and then stand for a call or are left out
    assert set(found) <= {*OPERATIONS, *NO_CALL}
