"""The inner maps that blocks use: each under its own id, which is the class of its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uidtraced.errors import UidtracedError
from uidtraced.kernel.keys import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from uidtraced.kernel.inner import InnerMaps
    from uidtraced.kernel.libbpf import MapFd
    from uidtraced.kernel.many import ManyEntries


class Classes:
    """What is in the map *outer*, which stays the caller's."""

    def __init__(
        self, outer: MapFd, inner: InnerMaps, many: ManyEntries, wait: Callable[[], None]
    ) -> None:
        """Take what is there for right: it is a daemon's before this one.

        *wait* waits until every run of a program that has begun has ended.
        """
        self._outer = outer
        self.inner = inner
        self._many = many
        self._wait = wait
        self.there = set(self._keys())
        """The classes that should be there."""

    def put(self, classes: Mapping[int, int]) -> None:
        """Put those of *classes* in that are not: fds by ids."""
        new = [(number, fd) for number, fd in classes.items() if number not in self.there]
        self.there.update(number for number, _ in new)
        try:
            self._many.put(self._outer, [(KEY.pack(number), KEY.pack(fd)) for number, fd in new])
        except UidtracedError:  # any part of them is in
            self.there.intersection_update(self._keys())
            raise

    def _keys(self) -> list[int]:
        return [KEY.unpack(key)[0] for key in self._outer.keys(KEY.size)]

    def remove(self, numbers: Iterable[int]) -> None:
        """Take those of *numbers* out that are in."""
        gone = [number for number in numbers if number in self.there]
        if gone:
            self._wait()  # a task may have read a class that no block has any more
            self._many.remove(self._outer, [KEY.pack(number) for number in gone])
            self.there.difference_update(gone)

    def read(self) -> dict[int, int]:
        """Return what is there: the inner maps' ids by class."""
        found = self._many.items(self._outer, KEY.size, KEY.size)
        return {KEY.unpack(key)[0]: KEY.unpack(value)[0] for key, value in found}

    def put_right(self) -> dict[int, tuple[int, int]]:
        """Undo what others changed.

        Return it: by class the id that was found, and the right one; 0 for none.
        """
        found, fds = self.read(), self.inner.fds()
        self.there.intersection_update(fds)
        wrong = {
            number: (found.get(number, 0), number if number in self.there else 0)
            for number in found.keys() | self.there
            if found.get(number) != number or number not in self.there
        }
        back = [number for number, (_, right) in wrong.items() if right]
        self._many.put(self._outer, [(KEY.pack(one), KEY.pack(fds[one])) for one in back])
        self._many.remove(self._outer, [KEY.pack(one) for one in wrong.keys() - set(back)])
        return wrong
