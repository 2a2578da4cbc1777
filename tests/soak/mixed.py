"""Mixed load with reloads, restarts, floods and stalls, and at each rest the sum to the last event.

In the first half daemons are killed, in the second one daemon lives to the end, and is weighed.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from soak.lives import Lives
from soak.load import Kind, Load
from soak.verdict import Weights, differences, settle

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_STEADY, _FLOODS = 64_101, 64_105
_KINDS: Final = (
    Kind(_STEADY, "[chdir]", rate=1000),
    Kind(64_102, "{syscalls: [chdir], at: exit, only: errors}", 400, failing=True, matches=0.5),
    Kind(64_103, "{syscalls: [chdir], limit: 100/s}", rate=400),
    Kind(64_104, "{syscalls: [chdir], mode: count}", rate=2000),
    Kind(_FLOODS, "[chdir]"),
    Kind(64_106, "{syscalls: [chdir], at: exit}", rate=300),
)
_RING_BYTES: Final = 8 * 2**20
_FLOOD_CALLS: Final = 200_000
_EDITS: Final = 1000
_STALL_SECONDS: Final = 3.0
_LONG_SECONDS: Final = 60.0
_LONG_RUN_MINUTES: Final = 20.0
_ROUND_SECONDS: Final = 40.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, about (60)")
    parser.add_argument(
        "--long", action="store_true", help="do the trials of a minute each in a short run too"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the order")


def policy(variant: int = 0) -> str:
    """Return the policy; each *variant* gives the steady user and one more other rules."""
    lines = [f"  {kind.uid}: {kind.entry}\n" for kind in _KINDS if kind.uid != _STEADY]
    other = ("uname", "fchdir")[variant % 2]
    lines.append(f"  {_STEADY}: [chdir, {other}]\n  {70_000 + variant % 7}: [{other}]\n")
    return "version: 1\nusers:\n" + "".join(lines)


class _Soak:
    """One run."""

    def __init__(self, lives: Lives, load: Load, seed: int) -> None:
        self._lives = lives
        self._load = load
        self._random = random.Random(seed)
        self._variant = 0
        self.done: Counter[str] = Counter()
        self.weights = Weights()

    def reload(self) -> None:
        """Edit a thousand times in a second."""
        self._edit_for(1.0)

    def _edit_for(self, seconds: float) -> None:
        started = time.monotonic()
        for number in range(round(_EDITS * seconds)):
            self._variant += 1
            self._lives.edit(policy(self._variant))
            time.sleep(max(0.0, started + number / _EDITS - time.monotonic()))
        self.done["edits"] += round(_EDITS * seconds)

    def kill(self) -> None:
        """Kill the daemon, and start the next one after a moment."""
        self._lives.kill()
        time.sleep(self._random.random())
        self._lives.start()
        self.done["kills"] += 1

    def flood(self) -> None:
        """Let one user call as fast as he can."""
        self._load.callers[_FLOODS].ask(_FLOOD_CALLS)
        self.done["floods"] += 1

    def stall_reader(self, seconds: float = _STALL_SECONDS) -> None:
        """Read nothing of the output for a while; a flood fills what waits."""
        self._lives.ledger.stall()
        self.flood()
        time.sleep(seconds)
        self._lives.ledger.go_on()
        self.done["stalls"] += 1

    def stop_daemon(self, seconds: float = _STALL_SECONDS) -> None:
        """Stop the daemon (SIGSTOP) for a while; a flood fills what waits."""
        self._lives.signal(signal.SIGSTOP)
        self.flood()
        time.sleep(seconds)
        self._lives.signal(signal.SIGCONT)
        self.done["SIGSTOPs"] += 1

    def long_trials(self) -> None:
        """Do for a minute each what is done for seconds elsewhere."""
        self._edit_for(_LONG_SECONDS)
        self.stop_daemon(_LONG_SECONDS)
        self.stall_reader(_LONG_SECONDS)

    def round(self, trials: list[Callable[[], None]], *, weigh: bool) -> list[str]:
        """Do *trials* in any order under load, then rest; return what does not hold."""
        until = time.monotonic() + _ROUND_SECONDS
        self._load.start()
        self._random.shuffle(trials)
        for trial in trials:
            time.sleep(self._random.random() * _ROUND_SECONDS / 10)
            trial()
        time.sleep(max(0.0, until - time.monotonic()))
        self._load.rest()
        settle(self._lives)
        self._load.mark(_STEADY)
        users = settle(self._lives)
        self.done["rests"] += 1
        if weigh:
            self.weights.weigh(self._lives)
        return differences(users, self._lives.ledger, self._load)


def run(options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """Soak; return what does not hold, and the figures."""
    wrong: list[str] = []
    started = time.monotonic()
    seconds = options.minutes * 60
    with Lives(policy(), _RING_BYTES) as lives, Load(_KINDS) as load:
        lives.start()
        soak = _Soak(lives, load, options.seed)
        long = options.long or options.minutes >= _LONG_RUN_MINUTES
        while not wrong and (passed := time.monotonic() - started) < seconds - _ROUND_SECONDS / 2:
            second_half = passed > seconds / 2
            trials = [soak.reload, soak.flood, soak.stall_reader, soak.stop_daemon]
            if not second_half:
                trials += [soak.kill, soak.kill, soak.kill]
            elif long:
                trials.append(soak.long_trials)
                long = False
            wrong += soak.round(trials, weigh=second_half)
            print(_progress(lives, soak, passed), flush=True)
        wrong += soak.weights.differences()
        pinned = len(list(lives.pins.iterdir()))
        if lives.stop() != 0 or list(lives.pins.iterdir()):
            wrong.append("a clean stop failed, or left something behind")
        return wrong, _figures(lives, load, soak, time.monotonic() - started, pinned)


def _progress(lives: Lives, soak: _Soak, passed: float) -> str:
    ledger = lives.ledger
    return (
        f"{passed / 60:5.1f} min: {sum(ledger.written.values())} events, "
        f"{sum(ledger.told.values())} lost and told, {ledger.holes} missing, "
        f"{dict(soak.done)}, {lives.memory_kib()} KiB, {lives.fds()} fds"
    )


def _figures(lives: Lives, load: Load, soak: _Soak, seconds: float, pinned: int) -> dict[str, str]:
    ledger, weights = lives.ledger, soak.weights
    made = sum(caller.made for caller in load.callers.values())
    return {
        "minutes": f"{seconds / 60:.1f}",
        "calls made by the load": f"{made:,}",
        "events written": f"{sum(ledger.written.values()):,}",
        "events lost (ring buffer full), each told by user": f"{sum(ledger.told.values()):,}",
        "numbers missing that no record explains": f"{ledger.holes - sum(ledger.told.values())}",
        "events written twice, marked": f"{ledger.marked:,}",
        "events written twice, unmarked": f"{ledger.unmarked}",
        "daemons killed (kill -9)": str(soak.done["kills"]),
        "edits of the policy": f"{soak.done['edits']:,}",
        "policies in force": f"{ledger.kinds['policy']:,}",
        f"floods of {_FLOOD_CALLS:,} calls": str(soak.done["floods"]),
        "stalls of the reader": str(soak.done["stalls"]),
        "stops of the daemon (SIGSTOP)": str(soak.done["SIGSTOPs"]),
        "rests at which every sum was compared": str(soak.done["rests"]),
        "memory of the last daemon, KiB, at its rests": _span(weights.memory_kib),
        "its growth from the first third to the last, KiB": str(weights.growth_kib()),
        "its open files, at its rests": _span(weights.fds),
        "objects pinned at the end, before the stop": str(pinned),
    }


def _span(values: list[int]) -> str:
    return f"{min(values):,} to {max(values):,} ({len(values)} rests)" if values else "-"
