"""Edits as editors, scripts and orchestrators make them, under the real daemon.

What is in force is proved by the policy records, one for each time that the plan changed, and by
the digest in them.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import Daemon, as_user

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = "version: 1\nusers:\n  1000: [chdir]\n"
OLD = HEAD + "  1001: [chdir]\n"
NEW = HEAD + "  1001: [openat]\n"
AS_SERVICE = [
    *("setpriv", "--reuid", "64000", "--regid", "64000", "--clear-groups"),
    *("--inh-caps", "+bpf,+perfmon", "--ambient-caps", "+bpf,+perfmon"),
]


def policies(daemon: Daemon) -> list[dict[str, Any]]:
    return [record for record in daemon.records.all if record["event"] == "policy"]


def wait_in_force(daemon: Daemon, text: str) -> None:
    """Wait for the record of *text*, which was not in force before."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    daemon.records.wait(lambda one: one["event"] == "policy" and one["sha256"] == digest)


def wait_refused(daemon: Daemon, words: str) -> None:
    daemon.log.wait(lambda line: line["event"] == "policy_refused" and words in line["problem"])


def said(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log.all if line["event"] == event]


def finish(daemon: Daemon, *, reconciled: int) -> None:
    """Check that after the start the plan changed so often, by one more edit, which is the last."""
    daemon.edit("version: 1\nusers:\n  1000: [chdir, close]\n")
    assert daemon.stop() == 0
    assert policies(daemon)[-1]["revision"] == reconciled + 2


def check_in_force(daemon: Daemon) -> None:
    """User 1000's chdir is logged."""
    start = len(daemon.records.all)
    as_user(1000, "env", "--chdir=/", "true")
    daemon.records.wait(lambda one: one["event"] == "syscall" and one["uid"] == 1000, start)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(OLD) as started:
        yield started.ready()


@pytest.mark.parametrize("how", ["no", "yes"], ids=["renames", "writes in place"])
def test_vim(daemon, how) -> None:
    settings = f"set backup backupcopy={how} backupskip="  # it would make none under /tmp
    substitute = "%s/1001: \\[chdir/1001: [openat/"
    vim = ["vim", "-es", "-u", "NONE", "-i", "NONE", "-c", settings, "-c", substitute, "-c", "wq"]
    before = daemon.path.stat().st_ino
    subprocess.run([*vim, str(daemon.path)], check=True)
    assert (daemon.path.stat().st_ino == before) is (how == "yes")
    assert daemon.path.read_text() == NEW
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)
    assert said(daemon, "policy_refused") == []


def test_sed(daemon) -> None:
    subprocess.run(["sed", "-i", "s/1001: .chdir/1001: [openat/", str(daemon.path)], check=True)
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)
    assert said(daemon, "policy_refused") == []


def test_two_halves_of_one_write(daemon) -> None:
    with daemon.path.open("w") as file:
        for half in (HEAD, NEW.removeprefix(HEAD)):  # the first is valid by itself, and short
            file.write(half)
            file.flush()
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)


@pytest.mark.parametrize("first", [HEAD, HEAD + "  10"], ids=["valid", "invalid"])
def test_two_writes_of_a_half_each(daemon, first) -> None:
    daemon.path.write_text(first)
    with daemon.path.open("a") as file:
        file.write(NEW.removeprefix(first))
    wait_in_force(daemon, NEW)
    check_in_force(daemon)
    assert daemon.stop() == 0
    assert len(policies(daemon)) <= 3


def test_truncate_then_write(daemon) -> None:
    os.truncate(daemon.path, 0)
    daemon.path.write_text(NEW)
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)


def test_a_file_left_empty_is_refused_and_what_was_stays(daemon) -> None:
    os.truncate(daemon.path, 0)
    wait_refused(daemon, "the file is empty")
    check_in_force(daemon)
    daemon.path.write_text(NEW)
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)
    assert len(said(daemon, "policy_refused")) == 1


def test_delete_and_create(daemon) -> None:
    daemon.path.unlink()
    daemon.path.write_text(NEW)
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)


def test_a_deleted_file_is_told_of_and_what_was_stays(daemon) -> None:
    daemon.path.unlink()
    wait_refused(daemon, "no such file")
    check_in_force(daemon)
    daemon.path.write_text(OLD)
    daemon.log.wait(lambda line: line["event"] == "policy_good_again")
    finish(daemon, reconciled=0)


def replace_link(link: Path, target: str | Path) -> None:
    fresh = link.with_name(f"{link.name}_tmp")
    fresh.symlink_to(target)
    fresh.rename(link)


def test_a_symlinked_file(public) -> None:
    for name, text in (("one", OLD), ("two", NEW + "  1002: [chdir]\n")):
        (public / name).mkdir()
        (public / name / "real.yaml").write_text(text)
    (public / "etc").mkdir()
    link = public / "etc" / "policy.yaml"
    link.symlink_to("../one/real.yaml")
    with Daemon(link).ready() as daemon:
        (public / "one" / "real.yaml").write_text(NEW)
        wait_in_force(daemon, NEW)
        replace_link(link, public / "two" / "real.yaml")
        wait_in_force(daemon, NEW + "  1002: [chdir]\n")
        last = NEW + "  1003: [chdir]\n"
        (public / "two" / "real.new").write_text(last)
        (public / "two" / "real.new").rename(public / "two" / "real.yaml")
        wait_in_force(daemon, last)
        (public / "one" / "real.yaml").write_text(OLD)  # no longer ours
        link.unlink()
        link.write_text(HEAD)
        wait_in_force(daemon, HEAD)
        finish(daemon, reconciled=4)


