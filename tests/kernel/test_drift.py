"""What others change in the kernel beside the daemon: found, put right, told of."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness
from harness import Daemon, as_user
from uidtraced.errors import UnsupportedError
from uidtraced.kernel.libbpf import MapFd
from uidtraced.rules import Abi, Block, Nr, Rule, Scope, Uid

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = """version: 1
users:
  1000: [chdir]
  1001: [fchdir]
  "5000-5255": [chdir]
  "*": [mkdir]
"""


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    """Let daemons look as often as a watchdog that wants a sign every tenth of a second does."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")


def bpftool(*arguments: str | int, ok: bool = True) -> str:
    command = ["bpftool", "--json", *(str(one) for one in arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) is ok, done
    return done.stdout


def fds_of(pid: int) -> dict[int, dict[str, str]]:
    """Return by fd of a process what the kernel says of it."""
    found = {}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            lines = (line.partition(":") for line in path.read_text().splitlines())
            found[int(path.name)] = {name: value.strip() for name, _, value in lines}
    return found


def maps_of(daemon: Daemon) -> dict[str, list[int]]:
    """Return the ids of a daemon's maps by name."""
    found: dict[str, list[int]] = {}
    fds = fds_of(daemon.pid).values()
    for number in {int(about["map_id"]) for about in fds if "map_id" in about}:
        name = json.loads(bpftool("map", "show", "id", number))["name"]
        found.setdefault(name, []).append(number)
    return found


def number_at(number: int, key: list[str]) -> int:
    """Return what map *number* has for *key*: a class, or the id of an inner map."""
    said = json.loads(bpftool("map", "lookup", "id", number, "key", *key))
    return int.from_bytes(bytes(int(one, 16) for one in said["value"]), "little")


def inner_of(maps, who: int) -> int:
    return number_at(maps["real"][0], uid(who))


def uid(number: int) -> list[str]:
    return [str(byte) for byte in number.to_bytes(4, "little")]


def block(first: int, bits: int) -> list[str]:
    return [str(byte) for byte in struct.pack("=I", bits) + first.to_bytes(4, "big")]


def delete(maps, name, key) -> None:
    bpftool("map", "delete", "id", maps[name][0], "key", *key)


def point(maps, name, key, inner) -> None:
    bpftool("map", "update", "id", maps[name][0], "key", *key, "value", "id", inner)


def put(maps, name, key, value) -> None:
    bpftool("map", "update", "id", maps[name][0], "key", *key, "value", *value)


def tampers(daemon: Daemon) -> list[dict]:
    return [one for one in daemon.records.all if one["event"] == "tamper"]


CHANGES = {
    "a uid taken out": (
        lambda maps: delete(maps, "real", uid(1000)),
        ("real", "1000", "nothing", "chdir"),
    ),
    "a uid put in": (
        lambda maps: point(maps, "real", uid(77), inner_of(maps, 1000)),
        ("real", "77", "chdir", "nothing"),
    ),
    "a uid with another's rules": (
        lambda maps: point(maps, "real", uid(1000), inner_of(maps, 1001)),
        ("real", "1000", "fchdir", "chdir"),
    ),
    "a uid in a scope that is not in use": (
        lambda maps: point(maps, "login", uid(1000), inner_of(maps, 1000)),
        ("login", "1000", "chdir", "nothing"),
    ),
    "a range taken out": (
        lambda maps: delete(maps, "real_blocks", block(5000, 29)),
        ("real_blocks", "5000-5007", "nothing", "chdir"),
    ),
    "a range put in": (
        lambda maps: put(maps, "real_blocks", block(1 << 20, 32), uid(12345)),
        ("real_blocks", str(1 << 20), "a map of others", "nothing"),
    ),
    "everybody else taken out": (
        lambda maps: delete(maps, "real_blocks", block(0, 0)),
        ("real_blocks", "*", "nothing", "mkdir"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_entry_that_others_change_is_put_right_and_told_of(name) -> None:
    change, (of, entry, found, restored) = CHANGES[name]
    with Daemon(POLICY).ready() as daemon:
        assert daemon.status()["healthy"]
        change(maps_of(daemon))
        record = daemon.records.wait(lambda one: one["event"] == "tamper")
        one = int(entry) if entry.isdecimal() and not of.endswith("blocks") else None
        expected = {"object": of, "entry": entry, "uid": one, "found": found, "more": 0}
        assert {key: record[key] for key in expected} == expected
        assert record["restored"] == restored
        all_flow(daemon)
        status = daemon.status()
        assert (status["healthy"], status["since_start"]["tampered"]) == (False, 1)
        assert "changed what is in the kernel" in status["problems"][0]
        assert [one["object"] for one in daemon.log.all if one["event"] == "tampered"] == [of]
        assert daemon.stop() == 0
        assert tampers(daemon) == [record]


def all_flow(daemon: Daemon) -> None:
    """Make the calls that POLICY names, and wait for their events."""
    start = len(daemon.records.all)
    for who, call in ((1000, "chdir"), (5001, "chdir"), (7777, "mkdir")):
        as_user(who, "sh", "-c", "cd /; mkdir /etc 2>/dev/null || true")
        daemon.records.wait(
            lambda one, who=who, call=call: (one.get("uid"), one.get("syscall")) == (who, call),
            start,
        )


@pytest.mark.parametrize("how", ["taken out", "of another"])
def test_a_class_that_others_change_is_put_right(how) -> None:
    with Daemon(POLICY).ready() as daemon:
        maps = maps_of(daemon)
        number = number_at(maps["real_blocks"][0], block(0, 0))
        other = inner_of(maps, 1001)
        if how == "taken out":
            delete(maps, "classes", uid(number))
        else:
            point(maps, "classes", uid(number), other)
        record = daemon.records.wait(lambda one: one["event"] == "tamper")
        found = "nothing" if how == "taken out" else f"map {other}"
        expected = ("classes", str(number), found, f"map {number}")
        names = ("object", "entry", "found", "restored")
        assert tuple(record[name] for name in names) == expected
        all_flow(daemon)
        assert daemon.stop() == 0
        assert tampers(daemon) == [record]


def test_a_map_that_others_freeze_is_told_of_with_what_to_do() -> None:
    with Daemon(POLICY).ready() as daemon:
        bpftool("map", "freeze", "id", maps_of(daemon)["real"][0])
        record = daemon.records.wait(lambda one: one["event"] == "tamper")
        assert (record["object"], record["found"], record["restored"]) == (
            *("real", "frozen"),
            "not yet",
        )
        problems = daemon.status()["problems"]
        assert problems[0].endswith("real frozen; systemctl stop uidtraced, and start it again")
        daemon.write(POLICY + "  1002: [chdir]\n")
        refused = daemon.log.wait(lambda line: line["event"] == "policy_refused")
        assert "stop the daemon and start it again" in refused["problem"]
        all_flow(daemon)
        assert daemon.stop() == 0
        assert tampers(daemon) == [record]


def test_accounts_that_others_freeze_go_on_and_are_told_of() -> None:
    with Daemon(POLICY).ready() as daemon:
        bpftool("map", "freeze", "id", maps_of(daemon)["accounts"][0])
        for _ in range(2):
            all_flow(daemon)
        record = daemon.records.wait(lambda one: one["event"] == "tamper")
        assert (record["object"], record["found"]) == ("accounts", "frozen")
        assert daemon.edit(POLICY + "  1002: [chdir]\n")["created"] == 1
        user = daemon.at_rest()[1000]
        assert user["matched"] == user["written"] == 2
        assert daemon.status()["problems"][0].endswith("stop uidtraced, and start it again")
        assert daemon.stop() == 0


def test_what_the_programs_are_told_is_put_right() -> None:
    with Daemon(POLICY).ready() as daemon:
        (number,) = maps_of(daemon)[".data.control"]
        size = json.loads(bpftool("map", "show", "id", number))["bytes_value"]
        bpftool("map", "update", "id", number, "key", *uid(0), "value", *["0"] * size)
        daemon.records.wait(lambda one: one.get("entry") == "generation")
        all_flow(daemon)
        assert daemon.stop() == 0
        found = {one["entry"]: (one["found"], one["restored"]) for one in tampers(daemon)}
        assert found["scopes"] == ("0", "1")
        assert found["generation"] == ("0", "1")
        assert found["wanted[80]"][0] == "0"
        assert {one["object"] for one in tampers(daemon)} == {".data.control"}
        harness.check_seq(daemon.calls())


def test_inner_maps_and_what_the_programs_were_built_with_cannot_be_written_to() -> None:
    with Daemon(POLICY).ready() as daemon:
        maps = maps_of(daemon)
        rules = inner_of(maps, 1000)
        call = struct.pack("=HH", 80, 0)
        key = [str(one) for one in call]
        bpftool("map", "update", "id", rules, "key", *key, "value", *["0"] * 12, ok=False)
        bpftool("map", "delete", "id", rules, "key", *key, ok=False)
        all_flow(daemon)
        assert daemon.stop() == 0
        assert tampers(daemon) == []


CLOSE = """
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
/* have process argv[1] close its fd argv[2] */
int main(int argc, char **argv)
{
	struct user_regs_struct saved, regs;
	pid_t pid = atoi(argv[1]);
	long code;

	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, NULL, __WALL) != pid)
		return 1;
	ptrace(PTRACE_GETREGS, pid, 0, &saved);
	regs = saved;
	code = ptrace(PTRACE_PEEKTEXT, pid, regs.rip, 0);
	ptrace(PTRACE_POKETEXT, pid, regs.rip, (code & ~0xffffL) | 0x050f);
	regs.rax = SYS_close;
	regs.rdi = atoi(argv[2]);
	regs.orig_rax = -1;
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
	ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
	waitpid(pid, NULL, __WALL);
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	ptrace(PTRACE_POKETEXT, pid, saved.rip, code);
	ptrace(PTRACE_SETREGS, pid, 0, &saved);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return regs.rax != 0;
}
"""


def links_of(daemon: Daemon) -> dict[str, int]:
    """Return the fds of a daemon's links by the tracepoint."""
    fds = fds_of(daemon.pid).items()
    return {about["tp_name"]: fd for fd, about in fds if "tp_name" in about}


@pytest.mark.parametrize("point", ["sys_enter", "sys_exit", "sched_process_exit"])
def test_a_program_that_is_detached_is_attached_again(public, point) -> None:
    program = harness.compile_c(public, CLOSE)
    policy = "version: 1\nusers:\n  1000: {syscalls: [chdir], at: exit}\n"
    with Daemon(policy).ready() as daemon:
        subprocess.run([program, str(daemon.pid), str(links_of(daemon)[point])], check=True)
        record = daemon.records.wait(lambda one: one["event"] == "tamper")
        name = {"sched_process_exit": "on_thread_end"}.get(point, f"on_{point}")
        expected = {"object": name, "entry": None, "found": "detached", "restored": "attached"}
        assert {key: record[key] for key in expected} == expected
        assert point in links_of(daemon)
        as_user(1000, "sh", "-c", "cd /")
        event = daemon.records.wait(lambda one: one.get("syscall") == "chdir")
        assert event["ret"] == 0
        assert daemon.stop() == 0
        assert tampers(daemon) == [record]


def test_many_changes_make_few_records() -> None:
    users = 10_000
    policy = "version: 1\nusers:\n" + "".join(f"  {one}: [chdir]\n" for one in range(users))
    with Daemon(policy).ready() as daemon:
        with steal(daemon, "real") as outer:
            outer.delete_batch(struct.pack(f"={users - 1}I", *range(users - 1)), users - 1)
        start = 0
        restored = 0
        while restored < users - 1:  # a look amid the change finds a part of it
            last = daemon.records.wait(lambda one: one.get("more", -1) >= 0, start)
            start = daemon.records.all.index(last) + 1
            restored += 1 + last["more"]
        assert restored == users - 1
        assert max(Counter(one["ts"] for one in tampers(daemon)).values()) == 20
        assert daemon.status()["since_start"]["tampered"] == users - 1
        with steal(daemon, "real") as outer:
            assert len(list(outer.keys(4))) == users
        assert daemon.stop() == 0


@contextlib.contextmanager
def steal(daemon: Daemon, name: str) -> Iterator[MapFd]:
    """Hand out a daemon's map: quicker to write to than by bpftool."""
    (number,) = maps_of(daemon)[name]
    fds = fds_of(daemon.pid).items()
    fd = next(fd for fd, about in fds if about.get("map_id") == str(number))
    pidfd = os.pidfd_open(daemon.pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        with MapFd(libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)) as outer:
            yield outer
    finally:
        os.close(pidfd)


_PIDFD_GETFD = 438


def test_changes_are_put_right_where_no_file_can_be_opened() -> None:
    with Daemon(POLICY).ready() as daemon, steal(daemon, "real") as outer:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, hard))
        for uid in (1000, 1001):  # a look, and looks after it
            outer.delete_batch(struct.pack("=I", uid), 1)
            daemon.records.wait(lambda one, uid=uid: one.get("entry") == str(uid))
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        assert daemon.status()["since_start"]["tampered"] == 2
        assert daemon.stop() == 0


def test_own_changes_are_none_of_others_however_many_there_are() -> None:
    """While others call bpf(2) too, so that it is looked at each turn."""
    with Daemon(POLICY).ready() as daemon:
        for turn in range(60):
            scope = ("real", "effective", "login")[turn % 3]
            lines = "".join(f"  {one}: [chdir]\n" for one in range(turn, turn + 300, 1 + turn % 7))
            daemon.edit(
                f"version: 1\nusers:\n{lines}  '{5000 + turn}-6000': [mkdir]\n"
                f"  777777: {{syscalls: [fchdir], match: {scope}}}\n"
            )
            if turn % 5 == 0:
                bpftool("map", "list")
        assert daemon.status()["since_start"]["tampered"] == 0
        assert daemon.stop() == 0
        assert tampers(daemon) == []


def test_what_a_daemon_before_left_is_not_others(pins) -> None:
    arguments = ("--pin-dir", str(pins))
    with Daemon(POLICY, *arguments).ready() as daemon:
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    with Daemon(POLICY, *arguments).ready() as daemon:
        bpftool("map", "list")
        all_flow(daemon)
        delete(maps_of(daemon), "real", uid(1000))
        daemon.records.wait(lambda one: one["event"] == "tamper")
        all_flow(daemon)
        assert daemon.stop() == 0
        assert len(tampers(daemon)) == 1


def test_a_program_that_sees_nothing_is_attached_anew(tracer) -> None:
    """Its link's fd says nothing of that, so it has a sign of its own: the daemon's bpf(2)."""
    tracer.want([(Abi.X86_64, Nr(80))])
    tracer.attach()
    tracer.want_results(wanted=True)
    assert tracer.guard.attach_again() == []
    objects = tracer._objects
    os.close(objects._links["on_sys_enter"])
    objects._links["on_sys_enter"] = os.dup(objects._links["on_sys_exit"])
    objects._link_ids["on_sys_enter"] = objects._link_ids["on_sys_exit"]
    (wrong,) = tracer.guard.attach_again()
    assert (wrong.of, wrong.found) == ("on_sys_enter", "saw no calls")
    assert tracer.guard.attach_again() == []


def test_calls_of_bpf_are_told_apart_by_who_makes_them(tracer) -> None:
    tracer.want([])
    tracer.attach()
    own, others = tracer._page.get("own_bpf"), tracer.guard.others_called
    for _ in range(100):
        tracer._outer[Scope.REAL].lookup(bytes(4), 4)
    assert tracer._page.get("own_bpf") == own + 100
    bpftool("map", "list")
    assert tracer.guard.others_called > others


@pytest.mark.parametrize("batches", [True, False])
def test_maps_are_compared_as_a_whole_on_every_kernel(tracer, monkeypatch, batches) -> None:
    if not batches:  # as before 5.19

        def refuse(*_) -> None:
            raise UnsupportedError("ENOTSUPP")

        monkeypatch.setattr(MapFd, "batches", refuse)
    one, other = (frozenset({Rule(Abi.X86_64, Nr(nr))}) for nr in (80, 81))
    uids = {Uid(who): one for who in range(500)}
    blocks = {Block(Uid(1 << 20), 20): other}
    tracer.prepare([one, other], 1)
    tracer.put(Scope.LOGIN, uids)
    tracer.put_blocks(Scope.LOGIN, blocks)
    tracer.guard.expect({Scope.LOGIN: (uids, blocks)})
    assert all(tracer.guard.is_as_expected(scope) for scope in Scope)
    assert tracer.guard.put_classes_right() == []
    tracer.put(Scope.LOGIN, {Uid(7): other, Uid(8): other})
    assert not tracer.guard.is_as_expected(Scope.LOGIN)
    tracer.put(Scope.LOGIN, {Uid(7): one, Uid(8): one})
    assert tracer.guard.is_as_expected(Scope.LOGIN)
    tracer.remove_blocks(Scope.LOGIN, blocks)
    assert not tracer.guard.is_as_expected(Scope.LOGIN)
    assert tracer.guard.is_as_expected(Scope.REAL)
