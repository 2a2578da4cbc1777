"""`uidtraced run` on this kernel: from the policy file to the events of real users."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from harness import Daemon, as_user, attached, check_seq, compile_c
from tracing import NATIVE, native
from uidtraced.policy.names import numbers
from uidtraced.rules import Abi

CHMOD = native("chmod", "fchmodat")
ORIGIN = f"version: 1\nusers:\n  1000: [openat, chdir]\n  0: [{CHMOD}, bind]\n"

CALLS = """
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };

	prctl_name();
	openat(AT_FDCWD, "/nowhere", O_RDONLY | O_CLOEXEC);
	chdir("/");
	chmod("/nowhere", 0644);
	bind(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&any, sizeof(sa_family_t));
	getppid();
	return 0;
}
"""
NAME = """
#include <sys/prctl.h>
static void prctl_name(void) { prctl(PR_SET_NAME, "subject"); }
"""

INT80 = """
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
static long int80(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("int $0x80"
		: "=a"(ret)
		: "a"(nr), "b"(a), "c"(b), "d"(c)
		: "memory", "r8", "r9", "r10", "r11");
	return ret;
}
int main(void)
{
	prctl(PR_SET_NAME, "subject");
	int80(5, 0, 0, 0);	/* open in i386's table, fstat in x86_64's */
	int80(12, 0, 0, 0);	/* chdir there, brk here */
	chdir("/");		/* 80 here, setgroups there... */
	return 0;
}
"""


only_x86 = pytest.mark.skipif(NATIVE is not Abi.X86_64, reason="int 0x80 is x86's")


def of_subject(daemon: Daemon) -> list[tuple[int, str, str]]:
    """Return uid, ABI and call of each event of the test's own program."""
    return [
        (one["uid"], one["abi"], one["syscall"])
        for one in daemon.calls()
        if one["comm"] == "subject"
    ]


@pytest.mark.kernels
def test_the_example_logs_what_it_says_and_nothing_else(public) -> None:
    program = compile_c(public, NAME + CALLS)
    with Daemon(ORIGIN).ready() as daemon:
        for uid in (1000, 0, 1001):
            as_user(uid, str(program))
        assert daemon.stop() == 0
        assert of_subject(daemon) == [
            (1000, NATIVE.label, "openat"),
            (1000, NATIVE.label, "chdir"),
            (0, NATIVE.label, CHMOD),
            (0, NATIVE.label, "bind"),
        ]
        assert {(one["uid"], one["syscall"]) for one in daemon.calls()} <= {
            *((1000, "openat"), (1000, "chdir"), (0, CHMOD), (0, "bind")),
        }
        check_seq(daemon.calls())
        first = daemon.records.all[0]
        assert first["event"] == "policy"
        assert {key: first[key] for key in ("revision", "created", "swapped", "deleted")} == {
            "revision": 1,
            "created": 2,
            "swapped": 0,
            "deleted": 0,
        }


@pytest.mark.kernels
def test_the_fields_are_those_of_the_task(public) -> None:
    program = compile_c(public, NAME + CALLS)
    with Daemon(ORIGIN).ready() as daemon:
        with subprocess.Popen(
            ["setpriv", "--reuid", "1000", "--clear-groups", str(program)]
        ) as process:
            pass
        assert daemon.stop() == 0
        event = next(one for one in daemon.calls() if one["comm"] == "subject")
        expected = {"pid": process.pid, "tid": process.pid, "uid": 1000, "euid": 1000}
        expected |= {"nr": numbers(NATIVE)["openat"], "revision": 1, "abi": NATIVE.label}
        assert {key: event[key] for key in expected} == expected
        assert event["args"]["dfd"] == "AT_FDCWD"
        assert event["args"]["flags"] == "O_RDONLY|O_CLOEXEC"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", event["ts"])


@pytest.mark.kernels
@only_x86
def test_calls_through_int_0x80_carry_their_i386_names(public) -> None:
    program = compile_c(public, INT80)
    with Daemon("version: 1\nusers:\n  1000: [open, fstat, chdir, brk]\n").ready() as daemon:
        as_user(1000, str(program))
        assert daemon.stop() == 0
        assert of_subject(daemon) == [
            (1000, "i386", "open"),
            (1000, "i386", "chdir"),
            (1000, "x86_64", "chdir"),
        ]


