"""Names, numbers and sets of system calls, against what this machine's own tools say."""

from __future__ import annotations

import subprocess
import time

import pytest
from system_calls import syscalls

from uidtraced.errors import PolicyError
from uidtraced.multiplexers import INNER
from uidtraced.policy import call_name
from uidtraced.policy.load import load_source
from uidtraced.policy.names import numbers, parse_selector, set_calls
from uidtraced.policy.sets import ALL, call_sets, elsewhere
from uidtraced.policy.source import Source
from uidtraced.rules import NR_MAX, Abi, Nr

X86 = (Abi.X86_64, Abi.I386, Abi.X32)
ARM = (Abi.ARM64, Abi.ARM)


def systemd_says(*names: str) -> dict[str, set[str]]:
    """Return the members of systemd's sets, as its own tool lists them."""
    command = ["systemd-analyze", "--no-pager", "syscall-filter", *names]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, set[str]] = {}
    members: set[str] = set()
    for line in said.splitlines():
        if line.startswith("@"):
            members = found[line.strip()] = set()
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            members.add(line.strip())
        elif line and not line.startswith(" "):
            break
    return found


def flat(name: str, sets: dict[str, set[str]]) -> set[str]:
    found = set()
    for one in sets[name]:
        found |= flat(one, sets) if one.startswith("@") else {one}
    return found


SYSTEMD = systemd_says()


def test_there_are_systemds_sets_and_one_of_all_calls() -> None:
    assert len(SYSTEMD) > 25
    assert list(call_sets()) == [*SYSTEMD, ALL]
    assert all(one.about for one in call_sets().values())


@pytest.mark.parametrize("name", SYSTEMD)
def test_a_set_is_what_systemd_says(name) -> None:
    assert call_sets()[name].members == flat(name, SYSTEMD)


@pytest.mark.parametrize("name", SYSTEMD)
def test_a_set_selects_what_systemd_says_but_for_other_architectures(name) -> None:
    selected = {
        call_name(abi, nr) for abis in (X86, ARM) for abi, nr in parse_selector(name, abis).calls
    }
    untraceable = {"cacheflush", "set_tls"}  # arm alone has them, from 0xf0000 on
    assert selected == flat(name, SYSTEMD) - elsewhere().keys() - untraceable


def test_what_is_said_to_be_elsewhere_is_nowhere_here() -> None:
    here = set().union(*(numbers(abi) for abi in Abi))
    members = set().union(*(one.members for one in call_sets().values()))
    assert members - here == elsewhere().keys()
    tables = syscalls()
    for name, where in elsewhere().items():
        first = where.replace(",", " ").split()[0]
        archs = [arch for arch in tables.archs() if arch.startswith(first)]
        assert any(name in tables.load_arch_table(arch) for arch in archs), name


def test_all_is_every_call_of_every_abi() -> None:
    calls = parse_selector("@all", X86).calls
    table = {(abi, nr) for abi in X86 for nr in numbers(abi).values()}
    assert calls == table | {(Abi.I386, nr) for nr in INNER}
    assert parse_selector("i386:@all", X86).calls == {one for one in calls if one[0] is Abi.I386}


def test_a_set_can_be_of_one_abi_and_be_taken_away() -> None:
    assert parse_selector("i386:@swap", X86).calls == {(Abi.I386, 87), (Abi.I386, 115)}
    assert parse_selector("@swap", X86).calls == {
        *((Abi.X86_64, nr) for nr in (167, 168)),
        *((Abi.I386, nr) for nr in (87, 115)),
        *((Abi.X32, nr) for nr in (167, 168)),
    }
    taken = parse_selector("!i386:@swap", X86)
    assert taken.excludes
    assert taken.calls == parse_selector("i386:@swap", X86).calls


def through(*words: str) -> set[str]:
    """Return what is seen through socketcall by the rules of *words*, some with `!`."""
    added, taken = set(), set()
    for one in (parse_selector(word, X86) for word in words):
        (taken if one.excludes else added).update(one.calls)
    return {INNER[nr][1] for abi, nr in added - taken if nr in INNER and abi is Abi.I386}


