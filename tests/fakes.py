"""Fakes for seams of unit tests."""

from __future__ import annotations

import msgspec

from uidtraced.events.records import SyscallEvent
from uidtraced.policy import Identities, Names
from uidtraced.rules import Uid

EVENT = SyscallEvent(
    ts="2026-01-02T03:04:05.123456789Z",
    event="syscall",
    seq=81,
    cpu=0,
    uid=1000,
    user="alice",
    euid=1000,
    loginuid=None,
    pid=12,
    tid=13,
    comm="bash",
    exe="/usr/bin/bash",
    ppid=11,
    cgroup="/user.slice",
    abi="x86_64",
    nr=80,
    syscall="chdir",
    via=msgspec.UNSET,
    args={"filename": "/tmp"},
    truncated=msgspec.UNSET,
    unreadable=msgspec.UNSET,
    ret=msgspec.UNSET,
    errno=msgspec.UNSET,
    duration_ns=msgspec.UNSET,
    revision=7,
    repeated=msgspec.UNSET,
)


def event(**fields) -> SyscallEvent:
    """Return an event like any other but for *fields*."""
    return msgspec.structs.replace(EVENT, **fields)


class Users:
    """A directory with just these users and groups."""

    def __init__(self, users=None, groups=None) -> None:
        self.users = {"alice": 1000, "bob": 1001, "root": 0} if users is None else users
        self.groups = groups or {}

    def resolve(self, names: Names) -> Identities:
        users = {one: Uid(self.users[one]) for one in names.users if one in self.users}
        groups = {one: frozenset(self.groups[one]) for one in names.groups if one in self.groups}
        return Identities(users, groups)

    def known(self) -> Names:
        return Names(frozenset(self.users), frozenset(self.groups))
