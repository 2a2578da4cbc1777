"""Turns a batch of raw events into records, by the offsets that the C compiler gave."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, UnsetType

from uidtraced.events.arguments import args_reader
from uidtraced.events.clock import SECOND_NS, WallClock
from uidtraced.events.data import Names, only_string, read_parts, show_data
from uidtraced.events.inner import inner_reader
from uidtraced.events.records import Argument, SyscallEvent
from uidtraced.events.results import result
from uidtraced.events.shapes import shaped
from uidtraced.events.text import text
from uidtraced.events.uring import LAYOUT, URING, request_args
from uidtraced.multiplexers import INNER
from uidtraced.rules import Abi, Kind, Nr, Outcome, Uid

NO_UID: Final = 2**32 - 1

_CALL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("boot_ns", "seq"), "Q"),
    "args": "6Q",
    **dict.fromkeys(("ret", "duration_ns"), "Q"),
    **dict.fromkeys(("cpu", "revision", "data_at", "data_bytes"), "I"),
    **dict.fromkeys(("nr", "abi", "via", "outcome"), "H"),
}
"""How the members of `struct event` are read that say what was called; cffi says where they lie."""

_CALLER: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cgroup", "exe"), "Q"),
    **dict.fromkeys(("uid", "euid", "loginuid", "pid", "tid", "ppid"), "I"),
    "comm": "16s",
}
"""Likewise of the rest, which says who called: to its end."""

_NO_RESULT: Final[tuple[int | UnsetType | None, str | UnsetType | None, int | UnsetType]] = (
    UNSET,
    UNSET,
    UNSET,
)

_RETURNED: Final = int(Outcome.RETURNED)

SyscallName: TypeAlias = Callable[[Abi, Nr], str]
UserName: TypeAlias = Callable[[Uid], str | None]
CgroupName: TypeAlias = Callable[[int], str | None]
ExePath: TypeAlias = Callable[[int], str | None]


def event_structs(offsets: Mapping[str, int], size: int) -> tuple[struct.Struct, struct.Struct]:
    """Return the Struct that reads `struct event` of *size* bytes with members at *offsets*.

    What it reads ends with the bytes that say who called, which the second Struct reads.
    ValueError where bpf/event.h has other members than this module knows.
    """
    if list(offsets) != [*_CALL, *_CALLER]:
        raise ValueError(f"struct event has the members {', '.join(offsets)}")
    start = min(offsets[name] for name in _CALLER)
    call, caller = _layout(_CALL, offsets, 0, start), _layout(_CALLER, offsets, start, size)
    return struct.Struct(f"={call}{size - start}s"), struct.Struct(f"={caller}")


def _layout(formats: Mapping[str, str], offsets: Mapping[str, int], at: int, end: int) -> str:
    """Return the format of members from offset *at* to *end*."""
    layout = ""
    for name, one in formats.items():
        layout += f"{offsets[name] - at}x{one}"
        at = offsets[name] + struct.calcsize("=" + one)
    return f"{layout}{end - at}x"


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


_ReadArgs: TypeAlias = Callable[[Sequence[int]], dict[str, Argument]]
_Via: TypeAlias = Literal["io_uring", "socketcall", "ipc"] | UnsetType
_Shape: TypeAlias = Sequence[tuple[str, int, Kind]]
_Call: TypeAlias = tuple[Abi, str, int, str, _Via, _ReadArgs, _Shape, str | None]
"""ABI and its label, number, name, `via`, how arguments are read, and which one is all its data."""
_Caller: TypeAlias = tuple[
    int, str | None, int, int | None, int, int, str, str | None, int, str | None
]


class _Calls(dict[tuple[int, int, int], _Call]):
    """What is the same for all events of a call, by number, ABI and `via`."""

    def __init__(self, name: SyscallName) -> None:
        self._name = name

    def __missing__(self, key: tuple[int, int, int]) -> _Call:
        nr, number, via = key
        abi = Abi(number)
        name = self._name(abi, Nr(nr))
        how: _Via = UNSET
        read: _ReadArgs
        shape: _Shape
        if nr in INNER:
            through = INNER[Nr(nr)][0]
            how = through.name
            read, shape = inner_reader(Nr(nr), via)
            nr = through.nr
        elif via & URING:
            how = "io_uring"
            read = functools.partial(request_args, name, via=via)
            shape = shaped(LAYOUT, name)
        else:
            read = args_reader(abi, name)
            shape = shaped(abi, name)
        strings = [arg for arg, _, kind in shape if kind is Kind.STRING]
        string = strings[0] if len(shape) == len(strings) == 1 else None
        found = self[key] = (abi, abi.label, nr, name, how, read, shape, string)
        return found


class _Callers(dict[bytes, _Caller]):
    """Who made the calls of one batch; what names mean may be another thing in the next."""

    def __init__(self, fields: struct.Struct, naming: Naming) -> None:
        self._fields = fields
        self._naming = naming

    def __missing__(self, key: bytes) -> _Caller:
        group, program, uid, euid, loginuid, pid, tid, ppid, comm = self._fields.unpack(key)
        found = self[key] = (
            uid,
            self._naming.user(uid),
            euid,
            None if loginuid == NO_UID else loginuid,
            pid,
            tid,
            printable_comm(comm),
            self._naming.exe(program),
            ppid,
            self._naming.cgroup(group),
        )
        return found


class Decoder:
    """Decodes batches of `struct event`."""

    def __init__(self, offsets: Mapping[str, int], size: int, naming: Naming) -> None:
        self._event, self._caller = event_structs(offsets, size)
        self._naming = naming
        self._clock = WallClock()
        self._calls = _Calls(naming.syscall)

    def decode(self, batch: memoryview, data: memoryview) -> list[SyscallEvent]:
        """Return the events of *batch*, whose parts are in *data*, in their order."""
        self._clock.refresh()
        prefix, second_ns = "", -SECOND_NS
        calls, callers = self._calls, _Callers(self._caller, self._naming)
        said = bytes(data)
        events = []
        for (
            boot_ns, seq, a, b, c, d, e, f, ret, duration_ns,
            cpu, revision, data_at, data_bytes, nr, abi, via, outcome, who,
        ) in self._event.iter_unpack(batch):  # fmt: skip
            known, label, number, name, how, read, shape, string = calls[nr, abi, via]
            uid, user, euid, loginuid, pid, tid, comm, exe, ppid, cgroup = callers[who]
            raw = (a, b, c, d, e, f)
            ns = boot_ns - second_ns
            if not 0 <= ns < SECOND_NS:  # most events of a batch share their second
                prefix, ns = self._clock.split(boot_ns)
                second_ns = boot_ns - ns
            args = read(raw)
            cut: Names = UNSET
            address: Names = UNSET
            if shape:
                end = data_at + data_bytes
                if string and (whole := only_string(said, data_at, end)) is not None:
                    args[string] = whole
                else:
                    cut, address = show_data(args, shape, read_parts(said, data_at, end), raw)
            returned, error, duration = _NO_RESULT
            if outcome:
                returned, error, duration = None, None, duration_ns
                if outcome == _RETURNED:
                    returned, error = result(known, name, ret)
            # by position: by name it takes four times as long
            events.append(SyscallEvent(
                f"{prefix}{ns:09d}Z", "syscall", seq, cpu,
                uid, user, euid, loginuid, pid, tid, comm, exe, ppid, cgroup,
                label, number, name, how, args, cut, address,
                returned, error, duration, revision, UNSET,
            ))  # fmt: skip
        return events
