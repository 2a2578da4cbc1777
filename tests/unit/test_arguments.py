from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fakes import EVENT
from uidtraced.events.arguments import render_args
from uidtraced.events.data import show_data
from uidtraced.events.line import strace_line
from uidtraced.events.shapes import shaped
from uidtraced.policy.names import numbers
from uidtraced.rules import Abi

U64 = 2**64 - 1


def args(abi: Abi, call: str, *registers: int) -> dict[str, int | str]:
    raw = [one & U64 for one in registers]
    return render_args(abi, call, raw + [0] * (6 - len(raw)))


def line(abi: Abi, call: str, *registers: int) -> str:
    """The call whose memory could not be read."""
    raw = [one & U64 for one in registers] + [0] * (6 - len(registers))
    found = dict(args(abi, call, *registers))
    cut, address = show_data(found, shaped(abi, call), {}, raw)
    event = replace(EVENT, abi=abi.label, syscall=call, args=found)
    return strace_line(replace(event, truncated=cut, unreadable=address))


# the right-hand sides are what strace 6.1 prints for these registers, with -e raw pointers
@pytest.mark.parametrize(
    ("abi", "call", "registers", "expected"),
    [
        (Abi.X86_64, "openat", (-100, 0x7F00, 0o2000000), "AT_FDCWD, 0x7f00, O_RDONLY|O_CLOEXEC"),
        (Abi.X86_64, "openat", (0xFFFFFF9C, 1, 0), "AT_FDCWD, 0x1, O_RDONLY"),
        (Abi.X86_64, "open", (1, 0o1101, 0o644), "0x1, O_WRONLY|O_CREAT|O_TRUNC, 0644"),
        (Abi.I386, "openat", (0xFFFFFF9C, 1, 0o100000), "AT_FDCWD, 0x1, O_RDONLY|O_LARGEFILE"),
        (Abi.X86_64, "chmod", (1, 0o7), "0x1, 007"),
        (Abi.X86_64, "chmod", (1, 0), "0x1, 000"),
        (Abi.X86_64, "chmod", (1, 0o4755), "0x1, 04755"),
        (Abi.X86_64, "chown", (1, 0xFFFFFFFF, 5), "0x1, -1, 5"),
        (Abi.X86_64, "kill", (-1, 9), "-1, SIGKILL"),
        (Abi.X86_64, "socket", (1, 0o2000002, 0), "AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC, 0"),
        (Abi.X86_64, "mprotect", (0, 4096, 0), "NULL, 4096, PROT_NONE"),
        (
            Abi.X86_64,
            "mmap",
            (0x7F0000, 4096, 1, 2, 3, 0x26000),
            "0x7f0000, 4096, PROT_READ, MAP_PRIVATE, 3, 0x26000",
        ),
        (
            Abi.X86_64,
            "mmap",
            (0, 1, 0, 0x22, -1),
            "NULL, 1, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0",
        ),
        (Abi.X86_64, "munmap", (0x7F0000, 4096), "0x7f0000, 4096"),
        (Abi.X86_64, "brk", (0,), "NULL"),
        (Abi.X86_64, "madvise", (0x1000, 8192, 4), "0x1000, 8192, MADV_DONTNEED"),
        (
            Abi.X86_64,
            "mremap",
            (0x1000, 1, 2, 3, 0x2000),
            "0x1000, 1, 2, MREMAP_MAYMOVE|MREMAP_FIXED, 0x2000",
        ),
        (Abi.X86_64, "access", (1, 0), "0x1, F_OK"),
        (Abi.X86_64, "lseek", (3, -1, 2), "3, -1, SEEK_END"),
        (Abi.I386, "lseek", (3, 0xFFFFFFFF, 2), "3, -1, SEEK_END"),
        (Abi.I386, "pread64", (3, 5, 9, 1, 2), "3, 0x5, 9, 8589934593"),
        (Abi.ARM, "pread64", (3, 5, 9, 77, 1, 2), "3, 0x5, 9, 8589934593"),
        (Abi.X86_64, "unshare", (0x10000000,), "CLONE_NEWUSER"),
        (Abi.X86_64, "clone", (0x11,), "child_stack=NULL, flags=SIGCHLD"),
        (Abi.X86_64, "getppid", (), ""),
        (Abi.X86_64, "execve", (0, 1, 2), "NULL, [], 0x2"),
        (Abi.X86_64, "prctl", (15, 1), "PR_SET_NAME, 0x1"),
        (Abi.X86_64, "prctl", (1, 9), "PR_SET_PDEATHSIG, SIGKILL"),
        (Abi.X86_64, "prctl", (24, 21), "PR_CAPBSET_DROP, CAP_SYS_ADMIN"),
        (Abi.X86_64, "prctl", (38, 1), "PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0"),
        (
            Abi.X86_64,
            "ptrace",
            (0x4200, 7, 0, 0x11),
            "PTRACE_SETOPTIONS, 7, NULL, PTRACE_O_TRACESYSGOOD|PTRACE_O_TRACEEXEC",
        ),
        (Abi.X86_64, "ptrace", (17, 7, 0, 19), "PTRACE_DETACH, 7, NULL, SIGSTOP"),
        (Abi.X86_64, "fcntl", (3, 1, 77), "3, F_GETFD"),
        (Abi.X86_64, "fcntl", (3, 2, 1), "3, F_SETFD, FD_CLOEXEC"),
        (Abi.X86_64, "fcntl", (3, 4, 0o4002), "3, F_SETFL, O_RDWR|O_NONBLOCK"),
        (Abi.I386, "fcntl64", (3, 6, 0xFFC0), "3, F_SETLK, 0xffc0"),
        (Abi.X86_64, "ioctl", (1, 0x5401, 0x7F00), "1, TCGETS, 0x7f00"),
        (Abi.X86_64, "ioctl", (1, 0x8004AAAA, 0), "1, _IOC(_IOC_READ, 0xaa, 0xaa, 0x4), 0"),
        (Abi.X86_64, "socket", (2, 0x801, 6), "AF_INET, SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP"),
        (Abi.X86_64, "socket", (17, 3, 0x300), "AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)"),
        (Abi.X86_64, "setsockopt", (3, 1, 2, 0, 4), "3, SOL_SOCKET, SO_REUSEADDR, NULL, 4"),
        (Abi.X86_64, "mmap", (0, 1, 0, 0x20), "NULL, 1, PROT_NONE, MAP_FILE|MAP_ANONYMOUS, 0, 0"),
        (
            Abi.X86_64,
            "mmap",
            (0, 1, 0, 0x40022 | 21 << 26, -1),
            "NULL, 1, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT, -1, 0",
        ),
        (Abi.X86_64, "flock", (3, 4), "3, LOCK_NB"),
        (Abi.X86_64, "futex", (8, 129, 1, 7, 7, 7), "0x8, FUTEX_WAKE_PRIVATE, 1"),
        (Abi.X86_64, "mremap", (0x1000, 1, 2, 1, 7), "0x1000, 1, 2, MREMAP_MAYMOVE"),
        (Abi.X86_64, "mknod", (1, 0o10644), "0x1, S_IFIFO|0644"),
        (Abi.X86_64, "mknod", (1, 0o20600, 0x103), "0x1, S_IFCHR|0600, makedev(0x1, 0x3)"),
        (Abi.X86_64, "shmget", (0, 99, 0o1600), "IPC_PRIVATE, 99, IPC_CREAT|0600"),
        (Abi.X86_64, "dup2", (-100, 3), "-100, 3"),
        (
            Abi.X86_64,
            "execveat",
            (-100, 0, 0, 0, 0x1000),
            "AT_FDCWD, NULL, NULL, NULL, AT_EMPTY_PATH",
        ),
        (
            Abi.X86_64,
            "clone",
            (0x1200011, 0, 0, 0x7F10),
            (
                "child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, "
                "child_tidptr=0x7f10"
            ),
        ),
        (Abi.I386, "setuid", (0x1FFFF,), "-1"),
        (Abi.I386, "chown", (1, 0x10005, 0xFFFF), "0x1, 5, -1"),
        (Abi.I386, "setuid32", (0x1FFFF,), "131071"),
        (Abi.I386, "statfs64", (1, 88, 0x7F00), "0x1, 88, 0x7f00"),
        (Abi.I386, "truncate64", (1, 2, 1), "0x1, 4294967298"),
        (Abi.I386, "mmap", (0xFFC0,), "0xffc0"),
        (Abi.I386, "umount", (1, 7), "0x1"),
        (Abi.I386, "set_thread_area", (0xFFC0,), "0xffc0"),
        (Abi.I386, "ugetrlimit", (3, 0xFFC0), "RLIMIT_STACK, 0xffc0"),
        (Abi.X86_64, "umount2", (1, 2), "0x1, MNT_DETACH"),
    ],
)
def test_a_call_reads_as_strace_prints_it(abi, call, registers, expected):
    assert line(abi, call, *registers) == f"{call}({expected})"


