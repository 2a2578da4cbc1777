"""A name service that is never waited for long: the last good answer stands in for a late one."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Final

from uidtraced.policy import Identities, Names
from uidtraced.worker import Worker

if TYPE_CHECKING:
    from concurrent.futures import Future

    from uidtraced.policy import Directory
    from uidtraced.rules import Uid

PATIENCE_SECONDS: Final = 0.5
"""So long a question waits for its answer; a later one finds it, if it has come by then."""


class PatientDirectory:
    """Asks *directory* in a thread of its own, one question at a time."""

    def __init__(self, directory: Directory, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._directory = directory
        self._patience_seconds = patience_seconds
        self._worker = Worker("name-service")
        self._asked: tuple[Names, Future[Identities]] | None = None
        self._listing: Future[Names] | None = None
        self._stale: frozenset[str] = frozenset()
        self._users: dict[str, Uid] = {}
        self._groups: dict[str, frozenset[Uid]] = {}

    def resolve(self, names: Names) -> Identities:
        """Return who *names* stand for, or stood for when there was last an answer."""
        if not names.users and not names.groups:
            return Identities()
        answered = self._ask(names)
        users = {name: self._users[name] for name in names.users if name in self._users}
        groups = {name: self._groups[name] for name in names.groups if name in self._groups}
        return Identities(users, groups, self._stale if answered else names.users | names.groups)

    def _ask(self, names: Names) -> bool:
        """Whether there is an answer for just *names* now."""
        if self._asked is None:
            self._asked = names, self._worker.submit(lambda: self._directory.resolve(names))
        asked, future = self._asked
        try:
            found = future.result(self._patience_seconds)
        except FutureTimeoutError:
            return False
        except OSError:  # the name service itself failed
            self._asked = None
            return False
        self._asked = None
        self._learn(asked, found)
        return asked == names or self._ask(names)

    def _learn(self, asked: Names, found: Identities) -> None:
        """Forget what is no more; keep what no source could tell of."""
        self._stale = found.stale
        for name in asked.users - found.stale:
            self._users.pop(name, None)
        for name in asked.groups - found.stale:
            self._groups.pop(name, None)
        self._users |= found.users
        self._groups |= found.groups

    def known(self) -> Names:
        """Return the names that can be listed; none where that takes too long."""
        if self._listing is None:
            self._listing = self._worker.submit(self._directory.known)
        try:
            found = self._listing.result(self._patience_seconds)
        except FutureTimeoutError:
            return Names()
        except OSError:
            found = Names()
        self._listing = None
        return found

    def close(self) -> None:
        """Ask no more."""
        self._worker.close()
