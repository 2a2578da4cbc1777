"""What in a valid policy may not be what its author means: warnings, each where it stands."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, TypeAlias

from uidtraced.policy.names import call_name, nearest, numbers, parse_selector
from uidtraced.policy.plan import rules_of, uids_of
from uidtraced.policy.who import Group, Others, User
from uidtraced.rules import Uid, UidRange, machine_abis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uidtraced.errors import Problem
    from uidtraced.policy.identity import Directory, Identities
    from uidtraced.policy.load import Loaded
    from uidtraced.policy.who import Who
    from uidtraced.rules import Abi, Nr, RuleSet

Warned: TypeAlias = "tuple[Who, str]"
"""Whose entry a warning is about, and what it says."""

_JOURNAL_EVENTS: Final = "about 20,000 a second"
"""What journald takes; docs/decisions.md has the measurement."""

_JOURNAL_LIMIT: Final = 20_000

_BUSY: Final = (
    *("read", "write", "readv", "writev", "pread64", "pwrite64", "lseek"),
    *("recvfrom", "recvmsg", "sendto", "sendmsg", "futex", "poll", "ppoll", "select", "pselect6"),
    *("epoll_wait", "epoll_pwait", "clock_nanosleep", "sched_yield", "gettid", "getpid"),
    *("getppid", "close", "ioctl", "fcntl", "fstat", "brk"),
)
"""Calls that one ordinary program can make more often than that."""

_IO_URING: Final = ("io_uring_setup", "io_uring_enter")
_OF_FILES_OR_NETWORK: Final = ("@file-system", "@network-io")
_NEARLY_ALL: Final = 0.9
_HINTS: Final = 20
"""So many unknown names get the nearest right one, which takes about 1 ms each."""


def lint(
    loaded: Loaded, identities: Identities, directory: Directory, *, sees_io_uring: bool
) -> tuple[Problem, ...]:
    """Return the warnings of *loaded*, sorted by where they stand."""
    found = [
        *_nobody(loaded, identities, directory),
        *_too_busy(loaded),
        *_all_of_root(loaded, identities),
        *(() if sees_io_uring else _io_uring(loaded)),
    ]
    return loaded.problems(found)


def _nobody(loaded: Loaded, identities: Identities, directory: Directory) -> Iterator[Warned]:
    """Warn of users and groups that are not there."""
    missing = [
        who
        for who in loaded.policy.users
        if (isinstance(who, User) and who.name not in identities.users)
        or (isinstance(who, Group) and who.name not in identities.groups)
    ]
    known = directory.known() if any(one.name not in identities.stale for one in missing) else None
    for number, who in enumerate(missing):
        kind = "user" if isinstance(who, User) else "group"
        if who.name in identities.stale or known is None:
            yield (
                who,
                f'the name service does not answer for {kind} "{who.name}"; it is asked again',
            )
            continue
        names = known.users if isinstance(who, User) else known.groups
        hint = nearest(who.name, names) if number < _HINTS else None
        advice = f'did you mean "{hint}"?' if hint else "the entry takes effect when there is one"
        yield (who, f'no {kind} "{who.name}"; {advice}')


def _too_busy(loaded: Loaded) -> Iterator[Warned]:
    for who, entry in loaded.policy.users.items():
        limited = entry.limit is not None and entry.limit <= _JOURNAL_LIMIT
        if entry.mode == "count" or limited or entry.only is not None:
            continue
        busy = _first_of(_BUSY, rules_of(entry))
        if busy is not None:
            yield (
                who,
                (
                    f'"{busy}" can happen more often than the journal takes events '
                    f"({_JOURNAL_EVENTS}); add limit: 1000/s, or mode: count"
                ),
            )


def _all_of_root(loaded: Loaded, identities: Identities) -> Iterator[Warned]:
    native = machine_abis()[0]
    everything = {call for call in parse_selector("@all").calls if call[0] is native}
    for who, entry in loaded.policy.users.items():
        if entry.mode == "count" or not _covers(who, Uid(0), identities):
            continue
        if len(_calls_of(rules_of(entry)) & everything) > _NEARLY_ALL * len(everything):
            yield (
                who,
                (
                    "every call of root is logged, which is most of what a machine does; "
                    "name the calls that matter"
                ),
            )


def _covers(who: Who, uid: Uid, identities: Identities) -> bool:
    match who:
        case UidRange():
            return who.first <= uid <= who.last
        case Others():
            return True
        case _:
            return uid in uids_of(who, identities)


def _io_uring(loaded: Loaded) -> Iterator[Warned]:
    """Warn once: where one entry forgets it, most do."""
    for who, entry in loaded.policy.users.items():
        calls = _calls_of(rules_of(entry))
        if calls & _files_and_network() and not calls & _calls(_IO_URING):
            yield (
                who,
                (
                    "this kernel does not show what is done to files and sockets through io_uring; "
                    "add io_uring_setup to see who uses it (here and in other entries)"
                ),
            )
            return


@functools.cache
def _files_and_network() -> frozenset[tuple[Abi, Nr]]:
    return frozenset().union(*(parse_selector(one).calls for one in _OF_FILES_OR_NETWORK))


@functools.cache
def _calls(names: tuple[str, ...]) -> frozenset[tuple[Abi, Nr]]:
    return frozenset(
        (abi, numbers(abi)[name])
        for abi in machine_abis()
        for name in names
        if name in numbers(abi)
    )


@functools.lru_cache(maxsize=1024)
def _calls_of(rules: RuleSet) -> frozenset[tuple[Abi, Nr]]:
    return frozenset((rule.abi, rule.nr) for rule in rules)


@functools.lru_cache(maxsize=1024)
def _first_of(names: tuple[str, ...], rules: RuleSet) -> str | None:
    """Return the first of *names* that *rules* log, each by the name that its ABI has."""
    found = _calls_of(rules) & _calls(names)
    by_name = {call_name(abi, nr) for abi, nr in found}
    return next((name for name in names if name in by_name), None)
