"""Changes and reads many entries of maps of maps, in the way that is the quickest on this kernel.

The kernel waits after each change until nobody uses what was there before (synchronize_rcu in
maybe_wait_bpf_programs, kernel/bpf/syscall.c): 8 to 16 ms. A batch waits once for all, but maps of
maps have batches from 5.19 only, and until 6.7 an update in one waits for each entry all the same.
Until 6.7 even a look-up from user space waits. There, many threads make one change or look-up at a
time each, and their waits overlap; a thread's changes are one call into C, so that threads do not
wait for the interpreter as well.
"""

from __future__ import annotations

import errno
import resource
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from uidtraced.errors import KernelError, UidtracedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from uidtraced.kernel.libbpf import MapFd

_T = TypeVar("_T")

THREADS: Final = 256
"""How many waits overlap; the caller is one of them."""

_SAMPLE: Final = 8
"""Entries that tell whether a batch waits for each."""


class ManyEntries:
    """Puts entries into maps of maps, takes them out, reads them; learns what the kernel can."""

    def __init__(self) -> None:
        self.batches: bool | None = None
        """Whether many updates wait once: as from 6.8. None until it has shown."""

    def put(self, outer: MapFd, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Put *pairs* in; after an error any part of them may be in."""
        start = 0
        if self.batches is None and len(pairs) >= _SAMPLE:
            start = self._learn(outer, pairs[:_SAMPLE])
        rest = pairs[start:]
        if self.batches is False:
            side_by_side(outer.update_each, _parts(rest))
        elif rest:
            try:
                _update_batch(outer, rest)
            except UnsupportedError:
                self.batches = False
                side_by_side(outer.update_each, _parts(rest))

    def _learn(self, outer: MapFd, pairs: Sequence[tuple[bytes, bytes]]) -> int:
        """Put *pairs* in and note how often that waited; return how many are in."""
        before = _waits()
        try:
            _update_batch(outer, pairs)
        except UnsupportedError:
            self.batches = False
            return 0
        self.batches = _waits() - before < len(pairs)
        return len(pairs)

    def remove(self, outer: MapFd, keys: Sequence[bytes]) -> None:
        """Take *keys* out; one that is not in is left so."""
        try:
            outer.delete_batch(b"".join(keys), len(keys))
        except UnsupportedError:
            self.batches = False
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        else:
            return
        side_by_side(outer.delete_each, _parts(keys))

    def items(self, outer: MapFd, key_size: int, value_size: int) -> list[tuple[bytes, bytes]]:
        """Return every pair; one that goes or comes while this runs may be left out."""
        found: list[tuple[bytes, bytes]] = []

        def look_up(key: bytes) -> None:
            value = outer.lookup(key, value_size)
            if value is not None:
                found.append((key, value))

        keys = list(outer.keys(key_size))
        sample, rest = keys[:_SAMPLE], keys[_SAMPLE:]
        before = _waits()
        for key in sample:
            look_up(key)
        if rest and _waits() - before >= _SAMPLE:
            side_by_side(look_up, rest)
        else:
            for key in rest:
                look_up(key)
        return found


def _update_batch(outer: MapFd, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    keys, values = (b"".join(column) for column in zip(*pairs, strict=True))
    outer.update_batch(keys, values, len(pairs))


def _waits() -> int:
    """Return how often this thread has waited; unlike the time it took, that is no matter of load.

    It may be more than the kernel's waits for readers: other waits count too.
    """
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _parts(items: Sequence[_T]) -> list[Sequence[_T]]:
    """Split *items* into one part for each thread, which C goes through without the interpreter."""
    size = -(-len(items) // THREADS) or 1
    return [items[start : start + size] for start in range(0, len(items), size)]


def side_by_side(change: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Call *change* with each of *items*, in many threads; raise the first error, after all ended.

    The first error ends it: part of the items may be left.
    """
    listed = list(items)
    work = iter(listed)
    failures: list[UidtracedError] = []
    threads: list[threading.Thread] = []
    for _ in range(min(THREADS, len(listed)) - 1):
        thread = threading.Thread(target=_take, args=(change, work, failures), name="change")
        try:
            thread.start()
        except RuntimeError:  # no more threads (TasksMax=): those that there are do it
            break
        threads.append(thread)
    _take(change, work, failures)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _take(change: Callable[[_T], None], work: Iterator[_T], failures: list[UidtracedError]) -> None:
    try:
        for item in work:
            if failures:
                return
            change(item)
    except UidtracedError as error:
        failures.append(error)
