"""What the service may do, and what it takes from those who may do less."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from uidtraced.control import Control, ControlError
from uidtraced.errors import PermissionDeniedError
from uidtraced.lock import instance_lock
from uidtraced.options import parser
from uidtraced.systemd import SystemdStore, watchdog_seconds

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.mark.parametrize(("drop_in", "tenths"), [(None, 7), ("metrics.conf", 15)])
def test_the_unit_is_exposed_as_little_as_the_readme_says(tmp_path, drop_in, tenths) -> None:
    shutil.copy(UNITS / "uidtraced.service", tmp_path)
    if drop_in:
        (tmp_path / "uidtraced.service.d").mkdir()
        shutil.copy(UNITS / drop_in, tmp_path / "uidtraced.service.d")
    look = ("systemd-analyze", "security", "--offline=true", "--no-pager")
    unit = tmp_path / "uidtraced.service"
    done = subprocess.run([*look, f"--threshold={tenths}", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = f"{tenths / 10:.1f}"
    assert f"exposure level for uidtraced.service: {shown} " in done.stdout
    readme = (UNITS.parent / "README.md").read_text()
    assert f" {shown}" in readme.partition("## Rights")[2].partition("\n\nLicences")[0]


def a_symlink(directory: Path) -> None:
    (directory / "lock").symlink_to("/etc/passwd")


def a_hard_link(directory: Path) -> None:
    (directory / "victim").write_text("keep me")
    (directory / "lock").hardlink_to(directory / "victim")


def a_pipe(directory: Path) -> None:
    os.mkfifo(directory / "lock")


def a_directory(directory: Path) -> None:
    (directory / "lock").mkdir()


def a_file_of_all(directory: Path) -> None:
    (directory / "lock").touch()
    (directory / "lock").chmod(0o666)


def a_place_for_all(directory: Path) -> None:
    directory.chmod(0o777)


@pytest.mark.parametrize(
    "prepare", [a_symlink, a_hard_link, a_pipe, a_directory, a_file_of_all, a_place_for_all]
)
def test_a_lock_that_others_laid_there_is_none(tmp_path, prepare) -> None:
    prepare(tmp_path)
    with pytest.raises(PermissionDeniedError) as error, instance_lock(tmp_path):
        pass
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    if (tmp_path / "victim").exists():
        assert (tmp_path / "victim").read_text() == "keep me"


def test_what_lies_in_the_place_of_the_control_socket_is_removed_or_told_of(tmp_path) -> None:
    (tmp_path / "elsewhere").write_text("keep me")
    (tmp_path / "control").symlink_to(tmp_path / "elsewhere")

    async def start_and_stop() -> None:
        control = Control({}, tmp_path / "control")
        await control.start()
        mode = (tmp_path / "control").stat().st_mode
        assert mode & 0o7777 == 0o600
        await control.stop()

    asyncio.run(start_and_stop())
    assert (tmp_path / "elsewhere").read_text() == "keep me"
    (tmp_path / "control").mkdir()
    with pytest.raises(ControlError, match=r"control cannot be made \(.*\); remove it"):
        asyncio.run(start_and_stop())


def test_no_fd_of_ours_is_taken_for_one_of_the_store(monkeypatch) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", str(fd + 9))
    monkeypatch.setenv("LISTEN_FDNAMES", ":".join(f"n{one}" for one in range(fd + 9)))
    assert SystemdStore().kept() == {}
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & os.environ.keys()
    os.close(fd)  # OSError where it is closed already


@pytest.mark.parametrize("limit", ["", "0", "-1", "x", "1.5", "\u0661", "9" * 5000])
def test_a_watchdog_that_says_no_time_wants_no_sign(monkeypatch, limit) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_seconds() is None


COMMAND = Path(sys.executable).with_name("uidtraced")
HOSTILE = {
    "path": {"PYTHONPATH": "HERE", "PYTHONSTARTUP": "HERE/msgspec.py", "PYTHONUSERBASE": "HERE"},
    "home": {"PYTHONHOME": "/nowhere", "PYTHONPLATLIBDIR": "x", "PYTHONMALLOC": "x"},
    "words": {"PYTHONIOENCODING": "utf-16", "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "x"},
    "debug": {"PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "PYTHONDEVMODE": "1", "PYTHONDEBUG": "9"},
    "locale": {"LC_ALL": "xx_YY.\xff", "LANG": "/../..", "LOCPATH": "HERE", "LANGUAGE": "%n%s"},
    "ascii": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "systemd": {"NOTIFY_SOCKET": "@\x01", "JOURNAL_STREAM": ":", "WATCHDOG_USEC": "0"},
    "listen": {"LISTEN_FDS": "-1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "\x1b", "TERM": "\x1b[2J"},
    "shown": {
        "NO_COLOR": "",
        "COLUMNS": "0",
        "LINES": "-1",
        "FORCE_COLOR": "1",
        "TZ": ":/etc/passwd",
    },
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_odd_environment_changes_nothing(tmp_path, what) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('obeyed')\n")
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nusers:\n  0: [opne]\n")
    odd = {name: value.replace("HERE", str(tmp_path)) for name, value in HOSTILE[what].items()}
    done = subprocess.run(
        [COMMAND, "check", policy], env={**os.environ, **odd}, capture_output=True, text=True
    )
    expected = f'{policy}:3:7: error: "opne" is no system call; did you mean "open"?\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, expected, "")


def test_a_path_that_no_record_could_name_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        parser(["run"]).parse_args(["run", "--policy", "/tmp/\udcff"])
    assert end.value.code == 2
    assert "--policy: '/tmp/\\udcff' is not UTF-8; rename it" in capsys.readouterr().err
