"""Turns the kernel's counters into loss records, by user, at most once a second."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from uidtraced.events.records import LossRecord
from uidtraced.rules import UID_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from uidtraced.events.clock import WallClock
    from uidtraced.kernel.tracer import Counters
    from uidtraced.rules import Uid

_INTERVAL_SECONDS: Final = 1.0
_LATELY_SECONDS: Final = 60.0


class Losses:
    """Compares counters with those of the last time."""

    def __init__(
        self,
        read: Callable[[], Mapping[Uid, Counters]],
        name: Callable[[Uid], str | None],
        clock: WallClock,
    ) -> None:
        self._read = read
        self._name = name
        self._clock = clock
        self._told: dict[Uid, int] = {}
        self._last = -_LATELY_SECONDS

    def new(self) -> list[LossRecord]:
        """Return a record for each user who lost events since the last call."""
        records = []
        for uid, counters in sorted(self._read().items()):
            lost = counters.ring_full - self._told.get(uid, 0)
            if lost:
                self._last = time.monotonic()
                self._told[uid] = counters.ring_full
                user = self._name(uid) if uid <= UID_MAX else None
                records.append(LossRecord(self._clock.now(), "loss", uid, user, lost))
        return records

    def lately(self) -> bool:
        """Whether a loss was told of within the last minute."""
        return time.monotonic() - self._last < _LATELY_SECONDS

    async def run(self, emit: Callable[[LossRecord], None], flows: Callable[[], bool]) -> None:
        """Emit what is new, once a second, for ever; while nothing *flows*, it adds up."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            if flows():
                for record in self.new():
                    emit(record)
