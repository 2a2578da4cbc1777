"""Turns a batch of raw events into records, by the offsets that the C compiler gave."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec import UNSET, UnsetType

from uidtraced.events.arguments import render_args
from uidtraced.events.clock import WallClock
from uidtraced.events.data import Names, read_parts, show_data
from uidtraced.events.records import Argument, SyscallEvent
from uidtraced.events.results import result
from uidtraced.events.shapes import shaped
from uidtraced.events.text import text
from uidtraced.events.uring import LAYOUT, request_args
from uidtraced.rules import Abi, Nr, Outcome, Uid

NO_UID: Final = 2**32 - 1

_FORMATS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("boot_ns", "seq"), "Q"),
    "args": "6Q",
    **dict.fromkeys(("ret", "duration_ns", "cgroup", "exe"), "Q"),
    **dict.fromkeys(("cpu", "uid", "euid", "loginuid", "pid", "tid", "ppid", "revision"), "I"),
    **dict.fromkeys(("data_at", "data_bytes"), "I"),
    **dict.fromkeys(("nr", "abi", "outcome", "via"), "H"),
    "comm": "16s",
}
"""How each member of `struct event` is read; where it lies comes from cffi."""

_NO_RESULT: Final[tuple[int | UnsetType | None, str | UnsetType | None, int | UnsetType]] = (
    UNSET,
    UNSET,
    UNSET,
)

SyscallName: TypeAlias = Callable[[Abi, Nr], str]
UserName: TypeAlias = Callable[[Uid], str | None]
CgroupName: TypeAlias = Callable[[int], str | None]
ExePath: TypeAlias = Callable[[int], str | None]


def event_struct(offsets: Mapping[str, int], size: int) -> struct.Struct:
    """Return the Struct that reads `struct event` of *size* bytes with members at *offsets*.

    ValueError where bpf/event.h has other members than this module knows.
    """
    if offsets.keys() != _FORMATS.keys() or list(offsets) != list(_FORMATS):
        raise ValueError(f"struct event has the members {', '.join(offsets)}")
    layout, at = "=", 0
    for name, offset in offsets.items():
        layout += f"{offset - at}x{_FORMATS[name]}"
        at = offset + struct.calcsize("=" + _FORMATS[name])
    return struct.Struct(f"{layout}{size - at}x")


def printable_comm(raw: bytes) -> str:
    """Return a thread's name, up to its NUL."""
    return text(raw.partition(b"\0")[0])


def _no_name(_: int) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Naming:
    """Who knows the names that the kernel does not send."""

    syscall: SyscallName
    user: UserName
    cgroup: CgroupName = _no_name
    exe: ExePath = _no_name


class Decoder:
    """Decodes batches of `struct event`."""

    def __init__(self, offsets: Mapping[str, int], size: int, naming: Naming) -> None:
        self._struct = event_struct(offsets, size)
        self._naming = naming
        self._clock = WallClock()
        self._calls: dict[int, tuple[Abi, str]] = {}

    def _call(self, abi: int, nr: int) -> tuple[Abi, str]:
        key = abi << 16 | nr
        found = self._calls.get(key)
        if found is None:
            known = Abi(abi)
            found = self._calls[key] = (known, self._naming.syscall(known, Nr(nr)))
        return found

    def decode(self, batch: memoryview, data: memoryview) -> list[SyscallEvent]:
        """Return the events of *batch*, whose parts are in *data*, in their order."""
        self._clock.refresh()
        when, user, call = self._clock.format_boot_ns, self._naming.user, self._call
        cgroup, exe = self._naming.cgroup, self._naming.exe
        events = []
        for fields in self._struct.iter_unpack(batch):
            boot_ns, seq, *raw, ret, duration_ns, group, program, cpu, uid, euid, loginuid = fields[
                :16
            ]
            pid, tid, ppid, revision, data_at, data_bytes, nr, abi, outcome, via, comm = fields[16:]
            known, name = call(abi, nr)
            args: dict[str, Argument]
            args = request_args(name, raw, via) if via else dict(render_args(known, name, raw))
            cut: Names = UNSET
            address: Names = UNSET
            if shape := shaped(LAYOUT if via else known, name):
                parts = read_parts(data, data_at, data_at + data_bytes)
                cut, address = show_data(args, shape, parts, raw)
            returned, error, duration = _NO_RESULT
            if outcome != Outcome.ENTERED:
                returned, error, duration = None, None, duration_ns
                if outcome == Outcome.RETURNED:
                    returned, error = result(known, name, ret)
            events.append(
                SyscallEvent(
                    ts=when(boot_ns),
                    event="syscall",
                    seq=seq,
                    cpu=cpu,
                    uid=uid,
                    user=user(uid),
                    euid=euid,
                    loginuid=None if loginuid == NO_UID else loginuid,
                    pid=pid,
                    tid=tid,
                    comm=printable_comm(comm),
                    exe=exe(program),
                    ppid=ppid,
                    cgroup=cgroup(group),
                    abi=known.label,
                    nr=nr,
                    syscall=name,
                    via="io_uring" if via else UNSET,
                    args=args,
                    truncated=cut,
                    unreadable=address,
                    ret=returned,
                    errno=error,
                    duration_ns=duration,
                    revision=revision,
                )
            )
        return events
