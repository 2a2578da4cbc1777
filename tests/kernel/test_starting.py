"""How the daemon starts, stops, and says why it does not start."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

import harness
from harness import COMMAND, Daemon, as_user, check_seq, own_run

ORIGIN = "version: 1\nusers:\n  1000: [openat, chdir]\n  0: [fchmodat, bind]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_program_and_no_map(number) -> None:
    before = harness.bpf_objects()
    with Daemon(ORIGIN).ready() as daemon:
        assert {name for _, _, name in harness.bpf_objects() - before} >= {
            *("on_sys_enter", "real", "effective", "login", "rule_set", "events", "counts"),
        }
        daemon.signal(number)
        assert daemon.stop() == 0
    # and the fixture looks that nothing is left


def test_a_storm_of_hang_ups_neither_stops_it_nor_keeps_it_from_stopping() -> None:
    with Daemon(ORIGIN).ready() as daemon:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            daemon.signal(signal.SIGHUP)
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall" and one["syscall"] == "chdir")
        daemon.signal(signal.SIGHUP)
        assert daemon.stop() == 0


def test_a_stop_amid_edits_and_events_ends_it() -> None:
    code = "import os\nwhile os.getpriority(os.PRIO_PROCESS, 0) < 99: pass"
    policy = "version: 1\nusers:\n  1000: {{syscalls: [getpriority], limit: {}/s}}\n"
    flood = ["setpriv", "--reuid", "1000", "--clear-groups", "/usr/bin/python3", "-S", "-c", code]
    with subprocess.Popen(flood) as loop:
        try:
            for number in range(6):
                with Daemon(policy.format(5000)).ready() as daemon:
                    fresh = daemon.path.with_suffix(".new")
                    fresh.write_text(policy.format(5001 + number))
                    fresh.rename(daemon.path)
                    time.sleep(number * 0.01)  # wherever on its way the edit is
                    assert daemon.stop() == 0
        finally:
            loop.kill()


def test_closed_streams_are_told_of_or_filled(policy) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "check", str(policy)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "uidtraced: standard output is closed; give it a place, such as >/dev/null\n",
    )
    full = subprocess.run(
        ["sh", "-c", 'exec "$@" >/dev/full', "sh", *COMMAND, "syscalls"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (full.returncode, full.stderr) == (
        1,
        "uidtraced: standard output: No space left on device\n",
    )


SURROUNDINGS = {
    "no_manager": 'NOTIFY_SOCKET=/nowhere exec "$@"',
    "no_address": 'NOTIFY_SOCKET=x WATCHDOG_USEC=0 JOURNAL_STREAM=a:b:c exec "$@"',
    "no_store": 'LISTEN_PID=$$ LISTEN_FDS=9 LISTEN_FDNAMES=a:b:a NOTIFY_SOCKET=/nowhere exec "$@"',
    "no_fds": 'LISTEN_PID=$$ LISTEN_FDS=x LISTEN_FDNAMES= NOTIFY_SOCKET=@ exec "$@"',
    "python": 'PYTHONWARNINGS=error PYTHONIOENCODING=utf-16 LC_ALL=POSIX PYTHONUTF8=0 exec "$@"',
    "closed": 'exec "$@" <&-',
}


@pytest.mark.parametrize("how", SURROUNDINGS)
def test_an_odd_start_is_a_start(how) -> None:
    wrap = ("sh", "-c", SURROUNDINGS[how], "sh")
    with Daemon("version: 1\nusers:\n  1000: [chdir]\n", wrap=wrap).ready() as daemon:
        as_user(1000, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        assert daemon.ask("status").returncode == 0
        again = [*COMMAND, "run", "--policy", str(daemon.path), "--output", "json"]
        inside = ["nsenter", "--target", str(daemon.pid), "--mount", "--wd=/"]
        code, _ = fails([*inside, *again])
        assert code == 75  # the lock is held: it was not closed as an fd of the environment's
        assert daemon.stop() == 0
        told = [one for one in daemon.log.all if one["event"] == "service_manager_not_told"]
        assert len(told) <= 1
        assert ("NOTIFY_SOCKET=" in SURROUNDINGS[how]) == bool(told)
        assert not any("exception" in one for one in daemon.log.all)


def test_without_standard_error_it_traces(public) -> None:
    policy = public / "policy.yaml"
    policy.write_text("version: 1\nusers:\n  1000: [chdir]\n")
    command = own_run(["sh", "-c", 'exec "$@" 2>&- <&-', "sh", *run(policy)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert json.loads(daemon.stdout.readline())["event"] == "policy"
        as_user(1000, "env", "--chdir=/", "true")
        assert json.loads(daemon.stdout.readline())["syscall"] == "chdir"
        daemon.terminate()
        assert daemon.wait(20) == 0


def fails(command: list[str]) -> tuple[int, dict]:
    """Run *command*; return its exit code and the one line that it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [json.loads(one) for one in done.stderr.splitlines()]
    return done.returncode, line


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(ORIGIN)
    return path


