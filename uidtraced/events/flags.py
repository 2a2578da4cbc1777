"""Words for the numbers of arguments, by call and argument, in strace's spelling.

Values come from the kernel's headers (constants.json), or, where the machine's matter or there are
none, from the standard library. What neither has stands here with the header that it is from.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
from typing import TYPE_CHECKING, Final

from uidtraced.events.words import (
    Words,
    WordsOrNumber,
    bits,
    choice,
    constants,
    flags,
    for_each,
    mixed,
    shifted,
    with_mode,
    word_or_number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_X86: Final = platform.machine() == "x86_64"

# arch/arm and arch/arm64 have their own (include/uapi/asm/fcntl.h); the library says 0 on 64 bit
_LARGEFILE: Final = 0o100000 if _X86 else 0o400000
_OPEN_NAMES: Final = (
    "O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_SYNC O_DSYNC O_DIRECT O_LARGEFILE "
    "O_NOFOLLOW O_NOATIME O_CLOEXEC O_PATH O_TMPFILE O_DIRECTORY"
)
_OPEN_BITS: Final = {
    **{name: getattr(os, name) or _LARGEFILE for name in _OPEN_NAMES.split()},
    "FASYNC": os.O_ASYNC,
    "__O_SYNC": os.O_SYNC & ~os.O_DSYNC,
    "__O_TMPFILE": os.O_TMPFILE & ~os.O_DIRECTORY,
}
OPEN: Final = mixed(
    {name: getattr(os, name) for name in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")},
    os.O_ACCMODE,
    _OPEN_BITS,
)
OPEN_BITS: Final = flags(_OPEN_BITS)
CLOEXEC: Final = {"CLOEXEC": os.O_CLOEXEC, "NONBLOCK": os.O_NONBLOCK}
"""Of descriptors of many kinds, with the kind's name before."""


def _descriptor(kind: str, known: Mapping[str, int]) -> Words:
    """Return words for flags *known* and those that all descriptors have."""
    return flags({**known, **{f"{kind}_{name}": value for name, value in CLOEXEC.items()}})


ACCESS: Final = flags({name: getattr(os, name) for name in ("R_OK", "W_OK", "X_OK")}, zero="F_OK")
WHENCE: Final = choice(
    {f"SEEK_{name}": getattr(os, f"SEEK_{name}") for name in ("SET", "CUR", "END", "DATA", "HOLE")}
)
_WAIT: Final = {name: one for name, one in bits("W").items() if name != "WUNTRACED"}
WAIT: Final = flags(_WAIT)
SIGNAL: Final = choice(
    {
        **{one.name: one for one in signal.Signals if one < signal.SIGRTMIN},
        # include/uapi/asm/signal.h: the kernel's 32 and on, of which libc keeps some for itself
        "SIGRTMIN": 32,
        **{f"SIGRT_{number}": 32 + number for number in range(1, 33)},
    }
)
PROT: Final = flags(bits("PROT"), zero="PROT_NONE")
_MAP: Final = bits("MAP_X86 MAP" if _X86 else "MAP")
_MAP_LATE: Final = ("MAP_GROWSDOWN", "MAP_DENYWRITE", "MAP_EXECUTABLE", "MAP_LOCKED")
_MAP_FIRST: Final = ("MAP_FIXED", "MAP_ANONYMOUS", "MAP_32BIT", "MAP_NORESERVE", "MAP_POPULATE")
MAP: Final = shifted(
    mixed(
        constants("MAP_TYPE") | {"MAP_FILE": 0},
        0xF,  # MAP_TYPE, include/uapi/asm-generic/mman-common.h
        # strace's order
        {name: _MAP[name] for name in (*_MAP_FIRST, "MAP_NONBLOCK", *_MAP_LATE) if name in _MAP}
        | _MAP,
    ),
    26,  # MAP_HUGE_SHIFT, include/uapi/asm-generic/hugetlb_encode.h
    "MAP_HUGE_SHIFT",
)
FAMILY: Final = choice(constants("AF"))
SOCKET_TYPE: Final = mixed(
    {
        name: getattr(socket, name)
        for name in ("SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_RDM", "SOCK_SEQPACKET")
    }
    | {"SOCK_DCCP": 6, "SOCK_PACKET": 10},  # include/linux/net.h
    0xF,  # SOCK_TYPE_MASK, the same header
    {name: getattr(socket, name) for name in ("SOCK_CLOEXEC", "SOCK_NONBLOCK")},
)
SOCKET_LEVEL: Final = choice(
    {"SOL_SOCKET": socket.SOL_SOCKET, **constants("SOL"), "AF_VSOCK": socket.AF_VSOCK}
)
MESSAGE: Final = flags(bits("MSG"))
SHUTDOWN: Final = choice(
    {name: getattr(socket, name) for name in ("SHUT_RD", "SHUT_WR", "SHUT_RDWR")}
)
# the last three are of 32-bit ABIs alone, include/uapi/asm-generic/fcntl.h
FCNTL: Final = choice(constants("F") | {"F_GETLK64": 12, "F_SETLK64": 13, "F_SETLKW64": 14})
FLOCK: Final = flags(bits("LOCK"))
CLOCK: Final = choice(constants("CLOCK"))
ABSTIME: Final = flags(constants("TIMER"))
AT: Final = flags(bits("AT"))
# how old what a network file system says may be is a value, not a bit
STATX: Final = mixed(constants("AT_STATX"), 0x6000, bits("AT"))  # AT_STATX_SYNC_TYPE
_STATX: Final = constants("STATX")
STATX_MASK: Final = flags(
    {name: _STATX[name] for name in ("STATX_ALL", "STATX_BASIC_STATS")} | bits("STATX")
)
# the same number is AT_REMOVEDIR elsewhere, include/uapi/linux/fcntl.h
FACCESSAT: Final = flags(
    {
        **{name: one for name, one in bits("AT").items() if name != "AT_REMOVEDIR"},
        "AT_EACCESS": 0x200,
    }
)
_CLONE: Final = bits("CLONE")
_NAMESPACES: Final = {name: one for name, one in _CLONE.items() if name.startswith("CLONE_NEW")}
NAMESPACES: Final = flags(_NAMESPACES)
# what else unshare knows, check_unshare_flags() of kernel/fork.c
UNSHARE: Final = flags(
    {
        name: one
        for name, one in _CLONE.items()
        if name in _NAMESPACES
        or name.removeprefix("CLONE_") in ("VM", "FS", "FILES", "SIGHAND", "THREAD", "SYSVSEM")
    }
)
_clone_flags: Final = flags({k: v for k, v in _CLONE.items() if k != "CLONE_NEWTIME"})


