"""Processes of several users that make a known number of calls."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass
from typing import Final, Self

_CHILD: Final = """
import os, sys, time
made = 0
for line in sys.stdin:
    calls, seconds, every_cpu, failing = line.split()
    calls, seconds = int(calls), float(seconds)
    paths = ("/", "/nowhere") if failing == "1" else ("/",)
    cpus = sorted(os.sched_getaffinity(0))
    for cpu in cpus if every_cpu == "1" else (None,):
        if cpu is not None:
            os.sched_setaffinity(0, [cpu])
        until, steps = time.monotonic(), 20 if seconds else 1
        for step in range(steps):
            for _ in range(calls // steps):
                for path in paths:
                    made += 1
                    try:
                        os.chdir(path)
                    except OSError:
                        pass
            until += seconds / steps
            time.sleep(max(0, until - time.monotonic()))
    os.sched_setaffinity(0, cpus)
    print(made, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A user of the load: what the policy says of him, and what he does all the time."""

    uid: int
    entry: str
    """His entry of the policy, after the colon."""
    rate: int = 0
    """Calls a second, made in steps."""
    failing: bool = False
    """Whether every second call is one that fails."""
    matches: float = 1.0
    """Which part of his calls a rule matches."""


class Caller:
    """One process of *kind*; `ask` lets it make more calls."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.made = 0
        """Calls that it has made."""
        self._process = subprocess.Popen(
            [
                *("setpriv", "--reuid", str(kind.uid), "--clear-groups"),
                *("/usr/bin/python3", "-S", "-c", _CHILD),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()

    def ask(self, calls: int, seconds: float = 0.0, *, every_cpu: bool = False) -> None:
        """Let it make *calls* within *seconds*, or on each cpu; returns when they are made."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            rounds = calls // 2 if self.kind.failing else calls
            words = (rounds, seconds, int(every_cpu), int(self.kind.failing))
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
            self._process.stdin.flush()
            self.made = int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Load:
    """All callers; those with a rate call at it from `start` to `rest`."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self.callers = {kind.uid: Caller(kind) for kind in kinds}
        self._threads: list[threading.Thread] = []
        self._ends = threading.Event()

    def start(self) -> None:
        """Call at each one's rate from now on."""
        self._ends.clear()
        for caller in self.callers.values():
            if caller.kind.rate:
                thread = threading.Thread(target=self._call, args=(caller,), name="load")
                thread.start()
                self._threads.append(thread)

    def _call(self, caller: Caller) -> None:
        while not self._ends.is_set():
            caller.ask(caller.kind.rate // 2, 0.5)

    def rest(self) -> None:
        """Call no more; returns when all calls are made."""
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def mark(self, uid: int) -> None:
        """Let *uid* make a call on each cpu: so that a loss at the end of one shows as a hole."""
        self.callers[uid].ask(2 if self.callers[uid].kind.failing else 1, every_cpu=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        for caller in self.callers.values():
            caller.close()


def cpus() -> int:
    """Return how many cpus there are to call on."""
    return len(os.sched_getaffinity(0))
