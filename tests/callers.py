"""Processes of chosen uids that call chdir at a rate, or as fast as they can."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from harness import compile_c, public_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def caller_program() -> Iterator[Path]:
    """Compile calls.c to a program that every user may run."""
    with public_directory() as path:
        yield compile_c(path, Path(__file__).with_name("calls.c").read_text())


class Callers:
    """Processes of *program* that make calls until `stop`, which says how many, by uid."""

    def __init__(self, stack: contextlib.ExitStack, program: Path) -> None:
        self._stack = stack
        self._program = program
        self._running: list[tuple[int, subprocess.Popen[str]]] = []
        self.seconds: dict[int, float] = {}
        """From the first call of each uid to its last, once stopped."""

    def start(self, uid: int, rate: int = 0, processes: int = 1) -> None:
        """Start *processes* of *uid*; *rate* is calls a second of each, 0 for all it can."""
        for _ in range(processes):
            one = subprocess.Popen(
                [self._program, str(uid), str(rate)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._stack.enter_context(one)
            self._stack.callback(one.kill)
            self._running.append((uid, one))

    def stop(self) -> Counter[int]:
        """End all of them and return how many calls each uid made."""
        made: Counter[int] = Counter()
        times: dict[int, list[int]] = {}
        for uid, one in self._running:
            calls, began, ended = map(int, one.communicate("stop\n")[0].split())
            made[uid] += calls
            times.setdefault(uid, []).extend((began, ended))
        self._running = []
        self.seconds = {uid: (max(some) - min(some)) / 1e9 for uid, some in times.items()}
        return made
