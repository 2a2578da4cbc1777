"""Inner maps: one frozen map for each distinct rule set, shared by every uid that has it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from uidtraced.kernel.kept import LAYOUT
from uidtraced.kernel.libbpf import MapFd, check, ffi, lib
from uidtraced.rules import Abi, Flag, Nr, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from uidtraced.kernel.kept import FdStore
    from uidtraced.rules import RuleSet

_CALL = struct.Struct("=HH")  # struct call of bpf/event.h: nr, abi
_RULE = struct.Struct("=III")  # struct rule: action, revision, limit


def create_inner_map(rules: RuleSet, revision: int) -> MapFd:
    """Return a new inner map that holds *rules* whole and is frozen.

    *revision* is the policy revision at which the rule set comes into force.
    """
    fd = lib.bpf_map_create(
        lib.BPF_MAP_TYPE_HASH, b"rule_set", _CALL.size, _RULE.size, max(len(rules), 1), ffi.NULL
    )
    inner = MapFd(check("bpf_map_create", fd))
    try:
        ordered = sorted(rules)
        keys = b"".join(_CALL.pack(rule.nr, rule.abi) for rule in ordered)
        values = b"".join(_RULE.pack(rule.flags, revision, rule.limit) for rule in ordered)
        if ordered:
            inner.update_batch(keys, values, len(ordered))
        inner.freeze()
    except BaseException:
        inner.close()
        raise
    return inner


def read_rules(inner: MapFd) -> RuleSet:
    """Return what the inner map *inner* holds; ValueError where that is nothing of ours."""
    rules = set()
    for key, value in inner.items(_CALL.size, _RULE.size):
        nr, abi = _CALL.unpack(key)
        flags, _, limit = _RULE.unpack(value)
        rules.add(Rule(Abi(abi), Nr(nr), Flag(flags), limit))
    return frozenset(rules)


class InnerMaps:
    """The inner maps in use, by what they hold; *store* keeps them for the next daemon."""

    def __init__(self, store: FdStore) -> None:
        self._store = store
        self._maps: dict[RuleSet, MapFd] = {}

    def take_over(self, maps: Mapping[str, MapFd]) -> None:
        """Own *maps*, which the store keeps under these names; of two with one content, one."""
        for name, inner in maps.items():
            rules = read_rules(inner)
            if rules in self._maps:
                self._store.drop([name])
                inner.close()
            else:
                self._maps[rules] = inner

    def __len__(self) -> int:
        return len(self._maps)

    def get(self, rules: RuleSet, revision: int) -> MapFd:
        """Return the map that holds *rules*; where there is none yet, it is of *revision*."""
        inner = self._maps.get(rules)
        if inner is None:
            inner = self._maps[rules] = create_inner_map(rules, revision)
            self._store.keep(_name(inner), inner.fd)
        return inner

    def by_id(self) -> dict[int, RuleSet]:
        """Return what each of the maps holds, by the kernel's id of the map."""
        return {inner.id: rules for rules, inner in self._maps.items()}

    def ids(self) -> dict[RuleSet, int]:
        """Return the kernel's id of the map of each rule set."""
        return {rules: inner.id for rules, inner in self._maps.items()}

    def fds(self) -> dict[int, int]:
        """Return the fd of each of the maps, by the kernel's id."""
        return {inner.id: inner.fd for inner in self._maps.values()}

    def keep_only(self, used: Iterable[RuleSet]) -> None:
        """Close every other map: the kernel frees it once no task can be reading it."""
        keep = set(used)
        gone = [self._maps.pop(rules) for rules in list(self._maps) if rules not in keep]
        if gone:
            self._store.drop([_name(inner) for inner in gone])
        for inner in gone:
            inner.close()

    def names(self) -> list[str]:
        """Return the names under which the store keeps them."""
        return [_name(inner) for inner in self._maps.values()]

    def close(self) -> None:
        """Close all; what the store keeps, it keeps."""
        for inner in self._maps.values():
            inner.close()
        self._maps = {}


def _name(inner: MapFd) -> str:
    return f"r-{LAYOUT}-{inner.id}"
