"""The service under real systemd and a real journal, as an administrator meets it."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter

import pytest

import harness

POLICY = "version: 1\nusers:\n  alice: [chdir, openat]\n"
CHDIR = ("env", "--chdir=/", "true")


def write_policy(machine, text: str) -> None:
    machine.run("tee", "/etc/uidtrace.yaml", stdin=text)


@pytest.fixture
def machine(booted):
    """The machine with the service stopped, no drop-ins and nothing in the journal so far."""
    booted.shell(
        "systemctl stop uidtraced; systemctl reset-failed; rm -rf /run/systemd/system/uidtraced*;"
        "systemctl daemon-reload"
    )
    booted.forget_journal()
    write_policy(booted, POLICY)
    return booted


def policies(machine, count: int):
    keys = ("REVISION", "CREATED", "SWAPPED", "DELETED", "UNCHANGED")
    found = machine.wait_journal(count, "UIDTRACE_EVENT=policy")
    return [tuple(int(one[f"UIDTRACE_{key}"]) for key in keys) for one in found]


def test_start_edit_journal_reload_stop(machine):
    machine.run("systemctl", "start", "uidtraced")
    shown = machine.show("ActiveState", "StatusText", "User", "MainPID")
    assert (shown["ActiveState"], shown["User"]) == ("active", "uidtraced")
    assert shown["StatusText"] == "1 users, 6 rules, revision 1"
    # in force as soon as start returns: READY=1 comes after
    machine.as_user("alice", *CHDIR)
    (event,) = machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")
    assert event["MESSAGE"].startswith('alice: chdir("/")')
    expected = {"UIDTRACE_UID": "1000", "UIDTRACE_COMM": "env", "UIDTRACE_ABI": "x86_64"}
    expected |= {"UIDTRACE_EVENT": "syscall", "UIDTRACE_NR": "80", "UIDTRACE_REVISION": "1"}
    expected |= {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "uidtraced", "_TRANSPORT": "journal"}
    assert {key: event.get(key) for key in expected} == expected
    # the pid is that of the machine's own namespace
    assert int(event["UIDTRACE_PID"]) < 10_000
    opened = machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=openat")
    assert opened[0]["MESSAGE"].startswith('alice: openat(AT_FDCWD, "/')

    write_policy(machine, POLICY + "  0: [bind]\n")
    assert policies(machine, 2)[1] == (2, 1, 0, 0, 1)
    write_policy(machine, POLICY.replace(", openat", "") + "  0: [bind]\n")
    assert policies(machine, 3)[2] == (3, 0, 1, 0, 1)
    write_policy(machine, POLICY.replace(", openat", ""))
    assert policies(machine, 4)[3] == (4, 0, 0, 1, 1)
    machine.run("systemctl", "reload", "uidtraced")
    assert machine.show("ActiveState", "StatusText") == {
        "ActiveState": "active",
        "StatusText": "1 users, 3 rules, revision 4",
    }
    assert len(policies(machine, 4)) == 4

    assert harness.bpf_objects()
    machine.run("systemctl", "stop", "uidtraced")
    assert machine.show("Result")["Result"] == "success"
    assert harness.left_behind() == set()


def test_it_runs_with_two_capabilities_and_no_more(machine):
    machine.run("systemctl", "start", "uidtraced")
    pid = machine.show("MainPID")["MainPID"]
    status = machine.run("cat", f"/proc/{pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    wanted = f"{1 << 38 | 1 << 39:016x}"
    assert [fields[key] for key in ("CapEff", "CapPrm", "CapBnd")] == [wanted] * 3
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split()[0] != "0"


def test_a_refused_edit_is_told_once_with_its_place(machine):
    machine.run("systemctl", "start", "uidtraced")
    write_policy(machine, "version: 1\nusers:\n  alice: [opnat]\n")
    machine.wait_journal(1, "PRIORITY=3")
    machine.run("systemctl", "reload", "uidtraced")  # and looking again says nothing new
    (told,) = machine.journal("PRIORITY=3")
    problem = '/etc/uidtrace.yaml:3:11: error: \\"opnat\\" is no system call; did you mean'
    assert problem in told["MESSAGE"]
    assert "; refused: /etc/uidtrace.yaml:3:11" in machine.show("StatusText")["StatusText"]
    machine.as_user("alice", *CHDIR)
    machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")


def test_a_bad_policy_at_the_start_is_not_retried(machine):
    write_policy(machine, "version: 1\nusers:\n  alice: [opnat]\n")
    machine.run("systemctl", "start", "uidtraced", check=False)
    shown = machine.show("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}


def test_no_event_of_many_is_dropped_by_the_journal(machine):
    """More in 30 s than journald's default allows, which grows with the free disk: 60,000 here."""
    machine.run("systemctl", "start", "uidtraced")
    code = (
        "import os, time\nfor n in range(80000):\n os.chdir('/')\n if n % 80 == 0: time.sleep(0.01)"
    )
    machine.as_user("alice", "/usr/bin/python3", "-S", "-c", code)
    matches = "UIDTRACE_USER=alice UIDTRACE_SYSCALL=chdir"
    look = f"journalctl --sync; journalctl -u uidtraced -o cat {matches} {machine.since}"
    deadline = time.monotonic() + 60
    while (count := int(machine.shell(f"{look} | wc -l"))) < 80_000:
        assert time.monotonic() < deadline, f"{count} events, and {machine.journal('PRIORITY=4')}"
    assert count == 80_000
    assert machine.journal("UIDTRACE_EVENT=loss") == []