def swap_config_map(volume: Path, revision: int, text: str) -> None:
    """Do what kubelet's atomic writer does: a new directory, then one rename, then the old goes."""
    data = volume / "..data"
    old = data.readlink() if data.is_symlink() else None
    fresh = volume / f"..2026_01_01_{revision}"
    fresh.mkdir()
    (fresh / "policy.yaml").write_text(text)
    replace_link(data, fresh.name)
    if old is None:
        (volume / "policy.yaml").symlink_to("..data/policy.yaml")
    else:
        (volume / old / "policy.yaml").unlink()
        (volume / old).rmdir()


def test_a_config_map_is_swapped(public) -> None:
    swap_config_map(public, 0, OLD)
    with Daemon(public / "policy.yaml").ready() as daemon:
        for revision in range(1, 6):
            text = OLD + f"  {2000 + revision}: [chdir]\n"
            swap_config_map(public, revision, text)
            wait_in_force(daemon, text)
        finish(daemon, reconciled=5)
        assert said(daemon, "policy_refused") == []


def test_the_directory_is_renamed_and_put_back(public) -> None:
    directory = public / "etc"
    directory.mkdir()
    path = directory / "policy.yaml"
    path.write_text(OLD)
    with Daemon(path).ready() as daemon:
        away = directory.rename(public / "away")
        wait_refused(daemon, "no such file")
        check_in_force(daemon)
        (away / "policy.yaml").touch()
        away.rename(directory)
        daemon.log.wait(lambda line: line["event"] == "policy_good_again")
        path.write_text(NEW)
        wait_in_force(daemon, NEW)
        finish(daemon, reconciled=1)
        assert len(said(daemon, "policy_refused")) == 1


def test_another_directory_takes_its_place(public) -> None:
    for name, text in (("etc", OLD), ("fresh", NEW)):
        (public / name).mkdir()
        (public / name / "policy.yaml").write_text(text)
    with Daemon(public / "etc" / "policy.yaml").ready() as daemon:
        (public / "etc").rename(public / "old")
        (public / "fresh").rename(public / "etc")
        wait_in_force(daemon, NEW)
        finish(daemon, reconciled=1)


def test_rights_are_taken_from_the_service_and_given_back(public) -> None:
    path = public / "policy.yaml"
    path.write_text(OLD)
    with Daemon(path, wrap=AS_SERVICE).ready() as daemon:
        path.chmod(0o600)
        wait_refused(daemon, "uid 64000 may not read it; chmod a+r")
        check_in_force(daemon)
        path.chmod(0o644)
        daemon.log.wait(lambda line: line["event"] == "policy_good_again")
        finish(daemon, reconciled=0)
        assert len(said(daemon, "policy_refused")) == 1


def test_a_file_that_all_may_write_is_refused_until_they_may_not(daemon) -> None:
    daemon.path.chmod(0o666)
    wait_refused(daemon, "mode 0666 lets others write it")
    daemon.path.write_text(NEW)
    check_in_force(daemon)
    daemon.path.chmod(0o644)
    wait_in_force(daemon, NEW)
    finish(daemon, reconciled=1)
    assert len(said(daemon, "policy_refused")) == 1


@pytest.mark.parametrize("by_rename", [True, False], ids=["renames", "writes in place"])
def test_a_thousand_edits_at_once(daemon, by_rename) -> None:
    for number in range(1000):
        text = HEAD + f"  {2000 + number}: [chdir]\n"
        if by_rename:
            fresh = daemon.path.with_suffix(".new")
            fresh.write_text(text)
            fresh.rename(daemon.path)
        else:
            daemon.path.write_text(text)
    wait_in_force(daemon, text)
    assert daemon.stop() == 0
    assert len(policies(daemon)) < 200
    assert policies(daemon)[-1]["unchanged"] == 1


def test_a_touch_is_no_change(daemon) -> None:
    daemon.path.touch()
    os.utime(daemon.path, (0, 0))
    daemon.path.write_text(OLD)
    finish(daemon, reconciled=0)


def test_what_the_kernel_could_not_queue_is_found_all_the_same(daemon) -> None:
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    others = [daemon.path.with_suffix(ending) for ending in (".a", ".b")]
    os.kill(daemon.pid, signal.SIGSTOP)
    for _ in range(room):
        for other in others:  # in turn: equal events in a row count once
            other.touch()
    daemon.path.write_text(NEW)
    os.kill(daemon.pid, signal.SIGCONT)
    wait_in_force(daemon, NEW)
    daemon.log.wait(lambda line: "overflow" in line.get("message", ""))
    finish(daemon, reconciled=1)


def test_an_error_is_told_once_however_often_it_is_looked_at(daemon) -> None:
    daemon.path.write_text(OLD.replace("chdir", "chdirr", 1))
    wait_refused(daemon, '"chdirr" is no system call')
    for _ in range(3):
        daemon.signal(signal.SIGHUP)
        daemon.path.touch()
    fresh = daemon.path.with_suffix(".new")  # a look may come at any moment: not by halves
    fresh.write_text(OLD.replace("chdir", "opennat", 1))
    fresh.rename(daemon.path)
    wait_refused(daemon, '"opennat" is no system call')
    finish(daemon, reconciled=0)
    assert len(said(daemon, "policy_refused")) == 2
