"""What the watcher notices, and when the reloader looks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from uidtraced import reload
from uidtraced.reload import Reloader
from uidtraced.watch import Change, Watcher, places

if TYPE_CHECKING:
    from pathlib import Path

WAIT_SECONDS = 10


def test_the_directories_of_all_links_on_the_way_are_watched(tmp_path) -> None:
    for name in ("etc", "real", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "policy.yaml").touch()
    (tmp_path / "real" / "..data").symlink_to("../data")  # as a ConfigMap has it
    (tmp_path / "real" / "p.yaml").symlink_to("..data/policy.yaml")
    (tmp_path / "etc" / "p.yaml").symlink_to(tmp_path / "real" / "p.yaml")
    found = places(tmp_path / "etc" / "p.yaml")
    assert found == {
        str(tmp_path / "etc"): {"p.yaml"},
        str(tmp_path / "real"): {"p.yaml", "..data"},
        str(tmp_path / "data"): {"policy.yaml"},
    }


def test_links_in_a_circle_end(tmp_path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert places(tmp_path / "a") == {str(tmp_path): {"a", "b"}}


class Noticed:
    """A watcher of a file, and the changes it told of."""

    def __init__(self, path: Path) -> None:
        self.changes: list[Change] = []
        self._told = threading.Condition()
        self.watcher = Watcher(path, self._changed)
        self.watcher.refresh()

    def _changed(self, change: Change) -> None:
        with self._told:
            self.changes.append(change)
            self._told.notify_all()

    def wait(self, last: Change) -> None:
        """Wait until the *last* change told of is this one."""
        with self._told:
            assert self._told.wait_for(lambda: self.changes[-1:] == [last], WAIT_SECONDS), (
                self.changes
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()


def rename_into_place(path: Path) -> None:
    path.with_suffix(".new").write_text("2")
    path.with_suffix(".new").rename(path)


def move_from_elsewhere(path: Path) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "p.yaml").write_text("2")
    (elsewhere / "p.yaml").rename(path)


def link_anew(path: Path) -> None:
    path.unlink()
    path.symlink_to("p.real")


def hard_link_anew(path: Path) -> None:
    path.unlink()
    (path.parent / "other").write_text("2")
    path.hardlink_to(path.parent / "other")


@pytest.mark.parametrize(
    ("change", "last"),
    [
        (lambda path: path.write_text("2"), Change.WRITTEN),
        (rename_into_place, Change.REPLACED),
        (move_from_elsewhere, Change.REPLACED),
        (link_anew, Change.REPLACED),
        (hard_link_anew, Change.REPLACED),
        (lambda path: path.unlink(), Change.UNFINISHED),
        (lambda path: path.rename(path.parent / "p.yaml~"), Change.UNFINISHED),
        (lambda path: os.truncate(path, 0), Change.UNFINISHED),
        (lambda path: path.chmod(0o600), Change.RIGHTS),
    ],
)
def test_a_change_of_the_file_is_noticed_for_what_it_is(tmp_path, change, last) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("1")
    with Noticed(path) as noticed:
        change(path)
        noticed.wait(last)
        assert noticed.watcher.alive


def test_reading_the_file_and_changing_others_is_not_noticed(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("1")
    with Noticed(path) as noticed:
        path.read_text()
        (tmp_path / "other.yaml").write_text("2")
        path.chmod(0o640)  # events keep their order: nothing came before this one's
        noticed.wait(Change.RIGHTS)
        assert noticed.changes == [Change.RIGHTS]


def test_a_directory_that_was_replaced_is_watched_again(tmp_path) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    (directory / "p.yaml").write_text("1")
    with Noticed(directory / "p.yaml") as noticed:
        directory.rename(tmp_path / "old")
        directory.mkdir()
        noticed.watcher.refresh()
        (directory / "p.yaml").write_text("2")
        noticed.wait(Change.WRITTEN)


def test_a_directory_that_was_deleted_is_watched_again(tmp_path) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    with Noticed(directory / "p.yaml") as noticed:
        for _ in range(3):  # the new one may have the old one's inode number
            directory.rmdir()
            noticed.wait(Change.UNFINISHED)
            directory.mkdir()
            deadline = time.monotonic() + WAIT_SECONDS
            while noticed.changes[-1] is not Change.WRITTEN and time.monotonic() < deadline:
                noticed.watcher.refresh()
                (directory / "p.yaml").write_text("2")
            noticed.wait(Change.WRITTEN)
            (directory / "p.yaml").unlink()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watcher_whose_thread_died_says_so_and_watches_again(tmp_path, capsys) -> None:
    path = tmp_path / "p.yaml"
    with Noticed(path) as noticed:
        died = noticed.watcher._observer
        died.event_queue.put("no event: the thread that tells dies of it")
        died.join(WAIT_SECONDS)
        assert not noticed.watcher.alive
        path.write_text("1")
        assert noticed.changes == []
        noticed.watcher.refresh()
        assert noticed.watcher.alive
        assert "watcher_died" in capsys.readouterr().out
        path.write_text("2")
        noticed.wait(Change.WRITTEN)


def test_a_directory_that_cannot_be_watched_is_told_of_once(tmp_path, capsys, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with Noticed(tmp_path / "p.yaml") as noticed:
        noticed.watcher.stop()
        monkeypatch.setattr("uidtraced.watch._Observer.schedule", refuse)
        for _ in range(3):
            noticed.watcher.refresh()
        assert capsys.readouterr().out.count("cannot_watch") == 1
        monkeypatch.undo()
        noticed.watcher.refresh()
        (tmp_path / "p.yaml").write_text("2")
        noticed.wait(Change.WRITTEN)


class Reading:
    """Stands for the keeper: notes what the file holds at each look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.look_seconds = 0.0
        self.read: list[str] = []
        self.asked = 0

    def is_due(self) -> bool:
        self.asked += 1
        return self._path.read_text() != self.read[-1]

    def start(self) -> None:
        self.read.append(self._path.read_text())

    def look(self) -> None:
        time.sleep(self.look_seconds)
        text = self._path.read_text() if self._path.exists() else "gone"
        self.read.append(text)


