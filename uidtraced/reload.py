"""Decides when to look at the policy file: soon after a change, and now and then in any case."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from uidtraced.watch import Change, Watcher
from uidtraced.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from uidtraced.keeper import InForce, Keeper

_T = TypeVar("_T")

_SETTLE_SECONDS: Final = {
    Change.REPLACED: 0.0,
    Change.WRITTEN: 0.01,
    Change.RIGHTS: 0.01,
    Change.UNFINISHED: 1.0,
}
"""So long after a change the file is looked at, where no other follows;"""
_SETTLE_AT_MOST_SECONDS: Final = 1.0
"""or at the latest so long after the first of a row of changes."""
_BREATH_SECONDS: Final = 0.05
"""Where changes come faster than looks, the time from the last of them to the next look."""
_CLOSE_SECONDS: Final = 2.0


class Reloader:
    """Lets *keeper* look, in a thread, one look at a time; tells *looked* what came of it.

    *beside* is done in the same thread at each poll.
    """

    def __init__(
        self,
        path: Path,
        keeper: Keeper,
        looked: Callable[[InForce | None], None],
        beside: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._looked = looked
        self._beside = beside
        self._worker = Worker("policy")
        self._watcher = Watcher(path, self._tell)
        self._wake = asyncio.Event()
        self._looks = 0
        self._first_change = 0.0
        self._last_change = Change.UNFINISHED
        self._breathe_until = 0.0
        self._due: asyncio.TimerHandle | None = None
        self._polled: Future[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether changes are noticed at once."""
        return self._watcher.alive

    async def start(self) -> InForce | None:
        """Watch, and bring the policy into force; raises what forbids it."""
        return await self.call(self._keeper.start)

    async def run(self) -> None:
        """Look after changes, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._due is None:  # else it is being written, and will be looked at then
                await self.look()

    def poll(self) -> None:
        """See to it that a look follows where one is due and no change was seen.

        To be called now and then, as a net; where nothing is due the loop is not woken. Raises what
        *beside* raised the last time.
        """
        if self._polled is not None and self._polled.done():
            self._polled.result()
            self._polled = None
        if self._polled is None:
            self._polled = self._worker.submit(self._poll)

    def _poll(self) -> None:
        try:
            self._watcher.refresh()
            due = self._keeper.is_due()
        except Exception:  # noqa: BLE001  the look meets it again, and whoever waits for that
            due = True
        if due:
            self._call_soon(self._wake.set)
        self._beside()

    async def look(self) -> None:
        """Look now."""
        self._looked(await self.call(self._keeper.look))

    async def call(self, job: Callable[[], _T]) -> _T:
        """Do *job* in the policy's thread, since files can keep one waiting; between looks."""

        def watch_first() -> _T:  # so that no change falls between the two
            self._watcher.refresh()
            return job()

        self._looks += 1
        try:
            return await asyncio.wrap_future(self._worker.submit(watch_first))
        finally:
            self._looks -= 1

    def _tell(self, change: Change) -> None:
        """Note a change; called in the watcher's thread."""
        self._call_soon(self._changed, change)

    def _call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return  # the loop is closed: the daemon ends

    def _changed(self, change: Change) -> None:
        now = self._loop.time()
        if self._looks:
            self._breathe_until = now + _BREATH_SECONDS
        if self._due is None:
            self._first_change = now
        elif change is Change.RIGHTS or self._last_change is Change.REPLACED:
            return  # neither rights nor what becomes of a predecessor say when it is whole
        else:
            self._due.cancel()
        self._last_change = change
        at = min(now + _SETTLE_SECONDS[change], self._first_change + _SETTLE_AT_MOST_SECONDS)
        self._due = self._loop.call_at(max(at, self._breathe_until), self._settled)

    def _settled(self) -> None:
        self._due = None
        self._wake.set()

    def close(self) -> None:
        """Watch no more."""
        if self._due is not None:
            self._due.cancel()
        self._worker.close(_CLOSE_SECONDS)
        self._watcher.stop()
