"""The named sets of system calls, such as ``@process``: systemd's, and ``@all``.

sets.json is what `systemd-analyze syscall-filter` prints (script/gen-syscall-sets).
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ALL: Final = "@all"
"""Every call of an ABI's table: ours, while ``@known`` is what systemd 252 knows."""


@dataclass(frozen=True, slots=True)
class CallSet:
    """A set: *members* are names of calls, those of the sets within it too.

    Not every ABI has every member. *members* of ``@all`` is empty: the tables say them.
    """

    name: str
    about: str
    members: frozenset[str]


@functools.cache
def call_sets() -> Mapping[str, CallSet]:
    """Return all sets by name, in systemd's order."""
    file = importlib.resources.files("uidtraced.policy") / "sets.json"
    said = json.loads(file.read_text("utf-8"))

    def flat(name: str) -> Iterator[str]:
        for member in said[name]:
            if member.startswith("@"):
                yield from flat(member)
            else:
                yield member

    found = {name: CallSet(name, _ABOUT[name], frozenset(flat(name))) for name in said}
    return found | {ALL: CallSet(ALL, _ABOUT[ALL], frozenset())}


_ABOUT: Final[Mapping[str, str]] = {
    "@default": "what every program needs: exit, time, memory, its own ids",
    "@aio": "asynchronous I/O, io_uring too",
    "@basic-io": "read, write, seek, close and duplicate what is open",
    "@chown": "give files to other owners",
    "@clock": "set or steer the clock",
    "@cpu-emulation": "modes of old x86 processors",
    "@debug": "look into other processes; performance counters",
    "@file-system": "open, list, make, move and delete files",
    "@io-event": "wait for many things: poll, select, epoll, eventfd",
    "@ipc": "pipes, message queues, semaphores, shared memory",
    "@keyring": "the kernel's key store",
    "@memlock": "keep memory from being swapped out",
    "@module": "load and unload kernel modules",
    "@mount": "mount, unmount and change the root",
    "@network-io": "sockets",
    "@obsolete": "calls that nobody should make any more",
    "@pkey": "memory protection keys",
    "@privileged": "what takes root's capabilities",
    "@process": "make, name, join and end processes; namespaces",
    "@raw-io": "I/O ports",
    "@reboot": "reboot, or start another kernel",
    "@resources": "priorities, limits, where memory and threads go",
    "@setuid": "become another user or group",
    "@signal": "handle signals",
    "@swap": "swap space on and off",
    "@sync": "write what is cached to the disk",
    "@system-service": "what an ordinary service uses",
    "@timer": "alarms and timers",
    "@known": "every call that systemd 252 knows",
    "@all": "every call that an ABI has",
}


_ELSEWHERE: Final[Mapping[str, str]] = {
    "alpha": """
        dipc exec_with_loader getdtablesize gethostname getxgid getxpid getxuid old_adjtimex
        oldumount osf_fstat osf_fstatfs osf_fstatfs64 osf_getdirentries osf_getdomainname
        osf_getitimer osf_getrusage osf_getsysinfo osf_gettimeofday osf_lstat osf_mount
        osf_proplist_syscall osf_select osf_set_program_attributes osf_setitimer osf_setsysinfo
        osf_settimeofday osf_shmat osf_sigprocmask osf_sigstack osf_stat osf_statfs osf_statfs64
        osf_swapon osf_syscall osf_sysinfo osf_usleep_thread osf_utimes osf_utsname osf_wait4
        sethae setpgrp""",
    "alpha, m68k and sparc": "getpagesize",
    "arc": "arc_gettls arc_settls arc_usr_cmpxchg",
    "m68k": "atomic_barrier atomic_cmpxchg_32",
    "mips": "cachectl sysmips",
    "mips, s390 and others": "timerfd",
    "openrisc": "or1k_atomic",
    "powerpc": """
        multiplexer rtas spu_create spu_run subpage_prot swapcontext switch_endian
        sys_debug_setcontext""",
    "riscv": "riscv_flush_icache riscv_hwprobe",
    "s390": """
        s390_guarded_storage s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr
        s390_sthyi""",
    "sparc": """
        execv getdomainname kern_features memory_ordering perfctr sched_get_affinity
        sched_set_affinity utrap_install""",
    "mips and 32-bit arm with its old ABI": "syscall",
}


@functools.cache
def elsewhere() -> Mapping[str, str]:
    """Return the names in systemd's sets that no ABI of ours has, with what has them.

    This is all by which a set differs from what `systemd-analyze syscall-filter` lists.
    """
    return {name: where for where, names in _ELSEWHERE.items() for name in names.split()}
