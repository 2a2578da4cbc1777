"""What this kernel shows of io_uring: the tracepoint of its requests, and how to read them."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from uidtraced.errors import UidtracedError
from uidtraced.kernel.libbpf import check_pointer, ffi, lib
from uidtraced.rules import machine_abis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uidtraced.rules import Abi, Nr

SUBMIT: Final = ("io_uring_submit_req", "io_uring_submit_sqe")
"""Names of the tracepoint: of Linux 6.4 and later, and before. Ours from 6.0, when it came to have
the request itself."""

_FLAGS: Final = {
    # of io_kiocb.flags, include/linux/io_uring_types.h
    "creds": ("REQ_F_CREDS_BIT",),
    "registered": ("REQ_F_FIXED_FILE_BIT",),
    "copied": ("REQ_F_ASYNC_DATA_BIT",),
    "endless": ("REQ_F_CQE_SKIP_BIT", "REQ_F_APOLL_MULTISHOT_BIT", "REQ_F_MULTISHOT_BIT"),
}
_FLAG_BITS: Final = 32
_CQE_POINTER_ARGUMENTS: Final = 3
"""io_uring_complete has the ring, the request and the result since 6.10 or so; before, the result's
parts one by one."""

_O_LARGEFILE: Final = {"x86_64": 0o100000, "aarch64": 0o400000}
"""What the kernel adds to the flags of each open: arch/*/include/uapi/asm/fcntl.h."""


@dataclass(frozen=True, slots=True)
class Uring:
    """What a kernel shows; *flags* are masks, for the members of `struct uring` of bpf/event.h."""

    tracepoint: str | None
    """Of requests as they are taken over; None where there is none that can be read."""
    cqe_pointer: bool
    flags: Mapping[str, int]


def look_at_uring() -> Uring:
    """Return what the running kernel's BTF tells, which anybody may read."""
    with contextlib.suppress(UidtracedError):
        btf = check_pointer("btf__load_vmlinux_btf", lib.btf__load_vmlinux_btf())
        try:
            return _look(btf)
        finally:
            lib.btf__free(btf)
    return Uring(None, cqe_pointer=False, flags={})


def _look(btf: Any) -> Uring:
    found = [one for one in SUBMIT if lib.uidtraced_tracepoint_of(btf, one.encode(), b"io_kiocb")]
    arguments = lib.uidtraced_tracepoint_of(btf, b"io_uring_complete", ffi.NULL)
    flags = {}
    for member, names in _FLAGS.items():
        bits = [lib.uidtraced_enumerator(btf, name.encode()) for name in names]
        flags[member] = sum(1 << bit for bit in bits if 0 <= bit < _FLAG_BITS)
    if not flags["creds"]:  # whose request it is could not be told
        found = []
    return Uring(found[0] if found else None, arguments == _CQE_POINTER_ARGUMENTS, flags)


def uring_table(uring: Uring, calls: Mapping[tuple[Abi, int], tuple[Nr, Nr]]) -> bytes:
    """Return `struct uring` of bpf/event.h for *uring*.

    *calls* says which two system calls an operation stands for, as `events.uring.stands_for` does.
    """
    table = ffi.new("struct uring *")
    abis = machine_abis()[:2]  # the machine's own, and that of its 32-bit programs
    for index in range(len(table.calls)):
        table.calls[index] = lib.UIDTRACED_NR_MAX
    for place, abi in enumerate(abis):
        table.abis[place] = abi
        for (its_abi, op), both in calls.items():
            if its_abi == abi:
                for kind, nr in enumerate(both):
                    table.calls[(2 * kind + place) * lib.UIDTRACED_URING_OPS + op] = nr
    for member, mask in uring.flags.items():
        setattr(table, member, mask)
    table.seen = uring.tracepoint is not None
    table.cqe_pointer = uring.cqe_pointer
    table.o_largefile = _O_LARGEFILE[platform.machine()]
    return bytes(ffi.buffer(table))


def operations() -> dict[str, int]:
    """Return the operations of bpf/event.h by name, for the test that compares them."""
    start = "UIDTRACED_OP_"
    return {
        name.removeprefix(start): int(getattr(lib, name))
        for name in dir(lib)
        if name.startswith(start)
    }
