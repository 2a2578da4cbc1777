from __future__ import annotations

from types import SimpleNamespace

from fakes import event
from uidtraced.accounts import Accounts
from uidtraced.events.clock import WallClock
from uidtraced.events.records import LossRecord
from uidtraced.kernel.books import NO_UID, Counters, SavedAccount
from uidtraced.losses import Losses
from uidtraced.rules import Uid


def ring(position: int, *, repeated: bool = False):
    return SimpleNamespace(copied_to=position, repeated=repeated)


class Books:
    """The kernel's side of accounts."""

    def __init__(self, counters) -> None:
        self.kernel = counters
        self.saved = {}

    def counters(self):
        return self.kernel

    def has_counters(self, uid) -> bool:
        return uid in self.kernel

    def accounts(self):
        return dict(self.saved)

    def save_accounts(self, rows) -> None:
        self.saved |= rows


def test_losses_are_told_once_by_user_also_over_a_restart() -> None:
    books = Books({Uid(0): Counters(matched=5), Uid(7): Counters(matched=9, ring_full=4)})
    lost = [4]
    told = []

    def losses() -> Losses:
        name = lambda uid: f"u{uid}"  # noqa: E731
        return Losses(
            lambda: lost[0], lambda: False, Accounts(books, ring(0), str), name, WallClock()
        )

    one = losses()
    one.tell(told.append)
    (record,) = told
    assert (record.uid, record.user, record.ring_full) == (7, "u7", 4)
    assert isinstance(record, LossRecord)
    one.tell(told.append)
    assert len(told) == 1
    one = losses()  # another daemon's
    one.tell(told.append)
    assert len(told) == 1
    books.kernel[Uid(7)] = Counters(ring_full=5)
    books.kernel[NO_UID] = Counters(ring_full=2)
    lost[0] = 7
    one.tell(told.append, everything=True)
    books.kernel[Uid(7)] = Counters(ring_full=5, limited=3)
    one.tell(told.append)  # not twice within a second
    assert [(one.user, one.ring_full) for one in told[1:]] == [("u7", 1), (None, 2)]


def test_what_was_written_is_counted_once_also_where_a_daemon_died_before_the_batch_left() -> None:
    books = Books({Uid(1000): Counters(matched=3), Uid(5): Counters(matched=2)})
    batch = [event(uid=1000), event(uid=1000), event(uid=5)]
    accounts = Accounts(books, ring(100), str)
    accounts.wrote(batch)
    assert {uid: row.written for uid, row in books.saved.items()} == {1000: 2, 5: 1}
    # the next daemon gets the batch again, of which one user was noted and the other not yet
    books.saved[Uid(5)] = SavedAccount()
    again = ring(100, repeated=True)
    accounts = Accounts(books, again, str)
    accounts.wrote(batch)
    assert {uid: row.written for uid, row in books.saved.items()} == {1000: 2, 5: 1}
    again.copied_to, again.repeated = 200, False
    accounts.wrote([event(uid=1000), event(uid=5)])
    found = {one.uid: (one.written, one.pending) for one in accounts.all()}
    assert found == {1000: (3, 0), 5: (2, 0)}


def test_those_without_room_in_the_kernel_are_accounted_for_together() -> None:
    books = Books({Uid(7): Counters(matched=1), NO_UID: Counters(matched=3, ring_full=1)})
    accounts = Accounts(books, ring(100), str)
    accounts.wrote([event(uid=uid) for uid in (7, 70_000, 70_001)])
    assert [(one.uid, one.written, one.pending) for one in accounts.all()] == [
        (7, 1, 0),
        (NO_UID, 2, 0),
    ]
