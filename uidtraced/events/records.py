"""The records of the event stream: what each field is called and means, once, for all outputs."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class SyscallEvent(msgspec.Struct, frozen=True):
    """One system call of a traced user; fields in the order in which they are written."""

    ts: str
    """When the call was entered: RFC 3339 in UTC, to the nanosecond."""
    event: Literal["syscall"]
    seq: int
    """Counts this cpu's events from 1; a hole is a loss, and a `loss` record says how many."""
    cpu: int
    uid: int
    """The real uid, as the initial user namespace numbers it."""
    user: str | None
    """The name of *uid*; null where it has none."""
    euid: int
    loginuid: int | None
    """The audit login uid; null where unset."""
    pid: int
    """The thread group, in the daemon's pid namespace where it has a number there."""
    tid: int
    comm: str
    """The thread's name; bytes that are not UTF-8 are shown as ``\\xNN``."""
    abi: str
    nr: int
    """The number in the ABI's own table, without the x32 bit."""
    syscall: str
    args: dict[str, int | str]
    revision: int
    """The policy revision at which the rule set that matched came into force."""


class PolicyRecord(msgspec.Struct, frozen=True):
    """A policy that came into force; the counts are of outer-map entries."""

    ts: str
    event: Literal["policy"]
    revision: int
    path: str
    sha256: str
    created: int
    swapped: int
    deleted: int
    unchanged: int
    duration_ns: int
    """From seeing the file to being in force."""


class LossRecord(msgspec.Struct, frozen=True):
    """Events that were not written since the last such record, by user and cause."""

    ts: str
    event: Literal["loss"]
    uid: int
    user: str | None
    ring_full: int
    """Events that found the ring buffer full."""


Record: TypeAlias = SyscallEvent | PolicyRecord | LossRecord
