"""Calls that 32-bit programs make through socketcall and ipc are logged as what they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from msgspec import UNSET

from harness import compile_c
from tracing import NOBODY, OTHER, drain, enforce
from uidtraced.events.flags import WORDS
from uidtraced.events.line import strace_line
from uidtraced.kernel.tracer import constants
from uidtraced.multiplexers import INNER, IPC, SOCKETCALL
from uidtraced.policy.names import numbers, parse_selector
from uidtraced.rules import Abi, Flag, Rule, ScopePlan

EXIT = Flag.LOG | Flag.EXIT | Flag.SUCCESS
AT_ENTRY = Flag.LOG | Flag.SUCCESS
COUNT = Flag.COUNT
SOURCES = Path(__file__).parents[1] / "oracle" / "sources"

# its arguments are in a page of the file that nobody has looked at
UNTOUCHED = """
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
	struct sockaddr_un address;
	char between[1 << 18];
	long connect[3], msgrcv[2];
} untouched __attribute__((aligned(4096))) = {
	{AF_UNIX, "/nowhere/untouched"}, "",
	{3, (long)&untouched.address, sizeof(untouched.address)}, {16, 3}};

int main(void)
{
	socket(AF_UNIX, SOCK_STREAM, 0); /* 3 */
	madvise(&untouched, sizeof(untouched), MADV_DONTNEED);
	syscall(SYS_socketcall, 3, untouched.connect);
	madvise(&untouched, sizeof(untouched), MADV_DONTNEED);
	syscall(SYS_ipc, 12, 0x7fffffff, 4, 2048, untouched.msgrcv, 0);
	syscall(SYS_socketcall, 3, 16);
	return 0;
}
"""


def chosen(*words: str, flags: Flag = AT_ENTRY) -> ScopePlan:
    """Return a plan by which NOBODY has what *words* of a policy select."""
    calls = frozenset().union(*(parse_selector(word).calls for word in words))
    return ScopePlan({NOBODY: frozenset(Rule(abi, nr, flags) for abi, nr in calls)})


def run(program: Path, uid: int = NOBODY) -> None:
    command = ["setpriv", "--reuid", str(uid), "--clear-groups", str(program)]
    subprocess.run(command, check=True, cwd=program.parent)


@pytest.fixture
def sockets(public) -> Path:
    public.chmod(0o777)
    return compile_c(public, (SOURCES / "net32.c").read_text(), "-m32", "-w")


def test_a_rule_for_a_call_sees_it_through_socketcall(tracer, sockets) -> None:
    enforce(tracer, chosen("connect"))
    run(sockets)
    first, *_, unread, direct = drain(tracer)
    assert (first.syscall, first.via, first.nr, first.abi) == ("connect", "socketcall", 102, "i386")
    port = first.args["uservaddr"].pop("sin_port")
    assert first.args == {
        "fd": 4,
        "uservaddr": {"sa_family": "AF_INET", "sin_addr": "127.0.0.1"},
        "addrlen": 16,
    }
    assert port > 0
    assert (unread.syscall, unread.via, unread.unreadable) == ("connect", "socketcall", ["args"])
    assert strace_line(unread) == f"connect({unread.args['args']}) (socketcall)"
    assert (direct.syscall, direct.via, direct.nr, direct.args["fd"]) == ("connect", UNSET, 362, -1)


def test_only_who_is_traced_is_seen(tracer, sockets) -> None:
    enforce(tracer, chosen("connect", flags=COUNT))
    run(sockets, OTHER)
    assert OTHER not in tracer.books.counters()
    run(sockets)
    assert tracer.books.counters()[NOBODY].counted == 4
    assert drain(tracer) == []


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("accept", {"accept"}),
        ("accept4", {"accept", "accept4"}),
        ("sendto", {"send", "sendto"}),
        ("i386:recv", {"recv"}),
        ("i386:371", {"recv", "recvfrom"}),
        ("x86_64:socket", set()),
        ("@network-io", {*SOCKETCALL.calls, "socketcall"}),
        ("i386:socketcall", {*SOCKETCALL.calls, "socketcall"}),
    ],
)
def test_what_a_word_sees_of_sockets(tracer, sockets, word, found) -> None:
    enforce(tracer, chosen(word, flags=EXIT))
    run(sockets)
    events = [one for one in drain(tracer) if one.abi == "i386"]
    assert {one.syscall for one in events} == found
    assert {one.via for one in events if one.syscall != "socketcall"} <= {"socketcall", UNSET}


def test_what_is_none_of_its_calls_is_socketcall_itself(tracer, sockets) -> None:
    enforce(tracer, chosen("socketcall", flags=EXIT))
    run(sockets)
    events = [one for one in drain(tracer) if one.syscall == "socketcall"]
    assert {one.via for one in events} == {UNSET}
    assert [one.args["call"] for one in events] == [0, 21, -1]
    assert {(one.nr, one.errno) for one in events} == {(102, "EINVAL")}


def test_calls_through_ipc(tracer, public) -> None:
    public.chmod(0o777)
    program = compile_c(public, (SOURCES / "ipc32.c").read_text(), "-m32", "-w")
    enforce(tracer, chosen("semctl", "shmat", "msgrcv", "semop", flags=EXIT))
    run(program)
    events = drain(tracer)
    assert {(one.via, one.nr, one.abi) for one in events} == {("ipc", 117, "i386")}
    lines = [strace_line(one) for one in events]
    control = [one.args["arg"] for one in events if one.syscall == "semctl" and "arg" in one.args]
    assert control[1] == 7
    assert [line for line in lines if line.startswith("semctl(") and "SETVAL" in line] == [
        f"semctl({events[0].args['semid']}, 0, IPC_64|SETVAL, 7) = 0 (ipc)"
    ]
    there = next(one for one in events if one.syscall == "shmat")
    assert there.ret > 4096
    assert there.args["shmflg"] == "SHM_RDONLY"
    received = [one.args for one in events if one.syscall == "msgrcv"]
    assert [one["msgtyp"] for one in received[:2]] == [3, 3]
    assert received[0]["msgflg"] == "IPC_NOWAIT|MSG_NOERROR"
    assert received[0]["msgp"] == received[1]["msgp"]


@pytest.mark.parametrize("flags", [EXIT, AT_ENTRY])
def test_arguments_that_are_not_in_memory_are_read_later_or_said_to_be_unreadable(
    tracer, public, flags
) -> None:
    program = compile_c(public, UNTOUCHED, "-m32", "-no-pie")
    enforce(tracer, chosen("connect", "msgrcv", flags=flags))
    run(program)
    connect, receive, bad = drain(tracer)
    assert [one.syscall for one in (connect, receive, bad)] == ["connect", "msgrcv", "connect"]
    assert (bad.args, bad.unreadable) == ({"args": "0x10"}, ["args"])
    if flags & Flag.EXIT:
        path = {"sa_family": "AF_UNIX", "sun_path": "/nowhere/untouched"}
        assert connect.args == {"fd": 3, "uservaddr": path, "addrlen": 110}
        assert (receive.args["msgp"], receive.args["msgtyp"]) == ("0x10", 3)
        assert connect.unreadable is receive.unreadable is UNSET
        assert (connect.errno, receive.errno, bad.errno) == ("ENOENT", "EINVAL", "EFAULT")
    else:
        assert list(connect.args) == connect.unreadable == ["args"]
        assert list(receive.args) == ["first", "second", "third", "ptr", "fifth"]
        assert receive.unreadable == ["ptr"]
        assert receive.args["second"] == 4


def headers_say(directory: Path, *names: str) -> dict[str, int]:
    """Return what the headers of this machine say that *names* are."""
    includes = "".join(
        f"#include <linux/{one}.h>\n" for one in ("net", "ipc", "sem", "msg", "shm", "stdio")
    ).replace("linux/stdio", "stdio")
    prints = "".join(f'printf("{name} %d\\n", (int){name});' for name in names)
    program = compile_c(directory, f"{includes}int main(void) {{ {prints} }}", "-m32")
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in map(str.split, said.splitlines())}


def test_numbers_are_those_of_the_headers(public) -> None:
    sockets = headers_say(public, *(f"SYS_{name.upper()}" for name in SOCKETCALL.calls))
    assert list(sockets.values()) == list(SOCKETCALL.calls.values())
    assert headers_say(public, *map(str.upper, IPC.calls)) == {
        name.upper(): number for name, number in IPC.calls.items()
    }
    table = numbers(Abi.I386)
    assert (SOCKETCALL.nr, IPC.nr) == (table["socketcall"], table["ipc"])
    ours = constants()
    assert (SOCKETCALL.first, IPC.first) == (ours["UIDTRACED_SOCKETCALL"], ours["UIDTRACED_IPC"])
    assert max(INNER) < ours["UIDTRACED_NUMBERS"]


@pytest.mark.parametrize(
    ("call", "argument", "words"),
    [
        ("semctl", "cmd", "IPC_RMID IPC_SET IPC_STAT IPC_INFO GETPID GETVAL GETALL GETNCNT"),
        ("semctl", "cmd", "GETZCNT SETVAL SETALL SEM_STAT SEM_INFO SEM_STAT_ANY"),
        ("msgctl", "cmd", "IPC_RMID IPC_STAT MSG_STAT MSG_INFO MSG_STAT_ANY"),
        ("shmctl", "cmd", "SHM_LOCK SHM_UNLOCK SHM_STAT SHM_INFO SHM_STAT_ANY"),
        ("shmat", "shmflg", "SHM_RDONLY SHM_RND SHM_REMAP SHM_EXEC"),
        ("msgrcv", "msgflg", "IPC_NOWAIT MSG_NOERROR MSG_EXCEPT MSG_COPY"),
        ("semget", "key", "IPC_PRIVATE"),
    ],
)
def test_words_are_those_of_the_headers(public, call, argument, words) -> None:
    for name, number in headers_say(public, *words.split()).items():
        assert WORDS[call, argument](number) == name


def test_flags_stand_before_a_mode(public) -> None:
    said = headers_say(public, "IPC_CREAT", "IPC_EXCL", "SHM_HUGETLB", "SHM_NORESERVE", "IPC_64")
    get, segment = WORDS["semget", "semflg"], WORDS["shmget", "shmflg"]
    assert get(said["IPC_CREAT"] | said["IPC_EXCL"] | 0o640) == "IPC_CREAT|IPC_EXCL|0640"
    assert segment(said["SHM_HUGETLB"] | said["SHM_NORESERVE"]) == "SHM_HUGETLB|SHM_NORESERVE|000"
    assert (get(0), get(0o600)) == ("000", "0600")
    assert WORDS["shmctl", "cmd"](said["IPC_64"] | 2) == "IPC_64|IPC_STAT"
