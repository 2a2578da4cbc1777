"""Users and groups of this machine, through the name service."""

from __future__ import annotations

import pwd
from typing import Final, Protocol

from uidtraced.rules import Uid

_ONE_BY_ONE: Final = 32
"""So many names are asked for singly; then all are listed.

Each question reads /etc/passwd from its start: for 10,000 names of 10,000 that is 4 s, one list
of all is 10 ms. A directory may have far more users than it cares to list, so few names do not
ask for that.
"""


class Directory(Protocol):
    """Who has which uid."""

    def refresh(self) -> None:
        """Forget earlier answers: users may have come, changed or gone."""

    def uid_of(self, name: str) -> Uid | None:
        """Return the uid of the user *name*; None where there is none."""

    def names(self) -> frozenset[str]:
        """Return names that can be listed, to suggest one; not all need be."""


class SystemDirectory:
    """The machine's own name service (nsswitch.conf); what it lists is kept until `refresh`."""

    def __init__(self) -> None:
        self._asked = 0
        self._listed: dict[str, Uid] | None = None

    def refresh(self) -> None:
        """Ask anew from now on."""
        self._asked = 0
        self._listed = None

    def uid_of(self, name: str) -> Uid | None:
        """Return the uid of the user *name*; None where there is none."""
        self._asked += 1
        if self._asked > _ONE_BY_ONE and (uid := self._list().get(name)) is not None:
            return uid
        try:  # not every directory lists its users
            return Uid(pwd.getpwnam(name).pw_uid)
        except KeyError:
            return None

    def names(self) -> frozenset[str]:
        """Return the names that the name service lists."""
        return frozenset(self._list())

    def _list(self) -> dict[str, Uid]:
        if self._listed is None:
            self._listed = {}
            for entry in pwd.getpwall():  # the first of a name counts, as for getpwnam
                self._listed.setdefault(entry.pw_name, Uid(entry.pw_uid))
        return self._listed


def name_of(uid: Uid) -> str | None:
    """Return the user name of *uid*; None where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