@pytest.mark.kernels
@only_x86
def test_an_abi_can_be_named(public) -> None:
    program = compile_c(public, INT80)
    with Daemon("version: 1\nusers:\n  1000: ['i386:chdir']\n").ready() as daemon:
        as_user(1000, str(program))
        assert daemon.stop() == 0
        assert of_subject(daemon) == [(1000, "i386", "chdir")]


@pytest.mark.kernels
def test_three_edits_create_swap_and_delete() -> None:
    head = "version: 1\nusers:\n"
    keys = ("revision", "created", "swapped", "deleted", "unchanged")
    with Daemon(head + "  1000: [chdir]\n").ready() as daemon:
        done = [
            daemon.edit(head + "  1000: [chdir]\n  1001: [chdir]\n"),
            daemon.edit(head + "  1000: [openat]\n  1001: [chdir]\n"),
            daemon.edit(head + "  1000: [openat]\n"),
        ]
        assert [tuple(one[key] for key in keys) for one in done] == [
            (2, 1, 0, 0, 1),
            (3, 0, 1, 0, 1),
            (4, 0, 0, 1, 1),
        ]
        as_user(1001, "env", "--chdir=/", "true")
        assert daemon.stop() == 0
        assert daemon.calls() == []


LOOP = """
import os, select, sys
calls = 0
while not select.select([0], [], [], 0.0001)[0]:
    os.chdir("/")
    calls += 1
print(calls)
"""


