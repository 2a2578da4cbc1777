"""Turns what was lost into loss records, by user and cause."""

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

_INTERVAL_SECONDS: Final = 1.0
"""Between two records of a user at the least, however often it is asked for."""
_LATELY_SECONDS: Final = 60.0
_LOOK_SHARE: Final = 20
"""Looking through all users takes at most one part in so many of the time."""


class Losses:
    """Tells what *accounts* has and no record told of; *lost* is the cheap sum of what left holes.

    There is no such sum of what came past a limit: that is looked for while *limits* says that
    the policy has one.
    """

    def __init__(
        self,
        lost: Callable[[], int],
        limits: Callable[[], bool],
        accounts: Accounts,
        name: Callable[[Uid], str | None],
        clock: WallClock,
    ) -> None:
        self._lost = lost
        self._limits = limits
        self._accounts = accounts
        self._name = name
        self._clock = clock
        self._seen = 0
        self._limited = False  # whether there was a limit when it was last looked
        self._look_at = 0.0
        self._told_at = -_INTERVAL_SECONDS
        self._last = -_LATELY_SECONDS

    def tell(self, emit: Callable[[LossRecord], None], *, everything: bool = False) -> None:
        """Emit a record for each user of whom something was lost that no record told of.

        Not twice within a second. *everything*: all the same, and look through all users, also
        where nothing says that there is something.
        """
        lost, limits, started = self._lost(), self._limits(), time.monotonic()
        if started - self._told_at < _INTERVAL_SECONDS and not everything:
            return
        due = (limits or self._limited) and started >= self._look_at
        if lost == self._seen and not due and not everything:
            return  # nothing new, and nobody's counters need be looked at
        untold = self._accounts.untold()
        for uid, one in untold.items():
            if one.ring_full or one.sink_dropped:
                self._last = started
            user = self._name(uid) if uid <= UID_MAX else None
            record = LossRecord(
                self._clock.now(), "loss", uid, user, one.ring_full, one.limited, one.sink_dropped
            )
            emit(record)
        self._accounts.told(untold)
        if untold:
            self._told_at = started
        self._seen, self._limited = lost, limits
        self._look_at = started + _LOOK_SHARE * (time.monotonic() - started)

    def lately(self) -> bool:
        """Whether a loss of events was told of within the last minute."""
        return time.monotonic() - self._last < _LATELY_SECONDS