def run(policy, *arguments: str) -> list[str]:
    return [*COMMAND, "run", "--policy", str(policy), "--output", "json", *arguments]


def test_without_capabilities_it_says_which(policy) -> None:
    code, line = fails(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *run(policy)])
    assert code == 77
    assert line["problem"] == (
        "CAP_BPF and CAP_PERFMON missing; run it as root or by its systemd unit"
    )


def test_without_btf_it_says_so(policy) -> None:
    code, line = fails(own_run(run(policy), "mount -t tmpfs tmpfs /sys/kernel/btf"))
    assert code == 69
    assert "no BTF (CONFIG_DEBUG_INFO_BTF)" in line["problem"]


def test_a_second_instance_says_who_is_the_first_and_leaves_it_alone(policy, pins) -> None:
    arguments = ("--pin-dir", str(pins))
    call = ["/usr/bin/python3", "-S", "-c", "import os\nfor _ in range(100): os.chdir('/')"]
    with Daemon("version: 1\nusers:\n  64503: [chdir]\n", *arguments).ready() as daemon:
        inside = ["nsenter", "--target", str(daemon.pid), "--mount", "--wd=/"]
        for more in ((), arguments):
            as_user(64503, *call)
            code, line = fails([*inside, *run(policy), *more])
            assert code == 75
            assert line["problem"].startswith(f"uidtraced runs already, as pid {daemon.pid} ")
        as_user(64503, *call)
        one = daemon.at_rest()[64503]
        assert one["matched"] == one["written"] == 300
        status = daemon.status()
        assert (status["healthy"], status["since_start"]["tampered"]) == (True, 0)
        assert daemon.stop() == 0
        assert len(daemon.calls()) == 300
        check_seq(daemon.calls())


def test_a_bad_policy_at_the_start_is_told_whole(policy) -> None:
    policy.write_text("version: 1\nusers:\n  0: [opne, chdirr]\n")
    done = subprocess.run(own_run(run(policy)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    problems = [json.loads(line)["problem"] for line in done.stderr.splitlines()]
    assert [one.partition("error: ")[2] for one in problems] == [
        '"opne" is no system call; did you mean "open"?',
        '"chdirr" is no system call; did you mean "chdir"?',
    ]


def test_check_tells_text_and_json(policy) -> None:
    policy.write_text("version: 1\nusers:\n  0: [kill]\n")
    done = subprocess.run([*COMMAND, "check", str(policy)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    policy.write_text("version: 1\nusers:\n  0: [opne]\n")
    done = subprocess.run([*COMMAND, "check", str(policy)], capture_output=True, text=True)
    expected = f'{policy}:3:7: error: "opne" is no system call; did you mean "open"?\n'
    assert (done.returncode, done.stdout) == (1, expected)
    done = subprocess.run(
        [*COMMAND, "check", str(policy), "--format", "json"], capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert report["valid"] is False
    assert [(one["line"], one["column"]) for one in report["problems"]] == [(3, 7)]


def test_doctor_finds_this_machine_fit() -> None:
    done = subprocess.run([*COMMAND, "doctor", "--format", "json"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert (done.returncode, report["able"]) == (0, True)
    assert {one["name"]: one["ok"] for one in report["findings"]}["load and attach"] is True


def test_doctor_names_what_is_missing() -> None:
    bare = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *COMMAND, "doctor"]
    done = subprocess.run(bare, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no  capabilities     missing: CAP_BPF, CAP_PERFMON; run as root" in done.stdout
