"""Users and groups of this machine, through its name service (nsswitch.conf)."""

from __future__ import annotations

import grp
import pwd
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from uidtraced.rules import Uid

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a policy uses, to be looked up together."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identities:
    """Who the names of a policy stand for now.

    A name that nobody has is not in it. *stale* are names for which there was no answer in time:
    what is here for them, if anything, is the last good answer.
    """

    users: Mapping[str, Uid] = field(default_factory=dict)
    groups: Mapping[str, frozenset[Uid]] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()


class Directory(Protocol):
    """Who has which uid."""

    def resolve(self, names: Names) -> Identities:
        """Return who *names* stand for."""

    def known(self) -> Names:
        """Return names that can be listed, to suggest one; not all need be."""


class SystemDirectory:
    """The machine's own name service, asked anew each time; may take as long as that takes."""

    def resolve(self, names: Names) -> Identities:
        """Return who *names* stand for."""
        # one list instead of a search for each: a search reads the file from its start
        listed = {} if not names.groups and len(names.users) < _FEW else _users()
        users = {}
        for name in names.users:
            uid = listed[name][0] if name in listed else _uid_of(name)
            if uid is not None:
                users[name] = uid
        return Identities(users, _members(names.groups, listed))

    def known(self) -> Names:
        """Return the names that the name service lists."""
        groups = frozenset(_text(entry.gr_name) for entry in grp.getgrall())
        return Names(frozenset(_users()), groups)


_FEW = 8


def _users() -> dict[str, tuple[Uid, int]]:
    """Return uid and primary group by name; of two with one name the first counts, as in libc."""
    return {_text(one.pw_name): (Uid(one.pw_uid), one.pw_gid) for one in reversed(pwd.getpwall())}


def _members(
    groups: frozenset[str], listed: Mapping[str, tuple[Uid, int]]
) -> dict[str, frozenset[Uid]]:
    primary: dict[int, set[Uid]] = defaultdict(set)
    for uid, gid in listed.values():
        primary[gid].add(uid)
    found = {}
    for name in groups:
        try:
            entry = grp.getgrnam(name)
        except KeyError:
            continue
        uids = set(primary[entry.gr_gid])
        for member in entry.gr_mem:
            known = listed[member][0] if member in listed else _uid_of(member)
            if known is not None:
                uids.add(known)
        found[name] = frozenset(uids)
    return found


def _uid_of(name: str) -> Uid | None:
    try:
        return Uid(pwd.getpwnam(name).pw_uid)
    except (KeyError, UnicodeEncodeError):
        return None


def name_of(uid: Uid) -> str | None:
    """Return the user name of *uid*, fit for UTF-8; None where it has none."""
    try:
        return _text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def _text(name: str) -> str:
    r"""Return *name* as text; bytes that are not UTF-8 come as surrogates and become ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
