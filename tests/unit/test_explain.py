"""`uidtraced syscalls`, as a process: what it says of names, numbers and sets."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from uidtraced.policy import explain
from uidtraced.policy.names import set_calls
from uidtraced.policy.sets import call_sets
from uidtraced.rules import Abi, machine_abis

COMMAND = (sys.executable, "-P", "-m", "uidtraced.cli", "syscalls")


def ask(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, **options)


def rows(*words: str) -> list[list[str]]:
    done = ask(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()]


def test_without_a_word_all_sets_are_listed_with_counts() -> None:
    head, *sets = rows()
    abis = machine_abis()
    assert head == ["SET", *(abi.label for abi in abis), "ABOUT"]
    assert [row[0] for row in sets] == list(call_sets())
    for row in sets:
        assert row[1 : 1 + len(abis)] == [str(len(set_calls(row[0], abi))) for abi in abis]
        assert " ".join(row[1 + len(abis) :]) == call_sets()[row[0]].about


def test_a_name_has_its_number_in_each_abi_and_the_sets_it_is_in() -> None:
    if os.uname().machine == "x86_64":
        assert rows("execve") == [
            ["ABI", "NUMBER", "NAME"],
            ["x86_64", "59", "execve"],
            ["i386", "11", "execve"],
            ["x32", "520", "execve"],
            ["in", "@default", "@system-service", "@known", "@all"],
        ]
        assert rows("stat64")[1:4] == [
            ["x86_64", "-", "stat64"],
            ["i386", "195", "stat64"],
            ["x32", "-", "stat64"],
        ]
    assert rows("i386:execve")[1:-1] == [["i386", "11", "execve"]]
    assert rows("execve", "--abi", "arm64")[1:-1] == [["arm64", "221", "execve"]]
    assert rows("arm:execve", "--abi", "arm")[1:-1] == [["arm", "11", "execve"]]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit arm has none")
def test_what_is_made_through_another_call_is_said() -> None:
    assert rows("connect")[-1] == ["i386", "makes", "it", "through", "socketcall", "too"]
    assert rows("send")[-1] == ["i386", "makes", "it", "through", "socketcall"]
    assert " ".join(rows("ipc")[-1]).startswith("logged as what it makes: semop semget semctl ")
    assert rows("x86_64:connect")[-1][0] == rows("openat")[-1][0] == "in"


def test_a_number_has_its_name_in_each_abi() -> None:
    if os.uname().machine == "x86_64":
        assert rows("11")[1:] == [
            ["x86_64", "11", "munmap"],
            ["i386", "11", "execve"],
            ["x32", "11", "munmap"],
        ]
        assert rows("134")[1:] == [
            ["x86_64", "134", "uselib"],
            ["i386", "134", "bdflush"],
            ["x32", "134", "-"],
        ]
    assert rows("221", "--abi", "arm64")[1:] == [["arm64", "221", "execve"]]
    assert rows("i386:11")[1:] == [["i386", "11", "execve"]]


def test_a_set_has_its_members_with_numbers() -> None:
    said = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", "@file-system"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    members = [line.strip() for line in said.splitlines() if line.startswith("    ")][1:]
    assert [row[0] for row in rows("@file-system")[1:]] == sorted(members)
    found = {row[0]: row[1:] for row in rows("@file-system", "--abi", "x86_64")[1:]}
    assert found["openat"] == ["257"]
    assert found["stat64"] == ["-"]
    assert rows("i386:@swap")[1:] == [["swapoff", "115"], ["swapon", "87"]]
    assert len(rows("@all", "--abi", "arm64")) > 300


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["opnat"], '"opnat" is no system call; did you mean "openat"?'),
        (["i386:opnat"], '"i386:opnat" is no system call; did you mean "i386:openat"?'),
        (["@proces"], '"@proces" is no set of system calls; did you mean "@process"?'),
        (["stat64", "--abi", "arm64"], '"stat64": arm64 has no such call, i386 has'),
        (["riscv_hwprobe", "--abi", "arm"], '"riscv_hwprobe": arm has no such call, riscv has'),
        (["999", "--abi", "arm64"], "999 is no system call of arm64; the last is 471"),
        (
            ["9" * 5000, "--abi", "arm64"],
            f"{'9' * 5000} is no system call of arm64; the last is 471",
        ),
        (["ia32:open"], '"ia32" is no ABI; there are x86_64, i386, x32, arm64, arm'),
        (["arm:open", "--abi", "arm64"], "arm is named, but --abi asks for arm64"),
        ([""], '"" is no system call; see uidtraced syscalls'),
    ],
)
def test_what_is_unknown_is_told_in_one_line(words, expected) -> None:
    done = ask(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"uidtraced: {expected}\n"


def test_it_needs_no_rights_and_no_reader_to_the_end() -> None:
    nobody = pwd.getpwnam("nobody")
    assert ask("close", user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[]).returncode == 0
    head = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} '@known' | head -n 1"], capture_output=True, text=True
    )
    assert (head.stdout.split()[0], head.stderr) == ("NAME", "")


def test_columns_are_aligned() -> None:
    head, *sets = explain(None, Abi.ARM)
    assert {line[: head.index("ABOUT") - 2].rstrip()[-1].isdigit() for line in sets} == {True}
    about = head.index("ABOUT")
    assert {line[about - 1 : about + 1].strip(" ") == line[about] for line in sets} == {True}
