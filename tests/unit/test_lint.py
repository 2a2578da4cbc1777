from __future__ import annotations

import pytest

from fakes import Users
from uidtraced.policy import understand
from uidtraced.policy.load import load_source
from uidtraced.policy.source import Source


def warnings(users: str, **options) -> list[str]:
    source = Source("p.yaml", f"version: 1\nusers:\n{users}", "")
    directory = Users({"root": 0, "alice": 1000}, {"wheel": [0]})
    found = understand(load_source(source), directory, **options).warnings
    return [one.text("warning").removeprefix("p.yaml:") for one in found]


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ("  alcie: [kill]\n", '3:3: warning: no user "alcie"; did you mean "alice"?'),
        (
            "  zzz: [kill]\n",
            '3:3: warning: no user "zzz"; the entry takes effect when there is one',
        ),
        ('  "@wheels": [kill]\n', '3:3: warning: no group "wheels"; did you mean "wheel"?'),
        (
            "  alice: [kill, gettid, futex]\n",
            (
                '3:3: warning: "futex" can happen more often than the journal takes events '
                "(about 20,000 a second); add limit: 1000/s, or mode: count"
            ),
        ),
        (
            "  alice: [openat]\n",
            (
                "3:3: warning: this kernel does not show what is done to files and sockets through "
                "io_uring; add io_uring_setup to see who uses it (here and in other entries)"
            ),
        ),
    ],
)
def test_what_may_not_be_meant_is_told_where_it_stands(users, expected) -> None:
    assert warnings(users) == [expected]


@pytest.mark.parametrize("who", ["0", "root", '"@wheel"', '"0-99"', '"*"'])
@pytest.mark.parametrize("calls", ['"@all"', '"@all", "!getpid"', '"x86_64:@all"'])
def test_all_calls_of_root_are_too_many(who, calls) -> None:
    found = warnings(f"  {who}: {{syscalls: [{calls}], limit: 5/s}}\n")
    assert [one for one in found if "every call of root is logged" in one]
    assert warnings('  alice: {syscalls: ["@all"], limit: 5/s}\n') == []


@pytest.mark.parametrize(
    "users",
    [
        "  alice: [openat, io_uring_setup]\n",
        "  alice: {syscalls: [read, io_uring_enter], limit: 100/s}\n",
        "  alice: {syscalls: [futex], mode: count}\n",
        "  alice: {syscalls: [futex], at: exit, only: errors}\n",
        "  alice: [ptrace, execve]\n",
    ],
)
def test_what_is_meant_is_not_told(users) -> None:
    assert warnings(users) == []


def test_a_limit_that_the_journal_cannot_take_is_none() -> None:
    assert warnings("  alice: {syscalls: [futex], limit: 20000/s}\n") == []
    assert len(warnings("  alice: {syscalls: [futex], limit: 1000000/s}\n")) == 1


def test_io_uring_is_told_of_once() -> None:
    assert len(warnings("  alice: [openat]\n  root: [connect]\n")) == 1


def test_io_uring_is_no_matter_where_the_kernel_shows_it() -> None:
    assert warnings("  alice: [openat]\n  root: [connect]\n", sees_io_uring=True) == []
