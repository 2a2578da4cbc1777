"""What the daemon tells systemd: ready, reloading, status, alive."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Final

from systemd import daemon

if TYPE_CHECKING:
    from collections.abc import Iterable

_MICROSECONDS: Final = 1_000_000
_FIRST_FD: Final = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_BARRIER_SECONDS: Final = 5.0


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


def has_fd_store() -> bool:
    """Whether systemd may keep fds of this process."""
    return "NOTIFY_SOCKET" in os.environ


class SystemdStore:
    """Keeps fds in the service manager's store: over restarts and crashes, not over a stop."""

    survives_stop = True

    def kept(self) -> dict[str, int]:
        """Return what the last process of this service left (sd_listen_fds(3))."""
        if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
            return {}
        count = int(os.environ.pop("LISTEN_FDS", "0"))
        names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
        fds = range(_FIRST_FD, _FIRST_FD + count)
        found: dict[str, int] = {}
        for name, fd in zip(names, fds, strict=True):
            os.set_inheritable(fd, False)
            if name in found:
                os.close(fd)  # given twice, by a process that was killed between
            else:
                found[name] = fd
        return found

    def keep(self, name: str, fd: int) -> None:
        """Keep what *fd* refers to."""
        # FDPOLL=0: poll on a BPF map answers EPOLLERR, and systemd would drop it
        daemon.notify(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", fds=[fd])

    def drop(self, names: Iterable[str]) -> None:
        """Keep *names* no longer."""
        for name in names:
            daemon.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def settle(self) -> None:
        """Wait until systemd has what it was sent (sd_notify_barrier(3))."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            daemon.notify("BARRIER=1", fds=[writer])
        finally:
            os.close(writer)
        try:
            select.select([reader], [], [], _BARRIER_SECONDS)  # it closes what it was sent
        finally:
            os.close(reader)
