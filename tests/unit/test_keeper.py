"""The keeper: what comes into force of a file, and what is told of one that cannot."""

from __future__ import annotations

import re

import pytest

from fakes import Users
from uidtraced.errors import KernelError, PolicyError
from uidtraced.keeper import Keeper
from uidtraced.rules import Scope


class Store:
    adopted = False
    revision = 0

    def __getattr__(self, name):
        return lambda *_, **__: None


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nusers:\n  0: [open]\n")
    return path


def test_a_change_that_matters_not_is_no_revision(path) -> None:
    keeper = Keeper(path, Store(), Users())
    assert keeper.start().created == 1
    path.write_text("# a comment\nversion: 1\nusers: {0: [open]}\n")
    assert keeper.look() is None
    path.write_text("version: 1\nusers: {0: [close]}\n")
    done = keeper.look()
    assert (done.revision, done.swapped, done.unchanged) == (2, 1, 0)


def test_a_bad_file_leaves_what_was_and_is_told_once(path, capsys) -> None:
    keeper = Keeper(path, Store(), Users())
    keeper.start()
    before = keeper.plan
    path.write_text("version: 1\nusers: {0: [opne]}\n")
    capsys.readouterr()
    assert [keeper.look() for _ in range(3)] == [None] * 3
    assert capsys.readouterr().out.count('"opne" is no system call') == 1
    assert keeper.plan is before
    assert keeper.last_error.endswith('did you mean "open"?')
    path.unlink()
    assert keeper.look() is None
    assert capsys.readouterr().out.count("no such file") == 1
    assert keeper.plan is before


def test_a_bad_file_at_the_start_is_raised(path) -> None:
    path.write_text("version: 1\nusers: {0: [opne]}\n")
    with pytest.raises(PolicyError):
        Keeper(path, Store(), Users()).start()


def test_a_user_who_appears_is_traced_without_an_edit(path, monkeypatch) -> None:
    monkeypatch.setattr("uidtraced.keeper._signature", iter([(1,), (1,), (2,)]).__next__)
    path.write_text("version: 1\nusers: {0: [open], carol: [close]}\n")
    directory = Users({})
    keeper = Keeper(path, Store(), directory)
    assert keeper.start().created == 1
    directory.users["carol"] = 1005
    assert keeper.look() is None
    assert keeper.look().created == 1
    assert 1005 in keeper.plan.scopes[Scope.REAL].uids


def test_what_was_decided_on_is_not_parsed_again(path, monkeypatch) -> None:
    keeper = Keeper(path, Store(), Users())
    keeper.start()
    parsed = []
    monkeypatch.setattr("uidtraced.keeper.load_source", parsed.append)
    keeper.look()
    assert parsed == []
    path.touch()
    path.chmod(0o600)
    keeper.look()
    assert parsed == []
    monkeypatch.undo()
    path.write_text("version: 1\nusers: {0: [opne]}\n")
    keeper.look()
    monkeypatch.setattr("uidtraced.keeper.load_source", parsed.append)
    keeper.look()
    assert parsed == []
    assert keeper.last_error.endswith('did you mean "open"?')


def test_rights_taken_and_given_back_cost_no_revision(path, capsys) -> None:
    keeper = Keeper(path, Store(), Users())
    keeper.start()
    path.chmod(0o666)
    assert [keeper.look() for _ in range(2)] == [None] * 2
    assert capsys.readouterr().out.count("mode 0666 lets others write it; chmod go-w") == 1
    path.chmod(0o644)
    assert keeper.look() is None
    assert (keeper.revision, keeper.last_error) == (1, None)
    assert "policy_good_again" in capsys.readouterr().out


def test_an_error_that_comes_back_after_another_is_the_one_that_is_shown(path) -> None:
    keeper = Keeper(path, Store(), Users())
    keeper.start()
    path.write_text("version: 1\nusers: {0: [opne]}\n")
    keeper.look()
    aside = path.rename(path.with_suffix(".aside"))
    keeper.look()
    assert "no such file" in keeper.last_error
    aside.rename(path)
    keeper.look()
    assert "opne" in keeper.last_error


def test_what_the_kernel_refused_is_tried_again(path, capsys) -> None:
    store = Store()
    keeper = Keeper(path, store, Users())
    keeper.start()
    before = keeper.plan
    full = [KernelError("bpf_map_update_batch", 12, "no memory")]

    def put(*_: object) -> None:
        if full:
            raise full.pop()

    store.put = put
    path.write_text("version: 1\nusers: {0: [close], nobody-there: [open]}\n")
    assert keeper.look() is None
    assert keeper.plan is before
    assert "no memory" in keeper.last_error
    done = keeper.look()
    assert (done.revision, done.swapped) == (2, 1)
    assert capsys.readouterr().out.count('no user "nobody-there"') == 1


def test_many_warnings_are_summed_up(path, capsys) -> None:
    users = "".join(f"  missing{number}: [kill]\n" for number in range(50))
    path.write_text(f"version: 1\nusers:\n{users}")
    Keeper(path, Store(), Users()).start()
    said = capsys.readouterr().out
    assert said.count("policy_warning") == 21
    assert "more_problems=30" in said


def test_the_parts_of_a_look_are_told_and_add_up(path, capsys) -> None:
    done = Keeper(path, Store(), Users()).start()
    said = capsys.readouterr().out
    steps = ("read", "parse", "plan", "diff", "kernel")
    parts = [int(re.search(rf"{step}_ns=(?:\x1b\[\d+m)*(\d+)", said)[1]) for step in steps]
    assert sum(parts) == done.duration_ns
