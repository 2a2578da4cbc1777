"""What a daemon of another layout left: nobody can read it, but it is counted before it ends."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from uidtraced.kernel.libbpf import MapFd, check, ffi, lib
from uidtraced.kernel.ring import RingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from uidtraced.kernel.kept import FdStore

_HEAD: Final = struct.Struct("=QQ")  # how struct control of bpf/event.h begins, in any layout
_KEY: Final = struct.Struct("=I")
_LOST: Final = _KEY.pack(1)  # of last_seq: what found the ring full, by cpu


@dataclass(frozen=True, slots=True)
class Rest:
    """What was left of a predecessor."""

    alive_ns: int | None
    """When it was last seen alive, on CLOCK_BOOTTIME; None where it does not tell."""
    lost: int
    """Events that nobody will read, at the most: ours may have the last of them too."""


class Predecessor:
    """Owns the fds that were kept under other names; its programs run until `end`."""

    def __init__(self, fds: Mapping[str, int], store: FdStore) -> None:
        self._fds = dict(fds)
        self._store = store

    def end(self, wait_for_programs: Callable[[], None]) -> Rest:
        """Let its programs run no more, count what is left, and let it go."""
        for name in [name for name in self._fds if name.startswith("l-")]:
            self._store.drop([name])
            os.close(self._fds.pop(name))
        wait_for_programs()
        try:
            alive_ns, lost_then = self._last_sign()
            lost_since = 0 if alive_ns is None else max(0, self._lost() - lost_then)
            return Rest(alive_ns, lost_since + self._unread() + self._under_way())
        finally:
            self._store.drop(self._fds)
            self.close()

    def forget(self) -> None:
        """Let the store keep it no more; it ends with `close`."""
        self._store.drop(self._fds)

    def close(self) -> None:
        """Close every fd. May be called again."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}

    def _map(self, name: str) -> tuple[int, int, int, int]:
        """Return fd, key size, value size and entries of map *name*; -1 where there is none."""
        fd = next((fd for one, fd in self._fds.items() if one.endswith(f"-{name}")), -1)
        shape = ffi.new("__u32[3]")
        if fd < 0 or lib.uidtraced_map_shape(fd, shape) < 0:
            return -1, 0, 0, 0
        return fd, shape[0], shape[1], shape[2]

    def _last_sign(self) -> tuple[int | None, int]:
        """Return when it was last seen alive, and how many events had found the ring full then."""
        fd, key_size, size, _ = self._map("data_control")
        if fd < 0 or key_size != _KEY.size or size < _HEAD.size:
            return None, 0
        value = ffi.new("char[]", size)
        check("bpf_map_lookup_elem", lib.bpf_map_lookup_elem(fd, _KEY.pack(0), value))
        alive_ns, lost = _HEAD.unpack_from(ffi.buffer(value))
        is_time = 0 < alive_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return (alive_ns, lost) if is_time else (None, 0)

    def _lost(self) -> int:
        """Return how many events have found the ring full."""
        fd, key_size, size, _ = self._map("last_seq")
        if fd < 0 or (key_size, size) != (_KEY.size, 8):
            return 0
        cpus = check("libbpf_num_possible_cpus", lib.libbpf_num_possible_cpus())
        value = ffi.new("__u64[]", cpus)
        check("bpf_map_lookup_elem", lib.bpf_map_lookup_elem(fd, _LOST, value))
        return sum(value)

    def _unread(self) -> int:
        """Return how many events wait in its ring: the kernel's own headers tell."""
        fd, _, _, size = self._map("events")
        if fd < 0:
            return 0
        with RingReader(fd, size) as ring:
            return ring.count()

    def _under_way(self) -> int:
        """Return how many calls waited for their results."""
        fd, key_size, _, _ = self._map("passages")
        if fd < 0:
            return 0
        with MapFd.duplicate(fd) as passages:
            return sum(1 for _ in passages.keys(key_size))
