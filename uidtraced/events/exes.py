"""Paths of executables by the kernel's numbers for them: each is asked for once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uidtraced.events.text import text
from uidtraced.rules import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

_KEEP: Final = 100_000


def exe_path(names: bytes, marks: int) -> str:
    """Return the path whose *names* are given from the last one up, each with its NUL."""
    path = b"/".join([*reversed(names.split(b"\0")[:-1])])
    start = "..." if marks & Mark.TRUNCATED else ""
    return f"{start}/{text(path)}{' (deleted)' if marks & Mark.DELETED else ''}"


class ExePaths:
    """Paths by number; *read* returns what the kernel kept of one, names and marks."""

    def __init__(self, read: Callable[[int], tuple[bytes, int] | None]) -> None:
        self._read = read
        self._paths: dict[int, str] = {}

    def __call__(self, number: int) -> str | None:
        """Return the path of executable *number*; None for 0, and where the kernel forgot it."""
        path = self._paths.get(number)
        if path is None and number and (found := self._read(number)) is not None:
            if len(self._paths) >= _KEEP:
                self._paths.clear()
            path = self._paths[number] = exe_path(*found)
        return path