def test_tracing_what_the_journal_does_does_not_feed_on_itself(machine):
    write_policy(machine, "version: 1\nusers:\n  0: [write, sendmsg, sendto]\n")
    machine.run("systemctl", "start", "uidtraced")
    machine.run("systemctl", "is-active", "uidtraced")  # some events to begin with
    machine.wait_journal(1, "UIDTRACE_EVENT=syscall")
    for _ in range(6):  # root's other processes on this kernel may be busy for a while
        machine.forget_journal()
        time.sleep(5)
        events = machine.journal("UIDTRACE_EVENT=syscall")
        by = {one["UIDTRACE_COMM"] for one in events}
        assert not by & {"systemd-journal", "uidtraced"}
        if len(events) < 100:
            return
    pytest.fail(f"{len(events)} events in 5 s by {by}")


def test_a_journal_that_restarts_is_left_out_again(machine):
    write_policy(machine, "version: 1\nusers:\n  0: [sendmsg]\n  alice: [chdir]\n")
    machine.run("systemctl", "start", "uidtraced")
    machine.run("systemctl", "restart", "systemd-journald")
    time.sleep(2)  # found anew every half second
    machine.forget_journal()
    machine.as_user("alice", *CHDIR)
    machine.wait_journal(1, "UIDTRACE_USER=alice")
    events = machine.journal("UIDTRACE_EVENT=syscall")
    assert "systemd-journal" not in {one["UIDTRACE_COMM"] for one in events}


_JOURNALD = (
    "systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket "
    "systemd-journald.service"
)


def test_while_the_journal_is_away_events_wait_and_the_policy_stays_current(machine):
    machine.run("systemctl", "start", "uidtraced")
    machine.shell(f"systemctl stop {_JOURNALD}")
    try:
        loop = "import os\nfor _ in range(3000): os.chdir('/')"
        machine.as_user("alice", "/usr/bin/python3", "-S", "-c", loop)
        write_policy(machine, POLICY + "  bin: [chdir]\n")
        deadline = time.monotonic() + 30
        while machine.show("StatusText")["StatusText"] != "2 users, 9 rules, revision 2":
            assert time.monotonic() < deadline, machine.show("StatusText")
        machine.as_user("bin", *CHDIR)
    finally:
        machine.shell(f"systemctl start {_JOURNALD}")
    matches = ("UIDTRACE_SYSCALL=chdir", "UIDTRACE_EVENT=syscall")
    events = machine.wait_journal(3001, *matches)
    by = Counter(one["UIDTRACE_USER"] for one in events)
    assert by == {"alice": 3000, "bin": 1}
    assert machine.journal("UIDTRACE_EVENT=loss") == []
    assert len(policies(machine, 2)) == 2
    status = json.loads(machine.run("/usr/local/bin/uidtraced", "status", "--format", "json"))
    assert (status["healthy"], status["since_start"]["tampered"]) == (True, 0)


_FLOOD = """
import os, select
calls = 0
while not select.select([0], [], [], 0)[0]:
    for _ in range(1000):
        os.chdir("/")
    calls += 1000
print(calls)
"""
_STEADY = "import os, time\nfor _ in range({}): os.chdir('/'); time.sleep(0.0009)"


