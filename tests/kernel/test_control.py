"""`plan` and `status` of a daemon that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from harness import COMMAND, Daemon, as_user

NAMES = ("matched", "written", "ring_full", "limited", "sink_dropped", "counted", "pending")
POLICY = "version: 1\nusers:\n  1000: [chdir, io_uring_setup]\n  1001: [kill]\n"


def ask_json(daemon: Daemon, *arguments: str):
    return json.loads(daemon.ask(*arguments, "--format", "json").stdout)


def sums(users) -> dict[int, tuple[int, ...]]:
    for one in users:
        assert one["matched"] == sum(one[name] for name in NAMES[1:]), one
    return {one["uid"]: tuple(one[name] for name in NAMES) for one in users}


def test_a_plan_says_what_an_edit_would_do_and_does_nothing(tmp_path) -> None:
    path = tmp_path / "new.yaml"
    with Daemon(POLICY).ready() as daemon:
        done = daemon.ask("plan", str(daemon.path))
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            "0 created, 0 swapped, 0 deleted, 2 unchanged\n",
            "",
        )
        path.write_text(
            'version: 1\nusers:\n  1000: [chdir, io_uring_setup, kill]\n  "5-9": [uname]\n'
        )
        done = daemon.ask("plan", str(path))
        assert done.returncode == 2
        *changes, counts = done.stdout.splitlines()
        assert [line.split(":")[0].split()[0] for line in changes] == ["~", "-", "+"]
        assert changes[0].endswith(": +kill")
        assert changes[1].endswith(": -kill")
        assert changes[2] == "+ 5-9: +uname"
        assert counts == "1 created, 1 swapped, 1 deleted, 0 unchanged"
        report = ask_json(daemon, "plan", str(path))
        assert (report["running"], report["revision"]) == (True, 1)
        assert [one["action"] for one in report["changes"]] == ["swap", "delete", "create"]
        assert daemon.ask("plan", str(daemon.path)).returncode == 0
        record = daemon.edit(path.read_text())  # and what it said is what comes
        assert [record[f"{one}d"] for one in ("create", "swappe", "delete")] == [1, 1, 1]
        assert daemon.ask("plan", str(path)).returncode == 0
        assert daemon.stop() == 0


def test_a_plan_of_a_bad_file_is_an_error(tmp_path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("version: 1\nusers:\n  0: [opne]\n")
    done = subprocess.run([*COMMAND, "plan", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{path}:3:7: error: ")


def test_a_plan_without_a_daemon_is_that_of_a_start(tmp_path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("version: 1\nusers:\n  0: [kill]\n")
    command = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run; exec "$@"', "sh"]
    done = subprocess.run(
        [*command, *COMMAND, "plan", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == "+ root (0): +kill"
    assert "not running" in done.stderr


def test_the_status_accounts_for_every_match() -> None:
    policy = POLICY + "  1002: {syscalls: [chdir], mode: count}\n"
    policy += "  1003: {syscalls: [chdir], limit: 10/s}\n"
    code = "import os\nfor _ in range(300): os.chdir('/')"
    with Daemon(policy).ready() as daemon:
        for uid in (1000, 1002, 1003):
            as_user(uid, "/usr/bin/python3", "-S", "-c", code)
        status = ask_json(daemon, "status")
        found = sums(status["users"])
        assert found[1000] == (300, 300, 0, 0, 0, 0, 0)
        assert found[1002] == (300, 0, 0, 0, 0, 300, 0)
        matched, written, *_ = found[1003]
        assert (matched, found[1003][3]) == (300, 300 - written)
        assert 10 <= written < 100
        assert len([one for one in daemon.calls() if one["uid"] == 1003]) == written
        assert (status["running"], status["healthy"], status["problems"]) == (True, True, [])
        assert status["pid"] == daemon.pid
        assert status["policy"]["revision"] == 1
        assert status["entries"]["users"] == 4
        done = daemon.ask("status")
        assert done.returncode == 0
        assert done.stdout.startswith(f"healthy: pid {daemon.pid} since 20")
        assert daemon.stop() == 0


def test_lost_events_are_in_the_status() -> None:
    code = "import os\nfor _ in range(20000): os.chdir('/')"
    with Daemon(POLICY, "--ring-size", "4096").ready() as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        as_user(1000, "/usr/bin/python3", "-S", "-c", code)
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.records.wait(lambda one: one["event"] == "loss")
        done = daemon.ask("status", "--format", "json")
        status = json.loads(done.stdout)
        matched, written, ring_full, *rest = sums(status["users"])[1000]
        assert (matched, written + ring_full, rest) == (20000, 20000, [0, 0, 0, 0])
        assert ring_full > 0
        assert done.returncode == 1
        assert "events were lost within the last minute" in status["problems"][0]
        assert daemon.stop() == 0


def test_a_refused_edit_is_in_the_status() -> None:
    with Daemon(POLICY).ready() as daemon:
        daemon.path.write_text("version: 1\nusers:\n  0: [opne]\n")
        daemon.log.wait(lambda line: line["event"] == "policy_refused")
        done = daemon.ask("status", "--format", "json")
        assert done.returncode == 1
        assert '3:7: error: "opne" is no system call' in json.loads(done.stdout)["problems"][0]
        assert daemon.stop() == 0


def test_without_a_daemon_the_status_is_three() -> None:
    command = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run; exec "$@"', "sh"]
    done = subprocess.run([*command, *COMMAND, "status"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "uidtraced: uidtraced is not running; systemctl start uidtraced\n"


def test_only_root_is_answered(public) -> None:
    with Daemon(POLICY).ready() as daemon:
        done = daemon.ask("status", prefix=("setpriv", "--reuid", "1000", "--clear-groups"))
        assert done.returncode == 1
        assert "run it as root" in done.stderr
        # also where the socket's mode lets somebody in
        opened = ["nsenter", "--target", str(daemon.pid), "--mount", "--wd=/"]
        subprocess.run([*opened, "chmod", "-R", "777", "/run/uidtraced"], check=True)
        done = daemon.ask("status", prefix=("setpriv", "--reuid", "1000", "--clear-groups"))
        assert (done.returncode, done.stderr) == (1, "uidtraced: uid 1000 may not ask; root may\n")
        assert daemon.stop() == 0


@pytest.mark.parametrize("question", [b"", b"x\n", b"status", b"\xff" * 100_000 + b"\n"])
def test_a_question_that_is_none_harms_nobody(question) -> None:
    client = """
import socket, sys
with socket.socket(socket.AF_UNIX) as one:
    one.connect("/run/uidtraced/control")
    try:
        one.sendall(sys.stdin.buffer.read())
        one.shutdown(socket.SHUT_WR)
        sys.stdout.buffer.write(one.recv(100_000))
    except ConnectionError:
        pass
"""
    with Daemon(POLICY).ready() as daemon:
        inside = ["nsenter", "--target", str(daemon.pid), "--mount", "--wd=/", "python3", "-c"]
        done = subprocess.run([*inside, client], input=question, capture_output=True, check=True)
        assert b'"users"' not in done.stdout or question == b"status"
        assert ask_json(daemon, "status")["healthy"]
        assert daemon.stop() == 0
