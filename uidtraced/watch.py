"""Says "look again" when the policy file may have changed. Only says so; looking is for others.

Directories are watched, that of the file and of every symlink on the way to it: editors and
orchestrators replace files, and what replaces them is an event of the directory alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import structlog
from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchdog.observers.api import ObservedWatch

log = structlog.get_logger("watch")

_CHANGES: Final = frozenset(
    {
        EVENT_TYPE_CLOSED,  # after writing; our own reads close without
        EVENT_TYPE_CREATED,
        EVENT_TYPE_DELETED,
        EVENT_TYPE_MODIFIED,
        EVENT_TYPE_MOVED,
    }
)
_MAX_SYMLINKS: Final = 40  # as the kernel has it: MAXSYMLINKS, include/linux/namei.h


def places(path: Path) -> dict[str, frozenset[str]]:
    """Return the directories to watch for *path*, each with the names in it that matter."""
    found: dict[str, set[str]] = {}
    todo = [os.path.abspath(path)]
    seen: set[str] = set()
    while todo and len(seen) < _MAX_SYMLINKS:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        parent, name = os.path.split(current)
        found.setdefault(os.path.realpath(parent), set()).add(name)
        head = current
        while head not in ("/", ""):  # any part of the way may be a link
            try:
                target = os.readlink(head)
            except OSError:
                head = os.path.dirname(head)
                continue
            where, link = os.path.split(head)
            found.setdefault(os.path.realpath(where), set()).add(link)
            rest = os.path.relpath(current, head)
            resolved = (
                os.path.join(where, target) if rest == "." else os.path.join(where, target, rest)
            )
            todo.append(os.path.normpath(resolved))
            head = where
    return {directory: frozenset(names) for directory, names in found.items()}


class _Handler(FileSystemEventHandler):
    """Runs in watchdog's thread, which dies of an exception: only sets things off."""

    def __init__(self, names: frozenset[str], changed: Callable[[], object]) -> None:
        self._names = names
        self._changed = changed

    def dispatch(self, event: Any) -> None:
        if event.event_type not in _CHANGES:
            return
        for path in (event.src_path, event.dest_path):
            if path and os.path.basename(os.fsdecode(path)) in self._names:
                self._changed()
                return


class Watcher:
    """Calls *changed*, in a thread of its own, on changes that may be of *path*."""

    def __init__(self, path: Path, changed: Callable[[], object]) -> None:
        self._path = path
        self._changed = changed
        self._watched: dict[str, tuple[tuple[int, int], frozenset[str], ObservedWatch]] = {}
        self._observer = Observer()
        self._observer.daemon = True

    def start(self) -> None:
        """Watch from now on."""
        self._observer.start()
        self.refresh()

    @property
    def alive(self) -> bool:
        """Whether the thread that watches runs."""
        return self._observer.is_alive()

    def refresh(self) -> None:
        """Follow links and directories that were replaced; to be called now and then."""
        wanted = places(self._path)
        for directory, (identity, names, watch) in list(self._watched.items()):
            if wanted.get(directory) != names or _identity(directory) != identity:
                del self._watched[directory]
                self._observer.unschedule(watch)
        for directory, names in wanted.items():
            found = _identity(directory)
            if directory in self._watched or found is None:
                continue
            try:
                watch = self._observer.schedule(_Handler(names, self._changed), directory)
            except OSError as error:  # the poll finds changes all the same, later
                log.warning("cannot_watch", directory=directory, reason=error.strerror)
                continue
            self._watched[directory] = (found, names, watch)

    def stop(self) -> None:
        """End the thread."""
        self._observer.stop()
        if self._observer.is_alive():
            self._observer.join()


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino
