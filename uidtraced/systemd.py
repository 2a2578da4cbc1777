"""What the daemon tells systemd: ready, reloading, status, alive."""

from __future__ import annotations

import os
import time
from typing import Final

from systemd import daemon

_MICROSECONDS: Final = 1_000_000


def runs_as_service() -> bool:
    """Whether systemd takes this process's standard error into the journal."""
    # JOURNAL_STREAM names the device and inode of the stream (systemd.exec(5))
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def ready(status: str) -> None:
    """Say that the policy is in force, also after a reload."""
    daemon.notify(f"READY=1\nSTATUS={status}")


def reloading() -> None:
    """Say that the policy is being read again."""
    daemon.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """Say that the end has begun."""
    daemon.notify("STOPPING=1\nSTATUS=Stopping")


def show(status: str) -> None:
    """Set the line that `systemctl status` shows."""
    daemon.notify(f"STATUS={status}")


def alive() -> None:
    """Feed the watchdog."""
    daemon.notify("WATCHDOG=1")


def watchdog_seconds() -> float | None:
    """Return within what time systemd wants a sign of life; None where it wants none."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit.isdecimal() or owner != str(os.getpid()):
        return None
    return int(limit) / _MICROSECONDS
