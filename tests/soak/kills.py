"""Kill -9 again and again under load: nothing lost, nothing unexplained, what came twice marked."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from soak.lives import Lives
from soak.load import Kind, Load
from soak.verdict import differences, settle

if TYPE_CHECKING:
    import argparse

_UIDS: Final = (64_101, 64_102)
_RING_BYTES: Final = 128 * 2**20
"""For what is called while there is no daemon, which takes most of a second to start."""
_RATE: Final = 10_000
"""Calls a second of each user: a daemon writes more, so that the ring empties in between."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--kills", type=int, default=100, help="how many (100)")
    parser.add_argument("--events", type=int, default=3_000_000, help="at the least (3,000,000)")


def run(options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """Kill; return what does not hold, and the figures."""
    kinds = tuple(
        Kind(uid, entry, rate=_RATE)
        for uid, entry in zip(_UIDS, ("[chdir]", "{syscalls: [chdir], at: exit}"), strict=True)
    )
    policy = "version: 1\nusers:\n" + "".join(f"  {one.uid}: {one.entry}\n" for one in kinds)
    started = time.monotonic()
    kills = 0
    with Lives(policy, _RING_BYTES) as lives, Load(kinds) as load:
        lives.start()
        load.start()
        ledger = lives.ledger
        while kills < options.kills:
            share = options.events * (kills + random.random()) / options.kills
            lives.wait(lambda due=share: sum(ledger.written.values()) >= due, "events come")
            lives.kill()
            kills += 1
            lives.start()
        lives.wait(lambda: sum(ledger.written.values()) >= options.events, "events come")
        load.rest()
        load.mark(_UIDS[0])
        wrong = differences(settle(lives), ledger, load)
        if lost := sum(ledger.told.values()):
            wrong.append(f"{lost} events were lost")
        if ledger.kinds["gap"] != kills:
            wrong.append(f"{ledger.kinds['gap']} gap records for {kills} kills")
        if lives.stop() != 0 or list(lives.pins.iterdir()):
            wrong.append("a clean stop failed, or left something behind")
        return wrong, {
            "seconds": f"{time.monotonic() - started:.0f}",
            "daemons killed (kill -9)": str(kills),
            "calls made": f"{sum(one.made for one in load.callers.values()):,}",
            "events written": f"{sum(ledger.written.values()):,}",
            "events lost": str(sum(ledger.told.values())),
            "numbers missing": str(ledger.holes),
            "events written twice, marked": f"{ledger.marked:,}",
            "events written twice, unmarked": str(ledger.unmarked),
            "lines that a kill cut off, written whole by the next": str(ledger.torn),
            "gap records": str(ledger.kinds["gap"]),
        }
