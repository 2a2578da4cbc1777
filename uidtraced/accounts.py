"""What became of every match, by uid: the identity that always holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uidtraced.events.records import Record, SyscallEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from uidtraced.kernel.tracer import Counters
    from uidtraced.rules import Uid


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


class Accounts:
    """Counts what was written; the kernel, behind *read*, counts the rest."""

    def __init__(
        self, read: Callable[[], Mapping[Uid, Counters]], name: Callable[[Uid], str | None]
    ) -> None:
        self._read = read
        self._name = name
        self._written: Counter[int] = Counter()

    def wrote(self, records: Iterable[Record]) -> None:
        """Note that the output took *records*."""
        self._written.update(one.uid for one in records if isinstance(one, SyscallEvent))

    def all(self) -> list[Account]:
        """Return the accounts of all uids that ever matched, by uid.

        What was written is read first: what is written in the meantime still counts as pending.
        """
        written = self._written.copy()
        return [self._account(uid, one, written[uid]) for uid, one in sorted(self._read().items())]

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
