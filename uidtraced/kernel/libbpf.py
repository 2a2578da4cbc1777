"""The sole importer of the cffi module: checked calls, libbpf's log, and the fds of maps."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from uidtraced.errors import KernelError, PermissionDeniedError, UnsupportedError
from uidtraced.kernel._bpf import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "ENOTSUPP",
    "MapFd",
    "check",
    "check_pointer",
    "ffi",
    "lib",
    "raises_kernel_error",
    "start_log",
]

log = structlog.get_logger("libbpf")

_LIBBPF_LEVELS: Final = ("warning", "info", "debug")
"""libbpf_print_level of bpf/libbpf.h, in its order."""

_ADVICE: Final[Mapping[int, str]] = {
    errno.EPERM: "CAP_BPF and CAP_PERFMON are needed: run it as root or by its systemd unit",
    errno.EACCES: "the verifier refused the program, or CAP_BPF or CAP_PERFMON is missing",
    errno.ENOMEM: "not enough memory: raise the memory limit of the service, or LimitMEMLOCK=",
    errno.E2BIG: "the map is full: name fewer uids one by one in the policy",
    errno.ENFILE: "the machine has too many open files: raise fs.file-max",
    errno.EMFILE: "too many open files: raise LimitNOFILE=, or use fewer different rule sets",
    errno.EPROTO: "the kernel lets the program read nothing: is it lockdown=confidentiality?",
    errno.ENOSPC: "the map is full: name fewer or wider ranges in the policy",
}

_BATCH: Final = 4096
"""Pairs that are looked up at once; no bucket of a hash map has nearly so many."""

ENOTSUPP: Final = 524
"""What the kernel answers for a batch on a map type that has none (include/linux/errno.h)."""


def check(call: str, result: int) -> int:
    """Return *result* of the libbpf call *call* unless it is a negative errno.

    Raises PermissionDeniedError for EPERM, KernelError for the rest; each names the call, the
    errno and what to do about it.
    """
    if result >= 0:
        return result
    raise _error(call, -result)  # libbpf 1.x and our helpers return -errno


def check_pointer(call: str, pointer: Any) -> Any:
    """Return *pointer* unless it is NULL, for which libbpf has set errno."""
    if pointer == ffi.NULL:
        raise _error(call, ffi.errno)
    return pointer


@contextlib.contextmanager
def raises_kernel_error(call: str) -> Iterator[None]:
    """Turn an OSError of *call* into what `check` raises."""
    try:
        yield
    except OSError as error:
        raise _error(call, error.errno or 0) from error


def _error(call: str, number: int) -> Exception:
    name = "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))
    advice = _ADVICE.get(number, "see the log above for what libbpf said, and uidtraced doctor")
    text = f"{call}: {name} ({os.strerror(number)}); {advice}"
    if number == errno.EPERM:
        return PermissionDeniedError(text)
    if number in (errno.ENOSYS, errno.EOPNOTSUPP, ENOTSUPP):
        return UnsupportedError(text)
    return KernelError(call, number, text)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def uidtraced_log(level: int, line: Any) -> None:
    """Take a line of libbpf's log into ours."""
    text = ffi.string(line).decode("utf-8", "backslashreplace").rstrip()
    method = _LIBBPF_LEVELS[level] if level < len(_LIBBPF_LEVELS) else "debug"
    getattr(log, method)("libbpf", text=text)


def start_log() -> None:
    """Send libbpf's log to ours from now on."""
    lib.uidtraced_log_start()


