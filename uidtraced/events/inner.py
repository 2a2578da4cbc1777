"""Calls made through socketcall and ipc: where their arguments are, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from uidtraced.events.arguments import args_reader
from uidtraced.events.shapes import shaped
from uidtraced.multiplexers import ABI, INNER, SOCKETCALL
from uidtraced.rules import Kind

if TYPE_CHECKING:
    from uidtraced.events.records import Argument
    from uidtraced.rules import Nr

ReadArgs: TypeAlias = "Callable[[Sequence[int]], dict[str, Argument]]"
Shape: TypeAlias = Sequence[tuple[str, int, Kind]]

UNREAD: Final = 4
"""Bit of `event.via`, as `enum uidtraced_via` of bpf/event.h."""

_IPC_REGISTERS: Final[Mapping[str, tuple[int, ...]]] = {
    # ksys_ipc of ipc/syscall.c: call, first, second, third, ptr, fifth. What is in memory the
    # kernel's program has put in the place of ptr and fifth.
    "semop": (1, 4, 2),
    "semget": (1, 2, 3),
    "semctl": (1, 2, 3, 4),
    "semtimedop": (1, 4, 2, 5),
    "msgsnd": (1, 4, 2, 3),
    "msgrcv": (1, 4, 2, 5, 3),
    "msgget": (1, 2),
    "msgctl": (1, 2, 4),
    "shmat": (1, 4, 2),
    "shmdt": (4,),
    "shmget": (1, 2, 3),
    "shmctl": (1, 2, 4),
}
"""In which of ipc's registers each argument is."""


def inner_reader(nr: Nr, via: int) -> tuple[ReadArgs, Shape]:
    """Return what reads the arguments of call *nr* of `multiplexers`, and what they point to.

    Where those in memory were unreadable, there are those of socketcall or ipc itself, but for the
    first one, which says which call it is.
    """
    through, call = INNER[nr]
    if via & UNREAD:
        pointer = ("args", 1) if through is SOCKETCALL else ("ptr", 4)
        own = args_reader(ABI, through.name)
        return lambda raw: dict(list(own(raw).items())[1:]), ((*pointer, Kind.STRING),)
    read = args_reader(ABI, call)
    if through is SOCKETCALL:
        return read, shaped(ABI, call)
    where = _IPC_REGISTERS[call]
    return lambda raw: read([raw[one] for one in where]), ()
