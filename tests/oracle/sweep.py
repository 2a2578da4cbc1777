"""Writes a C program that makes calls with every small number and every bit in each argument."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from uidtraced.events.arguments import registers
from uidtraced.policy.names import numbers

if TYPE_CHECKING:
    from uidtraced.rules import Abi

CALLS: Final = [
    "accept4",
    "access",
    "add_key",
    "clock_getres",
    "clock_nanosleep",
    "close_range",
    "delete_module",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
    "execveat",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fanotify_init",
    "fchmodat",
    "fchownat",
    "fcntl",
    "fcntl64",
    "finit_module",
    "flock",
    "fsconfig",
    "fsetxattr",
    "fsmount",
    "fsopen",
    "fspick",
    "futex",
    "get_mempolicy",
    "getitimer",
    "getpriority",
    "getrandom",
    "getrlimit",
    "getrusage",
    "getsockopt",
    "inotify_add_watch",
    "inotify_init1",
    "io_uring_enter",
    "io_uring_register",
    "ioprio_get",
    "kcmp",
    "keyctl",
    "kill",
    "landlock_create_ruleset",
    "linkat",
    "lseek",
    "madvise",
    "mbind",
    "membarrier",
    "memfd_create",
    "mknod",
    "mlock2",
    "mmap",
    "mmap2",
    "mount",
    "mount_setattr",
    "move_mount",
    "mprotect",
    "mq_open",
    "msgctl",
    "msgrcv",
    "msgsnd",
    "msync",
    "newfstatat",
    "open",
    "open_tree",
    "openat",
    "perf_event_open",
    "pidfd_open",
    "pipe2",
    "prctl",
    "prlimit64",
    "ptrace",
    "recvfrom",
    "renameat2",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_get_priority_max",
    "semctl",
    "send",
    "sendto",
    "setns",
    "setsockopt",
    "shmctl",
    "shutdown",
    "signalfd4",
    "socket",
    "socketpair",
    "splice",
    "statx",
    "sync_file_range",
    "syslog",
    "tgkill",
    "timer_create",
    "timerfd_create",
    "timerfd_settime",
    "umount2",
    "unlinkat",
    "unshare",
    "userfaultfd",
    "utimensat",
    "wait4",
    "waitid",
]
OWN: Final = re.compile(
    r"mode|prot|\w*flags?|\w*flg|cmd|request|which|who|op|how|type|level|family|option|optname|sig|"
    r"policy|resource|advice|behavior|mask|opcode|clockid|which_clock|ringid|whence"
)
FD: Final = re.compile(r"\w*fd|fildes|mqdes|fd_\w+")
NOBODY: Final = 0x7FFFFFF0
"""The pid of no process."""
HEAD: Final = """
#include <sys/syscall.h>
#include <unistd.h>

static long a[6];

static void make(long nr)
{
	syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void sweep(long nr, int at)
{
	for (a[at] = 0; a[at] < 70; a[at]++)
		make(nr);
	for (int bit = 4; bit < 31; bit++) {
		a[at] = 1L << bit;
		make(nr);
		a[at] |= 3;
		make(nr);
	}
}

int main(void)
{
"""


def sweep(abi: Abi) -> str:
    """Return the program for *abi*."""
    lines = [HEAD]
    table = numbers(abi)
    for call in CALLS:
        if call not in table:
            continue
        signature, where = registers(abi, call)
        arguments = list(zip((name for name, _ in signature), where, strict=True))
        base = [0] * 6
        for name, register in arguments:
            if FD.fullmatch(name):
                base[register] = -1
            elif name in ("pid", "tgid", "upid", "pid1", "pid2"):
                base[register] = NOBODY
            elif name in ("addr", "start"):
                base[register] = 1  # is on no page
        begin = " ".join(f"a[{n}] = {value};" for n, value in enumerate(base))
        lines += [
            f"\t{begin} a[{register}] = -100; make({table[call]});"
            for name, register in arguments
            if FD.fullmatch(name)
        ]
        lines += [
            f"\t{begin} sweep({table[call]}, {register});"
            for name, register in arguments
            if OWN.fullmatch(name)
        ]
    return "\n".join([*lines, "\treturn 0;", "}", ""])
