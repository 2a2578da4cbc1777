from __future__ import annotations

import dataclasses
import threading
import time

from fakes import Users
from uidtraced.directory import PatientDirectory
from uidtraced.policy import Identities, Names


class Hanging(Users):
    """A name service that answers while `answers` is set."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0

    def resolve(self, names: Names) -> Identities:
        self.asked += 1
        self.answers.wait()
        return super().resolve(names)


ALICE = Names(frozenset({"alice"}), frozenset({"dev"}))


def test_the_last_good_answer_stands_in_for_a_late_one_and_is_marked() -> None:
    service = Hanging({"alice": 5}, {"dev": [5, 6]})
    directory = PatientDirectory(service, 0.05)
    good = directory.resolve(ALICE)
    assert (good.users, good.groups, good.stale) == ({"alice": 5}, {"dev": {5, 6}}, frozenset())
    service.answers.clear()
    service.users["alice"] = 7
    late = directory.resolve(ALICE)
    assert (late.users, late.groups) == (good.users, good.groups)
    assert late.stale == {"alice", "dev"}
    started = time.monotonic()
    assert all(directory.resolve(ALICE).stale for _ in range(3))
    assert time.monotonic() - started < 5
    assert service.asked == 2  # one question at a time
    service.answers.set()
    while (now := directory.resolve(ALICE)).stale:
        pass
    assert now.users == {"alice": 7}
    directory.close()


def test_other_names_are_asked_for_once_the_late_answer_is_there() -> None:
    service = Hanging({"alice": 5, "bob": 6}, {})
    service.answers.clear()
    directory = PatientDirectory(service, 0.05)
    assert directory.resolve(ALICE) == Identities({}, {}, frozenset({"alice", "dev"}))
    service.answers.set()
    bob = Names(frozenset({"bob"}))
    while (now := directory.resolve(bob)).stale:
        pass
    assert now.users == {"bob": 6}
    assert directory.resolve(ALICE).users == {"alice": 5}
    directory.close()


def test_whom_no_source_could_tell_of_stays_who_he_was() -> None:
    service = Users({"alice": 5}, {"dev": [5]})
    directory = PatientDirectory(service)
    good = directory.resolve(ALICE)
    service.users.clear()
    service.groups.clear()
    answer = service.resolve
    service.resolve = lambda names: dataclasses.replace(answer(names), stale=frozenset({"dev"}))
    now = directory.resolve(ALICE)
    assert (now.users, now.groups, now.stale) == ({}, good.groups, {"dev"})
    directory.close()


def test_who_is_gone_is_forgotten() -> None:
    service = Users({"alice": 5}, {"dev": [5]})
    directory = PatientDirectory(service)
    assert directory.resolve(ALICE).users == {"alice": 5}
    service.users.clear()
    service.groups.clear()
    assert directory.resolve(ALICE) == Identities()
    directory.close()


def test_names_are_suggested_from_what_can_be_listed() -> None:
    directory = PatientDirectory(Users({"alice": 5}, {"dev": [5]}))
    assert directory.known() == ALICE
    directory.close()


def test_no_names_ask_nobody() -> None:
    service = Hanging()
    directory = PatientDirectory(service)
    assert directory.resolve(Names()) == Identities()
    assert service.asked == 0
    directory.close()
