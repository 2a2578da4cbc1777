"""What the daemon tells systemd: ready, reloading, status, alive."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from systemd import daemon

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

log = structlog.get_logger("systemd")

_MICROSECONDS: Final = 1_000_000
_FIRST_FD: Final = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_BARRIER_SECONDS: Final = 5.0
_NUMBER: Final = re.compile(r"[0-9]{1,18}")

_told_of: set[str] = set()


def _tell(state: str, fds: Sequence[int] = ()) -> None:
    """Send *state* to who started us (sd_notify(3)); where nobody takes it, say so once.

    It is no reason to end: the socket's name is no more than a word in the environment.
    """
    try:
        daemon.notify(state, fds=list(fds))
    except (OSError, ValueError) as error:
        problem = f"NOTIFY_SOCKET={os.environ.get('NOTIFY_SOCKET')!a}: {error}"
        if problem not in _told_of:
            _told_of.add(problem)
            log.warning("service_manager_not_told", problem=problem)


def _number(name: str) -> int | None:
    """Return the number in environment variable *name*; None where there is none."""
    said = os.environ.get(name, "")
    return int(said) if _NUMBER.fullmatch(said) else None


def runs_as_service() -> bool:
    """Whether systemd takes this process's standard error into the journal."""
    # JOURNAL_STREAM names the device and inode of the stream (systemd.exec(5))
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def _status(text: str) -> str:
    """Return *text* as one assignment: a line more would be another."""
    return f"STATUS={'; '.join(text.splitlines())}"


def ready(status: str) -> None:
    """Say that the policy is in force, also after a reload."""
    _tell(f"READY=1\n{_status(status)}")


def reloading() -> None:
    """Say that the policy is being read again."""
    _tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """Say that the end has begun."""
    _tell("STOPPING=1\nSTATUS=Stopping")


def show(status: str) -> None:
    """Set the line that `systemctl status` shows."""
    _tell(_status(status))


def alive() -> None:
    """Feed the watchdog."""
    _tell("WATCHDOG=1")


def watchdog_seconds() -> float | None:
    """Return within what time systemd wants a sign of life; None where it wants none."""
    limit = _number("WATCHDOG_USEC")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit or owner != str(os.getpid()):
        return None
    return limit / _MICROSECONDS


def has_fd_store() -> bool:
    """Whether systemd may keep fds of this process."""
    return "NOTIFY_SOCKET" in os.environ


def _is_bpf(fd: int) -> bool:
    """Whether *fd* is of a BPF map, program or link."""
    try:
        return Path(f"/proc/self/fd/{fd}").readlink().name.startswith("anon_inode:bpf")
    except OSError:
        return False


class SystemdStore:
    """Keeps fds in the service manager's store: over restarts and crashes, not over a stop."""

    survives_stop = True

    def kept(self) -> dict[str, int]:
        """Return what the last process of this service left (sd_listen_fds(3))."""
        count, pid = _number("LISTEN_FDS") or 0, _number("LISTEN_PID")
        names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
        for name in ("LISTEN_FDS", "LISTEN_PID"):
            os.environ.pop(name, None)
        if pid != os.getpid():
            return {}
        found: dict[str, int] = {}
        for name, fd in zip(names, range(_FIRST_FD, _FIRST_FD + count), strict=False):
            if not _is_bpf(fd):
                continue  # the environment says more than there is, or it is no fd of our store
            os.set_inheritable(fd, False)
            if name in found:
                os.close(fd)  # given twice, by a process that was killed between
            else:
                found[name] = fd
        return found

    def keep(self, name: str, fd: int) -> None:
        """Keep what *fd* refers to."""
        # FDPOLL=0: poll on a BPF map answers EPOLLERR, and systemd would drop it
        _tell(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", fds=[fd])

    def drop(self, names: Iterable[str]) -> None:
        """Keep *names* no longer."""
        for name in names:
            _tell(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def settle(self) -> None:
        """Wait until systemd has what it was sent (sd_notify_barrier(3))."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            _tell("BARRIER=1", fds=[writer])
        finally:
            os.close(writer)
        try:
            select.select([reader], [], [], _BARRIER_SECONDS)  # it closes what it was sent
        finally:
            os.close(reader)
