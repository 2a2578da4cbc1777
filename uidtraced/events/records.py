"""The records of the event stream: what each field is called and means, once, for all outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Argument: TypeAlias = int | str | list[str | int] | dict[str, int | str] | None
"""A number, words, a string, a vector of strings, or a socket address."""


class SyscallEvent(msgspec.Struct, frozen=True, gc=False):
    """One system call of a traced user; fields in the order in which they are written."""

    ts: str
    """When the call was entered: RFC 3339 in UTC, to the nanosecond."""
    event: Literal["syscall"]
    """The kind of record."""
    seq: int
    """Counts this cpu's events from 1; holes are losses, and `loss` records say how many, whose."""
    cpu: int
    """Where the event was sent: at the call's entry, or with `at: exit` at its end."""
    uid: int
    """The real uid at the call's entry, as the initial user namespace numbers it."""
    user: str | None
    """The name of `uid`; null where it has none, or where the name service was late to tell it.

    An event of a uid not seen before waits for that: 2 s at the most, less where many had to.
    """
    euid: int
    """The effective uid, likewise."""
    loginuid: int | None
    """The audit login uid; null where unset."""
    pid: int
    """The thread group, in the daemon's pid namespace where it has a number there."""
    tid: int
    """The thread, likewise."""
    comm: str
    """The thread's name; a string as in `args`."""
    exe: str | None
    """The path of the program that runs, before an execve the old one; a string as in `args`.

    As /proc/PID/exe has it: the interpreter of a script; " (deleted)" after one that has no name
    any more; from the root of its mount namespace; with "..." for the directories above, where
    there is more of it than about 750 bytes. A directory above its own that was renamed since the
    program was first seen may have its old name. Null for a kernel thread, and where 4,096 other
    programs were seen before the daemon asked.
    """
    ppid: int
    """The parent's thread group, as `pid`; 0 where there is none."""
    cgroup: str | None
    """The control group in the unified hierarchy, such as /system.slice/cron.service.

    It tells a service, a session or a container. Null where the daemon cannot see it, or where it
    was gone before it was looked up.
    """
    abi: str
    """How the kernel was entered: x86_64, i386, x32, arm64 or arm."""
    nr: int
    """The number in the ABI's own table, without the x32 bit; of `via` where that is a call."""
    syscall: str
    """The name in that table."""
    via: Literal["io_uring", "socketcall", "ipc"] | msgspec.UnsetType
    """How `syscall` was made where that was not by its own number; left out otherwise.

    `io_uring`: no call was made, but a request that does the same. It has the ring's ABI, the
    credentials by which it acts and the thread that handed it to the kernel: the ring's own
    (`iou-sqp-`) where there is one. A file that is registered with the ring is "registered N".

    `socketcall`, `ipc`: a 32-bit program made it through that call. Where the memory that holds the
    arguments was unreadable, `args` has those of socketcall or ipc itself.
    """
    args: dict[str, Argument]
    """The arguments by the kernel's names for them.

    Integers have the width and sign of their C type. Flags and the like are words, pointers are
    addresses such as "0x7ffd5c0e1b2a" or "NULL". Paths and names are strings as they were at the
    call's entry, null for a null pointer; bytes that are not UTF-8 are ``\\xNN``, and a backslash
    that would read as such is ``\\x5c``. `argv` is a list of strings, with the address of one that
    was unreadable; a socket address is an object with the members of its C struct, an abstract
    Unix name after ``@``. What the kernel gives back (accept, getsockname, getpeername, recvfrom)
    is decoded with `at: exit` alone, and is an address otherwise.
    """
    truncated: list[str] | msgspec.UnsetType
    """The arguments of which there is more than is shown; left out where there are none."""
    unreadable: list[str] | msgspec.UnsetType
    """The arguments whose memory could not be read, shown as addresses; left out likewise.

    A bad pointer is; and, unless `at: exit` gave it a second chance, a string that was not in
    memory yet.
    """
    ret: int | msgspec.UnsetType | None
    """With `at: exit`, what the kernel returned: for an error the negative of its number.

    Null for a call that never returned (exit, a thread killed inside a call), or whose return
    nobody waited for: tracing ended before, or 65,536 calls were waited for already, or it is a
    request of io_uring that completes in silence or many times.
    """
    errno: str | msgspec.UnsetType | None
    """With `at: exit`, the name of the error, null without one.

    ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND and ERESTART_RESTARTBLOCK say that a signal came:
    the program gets EINTR, or the call is made again, which is a call of its own.
    """
    duration_ns: int | msgspec.UnsetType
    """With `at: exit`, from the call's entry to its return, or to when the event was sent."""
    revision: int
    """The policy revision at which the rule set that matched came into force."""
    repeated: bool | msgspec.UnsetType
    """True where a daemon that was killed may have written the event already; else left out."""


