"""Inner maps: one frozen map for each distinct rule set, shared by every uid that has it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from uidtraced.kernel.libbpf import MapFd, check, ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterable

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


class InnerMaps:
    """The inner maps in use, by what they hold."""

    def __init__(self) -> None:
        self._maps: dict[RuleSet, MapFd] = {}

    def __len__(self) -> int:
        return len(self._maps)

    def get(self, rules: RuleSet, revision: int) -> MapFd:
        """Return the map that holds *rules*; where there is none yet, it is of *revision*."""
        inner = self._maps.get(rules)
        if inner is None:
            inner = self._maps[rules] = create_inner_map(rules, revision)
        return inner

    def by_id(self) -> dict[int, RuleSet]:
        """Return what each of the maps holds, by the kernel's id of the map."""
        return {inner.id: rules for rules, inner in self._maps.items()}

    def keep_only(self, used: Iterable[RuleSet]) -> None:
        """Close every other map: the kernel frees it once no task can be reading it."""
        keep = set(used)
        for rules in [rules for rules in self._maps if rules not in keep]:
            self._maps.pop(rules).close()

    def close(self) -> None:
        """Close all."""
        self.keep_only(())
