"""Users and groups of this machine, through its name service (nsswitch.conf)."""

from __future__ import annotations

import grp
import pwd
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from uidtraced.policy import nss
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
        """Return who *names* stand for; those for which a source failed are stale, and left out."""
        # one list instead of a search for each: a search reads the file from its start
        listed = {} if not names.groups and len(names.users) < _FEW else _users()
        found = _Found(listed)
        users = {name: uid for name in names.users if (uid := found.user(name)) is not None}
        groups = {name: uids for name in names.groups if (uids := found.group(name)) is not None}
        return Identities(users, groups, frozenset(found.failed))

    def known(self) -> Names:
        """Return the names that the name service lists."""
        groups = frozenset(_text(entry.gr_name) for entry in grp.getgrall())
        return Names(frozenset(_users()), groups)


_FEW = 8


def _users() -> dict[str, tuple[Uid, int]]:
    """Return uid and primary group by name; of two with one name the first counts, as in libc."""
    found: dict[str, tuple[Uid, int]] = {}
    for name, uid, gid in nss.users():
        found.setdefault(_text(name), (Uid(uid), gid))
    return found


class _Found:
    """Answers by *listed*, and by single questions for whom it has not."""

    def __init__(self, listed: Mapping[str, tuple[Uid, int]]) -> None:
        self._listed = listed
        self._primary: dict[int, set[Uid]] = defaultdict(set)
        for uid, gid in listed.values():
            self._primary[gid].add(uid)
        self._is_whole: bool | None = None
        self.failed: set[str] = set()
        """Names for which no source could tell."""

    def user(self, name: str) -> Uid | None:
        """Return the uid of *name*, None where it has none or failed."""
        if name in self._listed:
            return self._listed[name][0]
        try:
            uid = nss.user(name)
        except OSError:
            self.failed.add(name)
            return None
        return None if uid is None else Uid(uid)

    def group(self, name: str) -> frozenset[Uid] | None:
        """Return the members of *name*, None where there is no such group or it failed."""
        if self._is_whole is None:
            self._is_whole = nss.answers()  # a source that is down is just left out of a list
        try:
            found = nss.group(name)
            if found is None:
                return None
            gid, members = found
            uids = set(self._primary[gid])
            for member in members:
                if member in self._listed:
                    uids.add(self._listed[member][0])
                elif (uid := nss.user(member)) is not None:
                    uids.add(Uid(uid))
        except OSError:
            self.failed.add(name)
            return None
        if not self._is_whole:
            self.failed.add(name)
            return None
        return frozenset(uids)


def name_of(uid: Uid) -> str | None:
    """Return the user name of *uid*, fit for UTF-8; None where it has none."""
    try:
        return _text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def _text(name: str) -> str:
    r"""Return *name* as text; bytes that are not UTF-8 come as surrogates and become ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
