"""Keeps the kernel equal to the policy file. Blocks, so it runs in a thread of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import structlog

from uidtraced import reconcile
from uidtraced.errors import NO_MEMORY, PolicyError, UidtracedError
from uidtraced.memory import give_back
from uidtraced.policy import load_source, read_source, understand
from uidtraced.reconcile import RuleReader, RuleStore
from uidtraced.rules import Plan

if TYPE_CHECKING:
    from uidtraced.policy import Directory, Loaded, Source

log = structlog.get_logger("policy")

_ACCOUNTS: Final = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
_ASK_AGAIN_SECONDS: Final = 30.0
"""Users of a remote directory come and go without a file that shows it."""
_MANY: Final = 1000
"""So many users take much memory while their plan is made."""


@dataclass(frozen=True, slots=True)
class InForce:
    """What came into force: the counts are of outer-map entries."""

    revision: int
    path: str
    sha256: str
    created: int
    swapped: int
    deleted: int
    unchanged: int
    duration_ns: int


Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]


class _Laps:
    """How long each step of a look took, for the log: they add up to the whole."""

    def __init__(self) -> None:
        self._started_ns = self._last_ns = time.monotonic_ns()
        self._ended: dict[str, int] = {}

    def end(self, step: str) -> None:
        """Note that *step* ends now; it began where the one before ended."""
        now_ns = time.monotonic_ns()
        self._ended[f"{step}_ns"] = now_ns - self._last_ns
        self._last_ns = now_ns

    def fields(self) -> dict[str, int]:
        """Return the steps in their order, as fields of a log line."""
        return self._ended

    @property
    def total_ns(self) -> int:
        """From the start to the end of the last step."""
        return self._last_ns - self._started_ns


class Kernel(RuleStore, RuleReader, Protocol):
    """What is in the kernel; `kernel.tracer.Tracer` is one."""

    adopted: bool
    """Whether a daemon before this one left what is there."""
    revision: int
    """Of the policy in force; it outlives a daemon."""

    @property
    def sees_io_uring(self) -> bool:
        """Whether the kernel shows what is done through io_uring."""


class Keeper:
    """Owns the plan that is in force; `look` compares it with the file."""

    def __init__(self, path: Path, store: Kernel, directory: Directory) -> None:
        self._path = path
        self._store = store
        self._directory = directory
        self._parsed: tuple[str, Loaded | PolicyError] | None = None
        self._decided: tuple[str, Signature] | None = None
        self._decision: PolicyError | None = None
        self._failed = False  # the kernel refused; it may not the next time
        self._asked_at = 0.0
        self._told: tuple[str, ...] = ()
        self._warned: list[str] = []
        self.plan = Plan()
        self.settled = True
        """Whether just *plan* is in the kernel; False after a change that failed."""
        self.revision = 0
        self.in_force: InForce | None = None
        self.applied_at: float | None = None
        """When a policy came into force last, in seconds since 1970."""
        self.stale: frozenset[str] = frozenset()
        """Names for which the name service did not answer in time."""
        self.last_error: str | None = None
        """Why the file as it is now is not in force, on one line; None where it is."""

    def start(self) -> InForce | None:
        """Bring the file into force for the first time; raises what forbids it.

        Where a daemon before this one left a policy in force, that is what it is compared with;
        then a file that cannot be is no reason to end: None, and what was in force stays so.
        """
        laps = _Laps()
        accounts = _signature()
        if self._store.adopted:
            self.plan = reconcile.read(self._store)
            self.revision = self._store.revision
            laps.end("adopt")
        try:
            source = read_source(self._path)
            laps.end("read")
            return self._enforce(source, self._plan(source, accounts, laps), laps)
        except (UidtracedError, MemoryError) as error:
            if not self._store.adopted:
                raise
            self._cannot(error)
            return None

    def look(self) -> InForce | None:
        """Bring the file into force if that changes anything; None where it does not.

        A file that cannot be is told of once, in the log; what was in force stays so. A file that
        was decided on before costs no more than reading it.
        """
        laps = _Laps()
        accounts = _signature()
        done = None
        try:
            source = read_source(self._path)
            laps.end("read")
            if self._is_new(source, accounts):
                plan = self._plan(source, accounts, laps)
                done = self._enforce(source, plan, laps) if plan != self.plan else None
                self._failed = False
            elif self._decision is not None:
                raise self._decision.with_traceback(None)
        except (UidtracedError, MemoryError) as error:
            self._cannot(error)
        else:
            self._is_good()
        return done

    def is_due(self) -> bool:
        """Whether a look may find something: read the file, and no more."""
        return self.last_error is not None or self._is_new(read_source(self._path), _signature())

    def _is_new(self, source: Source, accounts: Signature) -> bool:
        """Whether to decide on *source*, for the first time or again."""
        again = self._failed or time.monotonic() - self._asked_at > _ASK_AGAIN_SECONDS
        return again or (source.sha256, accounts) != self._decided

    def _plan(self, source: Source, accounts: Signature, laps: _Laps) -> Plan:
        """Decide on *source*, and remember that; raises PolicyError where it is refused."""
        self._decided, self._decision = (source.sha256, accounts), None
        self._asked_at = time.monotonic()
        try:
            loaded = self._load(source)
            laps.end("parse")
            intent = understand(loaded, self._directory, sees_io_uring=self._store.sees_io_uring)
            laps.end("plan")
        except PolicyError as error:
            self._decision = error
            raise
        self.stale = intent.stale
        if intent.stale:  # the answers that come in the meantime are for the next look
            self._asked_at = -_ASK_AGAIN_SECONDS
        self._warn([problem.text("warning") for problem in intent.warnings])
        return intent.plan

    def _warn(self, warnings: list[str]) -> None:
        if warnings == self._warned:
            return
        self._warned = warnings
        for problem in warnings[:_TOLD_AT_MOST]:
            log.warning("policy_warning", problem=problem)
        if len(warnings) > _TOLD_AT_MOST:
            log.warning("policy_warning", more_problems=len(warnings) - _TOLD_AT_MOST)

    def _load(self, source: Source) -> Loaded:
        """Parse *source*, once: users are asked for more often than the file changes."""
        if self._parsed is None or self._parsed[0] != source.sha256:
            try:
                self._parsed = source.sha256, load_source(source)
            except PolicyError as error:
                self._parsed = source.sha256, error
        if isinstance(found := self._parsed[1], PolicyError):
            raise found.with_traceback(None)
        return found

    def _enforce(self, source: Source, plan: Plan, laps: _Laps) -> InForce:
        actions = reconcile.diff(self.plan, plan)
        laps.end("diff")
        first = self.in_force is None and not self._store.adopted
        revision = self.revision + 1 if actions or first else self.revision
        self.settled = False
        reconcile.apply(self.plan, plan, self._store, revision)
        self.settled = True
        laps.end("kernel")
        self.plan = plan
        self.revision = self._store.revision = revision
        self.applied_at = time.time()
        log.info("policy_applied", revision=self.revision, **laps.fields())
        self.in_force = InForce(
            revision=self.revision,
            path=source.path,
            sha256=source.sha256,
            duration_ns=laps.total_ns,
            **reconcile.count(actions, plan),
        )
        if len(actions) + self.in_force.unchanged > _MANY:
            del actions
            give_back()
        return self.in_force

    def _cannot(self, error: UidtracedError | MemoryError) -> None:
        """Refuse the file for *error*; what is not the file's fault may be over the next time."""
        if isinstance(error, PolicyError):
            self._refuse([str(problem) for problem in error.problems])
            return
        self._failed = True
        is_ours = isinstance(error, UidtracedError)
        self._refuse([str(error) if is_ours else f"{self._path}: {NO_MEMORY}"])

    def _refuse(self, problems: list[str]) -> None:
        self.last_error = problems[0]
        told = tuple(problems)
        if told == self._told:
            return
        self._told = told
        for problem in problems[:_TOLD_AT_MOST]:
            log.error("policy_refused", problem=problem, revision_in_force=self.revision)
        if len(problems) > _TOLD_AT_MOST:
            log.error("policy_refused", more_problems=len(problems) - _TOLD_AT_MOST)

    def _is_good(self) -> None:
        if self._told:
            log.info("policy_good_again", revision_in_force=self.revision)
        self._told = ()
        self.last_error = None


_TOLD_AT_MOST: Final = 20


def _signature() -> Signature:
    """Return what changes when the machine's own user files do."""
    found: list[tuple[int, int, int] | None] = []
    for path in _ACCOUNTS:
        try:
            status = Path(path).stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_ctime_ns))
    return tuple(found)
