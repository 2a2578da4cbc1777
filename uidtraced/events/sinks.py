"""Where records go: the journal, or a stream. A sink never blocks: what it cannot take, waits."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from uidtraced.errors import UidtracedError, UnsupportedError
from uidtraced.events.render import journal_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from uidtraced.events.records import Record

log = structlog.get_logger("output")

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
_SEND_BUFFER_BYTES: Final = 8 * 2**20
_RETRY_SECONDS: Final = 0.1
_JOURNAL_FULL_SECONDS: Final = 0.001
"""In this time journald takes some 50 of the 512 entries that wait for it at most."""
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_JOURNAL_BUSY: Final = frozenset(
    {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS}
)
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.ENOBUFS})
_JOURNAL_AWAY: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ENOTCONN, errno.EPIPE})


class SinkClosedError(UidtracedError):
    """Nobody reads the output any more."""


class Sink(Protocol):
    """Takes records; the caller writes the next ones once `flush` has said True."""

    def write(self, records: Sequence[Record]) -> bool:
        """Take *records* and flush; raises SinkClosedError where nobody ever reads them."""

    def flush(self) -> bool:
        """Write what waits; False where some of it still does."""

    def refused(self) -> Sequence[Record]:
        """Return, once, which of the records that were written last nobody will ever take."""

    @property
    def retry_seconds(self) -> float:
        """After how long to flush again where `writable_fd` is None."""

    def writable_fd(self) -> int | None:
        """Return the fd whose writability is worth waiting for; None where that is none."""

    def close(self) -> None:
        """Let go of it; what waits is lost."""


class JournalSink:
    """Writes native entries to journald; waits for it where it is slow or away."""

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        """Connect to the socket at *path*; UnsupportedError where there is none."""
        self._path = path
        self._waiting: deque[bytes] = deque()
        self._records: Sequence[Record] = ()
        self._refused: list[Record] = []
        self._told: int | None = None
        self.retry_seconds = _RETRY_SECONDS
        self._socket: socket.socket | None = None
        if not path.exists():
            raise UnsupportedError(f"{path} is missing: no journal runs here; try --output json")
        self._connect()

    def _connect(self) -> bool:
        try:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:  # too many open files, or no memory: for now
            return False
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        try:
            fresh.connect(str(self._path))
        except OSError:
            fresh.close()
            return False
        self._socket = fresh
        return True

    def write(self, records: Sequence[Record]) -> bool:
        """Take *records* and flush."""
        self._records, self._refused = records, []
        self._waiting.extend(journal_entry(record) for record in records)
        return self.flush()

    def flush(self) -> bool:
        """Send what waits, each entry whole; False where the journal cannot take it now."""
        waiting, before = self._waiting, len(self._waiting)
        while waiting:
            if self._socket is None and not self._connect():
                self.retry_seconds = _RETRY_SECONDS
                return False
            try:
                _send(self._socket, waiting[0])  # type: ignore[arg-type]
            except OSError as error:
                if error.errno in _JOURNAL_AWAY:
                    self._disconnect()
                    self.retry_seconds = _RETRY_SECONDS
                    return False
                if error.errno not in _JOURNAL_BUSY:
                    self._refuse(error)
                    continue
                slower = min(2 * self.retry_seconds, _RETRY_SECONDS)
                self.retry_seconds = slower if len(waiting) == before else _JOURNAL_FULL_SECONDS
                return False
            waiting.popleft()
        return True

    def _refuse(self, error: OSError) -> None:
        """Give up what is next: whatever is wrong with it, what comes after it must not wait."""
        self._refused.append(self._records[len(self._records) - len(self._waiting)])
        self._waiting.popleft()
        if error.errno != self._told:
            self._told = error.errno
            log.error("journal_refuses_entry", problem=str(error))

    def refused(self) -> Sequence[Record]:
        """Return, once, what the journal answered with an error that is about the entry."""
        found, self._refused = self._refused, []
        return found

    def writable_fd(self) -> None:
        """Return None: to be told of room for each entry slows journald down by a third."""

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Disconnect."""
        self._disconnect()
        self._waiting.clear()


def _send(journal: socket.socket, entry: bytes) -> None:
    """Send *entry* as a datagram, or in a sealed file where it is too long for one."""
    try:
        journal.send(entry)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        with os.fdopen(
            os.memfd_create("entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb"
        ) as file:
            file.write(entry)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(journal, [b""], [file.fileno()])


class StreamSink:
    """Writes rendered records to a fd that stays the caller's."""

    retry_seconds = _RETRY_SECONDS

    def __init__(self, fd: int, render: Callable[[Iterable[Record]], bytes]) -> None:
        self._render = render
        self._waiting = memoryview(b"")
        self._fd, self._owned = _nonblocking(fd)
        self._pollable = not stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._full = False

    def write(self, records: Sequence[Record]) -> bool:
        """Take *records* and flush; SinkClosedError where the reader is gone."""
        self._waiting = memoryview(bytes(self._waiting) + self._render(records))
        return self.flush()

    def flush(self) -> bool:
        """Write what waits; False where the reader is slow, or the disk full."""
        while self._waiting:
            try:
                written = os.write(self._fd, self._waiting)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise SinkClosedError(f"standard output: {error.strerror}") from error
                self._wait_for_room(error)
                return False
            self._waiting = self._waiting[written:]
            self._full = False
        return True

    def _wait_for_room(self, error: OSError) -> None:
        if not self._full:
            log.error("output_is_full", problem=str(error))
        self._full = True

    def refused(self) -> Sequence[Record]:
        """Return nothing: a stream takes what it has room for."""
        return ()

    def writable_fd(self) -> int | None:
        """Return the fd; None where that tells nothing."""
        return self._fd if self._pollable and not self._full else None

    def close(self) -> None:
        """Let go of the fd."""
        if self._owned:
            os.close(self._fd)


def _nonblocking(fd: int) -> tuple[int, bool]:
    """Return a non-blocking fd for what *fd* writes to, and whether it is a new one.

    O_NONBLOCK belongs to the open file, which other processes share (a shell's terminal): so it
    is opened anew where it can be.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), True
        except OSError:
            pass  # a pipe of another user
    if not stat.S_ISREG(mode):  # a regular file does not block, and has its own position
        os.set_blocking(fd, False)
    return fd, False
