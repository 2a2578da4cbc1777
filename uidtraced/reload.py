"""Decides when to look at the policy file: soon after a change, and now and then in any case."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from uidtraced.watch import Watcher
from uidtraced.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from uidtraced.keeper import InForce, Keeper

_T = TypeVar("_T")

_SETTLE_SECONDS: Final = 0.02
"""A change is looked at when the file was left alone for so long,"""
_SETTLE_AT_MOST_SECONDS: Final = 0.1
"""or at the latest so long after the first of a row of changes."""
_POLL_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 2.0


class Reloader:
    """Lets *keeper* look, in a thread, one look at a time; tells *looked* what came of it."""

    def __init__(
        self, path: Path, keeper: Keeper, looked: Callable[[InForce | None], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._looked = looked
        self._worker = Worker("policy")
        self._watcher = Watcher(path, self._tell)
        self._wake = asyncio.Event()
        self._first_change = 0.0
        self._due: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        """Whether changes are noticed at once."""
        return self._watcher.alive

    async def start(self) -> InForce:
        """Watch, and bring the policy into force; raises what forbids it."""
        self._watcher.start()  # before reading: no change falls between the two
        return await self.call(self._keeper.start)

    async def run(self) -> None:
        """Look for ever: after changes, and every two seconds as a net under them."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)
            except TimeoutError:
                self._watcher.refresh()
            self._wake.clear()
            await self.look()

    async def look(self) -> None:
        """Look now."""
        self._looked(await self.call(self._keeper.look))

    async def call(self, job: Callable[[], _T]) -> _T:
        """Do *job* in the thread that looks, so between looks."""
        return await asyncio.wrap_future(self._worker.submit(job))

    def _tell(self) -> None:
        """Note a change; called in the watcher's thread."""
        try:
            self._loop.call_soon_threadsafe(self._changed)
        except RuntimeError:
            return  # the loop is closed: the daemon ends

    def _changed(self) -> None:
        now = self._loop.time()
        if self._due is None:
            self._first_change = now
        else:
            self._due.cancel()
        at = min(now + _SETTLE_SECONDS, self._first_change + _SETTLE_AT_MOST_SECONDS)
        self._due = self._loop.call_at(at, self._settled)

    def _settled(self) -> None:
        self._due = None
        self._wake.set()

    def close(self) -> None:
        """Watch no more."""
        if self._due is not None:
            self._due.cancel()
        self._watcher.stop()
        self._worker.close(_CLOSE_SECONDS)
