"""Words for the numbers of arguments, in strace's spelling.

Values come from the standard library, which has them from this machine's headers, and so they
are right for all ABIs of the machine; what it lacks stands here with the header it is from.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from types import ModuleType

Words: TypeAlias = Callable[[int], str]
"""Turns a number (unsigned) into words."""


def flags(bits: Mapping[str, int], zero: str = "0") -> Words:
    """Return words for a set of bits; composite ones stand before their parts in *bits*."""
    known = [(name, value) for name, value in bits.items() if value]

    def words(number: int) -> str:
        if not number:
            return zero
        found = []
        for name, value in known:
            if number & value == value:
                found.append(name)
                number &= ~value
        if number or not found:
            found.append(f"{number:#x}")
        return "|".join(found)

    return words


def choice(values: Mapping[str, int]) -> Words:
    """Return the word for one of several values; an unknown one stays a number."""
    names = {value: name for name, value in reversed(list(values.items()))}
    return lambda number: names.get(number) or f"{number:#x}"


def mixed(values: Mapping[str, int], mask: int, bits: Mapping[str, int]) -> Words:
    """Return words for a value under *mask* with bits beside it."""
    one, many = choice(values), flags(bits)

    def words(number: int) -> str:
        rest = number & ~mask
        return f"{one(number & mask)}|{many(rest)}" if rest else one(number & mask)

    return words


def named(module: ModuleType, names: str) -> dict[str, int]:
    """Return those of *names* that *module* has; of a word that ends with ``_``, all it begins."""
    found: dict[str, int] = {}
    for name in names.split():
        if name.endswith("_"):
            found |= {
                one: int(getattr(module, one))
                for one in dir(module)
                if one.startswith(name) and isinstance(getattr(module, one), int)
            }
        elif hasattr(module, name):
            found[name] = int(getattr(module, name))
    return found


def bits(names: str, start: int = 0) -> dict[str, int]:
    """Return *names* as bits in a row from 1 << *start* on; ``-`` leaves one out."""
    return {name: 1 << n for n, name in enumerate(names.split(), start) if name != "-"}


def row(names: str, start: int = 0) -> dict[str, int]:
    """Return *names* numbered in a row from *start* on; ``-`` leaves one out."""
    return {name: n for n, name in enumerate(names.split(), start) if name != "-"}


# arch/arm and arch/arm64 have their own (include/uapi/asm/fcntl.h); the library says 0 on 64 bit
_LARGEFILE: Final = 0o100000 if platform.machine() == "x86_64" else 0o400000

OPEN: Final = mixed(
    named(os, "O_RDONLY O_WRONLY O_RDWR"),
    os.O_ACCMODE,
    {
        **named(os, "O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_SYNC O_DSYNC"),
        **named(os, "O_ASYNC O_DIRECT"),
        "O_LARGEFILE": _LARGEFILE,
        **named(os, "O_NOFOLLOW O_NOATIME O_CLOEXEC O_PATH O_TMPFILE O_DIRECTORY"),
    },
)
PIPE: Final = flags(named(os, "O_NONBLOCK O_CLOEXEC O_DIRECT"))
CLOEXEC: Final = flags(named(os, "O_CLOEXEC"))
ACCESS: Final = flags(named(os, "R_OK W_OK X_OK"), zero="F_OK")
WHENCE: Final = choice(named(os, "SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE"))
# WUNTRACED has the same number; the last three are of include/uapi/linux/wait.h
WAIT: Final = flags(
    {
        **named(os, "WNOHANG WCONTINUED"),
        "WSTOPPED": os.WUNTRACED,
        **bits("__WNOTHREAD __WALL __WCLONE", 29),
    }
)
WAITID: Final = flags(named(os, "WNOHANG WEXITED WCONTINUED WNOWAIT") | {"WSTOPPED": 2})
PRIORITY: Final = choice(named(os, "PRIO_PROCESS PRIO_PGRP PRIO_USER"))
RANDOM: Final = flags(named(os, "GRND_NONBLOCK GRND_RANDOM"))
SIGNAL: Final = choice(
    {
        **{one.name: one for one in signal.Signals if one < signal.SIGRTMIN},
        # include/uapi/asm/signal.h: the kernel's 32 and on, of which libc keeps some for itself
        **row("SIGRTMIN", 32),
        **{f"SIGRT_{number}": 32 + number for number in range(1, 33)},
    }
)
SIGMASK: Final = choice(named(signal, "SIG_BLOCK SIG_UNBLOCK SIG_SETMASK"))
PROT: Final = flags(named(mmap, "PROT_READ PROT_WRITE PROT_EXEC"), zero="PROT_NONE")
MAP: Final = mixed(
    {**named(mmap, "MAP_SHARED MAP_PRIVATE"), "MAP_SHARED_VALIDATE": 3},
    3,
    {
        # include/uapi/asm-generic/mman-common.h and mman.h, the same on x86 and arm
        "MAP_FIXED": 0x10,
        **({"MAP_32BIT": 0x40} if platform.machine() == "x86_64" else {}),  # asm/mman.h
        "MAP_ANONYMOUS": 0x20,
        "MAP_GROWSDOWN": 0x100,
        "MAP_DENYWRITE": 0x800,
        "MAP_EXECUTABLE": 0x1000,
        "MAP_LOCKED": 0x2000,
        "MAP_NORESERVE": 0x4000,
        "MAP_POPULATE": 0x8000,
        "MAP_NONBLOCK": 0x10000,
        "MAP_STACK": 0x20000,
        "MAP_HUGETLB": 0x40000,
        "MAP_SYNC": 0x80000,
        "MAP_FIXED_NOREPLACE": 0x100000,
    },
)
MADVISE: Final = choice(named(mmap, "MADV_"))
MREMAP: Final = flags(bits("MREMAP_MAYMOVE MREMAP_FIXED MREMAP_DONTUNMAP"))
MSYNC: Final = flags(bits("MS_ASYNC MS_INVALIDATE MS_SYNC"))
FAMILY: Final = choice(named(socket, "AF_"))
SOCKET_TYPE: Final = mixed(
    named(socket, "SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET"),
    0xF,  # SOCK_TYPE_MASK, include/linux/net.h
    named(socket, "SOCK_CLOEXEC SOCK_NONBLOCK"),
)
SOCKET_FLAGS: Final = flags(named(socket, "SOCK_CLOEXEC SOCK_NONBLOCK"))
SOCKET_LEVEL: Final = choice(named(socket, "SOL_SOCKET SOL_IP SOL_TCP SOL_UDP"))
MESSAGE: Final = flags(
    {
        **named(socket, "MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC MSG_TRUNC MSG_DONTWAIT MSG_EOR"),
        **named(socket, "MSG_WAITALL MSG_CONFIRM MSG_ERRQUEUE MSG_NOSIGNAL MSG_MORE"),
        "MSG_WAITFORONE": 0x10000,  # include/linux/socket.h
        **named(socket, "MSG_FASTOPEN MSG_CMSG_CLOEXEC"),
    }
)
SHUTDOWN: Final = choice(named(socket, "SHUT_RD SHUT_WR SHUT_RDWR"))
FCNTL: Final = choice(
    {
        **named(fcntl, "F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW"),
        **named(fcntl, "F_SETOWN F_GETOWN F_SETSIG F_GETSIG F_DUPFD_CLOEXEC F_NOTIFY F_SETLEASE"),
        **named(fcntl, "F_GETLEASE F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS"),
        **named(fcntl, "F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW"),
        # include/uapi/asm-generic/fcntl.h, 32-bit ABIs
        **row("F_GETLK64 F_SETLK64 F_SETLKW64", 12),
    }
)
FLOCK: Final = mixed(
    named(fcntl, "LOCK_SH LOCK_EX LOCK_UN"), 3 | fcntl.LOCK_UN, named(fcntl, "LOCK_NB")
)
EPOLL_CTL: Final = choice(row("EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD", 1))
EPOLL_CREATE: Final = flags(named(select, "EPOLL_CLOEXEC"))
CLOCK: Final = choice(
    {
        **named(time, "CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID"),
        **named(time, "CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW CLOCK_BOOTTIME CLOCK_TAI"),
        # include/uapi/linux/time.h
        **row("CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE", 5),
        **row("CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM", 8),
    }
)
RLIMIT: Final = choice(named(resource, "RLIMIT_"))
RUSAGE: Final = choice(
    {"RUSAGE_SELF": 0, "RUSAGE_CHILDREN": 0xFFFFFFFF, **named(resource, "RUSAGE_THREAD")}
)
# include/uapi/linux/fcntl.h
AT: Final = flags(
    {
        "AT_SYMLINK_NOFOLLOW": 0x100,
        "AT_REMOVEDIR": 0x200,
        "AT_SYMLINK_FOLLOW": 0x400,
        "AT_NO_AUTOMOUNT": 0x800,
        "AT_EMPTY_PATH": 0x1000,
        "AT_STATX_FORCE_SYNC": 0x2000,
        "AT_STATX_DONT_SYNC": 0x4000,
        "AT_RECURSIVE": 0x8000,
    }
)
# the same header; how old what a network file system says may be is a value, not a bit
STATX: Final = mixed(
    {"AT_STATX_SYNC_AS_STAT": 0, "AT_STATX_FORCE_SYNC": 0x2000, "AT_STATX_DONT_SYNC": 0x4000},
    0x6000,
    {
        "AT_SYMLINK_NOFOLLOW": 0x100,
        "AT_NO_AUTOMOUNT": 0x800,
        "AT_EMPTY_PATH": 0x1000,
    },
)
FACCESSAT: Final = flags(
    {"AT_SYMLINK_NOFOLLOW": 0x100, "AT_EACCESS": 0x200, "AT_EMPTY_PATH": 0x1000}
)
RENAME: Final = flags(bits("RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT"))
_CLONE_BITS: Final = {
    # include/uapi/linux/sched.h
    "CLONE_NEWTIME": 0x80,
    "CLONE_VM": 0x100,
    "CLONE_FS": 0x200,
    "CLONE_FILES": 0x400,
    "CLONE_SIGHAND": 0x800,
    "CLONE_PIDFD": 0x1000,
    "CLONE_PTRACE": 0x2000,
    "CLONE_VFORK": 0x4000,
    "CLONE_PARENT": 0x8000,
    "CLONE_THREAD": 0x10000,
    "CLONE_NEWNS": 0x20000,
    "CLONE_SYSVSEM": 0x40000,
    "CLONE_SETTLS": 0x80000,
    "CLONE_PARENT_SETTID": 0x100000,
    "CLONE_CHILD_CLEARTID": 0x200000,
    "CLONE_DETACHED": 0x400000,
    "CLONE_UNTRACED": 0x800000,
    "CLONE_CHILD_SETTID": 0x1000000,
    "CLONE_NEWCGROUP": 0x2000000,
    "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
    "CLONE_IO": 0x80000000,
}
NAMESPACES: Final = flags(_CLONE_BITS)
_clone_flags: Final = flags({k: v for k, v in _CLONE_BITS.items() if k != "CLONE_NEWTIME"})


def clone(number: int) -> str:
    """Return the flags of clone, whose lowest byte is the signal that the parent gets."""
    rest, number = number & 0xFF, number & ~0xFF
    words = _clone_flags(number) if number or not rest else ""
    return "|".join(filter(None, (words, SIGNAL(rest) if rest else "")))


MOUNT: Final = flags(
    {
        # include/uapi/linux/mount.h
        **bits("MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_SYNCHRONOUS MS_REMOUNT MS_MANDLOCK"),
        **bits("MS_DIRSYNC MS_NOSYMFOLLOW - MS_NOATIME MS_NODIRATIME MS_BIND MS_MOVE MS_REC", 7),
        **bits("MS_SILENT MS_POSIXACL MS_UNBINDABLE MS_PRIVATE MS_SLAVE MS_SHARED", 15),
        **bits("MS_RELATIME MS_KERNMOUNT MS_I_VERSION MS_STRICTATIME MS_LAZYTIME", 21),
    }
)
UMOUNT: Final = flags(bits("MNT_FORCE MNT_DETACH MNT_EXPIRE UMOUNT_NOFOLLOW"))  # linux/fs.h
MEMFD: Final = flags(bits("MFD_CLOEXEC MFD_ALLOW_SEALING MFD_HUGETLB MFD_NOEXEC_SEAL MFD_EXEC"))
EVENTFD: Final = flags(
    {"EFD_SEMAPHORE": 1, "EFD_CLOEXEC": os.O_CLOEXEC} | {"EFD_NONBLOCK": os.O_NONBLOCK}
)
TIMERFD: Final = flags({"TFD_CLOEXEC": os.O_CLOEXEC, "TFD_NONBLOCK": os.O_NONBLOCK})
INOTIFY: Final = flags({"IN_CLOEXEC": os.O_CLOEXEC, "IN_NONBLOCK": os.O_NONBLOCK})
# include/uapi/linux/futex.h
_FUTEX: Final = mixed(
    row(
        "FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP "
        "FUTEX_LOCK_PI FUTEX_UNLOCK_PI FUTEX_TRYLOCK_PI FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET "
        "FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2"
    ),
    0x7F,
    {"FUTEX_CLOCK_REALTIME": 256},
)
_FUTEX_PRIVATE_FLAG: Final = 128


def futex(number: int) -> str:
    """Return the operation of futex, whose private form has a name of its own."""
    operation, bar, rest = _FUTEX(number & ~_FUTEX_PRIVATE_FLAG).partition("|")
    private = "_PRIVATE" if number & _FUTEX_PRIVATE_FLAG else ""
    return f"{operation}{private}{bar}{rest}"


# include/uapi/linux/prctl.h
PRCTL: Final = choice(
    {
        **row("PR_SET_PDEATHSIG PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE", 1),
        **row("PR_GET_KEEPCAPS PR_SET_KEEPCAPS", 7),
        **row("PR_SET_NAME PR_GET_NAME", 15),
        **row("PR_GET_SECCOMP PR_SET_SECCOMP PR_CAPBSET_READ PR_CAPBSET_DROP", 21),
        **row("PR_GET_SECUREBITS PR_SET_SECUREBITS PR_SET_TIMERSLACK PR_GET_TIMERSLACK", 27),
        **row("PR_SET_MM PR_SET_CHILD_SUBREAPER PR_GET_CHILD_SUBREAPER", 35),
        **row("PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_GET_TID_ADDRESS", 38),
        **row("PR_SET_THP_DISABLE PR_GET_THP_DISABLE", 41),
        "PR_CAP_AMBIENT": 47,
        "PR_SET_VMA": 0x53564D41,
        "PR_SET_PTRACER": 0x59616D61,
    }
)
# include/uapi/linux/ptrace.h
PTRACE: Final = choice(
    {
        **row("PTRACE_TRACEME PTRACE_PEEKTEXT PTRACE_PEEKDATA PTRACE_PEEKUSER PTRACE_POKETEXT"),
        **row("PTRACE_POKEDATA PTRACE_POKEUSER PTRACE_CONT PTRACE_KILL PTRACE_SINGLESTEP", 5),
        **row("PTRACE_ATTACH PTRACE_DETACH", 16),
        "PTRACE_SYSCALL": 24,
        **row("PTRACE_SETOPTIONS PTRACE_GETEVENTMSG PTRACE_GETSIGINFO PTRACE_SETSIGINFO", 0x4200),
        **row("PTRACE_GETREGSET PTRACE_SETREGSET PTRACE_SEIZE PTRACE_INTERRUPT", 0x4204),
        **row("PTRACE_LISTEN PTRACE_PEEKSIGINFO PTRACE_GETSIGMASK PTRACE_SETSIGMASK", 0x4208),
    }
)
# include/uapi/linux/bpf.h, enum bpf_cmd
BPF: Final = choice(
    row(
        "BPF_MAP_CREATE BPF_MAP_LOOKUP_ELEM BPF_MAP_UPDATE_ELEM BPF_MAP_DELETE_ELEM "
        "BPF_MAP_GET_NEXT_KEY BPF_PROG_LOAD BPF_OBJ_PIN BPF_OBJ_GET BPF_PROG_ATTACH "
        "BPF_PROG_DETACH BPF_PROG_TEST_RUN BPF_PROG_GET_NEXT_ID BPF_MAP_GET_NEXT_ID "
        "BPF_PROG_GET_FD_BY_ID BPF_MAP_GET_FD_BY_ID BPF_OBJ_GET_INFO_BY_FD BPF_PROG_QUERY "
        "BPF_RAW_TRACEPOINT_OPEN BPF_BTF_LOAD BPF_BTF_GET_FD_BY_ID BPF_TASK_FD_QUERY "
        "BPF_MAP_LOOKUP_AND_DELETE_ELEM BPF_MAP_FREEZE BPF_BTF_GET_NEXT_ID "
        "BPF_MAP_LOOKUP_BATCH BPF_MAP_LOOKUP_AND_DELETE_BATCH BPF_MAP_UPDATE_BATCH "
        "BPF_MAP_DELETE_BATCH BPF_LINK_CREATE BPF_LINK_UPDATE BPF_LINK_GET_FD_BY_ID "
        "BPF_LINK_GET_NEXT_ID BPF_ENABLE_STATS BPF_ITER_CREATE BPF_LINK_DETACH "
        "BPF_PROG_BIND_MAP BPF_TOKEN_CREATE"
    )
)
# include/uapi/linux/ipc.h
_IPC_64: Final = 0x100
_IPC_CMD: Final = row("IPC_RMID IPC_SET IPC_STAT IPC_INFO")


def _ipc_command(names: str) -> Words:
    """Return words for a command of semctl and the like; *names* are from 11 on."""
    known = choice({**_IPC_CMD, **row(names, 11)})

    def words(number: int) -> str:
        new = "IPC_64|" if number & _IPC_64 else ""
        return new + known(number & ~_IPC_64)

    return words


def _with_mode(many: Mapping[str, int]) -> Words:
    """Return words for flags with permission bits below them."""
    known = flags(many)

    def words(number: int) -> str:
        above = number & ~0o777
        mode = f"0{number & 0o777:o}".zfill(3)
        return f"{known(above)}|{mode}" if above else mode

    return words


# include/uapi/linux/sem.h, msg.h, shm.h
SEM_CMD: Final = _ipc_command(
    "GETPID GETVAL GETALL GETNCNT GETZCNT SETVAL SETALL SEM_STAT SEM_INFO SEM_STAT_ANY"
)
MSG_CMD: Final = _ipc_command("MSG_STAT MSG_INFO MSG_STAT_ANY")
SHM_CMD: Final = _ipc_command("SHM_LOCK SHM_UNLOCK SHM_STAT SHM_INFO SHM_STAT_ANY")
IPC_KEY: Final = choice({"IPC_PRIVATE": 0})
IPC_GET: Final = _with_mode({"IPC_CREAT": 0o1000, "IPC_EXCL": 0o2000, "IPC_NOWAIT": 0o4000})
SHM_GET: Final = _with_mode(
    {"IPC_CREAT": 0o1000, "IPC_EXCL": 0o2000, "SHM_HUGETLB": 0o4000, "SHM_NORESERVE": 0o10000}
)
SHM_AT: Final = flags(bits("SHM_RDONLY SHM_RND SHM_REMAP SHM_EXEC", 12))
IPC_MESSAGE: Final = flags(bits("IPC_NOWAIT MSG_NOERROR MSG_EXCEPT MSG_COPY", 11))


def _for(calls: str, argument: str, words: Words) -> Iterable[tuple[tuple[str, str], Words]]:
    return [((call, argument), words) for call in calls.split()]


WORDS: Final[Mapping[tuple[str, str], Words]] = dict(
    [
        *_for("open openat open_by_handle_at", "flags", OPEN),
        *_for("pipe2", "flags", PIPE),
        *_for("dup3", "flags", CLOEXEC),
        *_for("access faccessat faccessat2", "mode", ACCESS),
        *_for("faccessat2", "flags", FACCESSAT),
        *_for("lseek _llseek", "whence", WHENCE),
        *_for("wait4 waitpid", "options", WAIT),
        *_for("waitid", "options", WAITID),
        *_for("getpriority setpriority", "which", PRIORITY),
        *_for("getrandom", "flags", RANDOM),
        *_for("kill tkill tgkill rt_sigaction rt_sigqueueinfo rt_tgsigqueueinfo", "sig", SIGNAL),
        *_for("pidfd_send_signal signal sigaction", "sig", SIGNAL),
        *_for("rt_sigprocmask sigprocmask", "how", SIGMASK),
        *_for("mmap mmap2 mprotect pkey_mprotect", "prot", PROT),
        *_for("mmap mmap2", "flags", MAP),
        *_for("madvise process_madvise", "behavior", MADVISE),
        *_for("mremap", "flags", MREMAP),
        *_for("msync", "flags", MSYNC),
        *_for("socket socketpair", "family", FAMILY),
        *_for("socket socketpair", "type", SOCKET_TYPE),
        *_for("accept4", "flags", SOCKET_FLAGS),
        *_for("setsockopt getsockopt", "level", SOCKET_LEVEL),
        *_for("sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg send recv", "flags", MESSAGE),
        *_for("shutdown", "how", SHUTDOWN),
        *_for("fcntl fcntl64", "cmd", FCNTL),
        *_for("flock", "cmd", FLOCK),
        *_for("epoll_ctl", "op", EPOLL_CTL),
        *_for("epoll_create1", "flags", EPOLL_CREATE),
        *_for("clock_gettime clock_settime clock_getres clock_nanosleep", "which_clock", CLOCK),
        *_for("clock_gettime64 clock_getres_time64 clock_nanosleep_time64", "which_clock", CLOCK),
        *_for("timer_create", "which_clock", CLOCK),
        *_for("timerfd_create", "clockid", CLOCK),
        *_for("timerfd_create", "flags", TIMERFD),
        *_for("getrlimit setrlimit prlimit64", "resource", RLIMIT),
        *_for("getrusage", "who", RUSAGE),
        *_for("newfstatat fstatat64 fchmodat2 execveat name_to_handle_at", "flags", AT),
        *_for("newfstatat fstatat64 fchownat unlinkat", "flag", AT),
        *_for("linkat utimensat", "flags", AT),
        *_for("statx", "flags", STATX),
        *_for("renameat2", "flags", RENAME),
        *_for("clone", "clone_flags", clone),
        *_for("unshare", "unshare_flags", NAMESPACES),
        *_for("setns", "flags", NAMESPACES),
        *_for("mount", "flags", MOUNT),
        *_for("umount2", "flags", UMOUNT),
        *_for("memfd_create", "flags", MEMFD),
        *_for("eventfd2", "flags", EVENTFD),
        *_for("inotify_init1", "flags", INOTIFY),
        *_for("futex futex_time64", "op", futex),
        *_for("prctl", "option", PRCTL),
        *_for("ptrace", "request", PTRACE),
        *_for("bpf", "cmd", BPF),
        *_for("semget msgget shmget", "key", IPC_KEY),
        *_for("semget", "semflg", IPC_GET),
        *_for("msgget", "msgflg", IPC_GET),
        *_for("shmget", "shmflg", SHM_GET),
        *_for("shmat", "shmflg", SHM_AT),
        *_for("msgsnd msgrcv", "msgflg", IPC_MESSAGE),
        *_for("semctl", "cmd", SEM_CMD),
        *_for("msgctl", "cmd", MSG_CMD),
        *_for("shmctl", "cmd", SHM_CMD),
    ]
)
"""What to call the numbers of an argument, by call and argument."""
