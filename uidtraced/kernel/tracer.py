"""The tracer: the loaded BPF object, its outer maps and its attachment."""

from __future__ import annotations

import errno
import mmap
import os
import platform
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from uidtraced.errors import KernelError, UnsupportedError
from uidtraced.kernel.books import NO_UID, KernelBooks
from uidtraced.kernel.classes import Classes
from uidtraced.kernel.guard import Guard
from uidtraced.kernel.inner import InnerMaps, create_inner_map
from uidtraced.kernel.kept import NoStore
from uidtraced.kernel.keys import BLOCK, KEY, pack_block, unpack_block
from uidtraced.kernel.libbpf import ffi, lib, start_log
from uidtraced.kernel.lockdown import need_reading
from uidtraced.kernel.many import ManyEntries
from uidtraced.kernel.objects import CONTROL, TRACEPOINTS, Objects
from uidtraced.kernel.page import ControlPage
from uidtraced.kernel.ring import RingReader
from uidtraced.kernel.uring import look_at_uring, uring_table
from uidtraced.multiplexers import INNER
from uidtraced.rules import Abi, Block, Flag, Kind, Mark, Nr, Outcome, RuleSet, Scope, Uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from uidtraced.kernel.kept import FdStore
    from uidtraced.kernel.libbpf import MapFd
    from uidtraced.kernel.predecessor import Rest

BTF: Final = Path("/sys/kernel/btf/vmlinux")
_TASK: Final = struct.Struct("=Q")
_EXE: Final = struct.Struct("=II")  # the head of struct exe of bpf/event.h
_BPF_CALL: Final = {"x86_64": (321, 357), "aarch64": (280, 386)}
"""The numbers of bpf(2), in all ABIs of a machine."""
_RESULT_PROGRAMS: Final = ("on_sys_exit", "on_thread_end", "on_exec", "on_uring_complete")

DEFAULT_RING_BYTES: Final = 8 * 2**20