def run_reloader(path: Path, steps) -> list[str]:
    """Run *steps* beside a reloader of *path*; return what was read at its looks."""
    keeper = Reading(path)

    async def main() -> None:
        reloader = Reloader(path, keeper, lambda _: None, lambda: None)
        await reloader.start()
        running = asyncio.create_task(reloader.run())
        try:
            await steps(keeper, reloader)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            reloader.close()

    asyncio.run(main())
    return keeper.read


async def until(condition) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("old")
    return path


@pytest.fixture
def patient(monkeypatch):
    """What is unfinished is given so long that only its end can cause a look."""
    monkeypatch.setitem(reload._SETTLE_SECONDS, Change.UNFINISHED, 600.0)
    monkeypatch.setattr(reload, "_SETTLE_AT_MOST_SECONDS", 600.0)


def test_a_file_that_is_being_written_is_not_looked_at(path, patient) -> None:
    async def steps(keeper, reloader) -> None:
        with path.open("w") as file:
            file.write("first half, ")
            file.flush()
            await until(lambda: reloader._due is not None and not reloader._looks)
            before = len(keeper.read)
            reloader.poll()
            await until(lambda: keeper.asked and not reloader._wake.is_set())
            file.write("second half")
            file.flush()
            assert len(keeper.read) == before
        await until(lambda: len(keeper.read) > before)
        assert set(keeper.read[before:]) == {"first half, second half"}

    run_reloader(path, steps)


def test_a_file_that_is_moved_aside_and_written_anew_is_not_missed(path, patient) -> None:
    async def steps(keeper, reloader) -> None:
        path.rename(path.with_suffix(".bak"))
        path.write_text("new")
        await until(lambda: keeper.read[-1:] == ["new"])

    assert set(run_reloader(path, steps)) == {"old", "new"}


def test_the_poll_finds_what_the_watcher_does_not(path, monkeypatch) -> None:
    monkeypatch.setattr(Reloader, "_tell", lambda *_: None)

    async def steps(keeper, reloader) -> None:
        path.write_text("new")
        reloader.poll()
        await until(lambda: keeper.read[-1] == "new")


def test_a_poll_that_fails_is_followed_by_a_look_that_says_so(path, monkeypatch) -> None:
    monkeypatch.setattr(Reloader, "_tell", lambda *_: None)

    async def steps(keeper, reloader) -> None:
        path.unlink()
        reloader.poll()
        await until(lambda: keeper.read[-1] == "gone")

    run_reloader(path, steps)


def test_many_edits_cause_few_looks_and_the_last_wins(path) -> None:
    async def steps(keeper, reloader) -> None:
        keeper.look_seconds = 0.01  # about as long as a swap in the kernel takes
        for number in range(1000):
            fresh = path.with_suffix(".new")
            fresh.write_text(str(number))
            fresh.rename(path)
            await asyncio.sleep(0)
        await until(lambda: keeper.read[-1] == "999")

    read = run_reloader(path, steps)
    assert len(read) < 250


def test_one_that_writes_without_end_cannot_keep_it_from_being_read(path, monkeypatch) -> None:
    monkeypatch.setattr(reload, "_SETTLE_AT_MOST_SECONDS", 0.05)

    async def steps(keeper, reloader) -> None:
        with path.open("a") as file:
            async with asyncio.timeout(WAIT_SECONDS):
                while len(keeper.read) < 5:
                    file.write("x")
                    file.flush()
                    await asyncio.sleep(0.001)

    run_reloader(path, steps)
