"""Users and groups of this machine, through the name service."""

from __future__ import annotations

import pwd
from typing import Protocol

from uidtraced.rules import Uid


class Directory(Protocol):
    """Who has which uid."""

    def uid_of(self, name: str) -> Uid | None:
        """Return the uid of the user *name*; None where there is none."""

    def names(self) -> frozenset[str]:
        """Return names that can be listed, to suggest one; not all need be."""


class SystemDirectory:
    """The machine's own name service (nsswitch.conf), asked anew each time."""

    def uid_of(self, name: str) -> Uid | None:
        """Return the uid of the user *name*; None where there is none."""
        try:
            return Uid(pwd.getpwnam(name).pw_uid)
        except KeyError:
            return None

    def names(self) -> frozenset[str]:
        """Return the names that the name service lists."""
        return frozenset(entry.pw_name for entry in pwd.getpwall())


def name_of(uid: Uid) -> str | None:
    """Return the user name of *uid*; None where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
