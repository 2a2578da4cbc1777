"""What became of every match, by uid: the identity that always holds."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from uidtraced.kernel.books import NO_UID, SavedAccount
from uidtraced.rules import Uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from uidtraced.events.records import SyscallEvent
    from uidtraced.kernel.books import Counters

_NOTHING: Final = SavedAccount()
_UID: Final = operator.attrgetter("uid")


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
    """Events that the output refused, and that wait no longer."""
    counted: int
    """Matches of rules that count and make no event."""
    pending: int
    """Events that wait in the ring or in a buffer; 0 at rest."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What came to no event that was written, by cause."""

    ring_full: int = 0
    limited: int = 0
    sink_dropped: int = 0


_NONE_LOST: Final = Lost()


class Books(Protocol):
    """The kernel's counters and the maps in which accounts outlive a daemon.

    `kernel.books.KernelBooks` is one.
    """

    def counters(self) -> Mapping[Uid, Counters]:
        """Return what the kernel counted."""

    def has_counters(self, uid: Uid) -> bool:
        """Whether the kernel counts *uid* by itself, and not with all for whom it had no room."""

    def accounts(self) -> dict[Uid, SavedAccount]:
        """Return by uid what was saved."""

    def save_accounts(self, rows: Mapping[Uid, SavedAccount]) -> None:
        """Save these."""


class Reader(Protocol):
    """The ring's reader, as far as it matters here; `kernel.ring.RingReader` is one."""

    repeated: bool

    @property
    def copied_to(self) -> int:
        """The position behind the batch that was written."""


class Accounts:
    """Counts what the output took, and what records told; the kernel, in *books*, the rest."""

    def __init__(self, books: Books, ring: Reader, name: Callable[[Uid], str | None]) -> None:
        self._books = books
        self._ring = ring
        self._name = name
        self._rows = books.accounts()
        self.dropped = 0
        """Events that the output refused, of all users, since this daemon's start."""

    def wrote(self, batch: Iterable[SyscallEvent], refused: Iterable[SyscallEvent] = ()) -> None:
        """Note that the output took *batch* but for *refused*; it is about to leave the ring.

        What a daemon before this one noted, and died before the batch left, is not noted again.
        """
        position, repeated = self._ring.copied_to, self._ring.repeated
        by_uid = self._count(batch)
        dropped = self._count(refused)
        changed = {}
        for uid, number in by_uid.items():
            row = self._rows.get(uid, _NOTHING)
            if not (repeated and row.position == position):
                less = dropped[uid] if dropped else 0
                changed[uid] = row._replace(
                    written=row.written + number - less,
                    dropped=row.dropped + less,
                    position=position,
                )
        self._rows |= changed
        self._books.save_accounts(changed)
        self.dropped += dropped.total()

    def _count(self, events: Iterable[SyscallEvent]) -> Counter[Uid]:
        """Return how many events there are of each uid; of `NO_UID`, where the kernel has it so."""
        found: Counter[Uid] = Counter()
        for number, events_of in Counter(map(_UID, events)).items():
            uid = Uid(number)
            known = uid in self._rows or self._books.has_counters(uid)
            found[uid if known else NO_UID] += events_of
        return found

    def untold(self) -> dict[Uid, Lost]:
        """Return by uid what was lost and no record told of yet."""
        found = {}
        kernel = self._books.counters()
        for uid in sorted(kernel.keys() | self._rows.keys()):
            row, counted = self._rows.get(uid, _NOTHING), kernel.get(uid)
            new = Lost(
                counted.ring_full - row.told_ring_full if counted else 0,
                counted.limited - row.told_limited if counted else 0,
                row.dropped - row.told_dropped,
            )
            if new != _NONE_LOST:
                found[uid] = new
        return found

    def told(self, losses: Mapping[Uid, Lost]) -> None:
        """Note that records told of *losses*."""
        changed = {}
        for uid, new in losses.items():
            row = self._rows.get(uid, _NOTHING)
            changed[uid] = row._replace(
                told_ring_full=row.told_ring_full + new.ring_full,
                told_limited=row.told_limited + new.limited,
                told_dropped=row.told_dropped + new.sink_dropped,
            )
        self._rows |= changed
        self._books.save_accounts(changed)

    def all(self) -> list[Account]:
        """Return the accounts of all uids that ever matched, by uid.

        Those for whom the kernel had no room of their own stand under `NO_UID` together. What was
        written is read first: what is written in the meantime still counts as pending.
        """
        taken = {uid: (row.written, row.dropped) for uid, row in dict(self._rows).items()}
        kernel = self._books.counters()
        found = [self._account(uid, one, *taken.get(uid, (0, 0))) for uid, one in kernel.items()]
        return sorted((one for one in found if one.matched), key=lambda one: one.uid)

    def uids(self) -> list[Uid]:
        """Return whose events were written."""
        return list(self._rows)

    def _account(self, uid: Uid, kernel: Counters, written: int, dropped: int) -> Account:
        gone = written + dropped + kernel.ring_full + kernel.limited + kernel.counted
        return Account(
            uid=uid,
            user=self._name(uid),
            matched=kernel.matched,
            written=written,
            ring_full=kernel.ring_full,
            limited=kernel.limited,
            sink_dropped=dropped,
            counted=kernel.counted,
            pending=kernel.matched - gone,
        )
