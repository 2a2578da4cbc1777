"""Says "look again" when the policy file may have changed. Only says so; looking is for others.

Directories are watched, that of the file and of every symlink on the way to it: editors and
orchestrators replace files, and what replaces them is an event of the directory alone.
"""

from __future__ import annotations

import enum
import os
import stat
from typing import TYPE_CHECKING, Final

import structlog
from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchdog.observers.api import ObservedWatch

log = structlog.get_logger("watch")

# watchdog holds back half of a rename, and all that comes after it, for half a second to find
# the other half; each half says all that is asked here
InotifyMoveEventGrouper.delay = 0.0

_EVENTS: Final[list[type[FileSystemEvent]]] = [  # not that it was read: we do that ourselves
    *(DirAttribEvent, DirCreatedEvent, DirDeletedEvent, DirMovedEvent),
    *(FileAttribEvent, FileClosedEvent, FileCreatedEvent, FileDeletedEvent),
    *(FileModifiedEvent, FileMovedEvent),
]
_MAX_SYMLINKS: Final = 40  # as the kernel has it: MAXSYMLINKS, include/linux/namei.h


class Change(enum.Enum):
    """What happened, as far as it tells when to look."""

    REPLACED = "replaced"
    """A file or link was put in place in one step: it is whole."""
    WRITTEN = "written"
    """Who wrote it has closed it; a script may open it again to append."""
    RIGHTS = "rights"
    """Owner, mode or times: the content is what it was."""
    UNFINISHED = "unfinished"
    """It is being written, or gone: more is likely to follow."""


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

    def __init__(
        self, directory: str, names: frozenset[str], changed: Callable[[Change], object]
    ) -> None:
        self._directory = directory
        self._names = names
        self._changed = changed

    def _concerns(self, path: str) -> bool:
        return path == self._directory or os.path.basename(path) in self._names

    def dispatch(self, event: FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if self._concerns(target):
            self._changed(Change.REPLACED)
        elif self._concerns(source):
            self._changed(_what(event, source))


def _what(event: FileSystemEvent, path: str) -> Change:
    match event:
        case FileClosedEvent():
            return Change.WRITTEN
        case DirAttribEvent() | FileAttribEvent():
            return Change.RIGHTS
        case DirCreatedEvent():
            return Change.REPLACED
        case FileCreatedEvent() if _is_link(path):
            return Change.REPLACED
        case _:
            return Change.UNFINISHED


def _is_link(path: str) -> bool:
    """Whether *path* is a symlink or one of several hard links, which nobody closes."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1


class _Observer(InotifyObserver):
    """watchdog's threads: one that reads inotify, one a directory, and one that tells."""

    def __init__(self) -> None:
        super().__init__(generate_full_events=True)  # both halves of a rename, each for itself

    @property
    def works(self) -> bool:
        """Whether the threads that serve all directories run."""
        return self.is_alive() and self._inotify_fd.is_alive()

    def serves(self, watch: ObservedWatch) -> bool:
        """Whether the thread of *watch* runs; it ends with its directory."""
        emitter = self._emitter_for_watch.get(watch)
        return emitter is not None and emitter.is_alive()


class Watcher:
    """Calls *changed*, in a thread of its own, on changes that may be of *path*.

    It can miss some: where directories are moved or mounted, where the kernel's queue of events
    overflows, on network file systems. So look at the file now and then, and `refresh` before.
    """

    def __init__(self, path: Path, changed: Callable[[Change], object]) -> None:
        self._path = path
        self._changed = changed
        self._watched: dict[str, tuple[tuple[int, int], frozenset[str], ObservedWatch]] = {}
        self._observer: _Observer | None = None
        self._told: set[tuple[str | None, int | None]] = set()

    @property
    def alive(self) -> bool:
        """Whether the threads that watch run; `refresh` starts them anew where not."""
        return self._observer is None or self._observer.works

    def refresh(self) -> None:
        """Start watching; later follow links and directories that were replaced."""
        if not self.alive:
            log.error("watcher_died", consequence="changes are seen late until now")
            self.stop()
        try:
            observer = self._observer = self._observer or _start()
        except OSError as error:  # too many inotify instances
            self._warn(None, error)
            return
        wanted = places(self._path)
        for directory, (identity, names, watch) in list(self._watched.items()):
            same = wanted.get(directory) == names and _identity(directory) == identity
            if not same or not observer.serves(watch):
                del self._watched[directory]
                observer.unschedule(watch)
        for directory, names in wanted.items():
            found = _identity(directory)
            if directory in self._watched or found is None:
                continue
            handler = _Handler(directory, names, self._changed)
            try:
                watch = observer.schedule(handler, directory, event_filter=_EVENTS)
            except OSError as error:
                self._warn(directory, error)
            else:
                self._watched[directory] = (found, names, watch)

    def _warn(self, directory: str | None, error: OSError) -> None:
        """Say once that only looking finds changes there."""
        if (directory, error.errno) not in self._told:
            self._told.add((directory, error.errno))
            log.warning("cannot_watch", directory=directory, reason=error.strerror)

    def stop(self) -> None:
        """Watch no more."""
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            observer.stop()
            observer.join()


def _start() -> _Observer:
    observer = _Observer()
    observer.start()
    return observer


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino
