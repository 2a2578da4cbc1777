"""The kernel's counters, and the maps in which accounts outlive a daemon."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from uidtraced.errors import PermissionDeniedError
from uidtraced.kernel.keys import KEY
from uidtraced.kernel.libbpf import check, ffi, lib
from uidtraced.rules import Uid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uidtraced.kernel.libbpf import MapFd

_COUNTERS: Final = struct.Struct("=4Q")  # struct counters, in the order of Counters
_ACCOUNT: Final = struct.Struct("=6Q")  # struct account, in the order of SavedAccount
NO_UID: Final = Uid(2**32 - 1)
"""In the counters: all for whom there was no room."""
_LOST: Final = KEY.pack(1)  # of last_seq: what found the ring full


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel counted for one uid, as `struct counters` of bpf/event.h."""

    matched: int = 0
    ring_full: int = 0
    limited: int = 0
    counted: int = 0


class SavedAccount(NamedTuple):
    """What outlives a daemon of one uid's account, as `struct account` of bpf/event.h."""

    written: int = 0
    """Events that the output took."""
    dropped: int = 0
    """Those that it refused."""
    position: int = 0
    """Up to where in the ring both are counted."""
    told_ring_full: int = 0
    told_limited: int = 0
    told_dropped: int = 0
    """Losses that a record told of, by cause."""


class KernelBooks:
    """Reads what the programs counted, and saves what became of it."""

    def __init__(self, maps: Mapping[str, MapFd]) -> None:
        """Take the object's *maps*, by name. Raises KernelError."""
        self._counts = maps["counts"]
        self._accounts = maps["accounts"]
        self._seq = maps["last_seq"]
        self._cpus = check("libbpf_num_possible_cpus", lib.libbpf_num_possible_cpus())

    def make_room(self, uid: Uid) -> None:
        """Let the kernel count *uid* by itself, from nothing."""
        self._counts.update(KEY.pack(uid), bytes(ffi.sizeof("struct counters") * self._cpus))

    def counters(self) -> dict[Uid, Counters]:
        """Return what was counted for every uid that matched, and for `NO_UID`."""
        size = _COUNTERS.size * self._cpus
        totals: dict[Uid, Counters] = {}
        for key, raw in self._counts.items(KEY.size, size):
            per_cpu = list(_COUNTERS.iter_unpack(raw))
            sums = map(sum, zip(*per_cpu, strict=True)) if len(per_cpu) > 1 else per_cpu[0]
            totals[Uid(KEY.unpack(key)[0])] = Counters(*sums)
        return totals

    def has_counters(self, uid: Uid) -> bool:
        """Whether the kernel counts *uid* by itself: it has no room for more than 65,535."""
        return self._counts.lookup(KEY.pack(uid), _COUNTERS.size * self._cpus) is not None

    def accounts(self) -> dict[Uid, SavedAccount]:
        """Return what `save_accounts` saved, also by a daemon before this one."""
        found = self._accounts.items(KEY.size, _ACCOUNT.size)
        return {
            Uid(KEY.unpack(key)[0]): SavedAccount(*_ACCOUNT.unpack(value)) for key, value in found
        }

    def save_accounts(self, rows: Mapping[Uid, SavedAccount]) -> None:
        """Save *rows* by uid; not where somebody froze the map, of which `Guard.frozen` tells."""
        if rows:
            keys = b"".join(KEY.pack(uid) for uid in rows)
            values = b"".join(_ACCOUNT.pack(*row) for row in rows.values())
            with contextlib.suppress(PermissionDeniedError):
                self._accounts.update_batch(keys, values, len(rows))

    def lost(self) -> int:
        """Return how many events found the ring full, of all uids together: cheap to ask."""
        raw = self._seq.lookup(_LOST, 8 * self._cpus)
        return 0 if raw is None else sum(struct.unpack(f"={self._cpus}Q", raw))