def clone(number: int) -> str:
    """Return the flags of clone, whose lowest byte is the signal that the parent gets."""
    rest, number = number & 0xFF, number & ~0xFF
    words = _clone_flags(number) if number or not rest else ""
    return "|".join(filter(None, (words, SIGNAL(rest) if rest else "")))


_mount: Final = flags(bits("MS"))
_MS_MGC_VAL: Final = (
    0xC0ED0000  # include/uapi/linux/mount.h: old programs' way to say that flags are
)


def mount(number: int) -> str:
    """Return the flags of mount, with the number that old programs put into the upper half."""
    if number & 0xFFFF0000 != _MS_MGC_VAL:
        return _mount(number)
    rest = number & 0xFFFF
    return f"MS_MGC_VAL|{_mount(rest)}" if rest else "MS_MGC_VAL"


MEMFD: Final = shifted(flags(bits("MFD")), 26, "MFD_HUGE_SHIFT")
_FUTEX: Final = mixed(constants("FUTEX"), 0x7F, {"FUTEX_CLOCK_REALTIME": 256})  # linux/futex.h
_FUTEX_PRIVATE_FLAG: Final = 128


def futex(number: int) -> str:
    """Return the operation of futex, whose private form has a name of its own."""
    operation, bar, rest = _FUTEX(number & ~_FUTEX_PRIVATE_FLAG).partition("|")
    private = "_PRIVATE" if number & _FUTEX_PRIVATE_FLAG else ""
    return f"{operation}{private}{bar}{rest}"


PRCTL: Final = choice(constants("PR"))
PTRACE: Final = choice(constants("PTRACE PTRACE_X86" if _X86 else "PTRACE"))
BPF: Final = choice(constants("BPF"))
FAN_INIT: Final = mixed(constants("FAN_CLASS"), 0xC, bits("FAN_INIT"))  # FAN_ALL_CLASS_BITS
_IN: Final = constants("IN")
INOTIFY: Final = flags({"IN_ALL_EVENTS": _IN["IN_ALL_EVENTS"]} | bits("IN"))
_KEYRING: Final = word_or_number(constants("KEY_SPEC"), 32)
_IPC_64: Final = 0x100  # include/uapi/linux/ipc.h