class MapFd:
    """A BPF map's fd that this process owns; closed by `close()` or at the end of a `with`."""

    __slots__ = ("_fd", "id")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        number = ffi.new("__u32 *")
        try:
            check("bpf_obj_get_info_by_fd", lib.uidtraced_map_id(fd, number))
        except BaseException:
            self.close()
            raise
        self.id: int = number[0]

    @classmethod
    def duplicate(cls, fd: int) -> Self:
        """Return a handle of its own on the map behind *fd*, which stays the caller's."""
        with raises_kernel_error("dup"):
            return cls(os.dup(fd))

    @property
    def fd(self) -> int:
        """The fd; ValueError once closed."""
        if self._fd < 0:
            raise ValueError("the map's fd is closed")
        return self._fd

    def close(self) -> None:
        """Close the fd; the map lives on while the kernel or another fd holds it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"BPF map {self.id} was not closed", ResourceWarning, stacklevel=1)
            self.close()

    def update_batch(self, keys: bytes, values: bytes, count: int) -> None:
        """Put *count* pairs in; UnsupportedError where the kernel has no batch for this map.

        After an error any part of them may be in.
        """
        done = ffi.new("__u32 *", count)
        result = lib.bpf_map_update_batch(
            self.fd, ffi.from_buffer(keys), ffi.from_buffer(values), done, ffi.NULL
        )
        check("bpf_map_update_batch", result)

    def delete_batch(self, keys: bytes, count: int) -> None:
        """Take *count* keys out; as `update_batch` for errors."""
        done = ffi.new("__u32 *", count)
        result = lib.bpf_map_delete_batch(self.fd, ffi.from_buffer(keys), done, ffi.NULL)
        check("bpf_map_delete_batch", result)

    def update_each(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Put *pairs* in one by one; after an error those before it are in."""
        keys, values = (b"".join(column) for column in zip(*pairs, strict=True))
        sizes = len(pairs[0][0]), len(pairs[0][1])
        result = lib.uidtraced_update_each(
            self.fd, ffi.from_buffer(keys), sizes[0], ffi.from_buffer(values), sizes[1], len(pairs)
        )
        check("bpf_map_update_elem", result)

    def delete_each(self, keys: Sequence[bytes]) -> None:
        """Take *keys* out one by one; one that is not in is left so."""
        joined = ffi.from_buffer(b"".join(keys))
        result = lib.uidtraced_delete_each(self.fd, joined, len(keys[0]), len(keys))
        check("bpf_map_delete_elem", result)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Put one pair in (*flags*: BPF_ANY)."""
        check("bpf_map_update_elem", lib.bpf_map_update_elem(self.fd, key, value, flags))

    def update_all(self, pairs: Mapping[bytes, bytes]) -> None:
        """Put *pairs* in, in their order; at once where the kernel can."""
        try:
            self.update_batch(b"".join(pairs), b"".join(pairs.values()), len(pairs))
        except UnsupportedError:
            for key, value in pairs.items():
                self.update(key, value)

    def delete(self, key: bytes, *, missing_ok: bool = False) -> None:
        """Take one key out."""
        result = lib.bpf_map_delete_elem(self.fd, key)
        if not (missing_ok and result == -errno.ENOENT):
            check("bpf_map_delete_elem", result)

    def delete_all(self, keys: Sequence[bytes]) -> None:
        """Take *keys* out, at once where the kernel can; one that is not in is left so."""
        try:
            self.delete_batch(b"".join(keys), len(keys))
        except (UnsupportedError, KernelError) as error:
            if isinstance(error, KernelError) and error.errno != errno.ENOENT:
                raise
            for key in keys:
                self.delete(key, missing_ok=True)

    def lookup(self, key: bytes, size: int) -> bytes | None:
        """Return the value of *key* (*size* bytes; of a map of maps, the inner map's id)."""
        value = ffi.new("char[]", size)
        result = lib.bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        check("bpf_map_lookup_elem", result)
        return bytes(ffi.buffer(value, size))

    def keys(self, size: int) -> Iterable[bytes]:
        """Yield every key (*size* bytes); one that goes while this runs may be left out."""
        key, following = ffi.NULL, ffi.new("char[]", size)
        while True:
            result = lib.bpf_map_get_next_key(self.fd, key, following)
            if result == -errno.ENOENT:
                return
            check("bpf_map_get_next_key", result)
            found = bytes(ffi.buffer(following, size))
            yield found
            key = found

    def items(self, key_size: int, value_size: int) -> Iterable[tuple[bytes, bytes]]:
        """Yield every pair; as `keys`. Many at a time where the kernel can."""
        try:
            yield from [
                pair
                for keys, values, count in self.batches(key_size, value_size)
                for pair in zip(
                    _pieces(keys, key_size, count), _pieces(values, value_size, count), strict=True
                )
            ]
        except (UnsupportedError, KernelError):  # no batch for this map: 5.10 has few
            for key in list(self.keys(key_size)):
                value = self.lookup(key, value_size)
                if value is not None:
                    yield key, value

    def batches(self, key_size: int, value_size: int) -> Iterator[tuple[Any, Any, int]]:
        """Yield every pair: keys side by side, values likewise, and how many; in C's memory.

        Each is valid until the next. UnsupportedError where the kernel has no batch for this map.
        """
        keys = ffi.new("char[]", key_size * _BATCH)
        values = ffi.new("char[]", value_size * _BATCH)
        # where to go on is a hash map's bucket (4 bytes), or a key
        position = ffi.new("char[]", max(key_size, 8))
        count, start = ffi.new("__u32 *"), ffi.NULL
        ended = False
        while not ended:
            count[0] = _BATCH
            result = lib.bpf_map_lookup_batch(
                self.fd, start, position, keys, values, count, ffi.NULL
            )
            ended = result == -errno.ENOENT
            if not ended:
                check("bpf_map_lookup_batch", result)
            yield keys, values, count[0]
            start = position

    def freeze(self) -> None:
        """Let user space write to it no more, this process included."""
        check("bpf_map_freeze", lib.bpf_map_freeze(self.fd))


def _pieces(memory: Any, size: int, count: int) -> list[bytes]:
    raw = bytes(ffi.buffer(memory, size * count))
    return [raw[at : at + size] for at in range(0, len(raw), size)]
