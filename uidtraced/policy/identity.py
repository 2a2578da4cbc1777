"""Users and groups of this machine, through its name service (nsswitch.conf)."""

from __future__ import annotations

import grp
import pwd
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
        asked = _Asked(names)
        users = {name: uid for name in names.users if (uid := asked.user(name)) is not None}
        groups = {name: uids for name in names.groups if (uids := asked.group(name)) is not None}
        return Identities(users, groups, frozenset(asked.failed))

    def known(self) -> Names:
        """Return the names that the name service lists."""
        groups = frozenset(_text(entry.gr_name) for entry in grp.getgrall())
        return Names(frozenset(_text(name) for name, _, _ in nss.users()), groups)


_FEW = 8


class _Asked:
    """Answers for *names* by a list of all users, and by single questions for whom it has not.

    Of the list no more is kept than what is asked for.
    """

    def __init__(self, names: Names) -> None:
        self.failed: set[str] = set()
        """Names for which no source could tell."""
        self._groups: dict[str, tuple[int, list[str]]] = {}
        for name in names.groups:
            try:
                if (found := nss.group(name)) is not None:
                    self._groups[name] = found
            except OSError:
                self.failed.add(name)
        # a source that is down is just left out of a list
        self._is_whole = not self._groups or nss.answers()
        self._uids: dict[str, Uid] = {}
        self._primary: dict[int, set[Uid]] = {gid: set() for gid, _ in self._groups.values()}
        wanted = names.users.union(*(members for _, members in self._groups.values()))
        if names.groups or len(names.users) >= _FEW:  # a search for each reads from the start
            self._list(wanted)

    def _list(self, wanted: frozenset[str]) -> None:
        for name, uid, gid in nss.users():
            # of two with one name the first counts, as in libc
            if (text := _text(name)) in wanted:
                self._uids.setdefault(text, Uid(uid))
            if gid in self._primary:
                self._primary[gid].add(Uid(uid))

    def user(self, name: str) -> Uid | None:
        """Return the uid of *name*, None where it has none or failed."""
        try:
            return self._uid(name)
        except OSError:
            self.failed.add(name)
            return None

    def _uid(self, name: str) -> Uid | None:
        if name in self._uids:
            return self._uids[name]
        uid = nss.user(name)
        return None if uid is None else Uid(uid)

    def group(self, name: str) -> frozenset[Uid] | None:
        """Return the members of *name*, None where there is no such group or it failed."""
        if name not in self._groups:
            return None
        gid, members = self._groups[name]
        try:
            listed = [self._uid(member) for member in members]
        except OSError:
            self.failed.add(name)
            return None
        if not self._is_whole:
            self.failed.add(name)
            return None
        return frozenset(self._primary[gid].union(uid for uid in listed if uid is not None))


def name_of(uid: Uid) -> str | None:
    """Return the user name of *uid*, fit for UTF-8; None where it has none."""
    try:
        return _text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def _text(name: str) -> str:
    r"""Return *name* as text; bytes that are not UTF-8 come as surrogates and become ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
