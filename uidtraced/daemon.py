"""The daemon: wires policy, kernel and events together, and owns the loop and the lifetimes."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import gc
import itertools
import math
import platform
import resource
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import structlog

from uidtraced import systemd
from uidtraced.accounts import Accounts
from uidtraced.answers import Answers, Parts
from uidtraced.control import Control
from uidtraced.directory import PatientDirectory
from uidtraced.drift import Drift
from uidtraced.errors import PermissionDeniedError, PolicyError, UnsupportedError
from uidtraced.events.cgroups import CgroupNames
from uidtraced.events.clock import WallClock
from uidtraced.events.decode import Decoder, Naming
from uidtraced.events.exes import ExePaths
from uidtraced.events.records import PolicyRecord, repeated
from uidtraced.events.render import json_lines, text_lines
from uidtraced.events.shapes import shapes
from uidtraced.events.sinks import JournalSink, StreamSink
from uidtraced.events.uring import stands_for
from uidtraced.journald import find_journald, follow_journald
from uidtraced.keeper import Keeper
from uidtraced.kernel.probe import missing_capabilities
from uidtraced.kernel.ring import EVENT_OFFSETS, EVENT_SIZE
from uidtraced.kernel.tracer import Tracer
from uidtraced.lock import instance_lock
from uidtraced.losses import Losses
from uidtraced.policy import SystemDirectory, call_name, name_of
from uidtraced.policy.names import numbers
from uidtraced.pump import Pump
from uidtraced.reload import Reloader
from uidtraced.restart import gap, gap_anew, open_store, settle
from uidtraced.rules import machine_abis
from uidtraced.scrape import Scrape
from uidtraced.status import Entries
from uidtraced.users import UserNames

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from uidtraced.drift import Tampering
    from uidtraced.events.records import GapRecord, SyscallEvent
    from uidtraced.events.sinks import Sink
    from uidtraced.keeper import InForce
    from uidtraced.rules import Plan
    from uidtraced.scrape import Address

log = structlog.get_logger("daemon")

_TICK_SECONDS: Final = 4.0
_TICKS_A_SIGN: Final = 2
"""So many make one sign of life to systemd."""
_STOP_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 5.0
_DRAIN_RETRY_SECONDS: Final = 0.02


class Output(enum.StrEnum):
    """Where and how events are written."""

    AUTO = "auto"
    JOURNAL = "journal"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Options:
    """What `uidtraced run` was told."""

    policy: Path
    output: Output
    ring_bytes: int
    pin_dir: Path | None = None
    metrics: Address | None = None


def resolve_output(output: Output) -> Output:
    """Return what `auto` means here: journal under systemd, text on a terminal, JSON otherwise."""
    if output is not Output.AUTO:
        return output
    if systemd.runs_as_service():
        return Output.JOURNAL
    return Output.TEXT if sys.stdout.isatty() else Output.JSON


def run(options: Options) -> None:
    """Trace until SIGTERM or SIGINT. Raises UidtracedError for what forbids it."""
    if not machine_abis():
        raise UnsupportedError(f"{platform.machine()} is not supported; x86_64 and aarch64 are")
    if missing := missing_capabilities():
        raise PermissionDeniedError(
            f"{' and '.join(missing)} missing; run it as root or by its systemd unit"
        )
    _allow_many_fds()
    with contextlib.ExitStack() as stack:
        stack.enter_context(instance_lock())
        sink = stack.enter_context(contextlib.closing(_open_sink(options.output)))
        tables = {abi: numbers(abi) for abi in machine_abis()}
        store = open_store(options.pin_dir)
        tracer = stack.enter_context(
            Tracer(options.ring_bytes, shapes(tables), store, stands_for(tables))
        )
        names = stack.enter_context(contextlib.closing(UserNames(name_of)))
        directory = stack.enter_context(contextlib.closing(PatientDirectory(SystemDirectory())))
        try:
            asyncio.run(_serve(options, tracer, sink, names, directory))
        except PolicyError:  # refused at the first start: nothing is in force that could stay so
            tracer.end()
            raise


def _allow_many_fds() -> None:
    """Take as many fds as we may have: each rule set has one."""
    with contextlib.suppress(OSError, ValueError):  # the unit's seccomp filter, which has its own
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _open_sink(output: Output) -> Sink:
    match resolve_output(output):
        case Output.JOURNAL:
            return JournalSink()
        case Output.TEXT:
            return StreamSink(sys.stdout.fileno(), text_lines)
        case _:
            return StreamSink(sys.stdout.fileno(), json_lines)


class _Service:
    """The parts, and the loop's callbacks that join them."""

    def __init__(
        self,
        options: Options,
        tracer: Tracer,
        sink: Sink,
        names: UserNames,
        directory: PatientDirectory,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._options = options
        self._tracer = tracer
        self._clock = WallClock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hung_up = asyncio.Event()
        self._ended: asyncio.Future[None] = loop.create_future()
        naming = Naming(call_name, names, CgroupNames(), ExePaths(tracer.exe))
        decoder = Decoder(EVENT_OFFSETS, EVENT_SIZE, naming)
        self._names = names
        self._accounts = Accounts(tracer.books, tracer.ring, names.known)
        self._decode = decoder.decode
        self._pump = Pump(tracer.ring, self._events, sink, self._accounts.wrote, self._fail)
        self._keeper = Keeper(options.policy, tracer, directory)
        self._looked_at: Plan | None = None
        self._limits = False
        self._losses = Losses(self._lost, self._has_limits, self._accounts, names, self._clock)
        self._drift = Drift(self._keeper, tracer)
        self._reloader = Reloader(options.policy, self._keeper, self._looked, self._inspect)
        parts = Parts(
            policy=options.policy,
            output=str(resolve_output(options.output)),
            tracer=tracer,
            pump=self._pump,
            keeper=self._keeper,
            reloader=self._reloader,
            accounts=self._accounts,
            losses=self._losses,
            drift=self._drift,
            names=names,
        )
        self._answers = Answers(parts, self._clock.now())
        self._control = Control({"plan": self._answers.plan, "status": self._answers.status})
        self._scrape = self._open_metrics(options.metrics)

    async def run(self) -> None:
        """Trace until a signal or a failure; raises the failure."""
        try:
            self._handle_signals()
            self._start(self._begin())
            await self._ended
        finally:
            systemd.stopping()
            await self._stop()
        log.info("stopped", revision=self._keeper.revision)

    async def _begin(self) -> None:
        """Bring the policy into force, and begin all that goes on from then."""
        if self._scrape is not None:
            await self._scrape.start()
        journal = find_journald()
        self._tracer.exclude_journal(journal or 0)
        if self._tracer.adopted:
            self._note_gap(gap(self._tracer, self._accounts, self._clock))
            self._losses.tell(self._pump.emit)
            self._pump.start()  # a policy may take long, or even end us; the ring goes on
        done = await self._reloader.start()
        if rest := self._tracer.end_predecessor():
            self._note_gap(gap_anew(rest, self._clock))
        self._looked(done)
        if not self._tracer.adopted:
            self._pump.start()
        await self._control.start()
        self._start(self._reload())
        self._start(self._reloader.run())
        self._start(follow_journald(self._tracer.exclude_journal, journal))
        self._start(self._tick())
        settle(self._tracer.store)
        systemd.ready(_status(self._keeper))
        gc.freeze()  # what stays need not be looked at again and again while events come
        log.info("tracing", revision=self._keeper.revision)

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._control.stop()
        if self._scrape is not None:
            await self._scrape.stop()
        self._answers.close(_STOP_SECONDS)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)  # whatever they do: it ends
        self._reloader.close()  # before detaching, since a look that is under way may attach
        if not self._tracer.survives_stop:
            self._tracer.detach()
        await self._drain()
        self._pump.stop()
        if self._tracer.survives_stop:
            self._tracer.leave()
        else:
            self._tracer.end()

    async def _drain(self) -> None:
        """Write what is in the ring, for as long as a stop may take."""
        pump, losses = self._pump, self._losses
        if not pump.alive:
            return
        deadline = time.monotonic() + _DRAIN_SECONDS
        for _ in range(2):  # what is refused on the way is told of too
            losses.tell(pump.emit, everything=True)
            while not pump.drain_rest(deadline):
                if time.monotonic() >= deadline:
                    left = sum(one.pending for one in self._accounts.all())
                    log.warning(
                        "events_left_unwritten", count=left, reason="the output takes no more"
                    )
                    return
                await asyncio.sleep(_DRAIN_RETRY_SECONDS)

    def _events(self, batch: memoryview, data: memoryview) -> Sequence[SyscallEvent]:
        events = self._decode(batch, data)
        return repeated(events) if self._tracer.ring.repeated else events

    def _lost(self) -> int:
        """Return how many events left a hole in the numbers."""
        return self._tracer.books.lost() + self._accounts.dropped

    def _has_limits(self) -> bool:
        plan = self._keeper.plan
        if plan is not self._looked_at:
            self._looked_at = plan
            self._limits = any(one.limit for rules in plan.rule_sets() for one in rules)
        return self._limits

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end)
        self._loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        # asyncio's pipe for signals may be full: then it wakes anyway, and CPython must not warn,
        # which takes a lock that the interrupted code may hold
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)

    async def _reload(self) -> None:
        """Look at once after SIGHUP, for ever; of several in a row the last counts."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            systemd.reloading()
            await self._reloader.look()
            systemd.ready(_status(self._keeper))

    async def _tick(self) -> None:
        """Do what is due now and then, for ever: all at once, so that rest is rest."""
        limit = systemd.watchdog_seconds() or math.inf
        seconds = min(_TICK_SECONDS, limit / (3 * _TICKS_A_SIGN))
        for number in itertools.count():
            self._tracer.beat()
            if not self._pump.waits:
                self._losses.tell(self._pump.emit)
            self._reloader.poll()
            healthy = self._pump.alive and self._reloader.alive
            if limit < math.inf and healthy and number % _TICKS_A_SIGN == 0:
                systemd.alive()
            await asyncio.sleep(seconds)

    def _note_gap(self, record: GapRecord) -> None:
        self._answers.gap = record
        self._pump.emit(record)

    def _looked(self, done: InForce | None) -> None:
        if done is not None:
            record = PolicyRecord(ts=self._clock.now(), event="policy", **asdict(done))
            self._pump.emit(record)
        systemd.show(_status(self._keeper))

    def _inspect(self) -> None:
        """Put right what others changed; in the policy's thread."""
        if found := self._drift.check():
            with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon ends
                self._loop.call_soon_threadsafe(self._tampered, found)

    def _tampered(self, found: Tampering) -> None:
        for record in found.records(self._clock.now(), self._names):
            self._pump.emit(record)

    def _open_metrics(self, address: Address | None) -> Scrape | None:
        """Return what will serve the metrics at *address*; None for none, which costs nothing."""
        if address is None:
            return None
        from uidtraced.metrics import render  # noqa: PLC0415  loads much that is for this alone

        return Scrape(address, functools.partial(self._answers.metrics, render))

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._passed)

    def _passed(self, task: asyncio.Task[None]) -> None:
        """End the daemon with what ended *task*: none of them may end in silence."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)


async def _serve(
    options: Options, tracer: Tracer, sink: Sink, names: UserNames, directory: PatientDirectory
) -> None:
    await _Service(options, tracer, sink, names, directory).run()


def _status(keeper: Keeper) -> str:
    """Return the line that `systemctl status` shows."""
    text = f"{Entries.of(keeper.plan).line()}, revision {keeper.revision}"
    return text if keeper.last_error is None else f"{text}; refused: {keeper.last_error}"
