"""What outlives the daemon: fds that somebody keeps for the next one."""

from __future__ import annotations

import hashlib
import importlib.resources
from typing import TYPE_CHECKING, Final, Protocol

from uidtraced.kernel.libbpf import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterable

LAYOUT: Final[str] = ffi.string(lib.uidtraced_layout).decode("ascii")
"""A digest of bpf/event.h: maps of another layout cannot be read."""


class FdStore(Protocol):
    """Keeps fds under names of letters, digits, hyphens and underscores."""

    survives_stop: bool
    """Whether what is kept is left to the store at a clean stop: it may be a restart."""

    def kept(self) -> dict[str, int]:
        """Return what the last daemon left; the fds are the caller's from now on."""

    def keep(self, name: str, fd: int) -> None:
        """Keep what *fd* refers to; the fd stays the caller's."""

    def drop(self, names: Iterable[str]) -> None:
        """Keep *names* no longer."""


class NoStore:
    """Keeps nothing: tracing ends with the daemon."""

    survives_stop = False

    def kept(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def keep(self, name: str, fd: int) -> None:
        """Do nothing."""

    def drop(self, names: Iterable[str]) -> None:
        """Do nothing."""


def object_code() -> bytes:
    """Return the BPF object of this package."""
    return importlib.resources.files(__package__).joinpath("uidtraced.bpf.o").read_bytes()


def object_digest() -> str:
    """Return what tells this package's programs from those of another version."""
    return hashlib.sha256(object_code() + LAYOUT.encode()).hexdigest()[:16]
