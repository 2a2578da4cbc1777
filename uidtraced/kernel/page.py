"""The page by which the programs are told what they need: user space writes, they read."""

from __future__ import annotations

import contextlib
import mmap
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from uidtraced.kernel.libbpf import ffi, lib, raises_kernel_error

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE: Final[int] = ffi.sizeof("struct control")
_TIDINGS: Final = ("wanted", "writing", "alive_ns", "lost", "own_bpf", "others_bpf")
_KEPT: Final = tuple(
    name for name, _ in ffi.typeof("struct control").fields if name not in _TIDINGS
)
"""Members that stay as they were set."""


class ControlPage:
    """`struct control` of bpf/event.h in the map behind *map_fd*, and what it should be.

    Whoever may use bpf(2) can write to the map too: `put_right` finds that.
    """

    def __init__(self, map_fd: int) -> None:
        with raises_kernel_error("mmap of the control map"):
            self._memory = mmap.mmap(map_fd, SIZE)
        self._page: Any = ffi.from_buffer("struct control *", self._memory)
        self._should: Any = ffi.new("struct control *")
        self._lock = threading.Lock()  # the policy's thread looks while the loop's sets
        self.learn()

    def learn(self) -> None:
        """Take what is there for what should be: another daemon's, or what a program set."""
        with self._lock:
            ffi.memmove(self._should, self._page, SIZE)

    def get(self, name: str) -> int:
        """Return a member."""
        return int(getattr(self._page, name))

    def set(self, name: str, number: int) -> None:
        """Set a member."""
        with self._lock:
            setattr(self._should, name, number)
            setattr(self._page, name, number)

    def want(self, wanted: bytes) -> None:
        """Set `wanted`, a byte at a time: each is whole at any moment."""
        with self._lock:
            for number, mask in enumerate(wanted):
                if self._should.wanted[number] != mask:
                    self._should.wanted[number] = mask
                    self._page.wanted[number] = mask

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Let programs keep nothing of what they find until the rules stand again.

        What they found before holds no more then. Within it, wait for programs that may have seen
        what was; a change of an outer map does.
        """
        self._change(self._should.changes | 1)
        try:
            yield
        finally:
            self._change(self._should.changes + 1)

    def _change(self, number: int) -> None:
        with self._lock:
            self._should.changes = number
            lib.uidtraced_store(ffi.addressof(self._page, "changes"), number)

    def put_right(self) -> list[tuple[str, int, int]]:
        """Set again what others set; return the members, what was found and what it is again."""
        with self._lock:
            found = [
                (name, int(getattr(self._page, name)), int(getattr(self._should, name)))
                for name in _KEPT
            ]
            there = bytes(ffi.buffer(self._page.wanted))
            right = bytes(ffi.buffer(self._should.wanted))
            if there != right:
                pairs = enumerate(zip(there, right, strict=True))
                found += [(f"wanted[{number}]", *both) for number, both in pairs]
                ffi.memmove(self._page.wanted, right, len(right))
            wrong = [one for one in found if one[1] != one[2]]
            for name in {name for name, _, _ in wrong} & set(_KEPT):
                setattr(self._page, name, getattr(self._should, name))
        with self.changing():  # what was found by it holds no more, nor what others say was
            pass
        return wrong

    def beat(self, lost: int) -> None:
        """Note that the daemon is alive, and how many events have found the ring full."""
        self._page.lost = lost
        self._page.alive_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def note_writing(self, position: int) -> None:
        """Note that the events up to *position* of the ring are about to be written; 0: are."""
        self._page.writing = position

    def close(self) -> None:
        """Unmap it. May be called again."""
        if not self._memory.closed:
            ffi.release(self._page)
            self._memory.close()  # it has a duplicate of the fd
