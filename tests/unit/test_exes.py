from __future__ import annotations

from uidtraced.events.exes import ExePaths, exe_path
from uidtraced.rules import Mark


def test_names_come_from_the_last_one_up():
    assert exe_path(b"ls\0bin\0usr\0", 0) == "/usr/bin/ls"
    assert exe_path(b"\xff\0", 0) == "/\\xff"


def test_what_is_deleted_or_not_whole_says_so():
    assert exe_path(b"it\0tmp\0", Mark.DELETED) == "/tmp/it (deleted)"
    assert exe_path(b"it\0deep\0", Mark.TRUNCATED) == ".../deep/it"


def test_each_number_is_asked_for_until_it_is_known():
    asked = []
    answers = {5: (b"it\0", 0)}

    def read(number: int):
        asked.append(number)
        return answers.get(number)

    paths = ExePaths(read)
    assert [paths(0), paths(7), paths(5), paths(5)] == [None, None, "/it", "/it"]
    assert asked == [7, 5]
    answers[7] = (b"late\0", 0)
    assert paths(7) == "/late"
