"""How the daemon is: what `status` answers, as plain values and as lines to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from uidtraced import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uidtraced.accounts import Account
    from uidtraced.rules import Plan

_COLUMNS: Final = (
    *("uid", "user", "matched", "written", "ring_full", "limited", "sink_dropped", "counted"),
    "pending",
)


@dataclass(frozen=True, slots=True)
class Entries:
    """How large a plan is."""

    users: int
    ranges: int
    rules: int
    rule_sets: int

    @classmethod
    def of(cls, plan: Plan) -> Entries:
        """Count *plan*: distinct uids, ranges with "*" as one, and the rules of both together."""
        scopes = plan.scopes.values()
        return cls(
            users=len({uid for one in scopes for uid in one.uids}),
            ranges=sum(len(one.ranges) + bool(one.others) for one in scopes),
            rules=sum(
                len(rules)
                for one in scopes
                for rules in (*one.uids.values(), *one.ranges.values(), one.others)
            ),
            rule_sets=len(plan.rule_sets()),
        )

    def line(self) -> str:
        """Return it for `systemctl status`."""
        ranges = f" and {self.ranges} ranges" if self.ranges else ""
        return f"{self.users} users{ranges}, {self.rules} rules"


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy in force; *last_error* is why the file as it is now is not, else null."""

    path: str
    sha256: str | None
    """Of the file that is in force; null where that is of a daemon before this one."""
    revision: int
    last_error: str | None
    stale: tuple[str, ...]
    """Names for which the name service did not answer in time."""
    applied_at: float | None
    """When a policy came into force last, in seconds since 1970; null where none has yet."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is in the kernel."""

    attached: bool
    """False while nobody is traced: then it costs nothing."""
    ring_bytes: int
    pending_bytes: int
    """What waits in the ring buffer."""
    batches: bool | None
    """Whether a change of many users is one to the kernel (6.8 and later); None till one came."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where events go."""

    kind: str
    """journal, json or text."""
    lag_seconds: float
    """How old the oldest record is that it has not taken yet; 0 where it keeps up."""


@dataclass(frozen=True, slots=True)
class SinceStart:
    """What happened to this daemon."""

    gaps: int
    """1 where it went on with what a daemon before it had left, else 0."""
    gap_seconds: float
    """For how long there was none."""
    tampered: int
    """Entries and programs that others changed in the kernel."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the daemon is: healthy where there are no *problems*."""

    pid: int
    started: str
    problems: Sequence[str]
    policy: Policy
    plan: Plan
    kernel: Kernel
    output: Output
    since_start: SinceStart
    accounts: Sequence[Account]
    version: str = __version__

    def plain(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return {
            "running": True,
            "healthy": not self.problems,
            "problems": list(self.problems),
            "version": self.version,
            "pid": self.pid,
            "started": self.started,
            "policy": asdict(self.policy),
            "entries": asdict(Entries.of(self.plan)),
            "kernel": asdict(self.kernel),
            "output": asdict(self.output),
            "since_start": asdict(self.since_start),
            "users": [asdict(one) for one in self.accounts],
        }


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """Return *status*, as `Status.plain` made it, as lines to read."""
    policy, entries, kernel = status["policy"], status["entries"], status["kernel"]
    digest = policy["sha256"] or "unknown"
    attached = "attached" if kernel["attached"] else "detached, since nobody is traced"
    output, past = status["output"], status["since_start"]
    gap = f"{past['gap_seconds']:.3f} s without a daemon before it" if past["gaps"] else "no gap"
    found = [
        (
            f"{'healthy' if status['healthy'] else 'degraded'}: pid {status['pid']} "
            f"since {status['started']}, version {status['version']}"
        ),
        *(f"problem: {one}" for one in status["problems"]),
        f"policy:  {policy['path']}, revision {policy['revision']}, sha256 {digest}",
        *([f"refused: {policy['last_error']}"] if policy["last_error"] else ()),
        f"entries: {Entries(**entries).line()}, {entries['rule_sets']} rule sets",
        (
            f"kernel:  {attached}; ring of {kernel['ring_bytes']} bytes, "
            f"{kernel['pending_bytes']} waiting"
        ),
        f"output:  {output['kind']}, {output['lag_seconds']:.3f} s behind",
        f"so far:  {gap}, {past['tampered']} changes by others put right",
    ]
    rows = [_COLUMNS, *(_row(one) for one in status["users"])]
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        found.append("")
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            found.append("  ".join(cells))
    return found


def _row(user: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple("-" if user[name] is None else str(user[name]) for name in _COLUMNS)
