"""What the daemons wrote, counted as it comes: no event is kept, so an hour of them is nothing."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Final

import msgspec

_CHUNK_BYTES: Final = 1 << 20


class _Line(msgspec.Struct):
    """What matters of a record, of whichever kind."""

    event: str
    cpu: int = -1
    seq: int = 0
    uid: int = -1
    repeated: bool = False
    ring_full: int = 0
    sink_dropped: int = 0
    lost: int = 0


class Ledger:
    """Counts the lines of one daemon after another; numbers of a cpu go on from one to the next."""

    def __init__(self) -> None:
        self.written: Counter[int] = Counter()
        """Distinct events by uid."""
        self.kinds: Counter[str] = Counter()
        """Records by kind."""
        self.told: Counter[int] = Counter()
        """Events that left a hole, by uid, as loss records tell."""
        self.holes = 0
        """Numbers that are missing between those that came, of all cpus."""
        self.marked = 0
        """Events that came twice, the second time marked as repeated."""
        self.unmarked = 0
        """Those without the mark: there must be none."""
        self.torn = 0
        """Lines that a kill cut off."""
        self._next: dict[int, int] = {}
        self._reads = threading.Event()
        self._reads.set()
        self._decoder = msgspec.json.Decoder(_Line)

    def stall(self) -> None:
        """Read no more until `go_on`, as a reader that is stuck."""
        self._reads.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reads.set()

    def follow(self, fd: int) -> threading.Thread:
        """Read lines from *fd* until it ends, in a thread, and close it."""
        thread = threading.Thread(target=self._follow, args=(fd,), name="ledger")
        thread.start()
        return thread

    def _follow(self, fd: int) -> None:
        rest = b""
        while self._reads.wait() and (chunk := os.read(fd, _CHUNK_BYTES)):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                for line in self._decoder_lines(whole):
                    self._take(line)
        self.torn += bool(rest)
        os.close(fd)

    def _decoder_lines(self, text: bytes) -> list[_Line]:
        return self._decoder.decode_lines(text)

    def _take(self, line: _Line) -> None:
        self.kinds[line.event] += 1
        if line.event == "loss":
            self.told[line.uid] += line.ring_full + line.sink_dropped
        if line.event != "syscall":
            return
        due = self._next.get(line.cpu, 1)
        if line.seq < due:
            if line.repeated:
                self.marked += 1
            else:
                self.unmarked += 1
            return
        self.holes += line.seq - due
        self._next[line.cpu] = line.seq + 1
        self.written[line.uid] += 1
