"""The consumer's side of the ring buffer: copy a batch, hand it out, release it when written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from uidtraced.kernel.libbpf import check, ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT_SIZE: Final[int] = ffi.sizeof("struct event")
EVENT_OFFSETS: Final[dict[str, int]] = {
    name: field.offset for name, field in ffi.typeof("struct event").fields
}
"""Where each member of `struct event` (bpf/event.h) lies, in bytes."""

_BATCH: Final = 256
"""Events that are copied at once, at the most."""

_DATA_BYTES: Final = 1 << 20
"""Room for what the events of a batch point to; one has less than 10 KiB of it."""


class RingReader:
    """Reads the ring buffer behind *map_fd*, which stays the caller's; *size* is its bytes.

    *writing* is told up to which position the caller is about to write events, and 0 once that
    is done; *written_to* is what it was told last by a reader that died, whose events up to there
    may have been written already. *shares_fd* is the map in which the one reader that releases
    keeps whose bytes wait.
    """

    def __init__(
        self,
        map_fd: int,
        size: int,
        writing: Callable[[int], None] = lambda _: None,
        written_to: int = 0,
        shares_fd: int = -1,
    ) -> None:
        self.size = size
        """Its bytes."""
        self._ring = ffi.new("struct ring *")
        check("mmap of the ring buffer", lib.ring_open(self._ring, map_fd, size, shares_fd))
        self._position = ffi.new("__u64 *")
        self._writing = writing
        self._written_to = written_to
        self.repeated = False
        """Whether the events copied last may have been written already, by a reader that died."""
        self._events = ffi.new("struct event[]", _BATCH)
        self._data = ffi.new("uint8_t[]", _DATA_BYTES)
        self._view = memoryview(ffi.buffer(self._events))
        self._data_view = memoryview(ffi.buffer(self._data))
        self.fd = map_fd
        """Readable (poll, epoll) while events wait."""

    @property
    def copied_to(self) -> int:
        """The position behind the last event that was copied."""
        return int(self._position[0])

    def copy(self) -> tuple[memoryview, memoryview]:
        """Return the next events, `EVENT_SIZE` bytes each, and the data that they refer to.

        Both are valid until the next `copy()`; no events where none waits. What a reader copied
        and did not release before it ended, the next reader of the ring gets again.
        """
        self.repeated = bool(lib.ring_position(self._ring) < self._written_to)
        limit = self._written_to if self.repeated else 0
        events = lib.ring_copy(
            self._ring, self._events, _BATCH, self._data, _DATA_BYTES, limit, self._position
        )
        if not events:
            return self._view[:0], self._data_view[:0]
        self._writing(self._position[0])
        last = self._events[events - 1]
        used = last.data_at + last.data_bytes
        return self._view[: events * EVENT_SIZE], self._data_view[:used]

    def release(self) -> None:
        """Give the room of all that was copied back to the kernel."""
        if self._position[0]:
            lib.ring_release(self._ring, self._position[0])
            self._position[0] = 0
            self._writing(0)

    def pending_bytes(self) -> int:
        """Bytes that wait in the ring."""
        return int(lib.ring_pending(self._ring))

    def count(self) -> int:
        """Return how many events wait, also of another layout."""
        return int(lib.ring_count(self._ring))

    def close(self) -> None:
        """Unmap; what was not released stays in the ring for the next reader."""
        lib.ring_close(self._ring)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
