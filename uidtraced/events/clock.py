"""Turns the kernel's boot-time nanoseconds into RFC 3339 times in UTC."""

from __future__ import annotations

import time
from typing import Final

SECOND_NS: Final = 1_000_000_000


class WallClock:
    """The offset between CLOCK_BOOTTIME and CLOCK_REALTIME, as of the last `refresh()`.

    Refreshed once a batch: a step of the wall clock is seen from the next batch on.
    """

    def __init__(self) -> None:
        self._offset_ns = 0
        self.refresh()

    def refresh(self) -> None:
        """Read both clocks again."""
        self._offset_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def split(self, boot_ns: int) -> tuple[str, int]:
        """Return the second of *boot_ns* (CLOCK_BOOTTIME) as `format_ns` begins, and the rest."""
        return _split(boot_ns + self._offset_ns)

    def format_boot_ns(self, boot_ns: int) -> str:
        """Return *boot_ns* (CLOCK_BOOTTIME) as a time such as 2026-01-02T03:04:05.123456789Z."""
        return self.format_ns(boot_ns + self._offset_ns)

    def now(self) -> str:
        """Return the time now."""
        return self.format_ns(time.time_ns())

    def format_ns(self, unix_ns: int) -> str:
        """Return *unix_ns*, nanoseconds since 1970, likewise."""
        second, ns = _split(unix_ns)
        return f"{second}{ns:09d}Z"


def _split(unix_ns: int) -> tuple[str, int]:
    second, ns = divmod(unix_ns, SECOND_NS)
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)), ns
