"""The memory of BPF maps, as the kernel accounts for it."""

from __future__ import annotations

import json
import subprocess


def map_bytes() -> dict[int, int]:
    """Return the bytes of every BPF map of this kernel, by id."""
    said = subprocess.run(
        ["bpftool", "--json", "map", "show"], check=True, capture_output=True, text=True
    )
    return {one["id"]: int(one["bytes_memlock"]) for one in json.loads(said.stdout)}


def growth_bytes(before: dict[int, int]) -> int:
    """Return how many bytes the maps have more than *before*.

    Those that are gone do not count: the kernel frees what ended before, in its own time.
    """
    return sum(size - before.get(number, 0) for number, size in map_bytes().items())
