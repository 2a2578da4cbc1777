"""Knows what the daemon put into the kernel, and finds what others made of it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from uidtraced.errors import UnsupportedError
from uidtraced.kernel.keys import BLOCK, KEY, pack_block
from uidtraced.kernel.libbpf import ffi, lib
from uidtraced.rules import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from uidtraced.kernel.classes import Classes
    from uidtraced.kernel.many import ManyEntries
    from uidtraced.kernel.objects import Objects
    from uidtraced.kernel.page import ControlPage
    from uidtraced.rules import Block, RuleSet, Uid

Entries: TypeAlias = "tuple[Mapping[Uid, RuleSet], Mapping[Block, RuleSet]]"
"""What a scope has for uids one by one, and for blocks."""

_SEES: Final = "on_sys_enter"
_WRITTEN: Final = ("classes", "waits", "counts", "accounts")
"""To what the daemon writes beside the maps of scopes."""
_2_64: Final = 2**64


@dataclass(frozen=True, slots=True)
class Wrong:
    """An entry of a map, or a program, that was not as it should be, in words."""

    of: str
    """The map or program, as bpftool names it."""
    entry: str
    found: str
    restored: str


class Guard:
    """Looks at each map as a whole, by a sum over its entries.

    That is cheap, and tells no more than whether they are those that should be there. For the
    thread that changes them, between changes.
    """

    def __init__(
        self,
        objects: Objects,
        page: ControlPage,
        classes: Classes,
        many: ManyEntries,
        attach: Callable[[str], None],
    ) -> None:
        """*attach* lets a program run again of which *objects* knows no more that it does."""
        self._objects = objects
        self._page = page
        self._classes = classes
        self._many = many
        self._attach = attach
        self._sums: dict[str, int] = {}

    @property
    def others_called(self) -> int:
        """How often others than the daemon called bpf(2) while the program saw calls."""
        return self._page.get("others_bpf")

    def put_page_right(self) -> list[Wrong]:
        """Set again what others set of the control page."""
        return [
            Wrong(".data.control", name, str(found), str(right))
            for name, found, right in self._page.put_right()
        ]

    def attach_again(self) -> list[Wrong]:
        """Attach again what should run and does not.

        That is where a link's fd is not the link's any more; and where the program of calls saw
        none of bpf(2), though to ask for the links is one.
        """
        before, found = self._page.get("own_bpf"), []
        for program in self._objects.lost_links():
            self._attach(program)
            found.append(Wrong(program, "", "detached", "attached"))
        if self._is_blind(before):
            self._objects.detach(_SEES)
            self._attach(_SEES)
            found.append(Wrong(_SEES, "", "saw no calls", "attached anew"))
        return found

    def _is_blind(self, before: int) -> bool:
        self._objects.lost_links()  # the last call of bpf(2), if attached anew just now
        return self._objects.attached(_SEES) and self._page.get("own_bpf") == before

    def expect(self, plan: Mapping[Scope, Entries]) -> None:
        """Take *plan*, whose rule sets are prepared, for what should be in the maps.

        Takes some 0.3 us for each entry.
        """
        ids = self._classes.inner.ids()
        for scope in Scope:
            uids, blocks = plan.get(scope, ({}, {}))
            values = array("I", [ids[rules] for rules in uids.values()])
            self._sums[scope.value] = _sum(array("I", uids), KEY.size, values, len(uids))
            values = array("I", [ids[rules] for rules in blocks.values()])
            keys = b"".join(map(pack_block, blocks))
            self._sums[f"{scope.value}_blocks"] = _sum(keys, BLOCK.size, values, len(blocks))

    def is_as_expected(self, scope: Scope) -> bool:
        """Whether the outer map and the blocks of *scope* hold just what they should."""
        blocks = f"{scope.value}_blocks"
        return (
            self._sum_in(scope.value, KEY.size) == self._sums[scope.value]
            and self._sum_in(blocks, BLOCK.size) == self._sums[blocks]
        )

    def frozen(self) -> list[str]:
        """Return the maps that somebody froze (bpf(2)): nobody can write to them again."""
        names = [name for scope in Scope for name in (scope.value, f"{scope.value}_blocks")]
        names += _WRITTEN
        return [name for name in names if _is_frozen(self._objects.maps[name].fd)]

    def put_classes_right(self) -> list[Wrong]:
        """Undo what others changed of the map of classes, by which blocks find their rules."""
        there = array("I", self._classes.there)
        if self._sum_in("classes", KEY.size) == _sum(there, KEY.size, there, len(there)):
            return []
        return [
            Wrong("classes", str(number), _map(found), _map(right))
            for number, (found, right) in sorted(self._classes.put_right().items())
        ]

    def _sum_in(self, name: str, key_bytes: int) -> int:
        one = self._objects.maps[name]
        try:
            found = [
                _sum(keys, key_bytes, values, count)
                for keys, values, count in one.batches(key_bytes, KEY.size)
            ]
        except UnsupportedError:  # maps of maps have batches from 5.19
            pairs = self._many.items(one, key_bytes, KEY.size)
            keys, values = (b"".join(pair[place] for pair in pairs) for place in (0, 1))
            return _sum(keys, key_bytes, values, len(pairs))
        return sum(found) % _2_64


def _sum(keys: Any, key_bytes: int, values: Any, count: int) -> int:
    """Return the sum of *count* pairs, side by side in C's memory or Python's."""
    keys, values = (
        one if isinstance(one, ffi.CData) else ffi.from_buffer(one) for one in (keys, values)
    )
    return int(lib.uidtraced_sum(keys, key_bytes, values, count))


def _is_frozen(map_fd: int) -> bool:
    """Whether the kernel says so in fdinfo (bpf_map_show_fdinfo, kernel/bpf/syscall.c)."""
    try:
        return "\nfrozen:\t1\n" in Path(f"/proc/self/fdinfo/{map_fd}").read_text()
    except OSError:  # no fd to spare, say: what else a look finds is put right all the same
        return False


def _map(number: int) -> str:
    return f"map {number}" if number else "nothing"
