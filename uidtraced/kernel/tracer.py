"""The tracer: the loaded BPF object, its outer maps and its attachment."""

from __future__ import annotations

import errno
import importlib.resources
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from uidtraced.errors import KernelError, UnsupportedError
from uidtraced.kernel.inner import InnerMaps
from uidtraced.kernel.libbpf import (
    MapFd,
    check,
    check_pointer,
    ffi,
    lib,
    raises_kernel_error,
    start_log,
)
from uidtraced.kernel.ring import RingReader
from uidtraced.rules import Abi, Block, Flag, Kind, Mark, Nr, Outcome, RuleSet, Scope, Uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KEY: Final = struct.Struct("=I")
_BLOCK: Final = struct.Struct("=I4s")  # struct block of bpf/event.h
BTF: Final = Path("/sys/kernel/btf/vmlinux")
_TASK: Final = struct.Struct("=Q")
_RESULT_PROGRAMS: Final = ("on_sys_exit", "on_thread_end", "on_exec")
_NO_UID: Final = _KEY.pack(2**32 - 1)

DEFAULT_RING_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel counted for one uid, as `struct counters` of bpf/event.h."""

    matched: int = 0
    ring_full: int = 0
    limited: int = 0
    counted: int = 0


class Tracer:
    """Loads the program; `put` and `remove` change who is logged, `attach` starts it.

    Closing it ends tracing and leaves nothing in the kernel.
    """

    def __init__(
        self,
        ring_bytes: int = DEFAULT_RING_BYTES,
        shapes: Mapping[tuple[Abi, Nr], bytes] | None = None,
    ) -> None:
        """Load the object; *ring_bytes* is a power of two and a multiple of the page size.

        *shapes* says how the arguments of a call are read, a `Kind` for each register; what it
        has not is read as registers alone.

        ValueError where it is not; UnsupportedError where the kernel lacks BTF or another need,
        PermissionDeniedError without the capabilities, KernelError for the rest.
        """
        if ring_bytes & (ring_bytes - 1) or ring_bytes < mmap.PAGESIZE:
            raise ValueError(f"a ring of {ring_bytes} bytes: not a power of two, or under a page")
        start_log()
        if not os.access(BTF, os.R_OK):
            raise UnsupportedError(
                f"{BTF} cannot be read: this kernel has no BTF (CONFIG_DEBUG_INFO_BTF), "
                "which is needed; boot a kernel that has it"
            )
        self._link: Any = ffi.NULL
        self._result_links: list[Any] = []
        self.batches = True
        """Whether the kernel takes many changes of an outer map at once (from 5.19)."""
        self._inner = InnerMaps()
        self._outer: dict[Scope, MapFd] = {}
        self._blocks: dict[Scope, MapFd] = {}
        self._in_classes: set[int] = set()
        self._object = _open_object()
        try:
            ring = self._map("events")
            check("bpf_map__set_max_entries", lib.bpf_map__set_max_entries(ring, ring_bytes))
            self._set_shapes(shapes or {})
            check("bpf_object__load", lib.bpf_object__load(self._object))
            for scope in Scope:
                self._outer[scope] = self._map_fd(scope.value)
                self._blocks[scope] = self._map_fd(f"{scope.value}_blocks")
            self._classes = self._map_fd("classes")
            self._control_memory, self._control = self._map_control()
            self._counts = self._map_fd("counts")
            self._passages = self._map_fd("passages")
            self._cpus = check("libbpf_num_possible_cpus", lib.libbpf_num_possible_cpus())
            self._counts.update(_NO_UID, bytes(ffi.sizeof("struct counters") * self._cpus))
            self._identify()
            self.ring = RingReader(lib.bpf_map__fd(ring), ring_bytes)
        except BaseException:
            self.close()
            raise

    def _map(self, name: str) -> Any:
        call = f"bpf_object__find_map_by_name({name})"
        found = lib.bpf_object__find_map_by_name(self._object, name.encode())
        return check_pointer(call, found)

    def _map_fd(self, name: str) -> MapFd:
        return MapFd.duplicate(lib.bpf_map__fd(self._map(name)))

    def _map_control(self) -> tuple[mmap.mmap, Any]:
        size = ffi.sizeof("struct control")
        with raises_kernel_error("mmap of the control map"):
            memory = mmap.mmap(lib.bpf_map__fd(self._map(".data.control")), size)
        return memory, ffi.from_buffer("struct control *", memory)

    def _set_shapes(self, shapes: Mapping[tuple[Abi, Nr], bytes]) -> None:
        size = ffi.sizeof("struct shape")
        table = bytearray(size * lib.UIDTRACED_NR_MAX * len(Abi))
        for (abi, nr), kinds in shapes.items():
            at = (abi * lib.UIDTRACED_NR_MAX + nr) * size
            table[at : at + len(kinds)] = kinds
        call = "bpf_map__set_initial_value"
        found = self._map(".rodata.shapes")
        check(call, lib.bpf_map__set_initial_value(found, bytes(table), len(table)))

    def _program(self, name: str) -> Any:
        found = lib.bpf_object__find_program_by_name(self._object, name.encode())
        return check_pointer(f"bpf_object__find_program_by_name({name})", found)

    def _identify(self) -> None:
        """Let the kernel note who this process is, so that it never traces it."""
        self._run_once("who_am_i")

    def _run_once(self, name: str, argument: int = 0) -> None:
        fd = lib.bpf_program__fd(self._program(name))
        check("bpf_prog_test_run_opts", lib.uidtraced_run_once(fd, argument))

    @property
    def attached(self) -> bool:
        """Whether the program sees system calls now."""
        return bool(self._link != ffi.NULL)

    def attach(self) -> None:
        """Start seeing system calls; nothing where it is attached."""
        if not self.attached:
            self._link = self._attach("on_sys_enter")

    def _attach(self, program: str) -> Any:
        link = lib.bpf_program__attach(self._program(program))
        return check_pointer(f"bpf_program__attach({program})", link)

    def detach(self) -> None:
        """Stop seeing them: every task is off the slow entry path again.

        Calls under way whose results were waited for are sent without.
        """
        link, self._link = self._link, ffi.NULL
        if link != ffi.NULL:
            check("bpf_link__destroy", lib.bpf_link__destroy(link))
        self.want_results(wanted=False)

    def want_results(self, *, wanted: bool) -> None:
        """Attach what waits for the results of calls, or detach it.

        Attach it before there is a rule with `Flag.EXIT`, and detach it when there is none:
        calls under way then are sent without results. A detached one costs nobody anything.
        """
        if wanted and not self._result_links:
            for program in _RESULT_PROGRAMS:
                try:
                    self._result_links.append(self._attach(program))
                except KernelError as error:
                    # tracepoint sched_prepare_exec came with Linux 6.10; without it some strings
                    # of execve stay unreadable
                    if program != "on_exec" or error.errno != errno.ENOENT:
                        self._detach_results()
                        raise
            self._control.results = 1
        elif not wanted and self._result_links:
            self._control.results = 0
            self._wait_for_programs()
            self._detach_results()
            self._wait_for_programs()
            for key in list(self._passages.keys(_TASK.size)):
                self._run_once("give_up", _TASK.unpack(key)[0])

    def _detach_results(self) -> None:
        links, self._result_links = self._result_links, []
        for link in links:
            check("bpf_link__destroy", lib.bpf_link__destroy(link))

    def _wait_for_programs(self) -> None:
        """Wait until every run of a program that has begun has ended.

        A change of a map of maps does (synchronize_rcu in maybe_wait_bpf_programs,
        kernel/bpf/syscall.c), also one that takes out what was put in just before.
        """
        inner = self._inner.get(frozenset(), 0)
        self._classes.update(_KEY.pack(inner.id), _KEY.pack(inner.fd))
        if inner.id not in self._in_classes:
            self._classes.delete_all([_KEY.pack(inner.id)])

    def want(self, calls: Iterable[tuple[Abi, Nr]]) -> None:
        """Let exactly *calls* through to the rules; calls of other numbers end at once."""
        wanted = bytearray(lib.UIDTRACED_NR_MAX)
        for abi, nr in calls:
            wanted[nr] |= 1 << abi
        for number, mask in enumerate(wanted):  # a byte at a time: each is whole at any moment
            if self._control.wanted[number] != mask:
                self._control.wanted[number] = mask

    def use_scopes(self, scopes: Iterable[tuple[Scope, bool]]) -> None:
        """Look up exactly *scopes*: uids one by one (False), or blocks (True)."""
        bits = blocks = 0
        for scope, by_block in scopes:
            bits |= _SCOPE_BIT[scope]
            if by_block:
                blocks |= _SCOPE_BIT[scope]
        # of the two the program reads this one last
        self._control.blocks = blocks
        self._control.scopes = bits

    def prepare(self, rule_sets: Iterable[RuleSet], revision: int) -> None:
        """Make the inner maps that are missing, whole and frozen; nobody uses them yet."""
        for rules in rule_sets:
            self._inner.get(rules, revision)

    def put(self, scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        """Point each uid to its prepared inner map: each uid's change is one step."""
        keys = [_KEY.pack(uid) for uid in entries]
        fds = [_KEY.pack(self._inner.get(rules, 0).fd) for rules in entries.values()]
        outer = self._outer[scope]
        try:
            outer.update_batch(b"".join(keys), b"".join(fds), len(keys))
        except UnsupportedError:
            self.batches = False
            for key, fd in zip(keys, fds, strict=True):
                outer.update(key, fd)

    def remove(self, scope: Scope, uids: Iterable[Uid]) -> None:
        """Take *uids* out of the outer map; one that is not in it is left so."""
        self._outer[scope].delete_all([_KEY.pack(uid) for uid in uids])

    def put_blocks(self, scope: Scope, entries: Mapping[Block, RuleSet]) -> None:
        """Point each block to its prepared inner map: each block's change is one step."""
        wanted = {rules: self._inner.get(rules, 0) for rules in set(entries.values())}
        for inner in wanted.values():
            if inner.id not in self._in_classes:
                self._classes.update(_KEY.pack(inner.id), _KEY.pack(inner.fd))
                self._in_classes.add(inner.id)
        for block, rules in entries.items():
            self._blocks[scope].update(_block(block), _KEY.pack(wanted[rules].id))

    def remove_blocks(self, scope: Scope, blocks: Iterable[Block]) -> None:
        """Take *blocks* out; one that is not in is left so."""
        self._blocks[scope].delete_all([_block(block) for block in blocks])

    def keep_only(self, rule_sets: Iterable[RuleSet]) -> None:
        """Close the inner maps of all other rule sets."""
        keep = set(rule_sets)
        gone = {number: rules for number, rules in self._inner.by_id().items() if rules not in keep}
        if classes := [number for number in gone if number in self._in_classes]:
            # A task may have read a class that no block has any more, and be about to look it up.
            # A change of a map of maps waits until no such task is left (synchronize_rcu in
            # maybe_wait_bpf_programs, kernel/bpf/syscall.c), also one that changes nothing.
            last = classes[-1]
            fd = self._inner.get(gone[last], 0).fd
            self._classes.update(_KEY.pack(last), _KEY.pack(fd))
            self._classes.delete_all([_KEY.pack(number) for number in classes])
            self._in_classes.difference_update(classes)
        self._inner.keep_only(keep)

    def read(self, scope: Scope) -> dict[Uid, RuleSet | None]:
        """Return what the kernel's outer map holds; None for an inner map that is not ours."""
        known = self._inner.by_id()
        found = self._outer[scope].items(_KEY.size, _KEY.size)
        return {Uid(_KEY.unpack(key)[0]): known.get(_KEY.unpack(value)[0]) for key, value in found}

    def read_blocks(self, scope: Scope) -> dict[Block, RuleSet | None]:
        """Return what the kernel holds for blocks; None for an inner map that is not ours."""
        known = self._inner.by_id()
        found = self._blocks[scope].items(_BLOCK.size, _KEY.size)
        return {
            Block(Uid(first), bits): known.get(_KEY.unpack(value)[0])
            for (bits, first), value in ((_unpack_block(key), value) for key, value in found)
        }

    def exclude_journal(self, pid: int) -> None:
        """Never log the process *pid* (of this pid namespace); 0 for none."""
        self._control.journal_pid = pid

    def counters(self) -> dict[Uid, Counters]:
        """Return what was counted for every uid that matched; UID_MAX + 1 is "no room"."""
        fields = ("matched", "ring_full", "limited", "counted")
        size = ffi.sizeof("struct counters")
        totals: dict[Uid, Counters] = {}
        for key in list(self._counts.keys(_KEY.size)):
            raw = self._counts.lookup(key, size * self._cpus)
            if raw is None:
                continue
            per_cpu = ffi.from_buffer("struct counters[]", raw)
            sums = {name: sum(getattr(one, name) for one in per_cpu) for name in fields}
            totals[Uid(_KEY.unpack(key)[0])] = Counters(**sums)
        return totals

    def close(self) -> None:
        """Detach, unload and close everything; may be called again."""
        links, self._result_links = [self._link, *self._result_links], []
        self._link = ffi.NULL
        for link in links:
            if link != ffi.NULL:
                lib.bpf_link__destroy(link)
        if (ring := getattr(self, "ring", None)) is not None:
            ring.close()
        for one in (*self._outer.values(), *self._blocks.values()):
            one.close()
        if (classes := getattr(self, "_classes", None)) is not None:
            classes.close()
        if (memory := getattr(self, "_control_memory", None)) is not None and not memory.closed:
            ffi.release(self._control)
            memory.close()  # it has a duplicate of the fd
        for name in ("_counts", "_passages"):
            if (one_map := getattr(self, name, None)) is not None:
                one_map.close()
        self._inner.close()
        opened, self._object = self._object, ffi.NULL
        if opened != ffi.NULL:
            lib.bpf_object__close(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SCOPE_BIT: Final[Mapping[Scope, int]] = {
    Scope.REAL: lib.UIDTRACED_S_REAL,
    Scope.EFFECTIVE: lib.UIDTRACED_S_EFFECTIVE,
    Scope.LOGIN: lib.UIDTRACED_S_LOGIN,
}


def _block(block: Block) -> bytes:
    return _BLOCK.pack(block.bits, block.first.to_bytes(4, "big"))


def _unpack_block(key: bytes) -> tuple[int, int]:
    bits, first = _BLOCK.unpack(key)
    return bits, int.from_bytes(first, "big")


def _open_object() -> Any:
    code = importlib.resources.files(__package__).joinpath("uidtraced.bpf.o").read_bytes()
    opened = lib.uidtraced_open(code, len(code))
    return check_pointer("bpf_object__open_mem", opened)


def constants() -> dict[str, int]:
    """Return the numbers of bpf/event.h that `rules` has too, for the test that compares them."""
    names = [f"UIDTRACED_{abi.name}" for abi in Abi]
    names += [f"UIDTRACED_F_{flag.name}" for flag in Flag]
    names += [f"UIDTRACED_{kind.name}" for kind in Kind]
    names += [f"UIDTRACED_{outcome.name}" for outcome in Outcome]
    names += [f"UIDTRACED_M_{mark.name}" for mark in Mark]
    return {name: int(getattr(lib, name)) for name in [*names, "UIDTRACED_NR_MAX"]}
