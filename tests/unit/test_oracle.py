"""The judge itself: what tells strace's lines and events apart."""

from __future__ import annotations

import pytest

from oracle.compare import compare
from oracle.strace_log import Call, calls_in, parse

LOG = r"""execve("/bin/x", ["x", "a, \"b"], 0x7ffc /* 3 vars */) = 0
openat(-100 /* AT_FDCWD */, "/etc/\303\251", 0x80000 /* O_RDONLY|O_CLOEXEC */) = -1 ENOENT (No such file or directory)
connect(3, {sa_family=0x2 /* AF_INET */, sin_port="\x99\xd1" /* htons(39377) */, sin_addr="\x7f\x00\x00\x01" /* inet_addr("127.0.0.1") */}, 16) = 0
--- SIGCHLD {si_signo=SIGCHLD} ---
read(3, "some, text", 10)               = 10
pause( <unfinished ...>)                = ?
+++ killed by SIGKILL +++
"""  # noqa: E501
EVENTS = [
    {
        "syscall": "execve",
        "args": {"filename": "/bin/x", "argv": ["x", 'a, "b'], "envp": "0x7ffc"},
        "ret": 0,
        "errno": None,
    },
    {
        "syscall": "openat",
        "args": {
            "dfd": "AT_FDCWD",
            "filename": "/etc/é",
            "flags": "O_RDONLY|O_CLOEXEC",
            "mode": 0,
        },
        "ret": -2,
        "errno": "ENOENT",
    },
    {
        "syscall": "connect",
        "args": {
            "fd": 3,
            "uservaddr": {"sa_family": "AF_INET", "sin_port": 39377, "sin_addr": "127.0.0.1"},
            "addrlen": 16,
        },
        "ret": 0,
        "errno": None,
    },
    {
        "syscall": "read",
        "args": {"fd": 3, "buf": "0x7f00", "count": 10},
        "ret": 10,
        "errno": None,
    },
    {"syscall": "pause", "args": {}, "ret": -514, "errno": "ERESTARTNOHAND"},
]


def test_lines_are_read_as_calls():
    assert parse("--- SIGCHLD {} ---") is None
    assert parse('rename("a, (b", "c\\"") = 0') == Call("rename", ('"a, (b"', '"c\\""'), "0")
    calls = calls_in(LOG)
    assert [call.name for call in calls] == ["execve", "openat", "connect", "read", "pause"]
    assert [call.is_last for call in calls] == [False] * 4 + [True]
    assert calls[0].args == ('"/bin/x"', r'["x", "a, \"b"]', "0x7ffc /* 3 vars */")


def test_what_is_the_same_is_the_same():
    assert compare(calls_in(LOG), EVENTS) == []


def test_missing_and_extra_events_are_told():
    (missing,) = compare(calls_in(LOG), EVENTS[:1] + EVENTS[2:])
    assert missing.startswith("missing: openat(")
    (extra,) = compare(calls_in(LOG), [*EVENTS, EVENTS[0]])
    assert extra.startswith("extra: execve(")


@pytest.mark.parametrize(
    ("number", "name", "value"),
    [
        (0, "argv", ["x", "a"]),
        (0, "argv", ["x", 'a, "b', "c"]),
        (0, "envp", "0x7ffd"),
        (1, "dfd", "AT_FDCWD2"),
        (1, "dfd", 3),
        (1, "filename", "/etc/e"),
        (1, "flags", "O_RDONLY"),
        (1, "flags", "O_RDONLY|O_CLOEXEC|O_APPEND"),
        (2, "fd", 4),
        (2, "uservaddr", {"sa_family": "AF_INET", "sin_port": 1, "sin_addr": "127.0.0.1"}),
        (2, "uservaddr", None),
        (3, "buf", "some"),
        (3, "count", 11),
    ],
)
def test_another_argument_is_told(number, name, value):
    events = [*EVENTS]
    events[number] = {**EVENTS[number], "args": {**EVENTS[number]["args"], name: value}}
    (found,) = compare(calls_in(LOG), events)
    assert f": {name} is " in found


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"ret": 1}),
        (1, {"errno": "EACCES"}),
        (1, {"ret": 0, "errno": None}),
        (3, {"ret": None}),
        (3, {"ret": -4, "errno": "EINTR"}),
    ],
)
def test_another_result_is_told(number, change):
    events = [*EVENTS]
    events[number] = {**EVENTS[number], **change}
    (found,) = compare(calls_in(LOG), events)
    assert ": = " in found