def test_who_floods_the_journal_takes_nothing_from_a_thousand_calls_a_second(machine):
    calls = 4000
    write_policy(machine, "version: 1\nusers:\n  alice: [chdir]\n  bin: [chdir]\n")
    machine.run("systemctl", "start", "uidtraced")
    python = ("/usr/bin/python3", "-S", "-c")
    flood = machine.inside("setpriv", "--reuid", "alice", "--clear-groups", *python, _FLOOD)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(flood, **pipes) as process:
        machine.as_user("bin", *python, _STEADY.format(calls))
        flooded = int(process.communicate("stop\n")[0])
    ask = ("/usr/local/bin/uidtraced", "status", "--format", "json")
    deadline = time.monotonic() + 30
    while True:
        status = json.loads(machine.run(*ask, check=False))
        users = {one["user"]: one for one in status["users"]}
        if not any(one["pending"] for one in users.values()):
            break
        assert time.monotonic() < deadline, status
    assert users["bin"]["written"] == users["bin"]["matched"] == calls
    alice = users["alice"]
    assert alice["ring_full"] > 0
    assert alice["matched"] == alice["written"] + alice["ring_full"] == flooded
    machine.shell("journalctl --rotate --vacuum-files=1")


_SMALL_DISK = """
mkdir -p /run/systemd/journald.conf.d /run/log/journal
printf '[Journal]\\nStorage=volatile\\n' >/run/systemd/journald.conf.d/small.conf
mount -t tmpfs -o size=24M tmpfs /run/log/journal
systemctl restart systemd-journald
"""
_OWN_DISK = """
umount --lazy /run/log/journal
rm /run/systemd/journald.conf.d/small.conf
systemctl restart systemd-journald
"""


def test_a_full_disk_of_the_journal_harms_neither_the_accounts_nor_what_comes_after(machine):
    calls = 30_000
    machine.shell(_SMALL_DISK)
    try:
        machine.run("systemctl", "start", "uidtraced")
        machine.shell("cat /dev/zero >/run/log/journal/ballast 2>/dev/null || true")
        loop = (
            f"import os, time\nfor n in range({calls}):\n os.chdir('/')\n"
            " if n % 80 == 0: time.sleep(0.01)"
        )
        machine.as_user("alice", "/usr/bin/python3", "-S", "-c", loop)
        write_policy(machine, POLICY + "  bin: [chdir]\n")
        deadline = time.monotonic() + 30
        while machine.show("StatusText")["StatusText"] != "2 users, 9 rules, revision 2":
            assert time.monotonic() < deadline, machine.show("StatusText")
        ask = ("/usr/local/bin/uidtraced", "status", "--format", "json")
        while (status := json.loads(machine.run(*ask, check=False)))["kernel"]["pending_bytes"]:
            assert time.monotonic() < deadline, status
        (alice,) = [one for one in status["users"] if one["user"] == "alice"]
        assert alice["matched"] == alice["written"] > calls  # what journald's socket took
        machine.run("rm", "/run/log/journal/ballast")
        machine.as_user("bin", *CHDIR)
        machine.wait_journal(1, "UIDTRACE_USER=bin", "UIDTRACE_SYSCALL=chdir")
        kept = machine.journal("UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")
        assert len(kept) < calls  # what journald did with it is its own affair
        assert machine.journal("UIDTRACE_EVENT=loss") == []
    finally:
        machine.shell(_OWN_DISK)


def test_the_watchdog_is_fed_and_a_daemon_that_hangs_is_started_again(machine):
    machine.shell(
        "mkdir -p /run/systemd/system/uidtraced.service.d\n"
        "printf '[Service]\\nWatchdogSec=2\\n' >/run/systemd/system/uidtraced.service.d/w.conf\n"
        "systemctl daemon-reload; systemctl start uidtraced; sleep 5"
    )
    shown = machine.show("NRestarts", "MainPID", "ActiveState")
    assert (shown["NRestarts"], shown["ActiveState"]) == ("0", "active")
    machine.shell(f"kill -STOP {shown['MainPID']}")
    deadline = time.monotonic() + 30
    while machine.show("NRestarts", "ActiveState") != {"NRestarts": "1", "ActiveState": "active"}:
        assert time.monotonic() < deadline, machine.unit_log()
    machine.as_user("alice", *CHDIR)
    machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")


