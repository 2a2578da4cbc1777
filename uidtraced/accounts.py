"""What became of every match, by uid: the identity that always holds."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from uidtraced.rules import Uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from uidtraced.events.records import SyscallEvent
    from uidtraced.kernel.tracer import Counters

_NOTHING = (0, 0, 0)
_UID: Final = operator.attrgetter("uid")
NO_UID = Uid(2**32 - 1)
"""In the kernel's counters: all for whom there was no room."""


@dataclass(frozen=True, slots=True)
class Account:
    """matched = written + ring_full + limited + sink_dropped + counted + pending."""

    uid: int
    user: str | None
    matched: int
    """Calls that a rule matched, as the kernel counted them."""
    written: int
    """Events that the output took."""
    ring_full: int
    """Events that found the ring buffer full."""
    limited: int
    """Matches past their limit."""
    sink_dropped: int
    """Events that the output did not take, and that wait no longer."""
    counted: int
    """Matches of rules that count and make no event."""
    pending: int
    """Events that wait in the ring or in a buffer; 0 at rest."""


class Books(Protocol):
    """The kernel's counters and the maps in which accounts outlive a daemon; a Tracer is one."""

    @property
    def ring(self) -> Reader:
        """The ring's reader."""

    def counters(self) -> Mapping[Uid, Counters]:
        """Return what the kernel counted."""

    def accounts(self) -> dict[Uid, tuple[int, int, int]]:
        """Return written, position and told by uid, as they were saved."""

    def save_accounts(self, rows: Mapping[Uid, tuple[int, int, int]]) -> None:
        """Save these."""


class Reader(Protocol):
    """The ring's reader, as far as it matters here; `kernel.ring.RingReader` is one."""

    repeated: bool

    @property
    def copied_to(self) -> int:
        """The position behind the batch that was written."""


class Accounts:
    """Counts what was written and which losses were told; the kernel, in *books*, the rest."""

    def __init__(self, books: Books, name: Callable[[Uid], str | None]) -> None:
        self._books = books
        self._name = name
        self._rows = books.accounts()

    def wrote(self, batch: Iterable[SyscallEvent]) -> None:
        """Note that the output took *batch*, which is about to leave the ring.

        What a daemon before this one noted, and died before the batch left, is not noted again.
        """
        position, repeated = self._books.ring.copied_to, self._books.ring.repeated
        by_uid = Counter(map(_UID, batch))
        changed = {}
        for uid, number in by_uid.items():
            written, noted_at, told = self._rows.get(Uid(uid), _NOTHING)
            if not (repeated and noted_at == position):
                changed[Uid(uid)] = (written + number, position, told)
        self._rows |= changed
        self._books.save_accounts(changed)

    def untold(self) -> dict[Uid, int]:
        """Return by uid how many losses no record told of yet."""
        found = {}
        for uid, kernel in sorted(self._books.counters().items()):
            new = kernel.ring_full - self._rows.get(uid, _NOTHING)[2]
            if new > 0:
                found[uid] = new
        return found

    def told(self, losses: Mapping[Uid, int]) -> None:
        """Note that records told of *losses*."""
        changed = {}
        for uid, number in losses.items():
            written, position, told = self._rows.get(uid, _NOTHING)
            changed[uid] = (written, position, told + number)
        self._rows |= changed
        self._books.save_accounts(changed)

    def all(self) -> list[Account]:
        """Return the accounts of all uids that ever matched, by uid.

        Those for whom the kernel had no room of their own stand under `NO_UID` together. What was
        written is read first: what is written in the meantime still counts as pending.
        """
        written = {uid: row[0] for uid, row in dict(self._rows).items()}
        kernel = self._books.counters()
        # whom the kernel found no room for is counted for nobody in particular
        rest = sum(number for uid, number in written.items() if uid not in kernel)
        written[NO_UID] = written.get(NO_UID, 0) + rest
        found = [self._account(uid, one, written.get(uid, 0)) for uid, one in kernel.items()]
        return sorted((one for one in found if one.matched), key=lambda one: one.uid)

    def uids(self) -> list[Uid]:
        """Return whose events were written."""
        return list(self._rows)

    def _account(self, uid: Uid, kernel: Counters, written: int) -> Account:
        gone = written + kernel.ring_full + kernel.limited + kernel.counted
        return Account(
            uid=uid,
            user=self._name(uid),
            matched=kernel.matched,
            written=written,
            ring_full=kernel.ring_full,
            limited=kernel.limited,
            sink_dropped=0,  # no output drops: what it cannot take waits in the ring
            counted=kernel.counted,
            pending=kernel.matched - gone,
        )
