"""Compares what the kernel counted, what was written and what was called; collects figures."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from soak.ledger import Ledger
    from soak.lives import Lives
    from soak.load import Load

_PARTS: Final = ("written", "ring_full", "limited", "sink_dropped", "counted", "pending")
_GROWTH_KIB: Final = 4096
"""More than this from the first third of a life to its last is growth: an hour of a leak is."""


def settle(lives: Lives) -> dict[int, dict[str, Any]]:
    """Wait until nothing is pending and all that was written was read; return users by uid."""
    found: dict[int, dict[str, Any]] = {}

    def at_rest() -> bool:
        status = lives.status()
        if status is None:
            return False
        found.clear()
        found.update({one["uid"]: one for one in status["users"]})
        told = lives.ledger.told
        return status["kernel"]["pending_bytes"] == 0 and all(
            not one["pending"]
            and lives.ledger.written[uid] >= one["written"]
            and told[uid] >= one["ring_full"] + one["sink_dropped"]
            for uid, one in found.items()
        )

    lives.wait(at_rest, "all is written, read and told")
    return found


def differences(users: dict[int, dict[str, Any]], ledger: Ledger, load: Load) -> list[str]:
    """Return what does not hold at rest; nothing where all does."""
    wrong = []
    for uid, one in users.items():
        parts = [one[name] for name in _PARTS]
        if one["matched"] != sum(parts) or min(parts) < 0:
            wrong.append(f"uid {uid}: the sum is not whole: {one}")
        if ledger.written[uid] != one["written"]:
            wrong.append(f"uid {uid}: {ledger.written[uid]} events came, {one['written']} counted")
        lost = one["ring_full"] + one["sink_dropped"]
        if ledger.told[uid] != lost:
            wrong.append(f"uid {uid}: {lost} were lost, {ledger.told[uid]} told of")
    for uid, caller in load.callers.items():
        made = round(caller.made * caller.kind.matches)
        matched = users[uid]["matched"] if uid in users else 0
        if matched != made:
            wrong.append(f"uid {uid}: {made} calls to match, {matched} matched")
    if ledger.holes != sum(ledger.told.values()):
        wrong.append(f"{ledger.holes} numbers are missing, {sum(ledger.told.values())} told of")
    if ledger.unmarked:
        wrong.append(f"{ledger.unmarked} events came twice without a mark")
    return wrong


@dataclass
class Weights:
    """What one daemon weighed at each rest."""

    memory_kib: list[int] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    def weigh(self, lives: Lives) -> None:
        """Note what it weighs now."""
        self.memory_kib.append(lives.memory_kib())
        self.fds.append(lives.fds())

    def growth_kib(self) -> int:
        """Return the median of the last third less that of the first."""
        if not self.memory_kib:
            return 0
        third = max(1, len(self.memory_kib) // 3)
        first, last = self.memory_kib[:third], self.memory_kib[-third:]
        return round(statistics.median(last) - statistics.median(first))

    def differences(self) -> list[str]:
        """Return what grew."""
        wrong = []
        if self.growth_kib() > _GROWTH_KIB:
            wrong.append(f"memory grew by {self.growth_kib()} KiB: {self.memory_kib}")
        if len(set(self.fds)) > 1:
            wrong.append(f"the number of open files changed: {self.fds}")
        return wrong
