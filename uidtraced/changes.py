"""Shows what a change of policy would do: each entry with the calls that it gains and loses."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, assert_never

from uidtraced.events.text import printable
from uidtraced.multiplexers import INNER
from uidtraced.policy.names import call_name, calls_named
from uidtraced.reconcile import Action, Create, Delete, Everyone, Swap
from uidtraced.rules import Abi, Flag, RuleSet, Scope, UidRange, machine_abis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from uidtraced.reconcile import Key
    from uidtraced.rules import Nr, Uid

_SIGNS: Final = {"create": "+", "swap": "~", "delete": "-"}
_COLORS: Final = {"+": "\x1b[32m", "~": "\x1b[33m", "-": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"
_NOTHING: RuleSet = frozenset()


def words(rules: RuleSet) -> list[str]:
    """Return *rules* as a policy would say them, sorted.

    ``openat`` is the call in every ABI of the machine that has it, ``i386:open`` in that one;
    brackets hold what is not the default.
    """
    calls: dict[str, set[tuple[Abi, Nr]]] = defaultdict(set)
    for rule in rules:
        calls[_how(rule.flags, rule.limit)].add((rule.abi, rule.nr))
    abis: dict[tuple[str, str], set[Abi]] = defaultdict(set)
    implied: dict[tuple[str, str], set[Abi]] = defaultdict(set)  # by socketcall or ipc
    for how, those in calls.items():
        for abi, nr in those:
            by_other = nr in INNER and (abi, INNER[nr][0].nr) in those
            (implied if by_other else abis)[call_name(abi, nr), how].add(abi)
    found = []
    for (name, how), there in abis.items():
        every = {abi for abi in machine_abis() if calls_named(abi, name)}
        whole = there | implied[name, how] == every
        labels = [""] if whole else [f"{abi.label}:" for abi in sorted(there)]
        found += [f"{label}{name}{how}" for label in labels]
    return sorted(found)


def _how(flags: Flag, limit: int) -> str:
    parts = []
    if not flags & Flag.LOG:
        parts.append("count")
    elif flags & Flag.EXIT:
        parts.append("exit" if flags & Flag.SUCCESS else "errors")
    if limit:
        parts.append(f"{limit}/s")
    return f"[{','.join(parts)}]" if parts else ""


def to_rows(
    actions: Iterable[Action], name_of: Callable[[Uid], str | None]
) -> list[dict[str, Any]]:
    """Return *actions* as values for JSON and for `lines`."""
    return [_row(action, name_of) for action in actions]


def _row(action: Action, name_of: Callable[[Uid], str | None]) -> dict[str, Any]:
    match action:
        case Create():
            kind, old, new = "create", _NOTHING, action.rules
        case Swap():
            kind, old, new = "swap", action.old, action.rules
        case Delete():
            kind, old, new = "delete", action.old, _NOTHING
        case _:
            assert_never(action)
    before, after = words(old), words(new)
    return {
        "action": kind,
        "match": action.scope.value,
        **_who(action.key, name_of),
        "added": [one for one in after if one not in set(before)],
        "removed": [one for one in before if one not in set(after)],
    }


def _who(key: Key, name_of: Callable[[Uid], str | None]) -> dict[str, Any]:
    match key:
        case Everyone():
            return {"who": "*", "uid": None, "user": None}
        case UidRange():
            return {"who": f"{key.first}-{key.last}", "uid": None, "user": None}
        case _:
            user = name_of(key)
            return {"who": str(key) if user is None else user, "uid": key, "user": user}


def lines(rows: Iterable[dict[str, Any]], *, colored: bool) -> list[str]:
    """Return a line for each row: sign, whom, and the calls with a sign each."""
    found = []
    for row in rows:
        sign = _SIGNS[row["action"]]
        whom = row["who"]
        if row["user"] is not None:
            whom += f" ({row['uid']})"
        scope = "" if row["match"] == Scope.REAL else f" by {row['match']} uid"
        calls = [f"+{one}" for one in row["added"]] + [f"-{one}" for one in row["removed"]]
        text = printable(f"{sign} {whom}{scope}: {' '.join(calls) or 'nothing'}")
        found.append(f"{_COLORS[sign]}{text}{_PLAIN}" if colored else text)
    return found
