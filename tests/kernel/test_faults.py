"""Faults made for real: a policy comes into force whole or not at all, and one line says why."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import time

import pytest

import harness
from fakes import Users
from harness import COMMAND, Daemon, as_user
from tracing import drain, open_tracer
from uidtraced.keeper import Keeper
from uidtraced.kernel.keys import KEY, pack_block
from uidtraced.rules import Block, Scope, Uid

HEAD = "version: 1\nusers:\n"
OLD = HEAD + "  64301: [chdir]\n"
NEW = HEAD + '  64301: [fchdir]\n  64302: [chdir]\n  "2000-2255": [chdir]\n'
RELOAD_SECONDS = float(os.environ.get("UIDTRACED_RELOAD_SECONDS", "2"))
"""How long a thousand reloads a second go on: a minute is for who has one."""


def fill(tracer, of: str, rules) -> None:
    """Leave no room in a map of a tracer's: with entries for *rules*."""
    one = tracer._objects.maps[of]
    inner = tracer._inner.get(rules, 0)
    value = KEY.pack(inner.id if of.endswith("blocks") else inner.fd)
    room = {"real": 262_144, "classes": 32_768, "real_blocks": 1_048_576}[of]
    room -= len(list(one.keys(8 if of.endswith("blocks") else 4)))
    numbers = range(1 << 30, (1 << 30) + room)
    if of.endswith("blocks"):
        keys = b"".join(pack_block(Block(Uid(number), 32)) for number in numbers)
    else:
        keys = struct.pack(f"={room}I", *numbers)
    one.update_batch(keys, value * room, room)


@pytest.mark.parametrize("of", ["real", "classes", "real_blocks"])
def test_a_policy_for_which_a_map_has_no_room_changes_nothing(tmp_path, capsys, of) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(OLD)
    with open_tracer() as tracer:
        keeper = Keeper(path, tracer, Users())
        keeper.start()
        fill(tracer, of, keeper.plan.scopes[Scope.REAL].uids[Uid(64301)])
        before = tracer.read(Scope.REAL)
        path.write_text(NEW)
        for _ in range(3):  # it is tried again, and told of once
            assert keeper.look() is None
        said = capsys.readouterr().out
        assert said.count("policy_refused") == 1
        assert "what was in force is in force again" in keeper.last_error
        assert "the map is full: name fewer" in keeper.last_error
        assert (keeper.revision, tracer.read(Scope.REAL)) == (1, before)
        for uid in (64301, 64302, 2001):
            as_user(uid, "env", "--chdir=/", "true")
        assert {one.uid for one in drain(tracer)} == {64301}


def rule_sets(count: int) -> str:
    """Return a policy of *count* different rule sets."""
    names = ("chdir", "fchdir", "mkdir", "rmdir", "chmod", "chown", "link", "unlink", "rename")
    entries = []
    for number in range(count):
        chosen = [name for bit, name in enumerate(names) if number + 1 >> bit & 1]
        entries.append(f"  {3000 + number}: [{', '.join(chosen)}]\n")
    return OLD + "".join(entries)