class PolicyRecord(msgspec.Struct, frozen=True):
    """A policy that came into force; the counts are of outer-map entries."""

    ts: str
    """When it was written: RFC 3339 in UTC, to the nanosecond."""
    event: Literal["policy"]
    """The kind of record."""
    revision: int
    """Counts the policies that came into force, from 1 at the daemon's start."""
    path: str
    """The file."""
    sha256: str
    """Of the file's bytes, in hexadecimal."""
    created: int
    """Users, ranges and "*" that have rules and had none."""
    swapped: int
    """Those whose rules are others now."""
    deleted: int
    """Those that have no rules any more."""
    unchanged: int
    """Those whose rules stayed."""
    duration_ns: int
    """From seeing the file to being in force."""


class LossRecord(msgspec.Struct, frozen=True):
    """What a user's matches came to that are not written, since his last such record, by cause.

    One a second and user at the most. Every hole in `seq` is one of `ring_full` or `sink_dropped`.
    """

    ts: str
    """When it was written: RFC 3339 in UTC, to the nanosecond."""
    event: Literal["loss"]
    """The kind of record."""
    uid: int
    """The real uid whose events they are; 4294967295 for all that have no counters of their own."""
    user: str | None
    """The name of `uid`; null where it has none."""
    ring_full: int
    """Events that found the ring buffer full: holes in `seq`."""
    limited: int = 0
    """Matches past the user's `limit`: they are no events, so `seq` has no hole for them."""
    sink_dropped: int = 0
    """Events that the output refused, one by one, and that were given up; holes too."""


class GapRecord(msgspec.Struct, frozen=True):
    """A time without a daemon, in which the kernel went on and the ring held the events."""

    ts: str
    """When it was written: RFC 3339 in UTC, to the nanosecond."""
    event: Literal["gap"]
    """The kind of record."""
    since: str
    """When the daemon before this one was last seen alive, to five seconds."""
    duration_ns: int
    """From then to when this one took over."""
    lost: int
    """Events that the ring had no room for in that time; `loss` records say whose.

    With `anew`, all that nobody read or will read, at the most: some may be written all the same,
    of calls at the moment of the change.
    """
    anew: bool | msgspec.UnsetType = msgspec.UNSET
    """True where a version took over that cannot read what the one before left; else left out.

    Then `seq`, `revision` and what `status` tells of users begin again.
    """


class TamperRecord(msgspec.Struct, frozen=True):
    """An entry of uidtraced's in the kernel that somebody else changed, and that was put right.

    A program that was detached, likewise. That takes root, or CAP_BPF. 20 such records at a time at
    the most: the last one says how many other entries were put right with it.
    """

    ts: str
    """When it was written, up to 5 s after the change: RFC 3339 in UTC, to the nanosecond."""
    event: Literal["tamper"]
    """The kind of record."""
    object: str
    """The map or program, by its name.

    `real`, `effective` and `login` are the outer maps of what a rule's `match` may be,
    `real_blocks` and so on those of their ranges, `classes` the inner maps of ranges,
    `.data.control` is what the programs are told; programs are `on_sys_enter` and so on.
    """
    entry: str | None
    """The key: a uid, a range of uids, "*", a class, or what of the control map; null: none."""
    uid: int | None
    """Where `entry` is a uid, that."""
    user: str | None
    """The name of `uid`; null where it has none."""
    found: str
    """What was there, in words: "nothing", "a map of others", or the calls of the rules."""
    restored: str
    """What is there again."""
    more: int = 0
    """How many others were found at the same time that no record tells of."""


Record: TypeAlias = SyscallEvent | PolicyRecord | LossRecord | GapRecord | TamperRecord


def repeated(events: Sequence[SyscallEvent]) -> list[SyscallEvent]:
    """Return *events* marked as such that may have been written before."""
    return [msgspec.structs.replace(one, repeated=True) for one in events]
