"""Answers who asks how the daemon is: `status`, `plan` and the metrics."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from uidtraced import reconcile
from uidtraced.planfile import to_plain
from uidtraced.status import Kernel, Output, Policy, SinceStart, Status
from uidtraced.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from uidtraced.accounts import Accounts
    from uidtraced.drift import Drift
    from uidtraced.events.records import GapRecord
    from uidtraced.keeper import Keeper
    from uidtraced.kernel.tracer import Tracer
    from uidtraced.losses import Losses
    from uidtraced.pump import Pump
    from uidtraced.reload import Reloader
    from uidtraced.users import UserNames

_T = TypeVar("_T")

_NAMES_SECONDS: Final = 0.05
"""So long an answer waits for names of users that were not asked for before."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Who knows what is asked for."""

    policy: Path
    output: str
    tracer: Tracer
    pump: Pump
    keeper: Keeper
    reloader: Reloader
    accounts: Accounts
    losses: Losses
    drift: Drift
    names: UserNames


class Answers:
    """Asks *parts*, beside the loop what takes long; *started* is when the daemon did."""

    def __init__(self, parts: Parts, started: str) -> None:
        self._of = parts
        self._started = started
        self._worker = Worker("status")
        self.gap: GapRecord | None = None
        """The record of the time without a daemon before this one, if there was one."""

    def close(self, seconds: float) -> None:
        """Answer no more; wait no longer than *seconds* for what is under way."""
        self._worker.close(seconds)

    async def plan(self) -> object:
        """Return what is in the kernel, read while no change is under way."""
        plan = await self._of.reloader.call(lambda: reconcile.read(self._of.tracer))
        return {"revision": self._of.keeper.revision, "plan": to_plain(plan)}

    async def status(self) -> object:
        """Return the status as plain values."""
        status = await self._status()
        return await self._ask(status.plain)

    async def metrics(
        self, render: Callable[[Status, str], tuple[str, bytes]], accept: str
    ) -> tuple[str, bytes]:
        """Return what *render* makes of the status for who says to *accept* it."""
        status = await self._status()
        return await self._ask(lambda: render(status, accept))

    async def _ask(self, job: Callable[[], _T]) -> _T:
        """Do *job* beside the loop, and beside changes of the policy, which may take long."""
        return await asyncio.wrap_future(self._worker.submit(job))

    async def _status(self) -> Status:
        of, keeper, ring = self._of, self._of.keeper, self._of.tracer.ring
        counters = await self._ask(of.tracer.books.counters)
        if of.names.prepare(counters):
            await asyncio.sleep(_NAMES_SECONDS)
        return Status(
            pid=os.getpid(),
            started=self._started,
            problems=self._problems(),
            policy=Policy(
                str(of.policy),
                None if keeper.in_force is None else keeper.in_force.sha256,
                keeper.revision,
                keeper.last_error,
                tuple(sorted(keeper.stale)),
                keeper.applied_at,
            ),
            plan=keeper.plan,
            kernel=Kernel(of.tracer.attached, ring.size, ring.pending_bytes(), of.tracer.batches),
            output=Output(of.output, of.pump.lag_seconds()),
            since_start=SinceStart(
                gaps=int(self.gap is not None),
                gap_seconds=0.0 if self.gap is None else self.gap.duration_ns / 1e9,
                tampered=of.drift.total,
            ),
            accounts=await self._ask(of.accounts.all),
        )

    def _problems(self) -> list[str]:
        of, found = self._of, []
        if of.keeper.last_error is not None:
            found.append(f"the policy as it is now was refused: {of.keeper.last_error}")
        if of.keeper.stale:
            found.append(f"no answer from the name service for {len(of.keeper.stale)} names")
        if not of.reloader.alive:
            found.append("changes of the policy are not noticed at once: the watcher has ended")
        if of.losses.lately():
            found.append("events were lost within the last minute: see the loss records")
        if of.drift.error is not None:
            found.append(f"what others changed could not be put right: {of.drift.error}")
        if of.drift.lately():
            found.append(
                "others changed what is in the kernel within the last minute: "
                "see the tamper records"
            )
        return found
