"""Requests of io_uring: which system call each stands for, and what is special in its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from uidtraced.events.arguments import render_args
from uidtraced.rules import Abi, Nr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uidtraced.events.records import Argument

URING: Final = 1
REGISTERED: Final = 2
"""Bits of `event.via`, as `enum uidtraced_via` of bpf/event.h."""

LAYOUT: Final = Abi.X86_64
"""Arguments of requests lie as in this ABI: all registers are wide, whatever the ring's ABI is."""

_READ: Final = (("pread64",), ("read",))
_WRITE: Final = (("pwrite64",), ("write",))

Names: TypeAlias = tuple[str, ...]
"""Of these the first that an ABI has."""

OPERATIONS: Final[Mapping[str, tuple[int, Names | tuple[Names, Names]]]] = {
    # include/uapi/linux/io_uring.h as of Linux 6.18, and what io_uring_enter(2) says of them; two
    # calls where the second is without a position, or for the data alone
    "READV": (1, ("preadv2",)),
    "WRITEV": (2, ("pwritev2",)),
    "FSYNC": (3, (("fsync",), ("fdatasync",))),
    "READ_FIXED": (4, _READ),
    "WRITE_FIXED": (5, _WRITE),
    "SYNC_FILE_RANGE": (8, ("sync_file_range",)),
    "SENDMSG": (9, ("sendmsg",)),
    "RECVMSG": (10, ("recvmsg",)),
    "ACCEPT": (13, ("accept4",)),
    "CONNECT": (16, ("connect",)),
    "FALLOCATE": (17, ("fallocate",)),
    "OPENAT": (18, ("openat",)),
    "CLOSE": (19, ("close",)),
    "STATX": (21, ("statx",)),
    "READ": (22, _READ),
    "WRITE": (23, _WRITE),
    "FADVISE": (24, ("fadvise64_64", "fadvise64")),
    "MADVISE": (25, ("madvise",)),
    "SEND": (26, ("sendto",)),
    "RECV": (27, ("recvfrom",)),
    "OPENAT2": (28, ("openat2",)),
    "EPOLL_CTL": (29, ("epoll_ctl",)),
    "SPLICE": (30, ("splice",)),
    "TEE": (33, ("tee",)),
    "SHUTDOWN": (34, ("shutdown",)),
    "RENAMEAT": (35, ("renameat2",)),
    "UNLINKAT": (36, ("unlinkat",)),
    "MKDIRAT": (37, ("mkdirat",)),
    "SYMLINKAT": (38, ("symlinkat",)),
    "LINKAT": (39, ("linkat",)),
    "FSETXATTR": (41, ("fsetxattr",)),
    "SETXATTR": (42, ("setxattr",)),
    "FGETXATTR": (43, ("fgetxattr",)),
    "GETXATTR": (44, ("getxattr",)),
    "SOCKET": (45, ("socket",)),
    "SEND_ZC": (47, ("sendto",)),
    "SENDMSG_ZC": (48, ("sendmsg",)),
    "READ_MULTISHOT": (49, _READ),
    "FTRUNCATE": (55, ("ftruncate64", "ftruncate")),
    "BIND": (56, ("bind",)),
    "LISTEN": (57, ("listen",)),
    "RECV_ZC": (58, ("recvfrom",)),
    "EPOLL_WAIT": (59, ("epoll_wait", "epoll_pwait")),
    "READV_FIXED": (60, ("preadv2",)),
    "WRITEV_FIXED": (61, ("pwritev2",)),
    "PIPE": (62, ("pipe2",)),
}

NO_CALL: Final = {
    **dict.fromkeys(("NOP", "TIMEOUT", "TIMEOUT_REMOVE", "ASYNC_CANCEL", "LINK_TIMEOUT"), "waits"),
    **dict.fromkeys(("POLL_ADD", "POLL_REMOVE"), "waits"),
    **dict.fromkeys(("WAITID", "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV"), "waits"),
    **dict.fromkeys(("FILES_UPDATE", "PROVIDE_BUFFERS", "REMOVE_BUFFERS"), "the ring's own"),
    **dict.fromkeys(("MSG_RING", "FIXED_FD_INSTALL", "NOP128"), "the ring's own"),
    **dict.fromkeys(("URING_CMD", "URING_CMD128"), "a driver's own"),
}
"""The operations that are left out, and what they are."""


def stands_for(
    tables: Mapping[Abi, Mapping[str, Nr]],
) -> dict[tuple[Abi, int], tuple[Nr, Nr]]:
    """Return the two calls (often the same) of each operation, by ABI and the operation's number.

    An operation whose call an ABI of *tables* has not is left out there.
    """
    found = {}
    for abi, table in tables.items():
        for op, names in OPERATIONS.values():
            both = [_first(one, table) for one in _both(names)]
            if both[0] is not None and both[1] is not None:
                found[abi, op] = (both[0], both[1])
    return found


def _both(names: Names | tuple[Names, Names]) -> Sequence[Names]:
    pair: list[Names] = [one for one in names if isinstance(one, tuple)]
    if pair:
        return pair
    flat = tuple(one for one in names if isinstance(one, str))
    return flat, flat


def _first(names: Names, table: Mapping[str, Nr]) -> Nr | None:
    return next((table[name] for name in names if name in table), None)


def request_args(call: str, raw: Sequence[int], via: int) -> dict[str, Argument]:
    """Return the arguments of a request that stands for *call*, from what would be in registers."""
    args: dict[str, Argument] = dict(render_args(LAYOUT, call, raw))
    match call:
        case "openat2":  # the kernel has kept what it points to, not the pointer
            like = render_args(LAYOUT, "openat", raw)
            args["how"] = {"flags": like["flags"], "mode": raw[3], "resolve": raw[4]}
            del args["usize"]
        case "splice":  # numbers, where the call has pointers to them; -1 for none
            for name, value in (("off_in", raw[1]), ("off_out", raw[3])):
                args[name] = None if value == 2**64 - 1 else value
        case "epoll_ctl":  # was copied and not kept
            del args["event"]
    if via & REGISTERED:
        name = next((one for one in ("fd_out", "fdout") if one in args), next(iter(args)))
        args[name] = f"registered {args[name]}"
    return args