def event_key(one) -> tuple[str, str]:
    return one["UIDTRACE_CPU"], one["UIDTRACE_SEQ"]


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_what_happens_while_there_is_no_daemon_is_logged_by_the_next(machine, how):
    command = {
        "kill": ("sh", "-ec", "kill -KILL $(systemctl show uidtraced -p MainPID --value)"),
        "restart": ("systemctl", "restart", "uidtraced"),
    }[how]
    machine.run("systemctl", "start", "uidtraced")
    loop = "import os, time\nfor _ in range(4000): os.chdir('/usr/src'); time.sleep(0.0005)"
    with subprocess.Popen(
        machine.inside(
            *("setpriv", "--reuid", "alice", "--clear-groups"), "/usr/bin/python3", "-S", "-c", loop
        )
    ) as process:
        time.sleep(0.3)
        before = machine.show("MainPID")["MainPID"]
        machine.run(*command)
        process.wait()
    (gap,) = machine.wait_journal(1, "UIDTRACE_EVENT=gap")
    assert gap["UIDTRACE_LOST"] == "0"
    assert machine.show("MainPID")["MainPID"] != before
    matches = ("UIDTRACE_USER=alice", 'UIDTRACE_ARGS={"filename":"/usr/src"}')
    events = machine.wait_journal(4000, *matches)
    times = Counter(map(event_key, events))
    assert len(times) == 4000
    marked = {event_key(one) for one in events if "UIDTRACE_REPEATED" in one}
    assert {key for key, number in times.items() if number > 1} <= marked
    # and a stop, unlike a restart, ends what the kernel does
    machine.run("systemctl", "stop", "uidtraced")
    assert harness.left_behind() == set()


def test_a_version_of_another_layout_begins_anew_and_tells_what_nobody_read(machine):
    write_policy(machine, "version: 1\nusers:\n  games: [chdir]\n")
    machine.run("systemctl", "start", "uidtraced")
    kept = machine.shell(
        "echo /usr/local/lib/uidtraced/lib/python3*/*/uidtraced/kernel/kept.py"
    ).strip()
    fds = machine.show("NFileDescriptorStore")
    pid = machine.show("MainPID")["MainPID"]
    machine.run("sh", "-c", f"kill -STOP {pid}")
    loop = "import os\nfor _ in range(500): os.chdir('/')"
    machine.as_user("games", "/usr/bin/python3", "-S", "-c", loop)
    machine.shell(f"cp {kept} /tmp/kept.py; sed -i 's/^LAYOUT: .*/LAYOUT = \"e\" * 16/' {kept}")
    try:
        machine.run("sh", "-c", f"kill -KILL {pid}")
        (gap,) = machine.wait_journal(1, "UIDTRACE_EVENT=gap")
        assert (gap["UIDTRACE_LOST"], gap["PRIORITY"]) == ("500", "4")
        assert gap["MESSAGE"].endswith("500 lost; numbers begin anew, after another version")
        machine.as_user("games", *CHDIR)
        (event,) = machine.wait_journal(1, "UIDTRACE_USER=games", "UIDTRACE_SYSCALL=chdir")
        assert (event["UIDTRACE_SEQ"], event["UIDTRACE_REVISION"]) == ("1", "1")
        assert machine.show("NFileDescriptorStore") == fds
        machine.run("/usr/local/bin/uidtraced", "status")
        machine.run("systemctl", "stop", "uidtraced")
        assert harness.left_behind() == set()
    finally:
        machine.shell(f"cp /tmp/kept.py {kept}")


def test_root_asks_the_service_for_its_status_and_plans_an_edit(machine):
    machine.run("systemctl", "start", "uidtraced")
    machine.as_user("alice", *CHDIR)
    machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")
    status = json.loads(machine.run("/usr/local/bin/uidtraced", "status", "--format", "json"))
    assert (status["healthy"], status["policy"]["revision"]) == (True, 1)
    (alice,) = [one for one in status["users"] if one["user"] == "alice"]
    assert alice["matched"] == alice["written"] > 0
    machine.run("tee", "/tmp/new.yaml", stdin=POLICY + '  "@alice": [uname]\n  "70-79": [kill]\n')
    said = machine.run("/usr/local/bin/uidtraced", "plan", "/tmp/new.yaml", check=False)
    assert "~ alice (1000): +uname\n+ 70-79: +kill\n1 created, 1 swapped" in said
    refused = machine.run("/usr/local/bin/uidtraced", "status", check=False, user="alice")
    assert "run it as root" in refused


def test_a_group_that_changes_is_picked_up_without_an_edit(machine):
    machine.shell("groupadd --force watched")
    write_policy(machine, 'version: 1\nusers:\n  "@watched": [chdir]\n')
    machine.run("systemctl", "start", "uidtraced")
    machine.shell("usermod --append --groups watched alice")
    assert policies(machine, 2)[1] == (2, 1, 0, 0, 0)
    machine.as_user("alice", *CHDIR)
    machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")
    machine.shell("gpasswd --delete alice watched")
    assert policies(machine, 3)[2] == (3, 0, 0, 1, 0)


def test_doctor_says_yes(machine):
    assert "this machine can run uidtraced" in machine.run("/usr/local/bin/uidtraced", "doctor")
