"""Users, as this machine's own name service knows them."""

from __future__ import annotations

import pwd

from uidtraced.policy import Source, SystemDirectory, load_source, make_plan


def test_users_are_asked_for_one_by_one_and_then_listed() -> None:
    directory = SystemDirectory()
    users = pwd.getpwall()
    for _ in range(40):
        for user in users:
            assert directory.uid_of(user.pw_name) == pwd.getpwnam(user.pw_name).pw_uid
        assert directory.uid_of("nobody-of-this-name") is None
    assert "root" in directory.names()


def test_what_was_listed_is_forgotten_on_request(monkeypatch) -> None:
    directory = SystemDirectory()
    names = [f"user{number}" for number in range(100)]
    listed = [pwd.struct_passwd((name, "x", 5000, 100, "", "/", "/bin/sh")) for name in names]
    monkeypatch.setattr("pwd.getpwall", lambda: listed)
    assert [directory.uid_of(name) for name in names][-1] == 5000
    listed.clear()
    assert directory.uid_of("user99") == 5000
    directory.refresh()
    assert {directory.uid_of(name) for name in names} == {None}


def test_ten_thousand_who_do_not_exist_are_told_of_soon(monkeypatch) -> None:
    names = [f"user{number:05}" for number in range(10_000)]
    listed = [pwd.struct_passwd((name, "x", 5000, 100, "", "/", "/bin/sh")) for name in names]
    monkeypatch.setattr("pwd.getpwall", lambda: listed)
    text = "version: 1\nusers:\n" + "".join(f"  x{name}: [open]\n" for name in names)
    warnings = make_plan(load_source(Source("p.yaml", text, "")), SystemDirectory()).warnings
    assert len(warnings) == 10_000
    assert warnings[0].message == 'no user "xuser00000"; did you mean "user00000"?'
    assert warnings[-1].message.endswith("; the entry takes effect when there is one")