class Tracer:
    """The programs and maps; `put` and `remove` change who is logged, `attach` starts it.

    Closing it ends tracing and leaves nothing in the kernel but what *store* keeps.
    """

    def __init__(
        self,
        ring_bytes: int = DEFAULT_RING_BYTES,
        shapes: Mapping[tuple[Abi, Nr], bytes] | None = None,
        store: FdStore | None = None,
        uring: Mapping[tuple[Abi, int], tuple[Nr, Nr]] | None = None,
        calls_waited_for: int | None = None,
    ) -> None:
        """Take over what *store* kept, or load; *ring_bytes* is a power of two, a page or more.

        *shapes* says how the arguments of a call are read, a `Kind` for each register; what it
        has not is read as registers alone. *uring* says which calls each operation of io_uring
        stands for, by ABI and number. *calls_waited_for* is how many may be under way whose
        results are waited for, if not what the program says.

        ValueError for a wrong size; UnsupportedError where the kernel lacks BTF or another need,
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
        need_reading()
        self._many = ManyEntries()
        self.store: FdStore = store or NoStore()
        self._objects = Objects(self.store)
        self._inner = InnerMaps(self.store)
        self._idle: MapFd | None = None  # what `waits` holds
        self._uring = look_at_uring()
        self._uring_calls = uring or {}
        try:
            self.adopted = self._objects.take_over()
            """Whether a daemon before this one left what goes on now."""
            if self.adopted:
                self._inner.take_over(self._objects.rule_maps())
                self._page = ControlPage(self._objects.maps[CONTROL].fd)
            if not self._objects.has_programs:
                sizes = {"events": ring_bytes, "passages": calls_waited_for}
                self._load(sizes, shapes or {})
            self._open_maps()
            self._objects.run("who_am_i")
            self._page.learn()
            self.ring = RingReader(
                self._objects.maps["events"].fd,
                self._objects.ring_bytes(),
                self._page.note_writing,
                self._page.get("writing"),
                shares_fd=self._objects.maps["shares"].fd,
            )
            self._page.set("ring_bytes", self.ring.size)
            self._objects.keep()
            self.guard = Guard(
                self._objects, self._page, self._classes, self._many, self._attach_again
            )
            """Finds what others change."""
        except BaseException:
            self.close()
            raise

    def _load(
        self, sizes: Mapping[str, int | None], shapes: Mapping[tuple[Abi, Nr], bytes]
    ) -> None:
        """Load the programs; where others of another version run, let ours take their place."""
        objects = self._objects
        generation = self._page.get("generation") + 1 if self.adopted else 1
        objects.load(sizes, shapes, uring_table(self._uring, self._uring_calls), generation)
        if not self.adopted:
            self._page = ControlPage(objects.maps[CONTROL].fd)
        for program in objects.old_programs & TRACEPOINTS.keys():
            self._attach(program)
        self._page.set("generation", generation)  # from here on it is ours that act
        objects.end_old_programs()

    def _open_maps(self) -> None:
        maps = self._objects.maps
        self._outer = {scope: maps[scope.value] for scope in Scope}
        self._blocks = {scope: maps[f"{scope.value}_blocks"] for scope in Scope}
        self._classes = Classes(maps["classes"], self._inner, self._many, self.wait_for_programs)
        self._passages = maps["passages"]
        self._exes = maps["exes"]
        self.books = KernelBooks(maps)
        """What the programs counted, and what became of it."""
        if self.adopted:
            with self._page.changing():  # the last daemon may have died amid a change
                self.wait_for_programs()
            if not self._page.get("results"):  # it may have died before it gave them up
                self._give_up()
        else:
            self.books.make_room(NO_UID)

    @property
    def revision(self) -> int:
        """The revision of the policy in force; 0 before the first."""
        return self._page.get("revision")

    @revision.setter
    def revision(self, number: int) -> None:
        self._page.set("revision", number)

    @property
    def alive_ns(self) -> int:
        """When `beat` was last called, by whichever daemon, on CLOCK_BOOTTIME; 0 for never."""
        return self._page.get("alive_ns")

    def beat(self) -> None:
        """Note that the daemon is alive."""
        self._page.beat(self.books.lost())

    @property
    def batches(self) -> bool | None:
        """Whether many changes of an outer map are one to the kernel; None while not known."""
        return self._many.batches

    @property
    def sees_exec(self) -> bool | None:
        """Whether execve's strings are read again where it has read them; None while not known."""
        attached = [one for one in _RESULT_PROGRAMS if self._objects.attached(one)]
        return len(attached) == len(_RESULT_PROGRAMS) if attached else None

    @property
    def attached(self) -> bool:
        """Whether the program sees system calls now."""
        return self._objects.attached("on_sys_enter")

    def attach(self) -> None:
        """Start seeing system calls; nothing where it is attached."""
        self._objects.attach("on_sys_enter")

    def _attach(self, program: str) -> None:
        if program.startswith("on_uring") and not self.sees_io_uring:
            return
        point = self._uring.tracepoint if program == "on_uring_submit" else None
        self._objects.attach(program, point)

    def _attach_again(self, program: str) -> None:
        """Attach *program*, which others detached.

        Calls whose end it did not see are sent without results before it would take the end of
        another call for theirs.
        """
        if program not in _RESULT_PROGRAMS:
            self._attach(program)
            return
        self._page.set("results", 0)
        self.wait_for_programs()
        self._give_up()
        self._attach(program)
        self._page.set("results", 1)

    @property
    def sees_io_uring(self) -> bool:
        """Whether the kernel shows what is done through io_uring, in a way that we know."""
        return self._uring.tracepoint is not None

    def detach(self) -> None:
        """Stop seeing them: every task is off the slow entry path again.

        Calls under way whose results were waited for are sent without.
        """
        self._objects.detach("on_sys_enter")
        self._objects.detach("on_uring_submit")
        self.want_results(wanted=False)

    @property
    def survives_stop(self) -> bool:
        """Whether what is in the kernel is left to the store at a clean stop."""
        return self.store.survives_stop

    def leave(self) -> None:
        """Let the next daemon go on: until then nobody is left out of what is traced."""
        self.beat()
        self._page.set("self_tgid", 0)
        self._page.set("journal_pid", 0)

    def end_predecessor(self) -> Rest | None:
        """End what a daemon of another layout left, and return what; None where there is nothing.

        Our own programs must run by now, so that no call is missed.
        """
        predecessor, self._objects.predecessor = self._objects.predecessor, None
        return None if predecessor is None else predecessor.end(self.wait_for_programs)

    def end(self) -> None:
        """Let the store keep nothing, so that closing ends it all."""
        self._objects.forget()
        self.store.drop(self._inner.names())

    def want_results(self, *, wanted: bool) -> None:
        """Attach what waits for the results of calls, or detach it.

        Attach it before there is a rule with `Flag.EXIT`, and detach it when there is none:
        calls under way then are sent without results. A detached one costs nobody anything.
        """
        attached = [one for one in _RESULT_PROGRAMS if self._objects.attached(one)]
        if wanted:
            for program in _RESULT_PROGRAMS:
                if program in attached:
                    continue
                try:
                    self._attach(program)
                except KernelError as error:
                    # tracepoint sched_prepare_exec came with Linux 6.10; without it some strings
                    # of execve stay unreadable
                    if program != "on_exec" or error.errno != errno.ENOENT:
                        if not self._page.get("results"):
                            self._detach_results()
                        raise
            self._page.set("results", 1)
        elif attached:
            self._page.set("results", 0)
            self.wait_for_programs()
            self._detach_results()
            self.wait_for_programs()
            self._give_up()

    def _give_up(self) -> None:
        """Send the calls that are under way without results; nobody keeps more of them now."""
        for key in list(self._passages.keys(_TASK.size)):
            self._objects.run("give_up", _TASK.unpack(key)[0])

    def _detach_results(self) -> None:
        for program in _RESULT_PROGRAMS:
            self._objects.detach(program)

    def wait_for_programs(self) -> None:
        """Wait until every run of a program that has begun has ended.

        A change of a map of maps does (synchronize_rcu in maybe_wait_bpf_programs,
        kernel/bpf/syscall.c), also one that changes nothing.
        """
        if self._idle is None:
            self._idle = create_inner_map(frozenset(), 0)
        self._objects.maps["waits"].update(KEY.pack(0), KEY.pack(self._idle.fd))

    def want(self, calls: Iterable[tuple[Abi, Nr]]) -> None:
        """Let exactly *calls* through to the rules; calls of other numbers end at once.

        Requests of io_uring are seen while some of them stand for one of *calls*.
        """
        wanted = bytearray(lib.UIDTRACED_NUMBERS)
        for abi, nr in calls:
            wanted[nr] |= 1 << abi
            if nr in INNER:
                wanted[INNER[nr][0].nr] |= 1 << abi
        uring = any(
            wanted[nr] >> abi & 1 for (abi, _), both in self._uring_calls.items() for nr in both
        )
        if not uring:
            self._objects.detach("on_uring_submit")
        for number in _BPF_CALL[platform.machine()]:
            wanted[number] |= lib.UIDTRACED_W_BPF
        self._page.want(bytes(wanted))
        if uring:
            self._attach("on_uring_submit")

    def use_scopes(self, scopes: Iterable[tuple[Scope, bool]]) -> None:
        """Look up exactly *scopes*: uids one by one (False), or blocks (True)."""
        bits = blocks = 0
        for scope, by_block in scopes:
            bits |= _SCOPE_BIT[scope]
            if by_block:
                blocks |= _SCOPE_BIT[scope]
        with self._page.changing():
            # of the two the program reads this one last
            self._page.set("blocks", blocks)
            self._page.set("scopes", bits)

    def prepare(self, rule_sets: Iterable[RuleSet], revision: int) -> None:
        """Make the inner maps that are missing, whole and frozen; nobody uses them yet."""
        for rules in rule_sets:
            self._inner.get(rules, revision)

    def put(self, scope: Scope, entries: Mapping[Uid, RuleSet]) -> None:
        """Point each uid to its prepared inner map: each uid's change is one step."""
        fds = (KEY.pack(self._inner.get(rules, 0).fd) for rules in entries.values())
        pairs = list(zip(map(KEY.pack, entries), fds, strict=True))
        with self._page.changing():
            self._many.put(self._outer[scope], pairs)

    def remove(self, scope: Scope, uids: Iterable[Uid]) -> None:
        """Take *uids* out of the outer map; one that is not in it is left so."""
        with self._page.changing():
            self._many.remove(self._outer[scope], [KEY.pack(uid) for uid in uids])

    def put_blocks(self, scope: Scope, entries: Mapping[Block, RuleSet]) -> None:
        """Point each block to its prepared inner map: each block's change is one step."""
        wanted = {rules: self._inner.get(rules, 0) for rules in set(entries.values())}
        self._classes.put({inner.id: inner.fd for inner in wanted.values()})
        blocks = {pack_block(one): KEY.pack(wanted[rules].id) for one, rules in entries.items()}
        with self._page.changing():
            self._blocks[scope].update_all(blocks)
            self.wait_for_programs()

    def remove_blocks(self, scope: Scope, blocks: Iterable[Block]) -> None:
        """Take *blocks* out; one that is not in is left so."""
        with self._page.changing():
            self._blocks[scope].delete_all([pack_block(block) for block in blocks])
            self.wait_for_programs()

    def keep_only(self, rule_sets: Iterable[RuleSet]) -> None:
        """Close the inner maps of all other rule sets."""
        keep = set(rule_sets)
        kept = {number for number, rules in self._inner.by_id().items() if rules in keep}
        self._classes.remove(self._classes.there - kept)
        self._inner.keep_only(keep)

    def read(self, scope: Scope) -> dict[Uid, RuleSet | None]:
        """Return what the kernel's outer map holds; None for an inner map that is not ours."""
        known = self._inner.by_id()
        found = self._many.items(self._outer[scope], KEY.size, KEY.size)
        return {Uid(KEY.unpack(key)[0]): known.get(KEY.unpack(value)[0]) for key, value in found}

    def read_blocks(self, scope: Scope) -> dict[Block, RuleSet | None]:
        """Return what the kernel holds for blocks; None for an inner map that is not ours."""
        ours = self._inner.by_id()
        known = {number: ours.get(inner) for number, inner in self._classes.read().items()}
        found = self._blocks[scope].items(BLOCK.size, KEY.size)
        return {unpack_block(key): known.get(KEY.unpack(value)[0]) for key, value in found}

    def exclude_journal(self, pid: int) -> None:
        """Never log the process *pid* (of this pid namespace); 0 for none."""
        self._page.set("journal_pid", pid)

    def exe(self, number: int) -> tuple[bytes, int] | None:
        """Return what the kernel kept of executable *number*, None where it keeps it no more.

        That is the names of its path from the last one up, each with its NUL, and marks.
        """
        raw = self._exes.lookup(_TASK.pack(number), ffi.sizeof("struct exe"))
        if raw is None:
            return None
        length, marks = _EXE.unpack_from(raw)
        return raw[_EXE.size : _EXE.size + length], marks

    def close(self) -> None:
        """Close everything: what the store does not keep ends. May be called again."""
        if (ring := getattr(self, "ring", None)) is not None:
            ring.close()
        if (page := getattr(self, "_page", None)) is not None:
            page.close()
        if self._idle is not None:
            self._idle.close()
        self._inner.close()
        self._objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SCOPE_BIT: Final[Mapping[Scope, int]] = {
    Scope.REAL: lib.UIDTRACED_S_REAL,
    Scope.EFFECTIVE: lib.UIDTRACED_S_EFFECTIVE,
    Scope.LOGIN: lib.UIDTRACED_S_LOGIN,
}


def constants() -> dict[str, int]:
    """Return the numbers of bpf/event.h that `rules` has too, for the test that compares them."""
    names = [f"UIDTRACED_{abi.name}" for abi in Abi]
    names += [f"UIDTRACED_F_{flag.name}" for flag in Flag]
    names += [f"UIDTRACED_{kind.name}" for kind in Kind]
    names += [f"UIDTRACED_{outcome.name}" for outcome in Outcome]
    names += [f"UIDTRACED_M_{mark.name}" for mark in Mark]
    names += [f"UIDTRACED_{name}" for name in ("NR_MAX", "SOCKETCALL", "IPC", "NUMBERS")]
    return {name: int(getattr(lib, name)) for name in names}
