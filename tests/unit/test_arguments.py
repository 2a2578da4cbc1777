from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fakes import EVENT
from uidtraced.events import flags
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
        (Abi.X86_64, "clone", (0x11,), "SIGCHLD, NULL, NULL, NULL, 0"),
        (Abi.X86_64, "getppid", (), ""),
        (Abi.X86_64, "execve", (0, 1, 2), "NULL, [], 0x2"),
        (Abi.X86_64, "prctl", (15, 1), "PR_SET_NAME, 1, 0, 0, 0"),
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


@given(st.integers(0, 2**32 - 1))
def test_open_flags_lose_no_bit(number):
    words = str(args(Abi.X86_64, "open", 1, number)["flags"]).split("|")
    total = 0
    for word in words:
        if word.startswith("0x"):
            total |= int(word, 16)
        elif word == "O_LARGEFILE":
            total |= 0o100000
        else:
            total |= getattr(os, word)
    assert total == number


HEADERS = """
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <linux/net.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
"""
TABLES = {
    "MAP": lambda number: flags.MAP(number | 2).split("|")[-1],
    "CLOCK": flags.CLOCK,
    "MS": lambda number: flags.MSYNC(number) if number < 8 else flags.MOUNT(number),
    "MNT": flags.UMOUNT,
    "PR": flags.PRCTL,
    "PTRACE": flags.PTRACE,
    "CLONE": flags.NAMESPACES,
    "FUTEX": lambda number: flags.futex(number).split("|")[-1],
    "RENAME": flags.RENAME,
    "MFD": flags.MEMFD,
    "EPOLL": flags.EPOLL_CTL,
    "BPF": flags.BPF,
    "MREMAP": flags.MREMAP,
    "AT": flags.AT,
}
ELSEWHERE = {
    "MS_RDONLY", "MS_NOSUID", "MS_NODEV",  # share their bits with MS_ASYNC and so on
    "MAP_SHARED", "MAP_PRIVATE", "MAP_SHARED_VALIDATE", "FUTEX_WAIT", "AT_EACCESS", "AT_FDCWD",
    "EPOLL_CLOEXEC", "AT_STATX_SYNC_AS_STAT",
}  # fmt: skip


def test_the_words_that_are_typed_in_are_those_of_the_headers(tmp_path):
    source = Path(flags.__file__).read_text("utf-8")
    words = sorted(set(re.findall(rf"\b(?:{'|'.join(TABLES)})_[A-Z0-9_]+\b", source)) - ELSEWHERE)

    plain = {**os.environ, "LC_ALL": "C"}

    def compiler(names: list[str]) -> subprocess.CompletedProcess[str]:
        lines = "".join(f"P({name})" for name in names)
        program = HEADERS + '#define P(x) printf("%s %llu\\n", #x, (unsigned long long)(x));\n'
        program += f"int main(void) {{ {lines} }}\n"
        command = ["gcc", "-w", "-x", "c", "-", "-o", str(tmp_path / "words")]
        return subprocess.run(command, input=program, text=True, capture_output=True, env=plain)

    unknown = set(re.findall(r"'(\w+)' undeclared", compiler(words).stderr))
    known = [word for word in words if word not in unknown]
    assert len(unknown) < 10, unknown  # words newer than this machine's headers
    assert len(known) > 150
    built = compiler(known)
    assert built.returncode == 0, built.stderr
    said = subprocess.run([tmp_path / "words"], check=True, capture_output=True, text=True)
    for line in said.stdout.splitlines():
        word, number = line.split()
        assert TABLES[word.partition("_")[0]](int(number)) == word