def test_a_call_is_also_what_is_made_through_socketcall() -> None:
    assert through("connect") == through("i386:connect") == through("i386:362") == {"connect"}
    assert through("x86_64:connect") == through("getpid") == set()
    assert through("accept") == {"accept"}
    assert through("accept4") == {"accept", "accept4"}
    assert through("recvfrom") == {"recv", "recvfrom"}
    assert through("semtimedop_time64") == {"semop", "semtimedop"}
    assert parse_selector("accept", ARM).calls == {(Abi.ARM64, 202), (Abi.ARM, 285)}


def test_socketcall_is_all_that_it_makes_and_each_can_be_taken_away() -> None:
    every = through("socketcall")
    assert len(every) == 20
    assert through("i386:102") == every
    assert through("@network-io") == every
    assert through("@network-io", "!connect") == every - {"connect"}
    assert through("connect", "getpid", "!socketcall") == set()
    assert len(through("ipc")) == 12


def test_no_word_selects_what_cannot_be_traced() -> None:
    assert all(nr < NR_MAX for _, nr in parse_selector("@all", ARM).calls)
    with pytest.raises(ValueError, match='"set_tls" has a number from 1024 on, which cannot'):
        parse_selector("set_tls", ARM)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("@proces", '"@proces" is no set of system calls; did you mean "@process"?'),
        ("!@proces", '"!@proces" is no set of system calls; did you mean "!@process"?'),
        ("i386:@ipcs", '"i386:@ipcs" is no set of system calls; did you mean "i386:@ipc"?'),
        ("@@", '"@@" is no system call; see uidtraced syscalls'),
        ("@zzzzzz", '"@zzzzzz" is no set of system calls; see uidtraced syscalls'),
        ("process", '"process" is no system call; did you mean "@process"?'),
        ("!clse", '"!clse" is no system call; did you mean "!close"?'),
        ("! close", '"! close" is no system call; did you mean "!close"?'),
        ("i386:sta64", '"i386:sta64" is no system call; did you mean "i386:stat64"?'),
        ("OpenAt", '"OpenAt" is no system call; did you mean "openat"?'),
        ("riscv_hwprobe", '"riscv_hwprobe": this machine has no such call, riscv has'),
        ("sync_file_range2", '"sync_file_range2": this machine has no such call, arm has'),
        ("ia32:open", '"ia32" is no ABI of this machine; it has x86_64, i386, x32'),
        ("i386:1024", "1024 is no system-call number; they are 0 to 1023"),
        ("i386:" + "9" * 30, f"{'9' * 30} is no system-call number; they are 0 to 1023"),
    ],
)
def test_a_wrong_word_is_told_with_what_would_be_right(word, expected) -> None:
    with pytest.raises(PolicyError) as caught:
        load_source(Source("p.yaml", f"version: 1\nusers:\n  0: ['{word}']\n", ""))
    assert str(caught.value) == f"p.yaml:3:7: error: {expected}"


def test_calls_that_kernels_dropped_have_their_numbers() -> None:
    assert numbers(Abi.X86_64)["uselib"] == 134
    assert call_name(Abi.I386, Nr(17)) == "break"


def test_thousands_of_words_are_selected_at_once() -> None:
    names = [f"{abi.label}:{name}" for abi in X86 for name in (*numbers(abi), *call_sets())]
    digits = [f"{abi.label}:{nr}" for abi in X86 for nr in range(NR_MAX)]
    words = [
        no + word
        for no in ("", "!")
        for word in (*names, *digits, *numbers(Abi.I386), *call_sets())
    ]
    parse_selector.cache_clear()
    set_calls.cache_clear()
    started = time.process_time()
    calls = [parse_selector(word, X86).calls for word in words]
    assert time.process_time() - started < 1  # takes 0.03 s
    assert len(words) > 9_500
    assert all(calls[:100])