def test_bits_without_a_name_stay_as_a_number():
    assert args(Abi.X86_64, "openat", -100, 1, 0x80000000)["flags"] == "O_RDONLY|0x80000000"


def test_arguments_have_the_kernels_names():
    found = args(Abi.X86_64, "openat", -100, 0x7F00, 0o101, 0o644)
    assert found == {
        "dfd": "AT_FDCWD",
        "filename": "0x7f00",
        "flags": "O_WRONLY|O_CREAT",
        "mode": 0o644,
    }


def test_an_unknown_call_shows_its_registers():
    assert args(Abi.X86_64, "syscall_999", 1, -1)["arg1"] == U64
    assert args(Abi.I386, "syscall_999", 1, -1)["arg1"] == 2**32 - 1


CALLS = sorted((abi, name) for abi in Abi for name in numbers(abi))


@given(st.sampled_from(CALLS), st.lists(st.integers(0, U64), min_size=6, max_size=6))
def test_any_registers_of_any_call_render_to_plain_words(call, raw):
    found = render_args(call[0], call[1], raw)
    assert all(
        isinstance(one, int) or (one.isascii() and one.isprintable()) for one in found.values()
    )
    assert line(*call, *raw).startswith(f"{call[1]}(")


ELSEWHERE = {
    "O_LARGEFILE": 0o100000,
    "FASYNC": os.O_ASYNC,
    "__O_SYNC": os.O_SYNC & ~os.O_DSYNC,
    "__O_TMPFILE": os.O_TMPFILE & ~os.O_DIRECTORY,
}


@given(st.integers(0, 2**32 - 1))
def test_open_flags_lose_no_bit(number):
    words = str(args(Abi.X86_64, "open", 1, number)["flags"]).split("|")
    total = 0
    for word in words:
        if word.startswith("0x"):
            total |= int(word, 16)
        elif word in ELSEWHERE:
            total |= ELSEWHERE[word]
        else:
            total |= getattr(os, word)
    assert total == number


def test_the_constants_are_those_of_this_machine_s_headers() -> None:
    script = Path(__file__).parents[2] / "script" / "gen-constants"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