def test_a_policy_that_takes_more_fds_than_there_are_changes_nothing() -> None:
    with Daemon(OLD, wrap=["prlimit", "--nofile=200:200"]).ready() as daemon:
        before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        daemon.path.write_text(rule_sets(400))
        line = daemon.log.wait(lambda line: line["event"] == "policy_refused")
        assert "what was in force is in force again" in line["problem"]
        assert "EMFILE" in line["problem"]
        assert "raise LimitNOFILE=" in line["problem"]
        for uid in (64301, 3000):
            as_user(uid, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        status = daemon.status()
        assert (status["healthy"], status["policy"]["revision"]) == (False, 1)
        assert daemon.edit(rule_sets(50))["created"] == 50  # and there is room again
        assert daemon.edit(OLD)["deleted"] == 50
        assert daemon.status()["healthy"]
        assert len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before + 2
        assert daemon.stop() == 0
        assert {one["uid"] for one in daemon.calls()} == {64301}
        assert [one["event"] for one in daemon.log.all].count("policy_refused") == 1


def test_a_daemon_that_can_open_nothing_for_a_while_goes_on() -> None:
    with Daemon(OLD).ready() as daemon:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, hard))
        daemon.path.with_suffix(".new").write_text(NEW)
        daemon.path.with_suffix(".new").rename(daemon.path)
        line = daemon.log.wait(lambda line: line["event"] == "policy_refused")
        assert "Too many open files" in line["problem"]
        as_user(64301, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        daemon.records.wait(lambda one: one["event"] == "policy" and one["revision"] == 2)
        as_user(64302, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one.get("uid") == 64302)
        assert daemon.status()["healthy"]
        assert daemon.stop() == 0
        assert [one["event"] for one in daemon.log.all].count("policy_refused") == 1


def test_a_restart_at_which_the_new_policy_cannot_be_leaves_in_force_what_was(pins) -> None:
    with Daemon(OLD, "--pin-dir", str(pins)).ready() as daemon:
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    few = ["prlimit", "--nofile=200:200"]
    with Daemon(rule_sets(400), "--pin-dir", str(pins), wrap=few).ready() as daemon:
        line = daemon.log.wait(lambda line: line["event"] == "policy_refused")
        assert "EMFILE" in line["problem"]
        for uid in (64301, 3000):
            as_user(uid, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one["event"] == "syscall")
        assert daemon.edit(rule_sets(50))["created"] == 50
        assert daemon.stop() == 0
        assert {one["uid"] for one in daemon.calls()} == {64301}
        assert [one["event"] for one in daemon.log.all].count("policy_refused") == 1


@pytest.mark.parametrize("fds", [16, 30, 60])
def test_a_start_without_enough_fds_is_told_in_one_line_and_leaves_nothing(tmp_path, fds) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(OLD)
    command = [*COMMAND, "run", "--policy", str(path), "--output", "json"]
    done = subprocess.run(
        harness.own_run(["prlimit", f"--nofile={fds}:{fds}", *command]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "too many open files" in done.stderr.splitlines()[-1].lower()


STUCK = """
#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <unistd.h>
enum nss_status _nss_stuck_getpwnam_r(const char *n, struct passwd *p, char *b,
        size_t s, int *error)
{
    while (!access(FLAG, F_OK))
            usleep(10000);
    *error = ENOENT;
    return NSS_STATUS_NOTFOUND;
}
"""


def test_a_name_service_that_hangs_keeps_no_policy_from_coming_into_force(public) -> None:
    flag = public / "hang"
    library = public / "libnss_stuck.so.2"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", f'-DFLAG="{flag}"', "-x", "c", "-", "-o", str(library)],
        input=STUCK,
        check=True,
        text=True,
    )
    (public / "nsswitch.conf").write_text("passwd: files stuck\ngroup: files\n")
    mount = f'mount --bind {public}/nsswitch.conf /etc/nsswitch.conf && exec "$@"'
    wrap = ["sh", "-ec", mount, "sh", "env", f"LD_LIBRARY_PATH={public}"]
    policy = OLD + "  nobody: [chdir]\n  whoever: [chdir]\n"
    with Daemon(policy, wrap=wrap).ready() as daemon:
        assert daemon.status()["healthy"]
        flag.touch()
        assert daemon.edit(policy + "  64302: [chdir]\n")["created"] == 1
        as_user(64302, "env", "--chdir=/", "true")
        daemon.records.wait(lambda one: one.get("uid") == 64302)
        status = daemon.status()
        assert status["policy"]["stale"] == ["nobody", "whoever"]
        assert "no answer from the name service" in status["problems"][0]
        as_user(65534, "env", "--chdir=/", "true")  # who was known stays known
        daemon.records.wait(lambda one: one.get("uid") == 65534)
        flag.unlink()
        wait_until(lambda: daemon.answer("status")["healthy"])
        assert daemon.stop() == 0


def wait_until(condition) -> None:
    deadline = time.monotonic() + harness.WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline


LOOP = """
import os, sys, threading
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(1), stop.set())).start()
made = 0
while not stop.wait(0.0005):
    os.chdir("/")
    made += 1
print(made)
"""


def test_a_thousand_reloads_a_second_lose_no_call_that_all_policies_log() -> None:
    """By edits and by hang-ups, while rules and the bitmap of wanted calls are swapped."""
    policies = [
        HEAD + f"  64301: [chdir{more}]\n" + other
        for more in ("", ", fchdir", ", mkdir, rmdir")
        for other in ("", "  64302: [kill]\n", '  "5000-6000": [chmod]\n  "*": [chown]\n')
    ]
    as_64301 = [
        "setpriv",
        "--reuid",
        "64301",
        "--clear-groups",
        "/usr/bin/python3",
        "-S",
        "-c",
        LOOP,
    ]
    with Daemon(policies[0]).ready() as daemon:
        loop = subprocess.Popen(as_64301, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        fresh = daemon.path.with_suffix(".new")
        began = time.monotonic()
        reloads = 0
        while (now := time.monotonic()) - began < RELOAD_SECONDS:
            fresh.write_text(policies[reloads % len(policies)])
            fresh.rename(daemon.path)
            daemon.signal(signal.SIGHUP)
            reloads += 1
            time.sleep(max(0.0, began + reloads / 1000 - now))
        last = daemon.edit(HEAD + "  64301: [chdir, getppid]\n")
        made = int(loop.communicate("x")[0])
        assert last["revision"] > 3
        assert daemon.at_rest()[64301]["ring_full"] == 0
        assert daemon.stop() == 0
        chdirs = [
            one for one in daemon.calls() if one["uid"] == 64301 and one["syscall"] == "chdir"
        ]
        assert len(chdirs) == made > 0
        harness.check_seq(daemon.calls())
        revisions = [one["revision"] for one in chdirs]
        assert revisions == sorted(revisions)
        assert not [one for one in daemon.log.all if one["level"] == "error"]
