"""User names for events, without ever waiting long for the name service."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Final

from uidtraced.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from uidtraced.rules import Uid

_KEEP_SECONDS: Final = 30.0
_WAIT_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 2.0
_PATIENCE_SHARE: Final = 0.05
"""So much of the time that passes may be waited, beyond 50 ms a question."""
_MAX_NAMES: Final = 65536
_PREPARED_AT_MOST: Final = 200


class UserNames:
    """Answers from memory; *lookup* is asked in a thread of its own.

    A uid seen for the first time waits for its answer: 2 s at most and where few had to wait, as
    on a busy machine; 50 ms where many have, and not at all while an earlier question hangs.
    """

    def __init__(self, lookup: Callable[[Uid], str | None]) -> None:
        self._lookup = lookup
        self._names: dict[Uid, tuple[str | None, float]] = {}
        self._asked: dict[Uid, Future[str | None]] = {}
        self._last: Future[str | None] | None = None
        self._patience_seconds = _PATIENCE_SECONDS
        self._refilled_at = time.monotonic()
        self._worker = Worker("user-names")

    def __call__(self, uid: Uid) -> str | None:
        """Return the name of *uid*; None where it has none, or none is known yet."""
        known = self._names.get(uid)
        now = time.monotonic()
        if known is not None and now < known[1]:
            return known[0]
        last = None if known is None else known[0]
        asked = self._asked.get(uid)
        if asked is None:
            waits = known is None and not self._hangs()
            asked = self._ask(uid)
        else:
            waits = False
        try:
            name = self._wait(asked) if waits else asked.result(0.0)
        except FutureTimeoutError:
            return last
        except OSError:
            name = last
        del self._asked[uid]
        self._names.pop(uid, None)  # the oldest come first
        if len(self._names) >= _MAX_NAMES:
            del self._names[next(iter(self._names))]
        self._names[uid] = (name, now + _KEEP_SECONDS)
        return name

    def _wait(self, asked: Future[str | None]) -> str | None:
        """Wait for the answer to *asked*, at the cost of those that come after."""
        started = time.monotonic()
        refill = (started - self._refilled_at) * _PATIENCE_SHARE
        patience = min(self._patience_seconds + refill, _PATIENCE_SECONDS)
        try:
            return asked.result(max(patience, _WAIT_SECONDS))
        finally:
            self._refilled_at = time.monotonic()
            self._patience_seconds = max(0.0, patience - (self._refilled_at - started))

    def _hangs(self) -> bool:
        """Whether some question is open: they are answered in their order."""
        return self._last is not None and not self._last.done()

    def known(self, uid: Uid) -> str | None:
        """Return the name of *uid* if an answer is there, without waiting for one."""
        found = self._names.get(uid)
        if found is not None:
            return found[0]
        asked = self._asked.get(uid)
        return asked.result() if asked and asked.done() and not asked.exception() else None

    def prepare(self, uids: Iterable[Uid]) -> bool:
        """Ask for those of *uids* of which nothing is known; False where there are none.

        Not for more than 200 at once, and not while an earlier question hangs.
        """
        new = [uid for uid in uids if uid not in self._names and uid not in self._asked]
        if self._hangs():
            return False
        for uid in new[:_PREPARED_AT_MOST]:
            self._ask(uid)
        return bool(new)

    def _ask(self, uid: Uid) -> Future[str | None]:
        self._last = self._asked[uid] = self._worker.submit(lambda: self._lookup(uid))
        return self._last

    def close(self) -> None:
        """Ask no more."""
        self._worker.close()