def test_no_event_is_lost_or_misattributed_around_two_hundred_swaps() -> None:
    policies = [
        f"version: 1\nusers:\n  1000: [chdir{extra}]\n  1001: [chdir, fchdir]\n"
        for extra in ("", ", getppid")
    ]
    with Daemon(policies[0]).ready() as daemon:
        loops = [
            subprocess.Popen(
                ["setpriv", "--reuid", str(uid), "--clear-groups", "/usr/bin/python3", "-c", LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for uid in (1000, 1001, 1002)
        ]
        for number in range(1, 201):
            record = daemon.edit(policies[number % 2])
            assert (record["revision"], record["swapped"]) == (number + 1, 1)
        made = [int(loop.communicate("stop\n")[0]) for loop in loops]
        assert daemon.stop() == 0
        events = daemon.calls()
        seen = {uid: [one for one in events if one["uid"] == uid] for uid in (1000, 1001, 1002)}
        assert [len(seen[1000]), len(seen[1001])] == made[:2]
        assert min(made) > 200
        assert seen[1002] == []
        check_seq(events)
        assert {one["pid"] for one in seen[1000]} == {loops[0].pid}
        assert {one["syscall"] for one in events} == {"chdir"}
        # each event names the rule set that was in force: they only ever go up
        revisions = [one["revision"] for one in seen[1000]]
        assert revisions == sorted(revisions)
        assert len(set(revisions)) > 100
        assert {one["revision"] for one in seen[1001]} == {1}


GUSTS = """
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(void)
{
	char name[16];
	int n = 0;

	/* gusts of 1 to 600 calls, 1 to 60 ms apart: before, in and after the daemon's pauses */
	for (int gust = 1; gust <= 60; gust++) {
		struct timespec pause = {0, gust * 1000000L};

		for (int call = 0; call < (gust % 3 ? 1 : 10 * gust); call++) {
			snprintf(name, sizeof(name), "/%d", n++);
			chdir(name);
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}
"""


def test_what_comes_in_gusts_is_written_in_order_and_to_the_last(public) -> None:
    program = compile_c(public, GUSTS)
    with Daemon("version: 1\nusers:\n  1000: [chdir]\n").ready() as daemon:
        as_user(1000, str(program))
        made = 40 + 10 * sum(range(3, 61, 3))
        daemon.records.wait(lambda line: line.get("args") == {"filename": f"/{made - 1}"})
        names = [one["args"]["filename"] for one in daemon.calls() if one["comm"] == "program"]
        assert names == [f"/{n}" for n in range(made)]
        check_seq(daemon.calls())


def test_a_bad_edit_changes_nothing_and_a_good_one_follows() -> None:
    good = "version: 1\nusers:\n  1000: [chdir]\n"
    with Daemon(good).ready() as daemon:
        daemon.path.write_text("version: 1\nusers:\n  1000: [chdirr]\n")
        line = daemon.log.wait(lambda line: line["event"] == "policy_refused")
        assert line["problem"] == (
            f'{daemon.path}:3:10: error: "chdirr" is no system call; did you mean "chdir"?'
        )
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall" and one["syscall"] == "chdir")
        daemon.path.unlink()
        daemon.log.wait(lambda line: "no such file" in line.get("problem", ""))
        record = daemon.edit("version: 1\nusers:\n  1000: [chdir, openat]\n")
        assert record["revision"] == 2
        assert daemon.stop() == 0
        refused = [one for one in daemon.log.all if one["event"] == "policy_refused"]
        assert len(refused) == 2


def test_a_hang_up_reads_the_policy_again() -> None:
    policy = "version: 1\nusers:\n  1000: [chdir]\n"
    with Daemon(policy).ready() as daemon:
        daemon.signal(signal.SIGHUP)
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        assert daemon.stop() == 0
        assert [one["revision"] for one in daemon.records.all if one["event"] == "policy"] == [1]


@pytest.mark.kernels
def test_an_empty_policy_traces_nobody_and_costs_nobody() -> None:
    with Daemon("version: 1\n").ready() as daemon:
        assert attached() == set()
        daemon.edit("version: 1\nusers:\n  1000: [chdir]\n")
        assert attached() == {"on_sys_enter"}
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        daemon.edit("version: 1\n")
        assert daemon.stop() == 0


def test_a_user_name_that_is_not_utf8_is_shown(public) -> None:
    passwd = public / "passwd"
    passwd.write_bytes(Path("/etc/passwd").read_bytes() + b"ren\xe9:x:1777:1777::/:/bin/sh\n")
    wrap = ["unshare", "--mount", "sh", "-ec", 'mount --bind $0 /etc/passwd; exec "$@"', passwd]
    policy = "version: 1\nusers:\n  1777: [chdir]\n  rene: [chdir]\n"
    with Daemon(policy, wrap=[str(one) for one in wrap]).ready() as daemon:
        as_user(1777, "env", "--chdir=/", "true")
        event = daemon.records.wait(lambda one: one["event"] == "syscall")
        assert (event["uid"], event["user"]) == (1777, "ren\\xe9")
        assert daemon.stop() == 0


def test_a_comm_that_forges_lines_is_data(public) -> None:
    hostile = b'x\n{"event":"'
    source = '#include <sys/prctl.h>\n#include <unistd.h>\nint main(void){prctl(PR_SET_NAME, "'
    source += "".join(f"\\x{byte:02x}" for byte in hostile) + '");return chdir("/");}'
    program = compile_c(public, source)
    with Daemon("version: 1\nusers:\n  1000: [chdir]\n").ready() as daemon:
        as_user(1000, str(program))
        assert daemon.stop() == 0
        (event,) = daemon.calls()  # every line was read as JSON on the way
        assert event["comm"] == hostile.decode()


def test_events_lost_to_a_full_ring_are_told_by_user() -> None:
    code = "import os\nfor _ in range(20000): os.chdir('/')"
    with Daemon("version: 1\nusers:\n  1000: [chdir]\n", "--ring-size", "4096").ready() as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        as_user(1000, "/usr/bin/python3", "-S", "-c", code)
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.records.wait(lambda one: one["event"] == "loss")
        assert daemon.stop() == 0
        losses = [one for one in daemon.records.all if one["event"] == "loss"]
        assert {one["uid"] for one in losses} == {1000}
        lost = sum(one["ring_full"] for one in losses)
        assert lost > 0
        assert len(daemon.calls()) + lost == 20000