def _ipc_command(groups: str) -> Words:
    """Return words for a command of semctl and the like, of *groups*."""
    known = choice(constants(groups))

    def words(number: int) -> str:
        new = "IPC_64|" if number & _IPC_64 else ""
        return new + known(number & ~_IPC_64)

    return words


_IPC_KEY: Final = choice({"IPC_PRIVATE": 0})
# include/uapi/linux/ipc.h and shm.h, in octal there
_IPC_GET: Final = {"IPC_CREAT": 0o1000, "IPC_EXCL": 0o2000, "IPC_NOWAIT": 0o4000}
_SHM_GET: Final = {
    "IPC_CREAT": 0o1000,
    "IPC_EXCL": 0o2000,
    "SHM_HUGETLB": 0o4000,
    "SHM_NORESERVE": 0o10000,
}
MEMORY_POLICY: Final = mixed(constants("MPOL"), 0x1FFF, bits("MPOL_MODE"))
POLICY: Final = mixed(
    constants("SCHED"), 0xFFFF, {"SCHED_RESET_ON_FORK": 0x40000000}
)  # linux/sched.h
_PERSONALITY: Final = {
    name: one for name, one in constants("PERSONALITY").items() if one.bit_count() == 1
}
_PER: Final = {name: one for name, one in constants("PER").items() if not one & ~0xFF}
_personality: Final = mixed(_PER, 0xFF, {k: v for k, v in _PERSONALITY.items() if v & ~0xFF})


def personality(number: int) -> str:
    """Return a personality; 0xffffffff asks for the one in force."""
    return hex(number) if number == 0xFFFFFFFF else _personality(number)  # noqa: PLR2004


_node: Final = choice(constants("S_IF"))
_node_bits: Final = with_mode(flags(constants("S_IS")))


def node(number: int) -> str:
    """Return the type and the permissions of a node that is made."""
    kind, mode = number & 0o170000, number & 0o7777  # S_IFMT, include/uapi/linux/stat.h
    return f"{_node(kind)}|{_node_bits(mode)}" if kind else _node_bits(mode)


_quota: Final = choice(constants("Q"))
_quota_of: Final = choice(constants("QUOTA"))


def quota(number: int) -> str:
    """Return a command of quotactl, for which kind of quota."""
    return f"QCMD({_quota(number >> 8)}, {_quota_of(number & 0xFF)})"


_priority_class: Final = choice(constants("IOPRIO_CLASS"))


def io_priority(number: int) -> str:
    """Return a priority of input and output: its class and the data beside it."""
    return f"IOPRIO_PRIO_VALUE({_priority_class(number >> 13)}, {number & 0x1FFF})"


