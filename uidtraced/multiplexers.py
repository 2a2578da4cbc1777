"""Calls that 32-bit programs of x86 make through two others, socketcall and ipc: their numbers.

Each has a number of its own, behind those of all tables, by which rules, the kernel's program and
the decoder know it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from uidtraced.rules import Abi, Nr

if TYPE_CHECKING:
    from collections.abc import Mapping

ABI: Final = Abi.I386
"""The one ABI that has them: those of arm are of the OABI, which 64-bit kernels lack."""


@dataclass(frozen=True, slots=True)
class Multiplexer:
    """A call that makes other calls; *first* and the number of one there is its number here."""

    name: Literal["socketcall", "ipc"]
    nr: Nr
    first: int
    calls: Mapping[str, int]


def _row(start: int, names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split(), start)}


# the numbers of both in arch/x86/entry/syscalls/syscall_32.tbl; `first` is of bpf/event.h
SOCKETCALL: Final = Multiplexer(
    "socketcall",
    Nr(102),
    1024,
    # include/uapi/linux/net.h
    _row(1, "socket bind connect listen accept getsockname getpeername socketpair send recv")
    | _row(11, "sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4")
    | _row(19, "recvmmsg sendmmsg"),
)
IPC: Final = Multiplexer(
    "ipc",
    Nr(117),
    1056,
    # include/uapi/linux/ipc.h
    _row(1, "semop semget semctl semtimedop")
    | _row(11, "msgsnd msgrcv msgget msgctl")
    | _row(21, "shmat shmdt shmget shmctl"),
)

INNER: Final[Mapping[Nr, tuple[Multiplexer, str]]] = {
    Nr(one.first + number): (one, name)
    for one in (SOCKETCALL, IPC)
    for name, number in one.calls.items()
}
"""By its number here: through what a call is made, and its name."""

_IN_THE_TABLE: Final = {
    "accept": "accept4",
    "send": "sendto",
    "recv": "recvfrom",
    "semop": "semtimedop_time64",
    "semtimedop": "semtimedop_time64",
}
"""Calls that have no number in i386's table, and the one there by which C libraries make them."""


def _selected() -> dict[str, frozenset[Nr]]:
    found: dict[str, set[Nr]] = defaultdict(set)
    for nr, (through, name) in INNER.items():
        for one in (name, through.name, _IN_THE_TABLE.get(name, name)):
            found[one].add(nr)
    return {name: frozenset(numbers) for name, numbers in found.items()}


SELECTED: Final[Mapping[str, frozenset[Nr]]] = _selected()
"""The numbers here of what a name means in a policy, beside its own in the table.

That is the call of that name; all that a multiplexer of that name makes; and those that the call
has taken the place of.
"""


def made_through(name: str) -> Multiplexer | None:
    """Return through what i386 programs make the call *name*; None where it is always direct."""
    return next((one for one in (SOCKETCALL, IPC) if name in one.calls), None)
