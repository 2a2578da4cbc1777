"""How far the kernel is locked down (kernel_lockdown(7)), and what that forbids."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from uidtraced.errors import UnsupportedError

LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")
ADVICE: Final = "it forbids BPF to read the kernel; boot with lockdown=integrity, or without"


def lockdown_mode() -> str | None:
    """Return none, integrity or confidentiality; None where it cannot be told."""
    try:
        text = LOCKDOWN.read_text("ascii")
    except OSError:
        return None
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else None


def need_reading() -> None:
    """Raise UnsupportedError where BPF programs may not read the kernel.

    Some kernels refuse to load such programs, others load them and have every read fail.
    """
    if lockdown_mode() == "confidentiality":
        raise UnsupportedError(f"lockdown=confidentiality: {ADVICE}")
