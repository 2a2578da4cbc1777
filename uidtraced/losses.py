"""Turns the kernel's counters into loss records, by user."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from uidtraced.events.records import LossRecord
from uidtraced.rules import UID_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from uidtraced.accounts import Accounts
    from uidtraced.events.clock import WallClock
    from uidtraced.rules import Uid

_LATELY_SECONDS: Final = 60.0


class Losses:
    """Tells what *accounts* has and no record told of; *lost* is the cheap sum of all losses."""

    def __init__(
        self,
        lost: Callable[[], int],
        accounts: Accounts,
        name: Callable[[Uid], str | None],
        clock: WallClock,
    ) -> None:
        self._lost = lost
        self._accounts = accounts
        self._name = name
        self._clock = clock
        self._seen = 0
        self._last = -_LATELY_SECONDS

    def tell(self, emit: Callable[[LossRecord], None]) -> None:
        """Emit a record for each user who lost events that no record told of."""
        lost = self._lost()
        if lost == self._seen:
            return  # nothing new, and nobody's counters need be looked at
        untold = self._accounts.untold()
        for uid, number in untold.items():
            self._last = time.monotonic()
            user = self._name(uid) if uid <= UID_MAX else None
            emit(LossRecord(self._clock.now(), "loss", uid, user, number))
        self._accounts.told(untold)
        self._seen = lost

    def lately(self) -> bool:
        """Whether a loss was told of within the last minute."""
        return time.monotonic() - self._last < _LATELY_SECONDS
