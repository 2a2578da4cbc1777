"""One daemon after another: where the kernel's side is kept between, and the time without one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from uidtraced import systemd
from uidtraced.events.records import GapRecord
from uidtraced.kernel.kept import FdStore, NoStore
from uidtraced.kernel.pins import PinStore

if TYPE_CHECKING:
    from pathlib import Path

    from uidtraced.accounts import Accounts
    from uidtraced.events.clock import WallClock
    from uidtraced.kernel.predecessor import Rest


class Pulse(Protocol):
    """Where a daemon notes that it is alive; `kernel.tracer.Tracer` is one."""

    @property
    def alive_ns(self) -> int:
        """When it did so last, on CLOCK_BOOTTIME."""

    def beat(self) -> None:
        """Note it now."""


def open_store(pin_dir: Path | None) -> FdStore:
    """Return where fds are kept: *pin_dir*, else systemd's store, else nowhere."""
    if pin_dir is not None:
        return PinStore(pin_dir)
    return systemd.SystemdStore() if systemd.has_fd_store() else NoStore()


def settle(store: FdStore) -> None:
    """Wait until *store* has what it was given."""
    if isinstance(store, systemd.SystemdStore):
        store.settle()


def gap(pulse: Pulse, accounts: Accounts, clock: WallClock) -> GapRecord:
    """Return the record of the time since a daemon was last seen alive."""
    duration_ns = max(0, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - pulse.alive_ns)
    return GapRecord(
        ts=clock.now(),
        event="gap",
        since=clock.format_boot_ns(pulse.alive_ns),
        duration_ns=duration_ns,
        lost=sum(one.ring_full for one in accounts.untold().values()),
    )


def gap_anew(rest: Rest, clock: WallClock) -> GapRecord:
    """Return the record of a beginning: what was before cannot be gone on with."""
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    since_ns = now_ns if rest.alive_ns is None else rest.alive_ns
    return GapRecord(
        ts=clock.now(),
        event="gap",
        since=clock.format_boot_ns(since_ns),
        duration_ns=now_ns - since_ns,
        lost=rest.lost,
        anew=True,
    )
