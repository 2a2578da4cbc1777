"""Moves events from the ring buffer to the sink, a batch at a time, and the daemon's own records.

A batch leaves the ring only once the sink has it: where the sink is slow, events wait in the
ring, which is bounded, and the kernel counts those that find it full. Of the daemon's own records
the last thousand wait.

The first event after a quiet time wakes the loop. Then the ring is emptied, batch after batch, and
looked at again after a pause, until it is found empty: so what comes fast wakes nobody, and what
comes waits no longer than the pause.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from uidtraced.events.records import SyscallEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from uidtraced.events.records import Record
    from uidtraced.events.sinks import Sink

log = structlog.get_logger("output")

_OWN_AT_MOST: Final = 1000
_PAUSE_SECONDS: Final = 0.02
"""300,000 events a second fill a fifth of the usual ring in this time."""


class Ring(Protocol):
    """The consumer's side of the ring buffer; `kernel.ring.RingReader` is one."""

    fd: int

    def copy(self) -> tuple[memoryview, memoryview]:
        """Return the next batch, events and their data; no events where none waits."""

    def release(self) -> None:
        """Give the room of what was copied back."""

    def pending_bytes(self) -> int:
        """Return how much waits, what was copied and not released included."""


class Decode(Protocol):
    """Turns a batch into events; `events.decode.Decoder.decode` is one."""

    def __call__(self, batch: memoryview, data: memoryview) -> Sequence[SyscallEvent]:
        """Return the events of *batch*, whose events refer to *data*, in their order."""


class Pump:
    """Drains *ring* into *sink* on the running loop.

    *wrote* is told of each batch that the sink took, and what of it the sink refused; *failed*
    what ends it.
    """

    def __init__(
        self,
        ring: Ring,
        decode: Decode,
        sink: Sink,
        wrote: Callable[[Sequence[SyscallEvent], Sequence[SyscallEvent]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._decode = decode
        self._sink = sink
        self._wrote = wrote
        self._failed = failed
        self._own: deque[Record] = deque(maxlen=_OWN_AT_MOST)
        self._forgotten = 0
        self._busy = False
        self._turn: asyncio.Handle | None = None  # what is to be done next, if not to watch
        self._flows = False  # whether something came since the last pause
        self._waits_since = 0.0
        self._batch: Sequence[SyscallEvent] = ()
        self._writer: int | None = None
        self.alive = False
        """Whether events flow, or wait for nothing but the sink."""

    def lag_seconds(self) -> float:
        """How old the oldest record is that the sink has not taken; 0.0 where it keeps up."""
        if self._batch:
            called = dt.datetime.fromisoformat(self._batch[0].ts).timestamp()
            return max(0.0, time.time() - called)
        return time.monotonic() - self._waits_since if self._busy else 0.0

    @property
    def waits(self) -> bool:
        """Whether the sink takes nothing now."""
        return self._busy

    def start(self) -> None:
        """Drain from now on."""
        self.alive = True
        if not self._busy:
            self._watch()

    def _watch(self) -> None:
        """Drain when the kernel says that there is something."""
        self._loop.add_reader(self._ring.fd, self._take_turn)

    def _unwatch(self) -> None:
        """Do not drain before somebody says so."""
        self._loop.remove_reader(self._ring.fd)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def emit(self, record: Record) -> None:
        """Write a record of the daemon's own, after the batch that is being written."""
        self._forgotten += len(self._own) == _OWN_AT_MOST
        self._own.append(record)
        if not self._busy:
            self._guard(self._write_own)

    def _take_turn(self) -> None:
        self._unwatch()
        self._guard(self._drain)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  whatever it is, the daemon must hear of it
            self.stop()
            self._failed(error)

    def _drain(self) -> None:
        batch, data = self._ring.copy()
        if batch:
            self._flows = True
            self._batch = self._decode(batch, data)
            self._done(self._sink.write(self._batch))
        elif self._flows:
            self._flows = False
            self._turn = self._loop.call_later(_PAUSE_SECONDS, self._take_turn)
        else:
            self._watch()

    def _write_own(self) -> None:
        records = tuple(self._own)
        self._own.clear()
        if self._forgotten:
            log.warning("records_forgotten", count=self._forgotten, reason="the output was stuck")
            self._forgotten = 0
        self._done(self._sink.write(records))

    def _done(self, written: bool) -> None:  # noqa: FBT001
        """Go on after a write or flush that wrote all, or wait for the sink."""
        if not written:
            self._wait()
            return
        self._resume()
        if self._own:
            self._write_own()

    def _wait(self) -> None:
        if not self._busy:
            self._waits_since = time.monotonic()
        self._busy = True
        self._unwatch()
        self._forget_writer()  # a sink that connected again may have the same number anew
        self._writer = self._sink.writable_fd()
        if self._writer is None:
            self._turn = self._loop.call_later(self._sink.retry_seconds, self._on_writable)
        else:
            self._loop.add_writer(self._writer, self._on_writable)

    def _on_writable(self) -> None:
        if self._busy:
            self._guard(lambda: self._done(self._sink.flush()))

    def _resume(self) -> None:
        if not self._batch and not self._busy:
            return
        if self._batch:
            # before it leaves: a daemon after this one must find it noted
            refused = [one for one in self._sink.refused() if isinstance(one, SyscallEvent)]
            self._wrote(self._batch, refused)
            self._ring.release()
            self._batch = ()
        if self._busy:
            self._busy = False
            self._forget_writer()
        self._unwatch()
        self._turn = self._loop.call_soon(self._take_turn)

    def _forget_writer(self) -> None:
        if self._writer is not None:
            self._loop.remove_writer(self._writer)
            self._writer = None

    def drain_rest(self, deadline: float) -> bool:
        """Write all that waits; False where the sink cannot take it yet, so ask again.

        Ends at *deadline* (time.monotonic()) where events come as fast as they go.
        """
        if self._busy:
            self._on_writable()
        while self.alive and not self._busy and self._ring.pending_bytes():
            if time.monotonic() >= deadline:
                return False
            self._take_turn()
        return not self._busy

    def stop(self) -> None:
        """Leave the loop alone; what was not written stays in the ring."""
        self.alive = False
        self._unwatch()
        self._forget_writer()
