"""Feeds hostile bytes to all that reads what others choose: the kernel's events, files, sockets.

Inputs come from a seeded generator, a batch at a time, so that a failure can be had again.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz import events, policies, surroundings, talk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Run = Callable[[random.Random, int, Path], object]

BATCH: Final = 100
HANG_SECONDS: Final = 120.0
"""For a batch, which takes a tenth of a second."""

SHARES: Final[dict[str, tuple[int, Run]]] = {
    "events": (60, events.run),
    "policies": (15, policies.run),
    "surroundings": (10, surroundings.run),
    "talk": (15, talk.run),
}
"""Percent of all inputs, and what tries them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what *arguments* say; 0 where nothing did harm."""
    parser = argparse.ArgumentParser(prog="script/fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="(one that is printed)")
    parser.add_argument("--only", choices=SHARES, help="these inputs alone")
    parser.add_argument("--batch", type=int, help="this batch alone, of the seed and --only")
    options = parser.parse_args(arguments)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    faulthandler.enable()  # a crash in C names what was under way
    with tempfile.TemporaryDirectory(prefix="uidtraced-fuzz-", dir=_memory()) as name:
        surroundings.prepare(Path(name))
        for what, (share, run) in SHARES.items():
            if options.only not in (None, what):
                continue
            percent = share if options.only is None else 100
            batches = range(-(-options.inputs * percent // (100 * BATCH)))
            if options.batch is not None:
                batches = range(options.batch, options.batch + 1)
            if not _try(what, run, seed, batches, Path(name)):
                return 1
    return 0


def _try(what: str, run: Run, seed: int, batches: range, directory: Path) -> bool:
    started = time.monotonic()
    for batch in batches:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            run(random.Random(f"{seed}:{what}:{batch}"), BATCH, directory)
        except Exception:  # noqa: BLE001  whatever it is, it is what was looked for
            traceback.print_exc()
            print(f"FAILED: script/fuzz --seed {seed} --only {what} --batch {batch}")
            return False
        finally:
            faulthandler.cancel_dump_traceback_later()
    took = time.monotonic() - started
    print(f"{what}: {len(batches) * BATCH} inputs in {took:.0f} s, no harm", flush=True)
    return True


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