WORDS: Final[Mapping[tuple[str, str], WordsOrNumber]] = dict(
    [
        # files
        *for_each("open openat open_by_handle_at", "flags", OPEN),
        *for_each("mq_open", "oflag", OPEN),
        *for_each("pipe2 dup3 memfd_secret delete_module", "flags", OPEN_BITS),
        *for_each("access faccessat faccessat2", "mode", ACCESS),
        *for_each("faccessat2", "flags", FACCESSAT),
        *for_each("lseek _llseek", "whence", WHENCE),
        *for_each("flock", "cmd", FLOCK),
        *for_each("fcntl fcntl64", "cmd", FCNTL),
        *for_each("newfstatat fstatat64 fchmodat2 execveat", "flags", AT),
        *for_each("newfstatat fstatat64 fchownat unlinkat name_to_handle_at", "flag", AT),
        *for_each("linkat utimensat utimensat_time64 mount_setattr", "flags", AT),
        *for_each("statx", "flags", STATX),
        *for_each("statx", "mask", STATX_MASK),
        *for_each("renameat2", "flags", flags(bits("RENAME"))),
        *for_each("mknod mknodat", "mode", node),
        *for_each("fallocate", "mode", flags(bits("FALLOC"))),
        *for_each("fadvise64 fadvise64_64 arm_fadvise64_64", "advice", choice(constants("FADV"))),
        *for_each("setxattr lsetxattr fsetxattr", "flags", flags(bits("XATTR"))),
        *for_each("splice tee vmsplice", "flags", flags(bits("SPLICE"))),
        *for_each("sync_file_range", "flags", flags(bits("SYNC_FILE_RANGE"))),
        *for_each("preadv2 pwritev2", "flags", flags(bits("RWF"))),
        *for_each("close_range", "flags", flags(bits("CLOSE_RANGE"))),
        *for_each("epoll_ctl", "op", choice(constants("EPOLL_CTL"))),
        *for_each("epoll_create1", "flags", flags({"EPOLL_CLOEXEC": os.O_CLOEXEC})),
        *for_each("eventfd2", "flags", _descriptor("EFD", {"EFD_SEMAPHORE": 1})),
        *for_each("signalfd4", "flags", _descriptor("SFD", {})),
        *for_each("inotify_init1", "flags", _descriptor("IN", {})),
        *for_each("inotify_add_watch", "mask", INOTIFY),
        *for_each("fanotify_init", "flags", FAN_INIT),
        *for_each("fanotify_init", "event_f_flags", OPEN),
        *for_each("fanotify_mark", "flags", flags(bits("FAN_MARK"))),
        *for_each("fanotify_mark", "mask", flags(bits("FAN_EVENT"))),
        *for_each("userfaultfd", "flags", flags(bits("UFFD") | {
            f"O_{name}": value for name, value in CLOEXEC.items()
        })),
        *for_each("quotactl quotactl_fd", "cmd", quota),
        # mounts
        *for_each("mount", "flags", mount),
        *for_each("umount2", "flags", flags(bits("MNT"))),
        *for_each("fsopen", "flags", flags(bits("FSOPEN"))),
        *for_each("fsmount", "flags", flags(bits("FSMOUNT"))),
        *for_each("fsmount", "attr_flags", flags(bits("MOUNT_ATTR"))),
        *for_each("fspick", "flags", flags(bits("FSPICK"))),
        *for_each("fsconfig", "cmd", choice(constants("FSCONFIG"))),
        *for_each("move_mount", "flags", flags(bits("MOVE_MOUNT"))),
        *for_each("open_tree open_tree_attr", "flags", flags(
            bits("OPEN_TREE AT") | {"OPEN_TREE_CLOEXEC": os.O_CLOEXEC}
        )),
        *for_each("swapon", "swap_flags", flags(bits("SWAP"))),
        # memory
        *for_each("mmap mmap2 mprotect pkey_mprotect remap_file_pages", "prot", PROT),
        *for_each("mmap mmap2 remap_file_pages", "flags", MAP),
        *for_each("madvise process_madvise", "behavior", choice(constants("MADV"))),
        *for_each("mremap", "flags", flags(bits("MREMAP"))),
        *for_each("msync", "flags", flags(bits("MSYNC"))),
        *for_each("mlock2", "flags", flags(bits("MLOCK"))),
        *for_each("mlockall", "flags", flags(bits("MCL"))),
        *for_each("pkey_alloc", "init_val", flags(bits("PKEY"))),
        *for_each("memfd_create", "flags", MEMFD),
        *for_each("mbind set_mempolicy", "mode", MEMORY_POLICY),
        *for_each("mbind move_pages", "flags", flags(bits("MPOL_MF"))),
        *for_each("get_mempolicy", "flags", flags(bits("MPOL_F"))),
        *for_each("membarrier", "cmd", choice(constants("MEMBARRIER_CMD"))),
        *for_each("membarrier", "flags", flags(bits("MEMBARRIER_FLAG"))),
        # sockets
        *for_each("socket socketpair", "family", FAMILY),
        *for_each("socket socketpair", "type", SOCKET_TYPE),
        *for_each("accept4", "flags", _descriptor("SOCK", {})),
        *for_each("setsockopt getsockopt", "level", SOCKET_LEVEL),
        *for_each("sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg", "flags", MESSAGE),
        *for_each("recvmmsg_time64 send recv", "flags", MESSAGE),
        *for_each("shutdown", "how", SHUTDOWN),
        # processes
        *for_each("clone", "clone_flags", clone),
        *for_each("unshare", "unshare_flags", UNSHARE),
        *for_each("setns", "flags", NAMESPACES),
        *for_each("wait4 waitpid waitid", "options", WAIT),
        *for_each("waitid", "which", choice(constants("P"))),
        *for_each("prctl", "option", PRCTL),
        *for_each("arch_prctl", "option", choice(constants("ARCH"))),
        *for_each("ptrace", "request", PTRACE),
        *for_each("seccomp", "op", choice(constants("SECCOMP"))),
        *for_each("personality", "personality", personality),
        *for_each("kcmp", "type", choice(constants("KCMP"))),
        *for_each("pidfd_open", "flags", flags({"PIDFD_NONBLOCK": os.O_NONBLOCK})),
        *for_each("getpriority setpriority", "which", choice(constants("PRIO"))),
        *for_each("ioprio_get ioprio_set", "which", choice(constants("IOPRIO_WHO"))),
        *for_each("ioprio_set", "ioprio", io_priority),
        *for_each("sched_setscheduler", "policy", POLICY),
        *for_each("sched_get_priority_max sched_get_priority_min", "policy", POLICY),
        *for_each("getrlimit setrlimit ugetrlimit prlimit64", "resource",
                  choice(constants("RLIMIT"))),
        *for_each("getrusage", "who", choice(constants("RUSAGE"))),
        *for_each("rseq", "flags", flags(bits("RSEQ"))),
        # signals and time
        *for_each("kill tkill tgkill rt_sigaction rt_sigqueueinfo rt_tgsigqueueinfo", "sig",
                  SIGNAL),
        *for_each("pidfd_send_signal signal sigaction", "sig", SIGNAL),
        *for_each("rt_sigprocmask sigprocmask", "how", choice(constants("SIG_HOW"))),
        *for_each("futex futex_time64", "op", futex),
        *for_each("clock_gettime clock_settime clock_getres clock_nanosleep clock_adjtime",
                  "which_clock", CLOCK),
        *for_each("clock_gettime64 clock_getres_time64 clock_nanosleep_time64", "which_clock",
                  CLOCK),
        *for_each("clock_settime64 clock_adjtime64 timer_create", "which_clock", CLOCK),
        *for_each("timerfd_create futex_waitv", "clockid", CLOCK),
        *for_each("clock_nanosleep clock_nanosleep_time64", "flags", ABSTIME),
        *for_each("timer_settime timer_settime64", "flags", ABSTIME),
        *for_each("timerfd_create", "flags", _descriptor("TFD", bits("TFD"))),
        *for_each("timerfd_settime timerfd_settime64", "flags", flags(bits("TFD"))),
        *for_each("getitimer setitimer", "which", choice(constants("ITIMER"))),
        # System V's messages, memory and semaphores
        *for_each("shmget msgget semget", "key", _IPC_KEY),
        *for_each("shmget", "shmflg", with_mode(flags(_SHM_GET))),
        *for_each("msgget", "msgflg", with_mode(flags(_IPC_GET))),
        *for_each("semget", "semflg", with_mode(flags(_IPC_GET))),
        *for_each("shmat", "shmflg", flags(bits("SHM"))),
        *for_each("msgsnd msgrcv", "msgflg", flags(
            {"IPC_NOWAIT": _IPC_GET["IPC_NOWAIT"], **bits("MSG_IPC")}
        )),
        *for_each("shmctl", "cmd", _ipc_command("IPC SHM_CMD")),
        *for_each("msgctl", "cmd", _ipc_command("IPC MSG_CMD")),
        *for_each("semctl", "cmd", _ipc_command("IPC SEM")),
        # the rest
        *for_each("bpf", "cmd", BPF),
        *for_each("perf_event_open", "flags", flags(bits("PERF_FLAG"))),
        *for_each("getrandom", "flags", flags(bits("GRND"))),
        *for_each("io_uring_enter", "flags", flags(bits("IORING_ENTER"))),
        *for_each("io_uring_register", "opcode", choice(constants("IORING_REGISTER"))),
        *for_each("keyctl", "option", choice(constants("KEYCTL"))),
        *for_each("add_key", "ringid", _KEYRING),
        *for_each("request_key", "destringid", _KEYRING),
        *for_each("landlock_create_ruleset", "flags", flags(bits("LANDLOCK_CREATE"))),
        *for_each("landlock_add_rule", "rule_type", choice(constants("LANDLOCK_RULE"))),
        *for_each("finit_module", "flags", flags(bits("MODULE_INIT"))),
        *for_each("kexec_load", "flags", mixed(constants("KEXEC_ARCH"), 0xFFFF0000, bits("KEXEC"))),
        *for_each("kexec_file_load", "flags", flags(bits("KEXEC_FILE"))),
        *for_each("reboot", "magic1", choice(constants("REBOOT_MAGIC"))),
        *for_each("reboot", "magic2", choice(constants("REBOOT_MAGIC"))),
        *for_each("reboot", "cmd", choice(constants("REBOOT"))),
        *for_each("syslog", "type", choice(constants("SYSLOG"))),
    ]
)  # fmt: skip
"""What to call the numbers of an argument, by call and argument."""
