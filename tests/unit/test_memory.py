"""What a large policy needs for a moment goes back to the system."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from uidtraced.memory import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

many = [bytearray(1024) for _ in range(65_536)]
last = bytearray(1024)  # above all of them
del many
full = resident()
give_back()
assert full - resident() > 32 * 2**20, (full, resident())
"""


def test_free_memory_goes_back_also_below_what_is_used() -> None:
    subprocess.run([sys.executable, "-P", "-c", SCRIPT], check=True)
