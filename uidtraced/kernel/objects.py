"""The maps, programs and links in the kernel: loaded, or taken over from the last daemon."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import structlog

from uidtraced.errors import KernelError
from uidtraced.kernel.kept import LAYOUT, object_code, object_digest
from uidtraced.kernel.libbpf import MapFd, check, check_pointer, ffi, lib, raises_kernel_error
from uidtraced.kernel.predecessor import Predecessor
from uidtraced.rules import Abi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uidtraced.kernel.kept import FdStore
    from uidtraced.rules import Nr

log = structlog.get_logger("kernel")

CONTROL: Final = ".data.control"
STATE: Final = (
    *("real", "effective", "login", "real_blocks", "effective_blocks", "login_blocks"),
    *("classes", "allowances", "events", "counts", "last_seq", "passages", "long_passages"),
    *("accounts", "exes", "shares", "waits", "under_way", CONTROL),
)
"""The maps that hold what must outlive a daemon."""

TRACEPOINTS: Final[Mapping[str, str]] = {
    "on_sys_enter": "sys_enter",
    "on_sys_exit": "sys_exit",
    "on_thread_end": "sched_process_exit",
    "on_exec": "sched_prepare_exec",
    "on_uring_submit": "io_uring_submit_req",
    "on_uring_complete": "io_uring_complete",
}
"""Where each program is attached, unless `attach` is told; the others are run by us."""

_TYPED: Final = frozenset({"on_sys_enter"})
"""Programs of the type tp_btf, which are loaded for the tracepoint that they are attached to."""

_RUN_BY_US: Final = ("who_am_i", "give_up")


class Objects:
    """Owns the fds of all that is in the kernel; what is attached is in `links`."""

    def __init__(self, store: FdStore) -> None:
        """Own nothing yet; *store* is told of what must outlive this process."""
        self._store = store
        self._digest = object_digest()
        self.maps: dict[str, MapFd] = {}
        self._programs: dict[str, int] = {}
        self._links: dict[str, int] = {}
        self._link_ids: dict[str, int] = {}
        self._old_links: dict[str, int] = {}
        self._rules: dict[str, MapFd] = {}
        self.predecessor: Predecessor | None = None
        """What a daemon of another layout left: it runs until it is ended."""

    def take_over(self) -> bool:
        """Take over what the last daemon left; False where that is nothing that fits.

        Programs of another version are left attached: on the same maps until `end_old_programs`,
        on maps of another layout as `predecessor`.
        """
        left = self._store.kept()
        state = {name: left.pop(_map_name(name), -1) for name in STATE}
        fits = -1 not in state.values()
        try:
            if not fits:
                left |= {_map_name(name): fd for name, fd in state.items() if fd >= 0}
                return False
            self.maps = {name: MapFd(fd) for name, fd in state.items()}
            for name in [name for name in left if name.startswith(f"r-{LAYOUT}-")]:
                self._rules[name] = MapFd(left.pop(name))
            for name in [name for name in left if name.startswith("l-")]:
                ours = name.startswith(f"l-{self._digest}-")
                links = self._links if ours else self._old_links
                links[name.rpartition("-")[2] if ours else name] = left.pop(name)
            self._link_ids = {name: _link_id(fd) for name, fd in self._links.items()}
            programs = {
                name: left.pop(f"p-{self._digest}-{name}", -1)
                for name in (*TRACEPOINTS, *_RUN_BY_US)
            }
            self._programs = {name: fd for name, fd in programs.items() if fd >= 0}
            if self.has_programs:
                left |= self._old_links  # of a layout before: else they would have been ended
                self._old_links = {}
            else:
                self._take_links_for_old()
        finally:
            self._sort_out(left)
        return True

    def _take_links_for_old(self) -> None:
        """Take links of our version whose programs nobody kept for those of another version.

        A daemon that was killed while it took over left them.
        """
        self._store.drop([f"l-{self._digest}-{name}" for name in self._links])
        self._old_links |= {f"l-unfinished-{name}": fd for name, fd in self._links.items()}
        self._links = {}
        self._link_ids = {}

    def _sort_out(self, left: dict[str, int]) -> None:
        """Close what nobody needs of what was left; what is of another layout is a predecessor."""
        ours = (f"m-{LAYOUT}-", f"r-{LAYOUT}-", f"p-{self._digest}-", f"l-{self._digest}-")
        others = {name: fd for name, fd in left.items() if not name.startswith(ours)}
        if any(name.startswith("m-") for name in others):
            self.predecessor = Predecessor(others, self._store)
            left = {name: fd for name, fd in left.items() if name not in others}
        if left:
            log.info("left_behind", count=len(left), reason="of another version")
            self._store.drop(left)
            for fd in left.values():
                os.close(fd)

    @property
    def has_programs(self) -> bool:
        """Whether the programs that were taken over are those of this version."""
        return len(self._programs) == len(TRACEPOINTS) + len(_RUN_BY_US)

    def rule_maps(self) -> dict[str, MapFd]:
        """Return the inner maps that were taken over, by the name under which they are kept."""
        found, self._rules = self._rules, {}
        return found

    def load(
        self,
        sizes: Mapping[str, int | None],
        shapes: Mapping[tuple[Abi, Nr], bytes],
        uring: bytes,
        generation: int,
    ) -> None:
        """Load this version's programs, on the maps that are there already, if they are.

        *sizes* has the max_entries of maps that are made, None for what the program says; *uring*
        is `struct uring` of bpf/event.h.
        """
        code = object_code()
        opened = check_pointer("bpf_object__open_mem", lib.uidtraced_open(code, len(code)))
        try:
            for name, one in self.maps.items():
                check("bpf_map__reuse_fd", lib.bpf_map__reuse_fd(_map(opened, name), one.fd))
            for name, size in sizes.items() if not self.maps else ():
                if size is not None:
                    result = lib.bpf_map__set_max_entries(_map(opened, name), size)
                    check("bpf_map__set_max_entries", result)
            _set(opened, ".rodata.shapes", _shape_table(shapes))
            _set(opened, ".rodata.uring", uring)
            _set(opened, ".rodata.generation", bytes(ffi.buffer(ffi.new("__u32 *", generation))))
            check("bpf_object__load", lib.bpf_object__load(opened))
            for name in STATE if not self.maps else ():
                self.maps[name] = MapFd.duplicate(lib.bpf_map__fd(_map(opened, name)))
            for name in (*TRACEPOINTS, *_RUN_BY_US):
                with raises_kernel_error("dup"):
                    self._programs[name] = os.dup(lib.bpf_program__fd(_program(opened, name)))
        finally:
            lib.bpf_object__close(opened)

    def keep(self) -> None:
        """Let the store keep all maps and programs; `attach` and `detach` do so with links."""
        for name, one in self.maps.items():
            self._store.keep(_map_name(name), one.fd)
        for name, fd in self._programs.items():
            self._store.keep(f"p-{self._digest}-{name}", fd)

    def attached(self, program: str) -> bool:
        """Whether *program* runs, as far as nobody else detached it."""
        return program in self._links

    def attach(self, program: str, tracepoint: str | None = None) -> None:
        """Let *program* run at its tracepoint; KernelError (ENOENT) where the kernel has none."""
        if self._runs(program):
            return
        if program in self._links:
            self._store.drop([f"l-{self._digest}-{program}"])  # else it could run twice
        point = tracepoint or TRACEPOINTS[program]
        call = f"bpf_raw_tracepoint_open({point})"
        name = ffi.NULL if program in _TYPED else point.encode()
        result = lib.bpf_raw_tracepoint_open(name, self._programs[program])
        fd = self._links[program] = check(call, result)
        self._link_ids[program] = _link_id(fd)
        self._store.keep(f"l-{self._digest}-{program}", fd)

    def detach(self, program: str) -> None:
        """Let *program* run no more."""
        if program in self._links:
            self._store.drop([f"l-{self._digest}-{program}"])
            self._close_link(program)

    def lost_links(self) -> list[str]:
        """Return the programs that should run, and whose fd is not their link's any more.

        Nobody can detach them but by closing it: the kernel has no other way for such links.
        """
        return [name for name in self._links if not self._runs(name)]

    def _runs(self, program: str) -> bool:
        fd = self._links.get(program, -1)
        return fd >= 0 and _link_id(fd) == self._link_ids[program]

    def _close_link(self, program: str) -> None:
        ours = self._runs(program)
        fd = self._links.pop(program, -1)
        if ours:  # else the number may be that of another file by now
            os.close(fd)

    @property
    def old_programs(self) -> frozenset[str]:
        """Which programs of another version run."""
        return frozenset(name.rpartition("-")[2] for name in self._old_links)

    def end_old_programs(self) -> None:
        """Let programs of another version run no more."""
        self._store.drop(self._old_links)
        for fd in self._old_links.values():
            os.close(fd)
        self._old_links = {}

    def run(self, program: str, argument: int = 0) -> None:
        """Run *program* once, in this task."""
        result = lib.uidtraced_run_once(self._programs[program], argument)
        check(f"bpf_prog_test_run_opts({program})", result)

    def ring_bytes(self) -> int:
        """Return the size of the ring buffer, which may be another daemon's choice."""
        shape = ffi.new("__u32[3]")
        result = lib.uidtraced_map_shape(self.maps["events"].fd, shape)
        check("bpf_obj_get_info_by_fd", result)
        return int(shape[2])

    def forget(self) -> None:
        """Let the store keep nothing more of ours."""
        names = [_map_name(name) for name in self.maps]
        names += [f"p-{self._digest}-{name}" for name in self._programs]
        names += [f"l-{self._digest}-{name}" for name in self._links]
        with contextlib.suppress(KernelError):
            self._store.drop([*names, *self._old_links, *self._rules])
            if self.predecessor is not None:
                self.predecessor.forget()

    def close(self) -> None:
        """Close every fd; what nobody else keeps ends. May be called again."""
        for one in (*self.maps.values(), *self._rules.values()):
            one.close()
        for program in list(self._links):
            self._close_link(program)
        for fds in (self._old_links, self._programs):
            for fd in fds.values():
                os.close(fd)
            fds.clear()
        self.maps = {}
        self._rules = {}
        if self.predecessor is not None:
            self.predecessor.close()


