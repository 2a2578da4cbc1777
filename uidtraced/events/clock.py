"""Turns the kernel's boot-time nanoseconds into RFC 3339 times in UTC."""

from __future__ import annotations

import time
from typing import Final

_SECOND_NS: Final = 1_000_000_000


class WallClock:
    """The offset between CLOCK_BOOTTIME and CLOCK_REALTIME, as of the last `refresh()`.

    Refreshed once a batch: a step of the wall clock is seen from the next batch on.
    """

    def __init__(self) -> None:
        self.offset_ns = 0
        """What is to be added to a time of CLOCK_BOOTTIME."""
        self._second_ns = -_SECOND_NS
        self._prefix = ""
        self.refresh()

    def refresh(self) -> None:
        """Read both clocks again."""
        self.offset_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def format_boot_ns(self, boot_ns: int) -> str:
        """Return *boot_ns* (CLOCK_BOOTTIME) as a time such as 2026-01-02T03:04:05.123456789Z."""
        return self.format_ns(boot_ns + self.offset_ns)

    def now(self) -> str:
        """Return the time now."""
        return self.format_ns(time.time_ns())

    def format_ns(self, unix_ns: int) -> str:
        """Return *unix_ns*, nanoseconds since 1970, likewise."""
        ns = unix_ns - self._second_ns
        if not 0 <= ns < _SECOND_NS:  # most events of a batch share their second
            second, ns = divmod(unix_ns, _SECOND_NS)
            self._second_ns = unix_ns - ns
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._prefix}{ns:09d}Z"
