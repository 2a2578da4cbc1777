"""Keeps the kernel equal to the policy file. Blocks, so it runs in a thread of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from uidtraced import reconcile
from uidtraced.errors import PolicyError, UidtracedError
from uidtraced.policy import load, understand
from uidtraced.rules import Plan

if TYPE_CHECKING:
    from uidtraced.policy import Directory, Loaded
    from uidtraced.reconcile import RuleStore

log = structlog.get_logger("policy")

_ACCOUNTS: Final = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
_ASK_AGAIN_SECONDS: Final = 30.0
"""Users of a remote directory come and go without a file that shows it."""


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


class Keeper:
    """Owns the plan that is in force; `look` compares it with the file."""

    def __init__(self, path: Path, store: RuleStore, directory: Directory) -> None:
        self._path = path
        self._store = store
        self._directory = directory
        self._seen: tuple[str, Signature] | None = None
        self._asked_at = 0.0
        self._told: tuple[str, ...] = ()
        self._warned: list[str] = []
        self.plan = Plan()
        self.revision = 0
        self.in_force: InForce | None = None
        self.stale: frozenset[str] = frozenset()
        self.last_error: str | None = None
        """Why the file as it is now is not in force, on one line; None where it is."""

    def start(self) -> InForce:
        """Bring the file into force for the first time; raises what forbids it."""
        started_ns = time.monotonic_ns()
        accounts = _signature()
        loaded = load(self._path)
        done = self._enforce(loaded, self._plan(loaded), started_ns)
        self._seen = (loaded.source.sha256, accounts)
        return done

    def look(self) -> InForce | None:
        """Bring the file into force if that changes anything; None where it does not.

        A file that cannot be is told of once, in the log; what was in force stays so.
        """
        started_ns = time.monotonic_ns()
        accounts = _signature()
        try:
            loaded = load(self._path)
            stale = time.monotonic() - self._asked_at > _ASK_AGAIN_SECONDS
            if self._seen == (loaded.source.sha256, accounts) and not stale:
                self._is_good()
                return None
            plan = self._plan(loaded)
            done = self._enforce(loaded, plan, started_ns) if plan != self.plan else None
            self._seen = (loaded.source.sha256, accounts)
        except PolicyError as error:
            self._refuse([str(problem) for problem in error.problems])
        except UidtracedError as error:
            self._refuse([str(error)])
        else:
            self._is_good()
            return done
        return None

    def _plan(self, loaded: Loaded) -> Plan:
        intent = understand(loaded, self._directory)
        # where there was no answer, what came in the meantime is looked for at the next look
        self._asked_at = -_ASK_AGAIN_SECONDS if intent.stale else time.monotonic()
        self.stale = intent.stale
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

    def _enforce(self, loaded: Loaded, plan: Plan, started_ns: int) -> InForce:
        actions = reconcile.diff(self.plan, plan)
        reconcile.apply(self.plan, plan, self._store, self.revision + 1)
        self.plan = plan
        self.revision += 1
        self.in_force = InForce(
            revision=self.revision,
            path=loaded.source.path,
            sha256=loaded.source.sha256,
            duration_ns=time.monotonic_ns() - started_ns,
            **reconcile.count(actions, plan),
        )
        return self.in_force

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