def _link_id(fd: int) -> int:
    """Return the kernel's id of the link behind *fd*; 0 where that is none."""
    number = ffi.new("__u32 *")
    return 0 if lib.uidtraced_link_id(fd, number) else int(number[0])


def _map_name(name: str) -> str:
    return f"m-{LAYOUT}-{name.strip('.').replace('.', '_')}"  # bpffs takes no dots


def _map(opened: Any, name: str) -> Any:
    found = lib.bpf_object__find_map_by_name(opened, name.encode())
    return check_pointer(f"bpf_object__find_map_by_name({name})", found)


def _program(opened: Any, name: str) -> Any:
    found = lib.bpf_object__find_program_by_name(opened, name.encode())
    return check_pointer(f"bpf_object__find_program_by_name({name})", found)


def _set(opened: Any, name: str, content: bytes) -> None:
    result = lib.bpf_map__set_initial_value(_map(opened, name), content, len(content))
    check("bpf_map__set_initial_value", result)


def _shape_table(shapes: Mapping[tuple[Abi, Nr], bytes]) -> bytes:
    size = ffi.sizeof("struct shape")
    table = bytearray(size * lib.UIDTRACED_NUMBERS * len(Abi))
    for (abi, nr), kinds in shapes.items():
        at = (abi * lib.UIDTRACED_NUMBERS + nr) * size
        table[at : at + len(kinds)] = kinds
    return bytes(table)
