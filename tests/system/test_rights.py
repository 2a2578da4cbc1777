"""The rights of the service as installed: what it has, what it has open, and who may ask it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

import harness
import rig

POLICY = "version: 1\nusers:\n  alice: [chdir, bind]\n"
METRICS = "/etc/systemd/system/uidtraced.service.d/metrics.conf"
LOOK = ("systemd-analyze", "security", "--no-pager", "uidtraced.service")
CHDIR = ("env", "--chdir=/", "true")
CONTROL = "/run/uidtraced/control"

# What the process has open, one a line: what it is, its mode, its owner, whether others may write
OPEN = r"""
import os, stat, sys
pid, own = sys.argv[1], int(sys.argv[2])
links = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
maps = {line.split(None, 5)[5].strip() for line in open(f"/proc/{pid}/maps") if "/" in line}
root = f"/proc/{pid}/root"
paths = [root + path for path in maps if path.startswith("/") and " (deleted)" not in path]
for top, folders, files in os.walk(root + "/run/uidtraced"):
    paths += [top] + [os.path.join(top, name) for name in files]
for path in links + paths:
    what = os.readlink(path) if path in links else path.removeprefix(root)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        continue
    kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
    if what.startswith(("anon_inode:", "socket:", "pipe:", "/dev/null", "/memfd:")):
        continue  # of no name, so opened by nobody else
    others = status.st_uid not in (0, own) or mode & 0o022
    if path in paths:  # a name, so the way to it counts too
        way = what
        while way != "/":
            way = os.path.dirname(way)
            it = os.lstat(root + way)
            others |= it.st_uid not in (0, own) or it.st_mode & 0o022 and not it.st_mode & 0o1000
    print(bool(others), oct(mode), status.st_uid, what)
"""


def write_policy(machine, text: str) -> None:
    machine.run("tee", "/etc/uidtrace.yaml", stdin=text)


@pytest.fixture
def machine(booted):
    booted.shell(
        "systemctl stop uidtraced; systemctl reset-failed; rm -rf /run/systemd/system/uidtraced*;"
        "systemctl daemon-reload"
    )
    booted.forget_journal()
    write_policy(booted, POLICY)
    yield booted
    booted.shell(f"systemctl stop uidtraced; rm -f {METRICS}; systemctl daemon-reload")
    booted.shell("rm -rf /run/uidtraced; systemd-tmpfiles --create uidtraced.conf")


@pytest.fixture
def running(machine):
    machine.run("systemctl", "start", "uidtraced")
    return machine


def exposure(machine) -> str:
    return machine.run(*LOOK).strip().splitlines()[-1].split(": ", 1)[1].split()[0]


def logs_alice(machine) -> None:
    machine.forget_journal()
    machine.as_user("alice", *CHDIR)
    machine.wait_journal(1, "UIDTRACE_USER=alice", "UIDTRACE_SYSCALL=chdir")


def test_exactly_this_unit_does_all_that_it_is_for(machine):
    """The unit that is measured is the one that loads BPF, logs, reloads and restarts."""
    machine.run("systemctl", "start", "uidtraced")
    shown = machine.show("DropInPaths", "FragmentPath", "PrivateNetwork", "User")
    assert shown["DropInPaths"] == ""
    assert shown["User"] == "uidtraced"
    unit = (rig.ROOT / "systemd/uidtraced.service").read_text()
    assert machine.run("cat", shown["FragmentPath"]) == unit
    assert exposure(machine) == "0.7"
    assert harness.bpf_objects()
    pid = machine.show("MainPID")["MainPID"]
    networks = machine.run("cat", f"/proc/{pid}/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in networks] == ["lo"]
    logs_alice(machine)
    write_policy(machine, POLICY + "  0: [bind]\n")
    machine.run("systemctl", "reload", "uidtraced")
    assert machine.show("StatusText")["StatusText"].endswith("revision 2")
    before = machine.show("NFileDescriptorStore")["NFileDescriptorStore"]
    assert int(before) > 5
    machine.run("systemctl", "restart", "uidtraced")
    (gap,) = machine.wait_journal(1, "UIDTRACE_EVENT=gap")
    assert gap["UIDTRACE_LOST"] == "0"
    assert machine.show("NFileDescriptorStore")["NFileDescriptorStore"] == before
    logs_alice(machine)
    assert machine.show("NRestarts", "Result") == {"NRestarts": "0", "Result": "success"}
    assert machine.journal("PRIORITY=3") == []
    machine.run("systemctl", "stop", "uidtraced")
    assert harness.left_behind() == set()


def test_the_drop_in_for_metrics_opens_one_port_to_this_machine(machine):
    machine.run("install", "-D", "-m", "644", f"/{rig.SOURCE}/systemd/metrics.conf", METRICS)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "uidtraced")
    assert exposure(machine) == "1.5"
    scrape = (
        "from urllib.request import urlopen\n"
        "print(urlopen('http://127.0.0.1:9464/metrics', timeout=20).read().decode())"
    )
    logs_alice(machine)
    said = machine.run("/usr/bin/python3", "-S", "-c", scrape, user="alice")
    assert "uidtraced_healthy 1.0" in said
    tables = machine.shell("cat /proc/net/tcp /proc/net/tcp6")
    rows = [line.split() for line in tables.splitlines()]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{9464:04X}")]
    assert listening == ["0100007F:24F8"]


def test_nothing_that_it_has_open_can_be_written_by_others(running):
    pid = running.show("MainPID")["MainPID"]
    own = running.run("id", "-u", "uidtraced").strip()
    rows = running.run("/usr/bin/python3", "-S", "-c", OPEN, pid, own).splitlines()
    assert [row for row in rows if not row.startswith("False ")] == []
    found = {row.split(" ", 3)[3]: row.split(" ", 3)[1:3] for row in rows}
    assert found["/run/uidtraced"] == ["0o750", own]
    assert found["/run/uidtraced/lock"] == ["0o600", own]
    assert found[CONTROL] == ["0o600", own]
    assert any("/uidtraced/kernel/" in name for name in found), found  # its own code was looked at
    # and neither are the packages that it runs from, nor the policy
    site = "/usr/local/lib/uidtraced /etc/uidtrace.yaml"
    assert running.shell(f"find {site} ! -type l '(' -perm /022 -o ! -user 0 ')' -print") == ""


ASK = """
import contextlib, os, socket, sys
def answer(one):
    with contextlib.suppress(BrokenPipeError):  # who is refused is so unasked
        one.sendall(b"status\\n")
    said = b""
    try:
        while part := one.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said[:60].decode()
"""


def test_who_connects_is_who_asks(running):
    """Where alice can reach the socket at all, she is refused, whoever speaks for her."""
    said = running.run("/usr/local/bin/uidtraced", "status", user="alice", check=False)
    assert "run it as root" in said
    # by a way of her own to the same socket
    running.run("ln", "-sfn", CONTROL, "/tmp/way", user="alice")
    connect = "one = socket.socket(socket.AF_UNIX); one.connect(sys.argv[1]); print(answer(one))"
    for way in ("/tmp/way", CONTROL):
        said = running.run(
            "/usr/bin/python3", "-S", "-c", ASK + connect, way, user="alice", check=False
        )
        assert "PermissionError" in said
    assert '"running":true' in running.run(
        "/usr/bin/python3", "-S", "-c", ASK + connect, "/tmp/way"
    )
    # and where the modes are open: also root, by a connection that is alice's
    running.shell(f"chmod 777 /run/uidtraced {CONTROL}")
    handed = """
ours, theirs = socket.socketpair()
if not os.fork():
    os.setresuid(1000, 1000, 1000)
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    socket.send_fds(theirs, [b"x"], [one.fileno()])
    os._exit(0)
_, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
print(os.geteuid(), answer(socket.socket(fileno=fd)))
"""
    said = running.run("/usr/bin/python3", "-S", "-c", ASK + handed, CONTROL)
    assert said == '0 {"error":"uid 1000 may not ask; root may"}\n'
    running.shell(f"chmod 750 /run/uidtraced; chmod 600 {CONTROL}")


FLOOD = """
import os, socket, sys
os.setresuid(*[int(sys.argv[1])] * 3)
held = []
for number in range(300):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(20)
    try:
        one.connect("/run/uidtraced/control")
        if number % 3 == 1:
            one.sendall(b"s")
        elif number % 3 == 2:
            one.sendall(b"x" * 10_000_000)
    except OSError:
        pass
    held.append(one)
print(len(held), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("uid", ["0", "1000"])
def test_a_flood_of_questions_holds_up_nothing(running, uid):
    pid = running.show("MainPID")["MainPID"]
    fds = f"ls /proc/{pid}/fd | wc -l"
    before = int(running.shell(fds))
    running.shell(f"chmod 777 /run/uidtraced {CONTROL}")
    with subprocess.Popen(
        running.inside("/usr/bin/python3", "-S", "-c", FLOOD, uid),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == "300\n"
        logs_alice(running)  # events flow
        write_policy(running, POLICY + "  0: [bind]\n")  # and edits come into force
        running.wait_journal(1, "UIDTRACE_EVENT=policy", "UIDTRACE_REVISION=2")
        assert int(running.shell(fds)) <= before + 20
        # each question has had its time, and then there is room again
        deadline = time.monotonic() + 60
        while True:
            said = running.run(
                *("/usr/local/bin/uidtraced", "status", "--format", "json"), check=False
            )
            if said.startswith("{") and json.loads(said)["healthy"]:
                break
            assert time.monotonic() < deadline, said
        flood.communicate("")
    running.shell(f"chmod 750 /run/uidtraced; chmod 600 {CONTROL}")
    assert running.show("MainPID", "NRestarts") == {"MainPID": pid, "NRestarts": "0"}
    memory = Path(f"/proc/{running.pid}/root/proc/{pid}/status").read_text()
    assert int(memory.partition("VmRSS:")[2].split()[0]) < 150_000


HOSTILE = r"""
import os
names = (b"x\nMESSAGE=forged\n", b"\x1b[2J\x9b31m", b"\xff\xfe[1] root: ", "\u2028\u202ex".encode())
names += (b"\nUIDTRACE_USER=r", b'"}\n{"event":"')
for name in names:
    with open("/proc/self/comm", "wb") as comm:
        comm.write(name)
    for path in (name, b"/tmp/" + name * 9, b"\nMESSAGE=forged\nUIDTRACE_USER=root\n\n"):
        try:
            os.chdir(path)
        except OSError:
            pass
print(os.getpid())
"""


def test_no_name_forges_an_entry_of_the_journal(running):
    running.forget_journal()
    pid = running.as_user("alice", "/usr/bin/python3", "-S", "-c", HOSTILE).strip()
    events = running.wait_journal(18, f"UIDTRACE_PID={pid}", "UIDTRACE_SYSCALL=chdir")
    assert len(events) == 18
    assert {one["UIDTRACE_USER"] for one in events} == {"alice"}
    assert all(one["MESSAGE"].startswith('alice: chdir("') for one in events)
    assert all(one["MESSAGE"].isprintable() for one in events)
    for one in events:
        assert json.loads(field(one["UIDTRACE_ARGS"])).keys() == {"filename"}
    comms = {field(one["UIDTRACE_COMM"]) for one in events}
    assert comms == {
        *("x\nMESSAGE=forged"[:15], "\x1b[2J\\x9b31m", "\\xff\\xfe[1] root: "[:21]),
        *("\u2028\u202ex", "\nUIDTRACE_USER="[:15], '"}\n{"event":"'),
    }


def field(said) -> str:
    """Return the text of a field, which journalctl gives as numbers where it is not printable."""
    return said if isinstance(said, str) else bytes(said).decode()


def test_what_others_left_in_its_place_is_not_followed(machine):
    """What lies in /run/uidtraced at a start is the lock, or the start ends with a line."""
    machine.shell("rm -f /run/uidtraced/lock; ln -s /etc/passwd /run/uidtraced/lock")
    before = machine.run("cat", "/etc/passwd")
    machine.run("systemctl", "start", "uidtraced", check=False)
    shown = machine.show("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "77", "NRestarts": "0"}
    (told,) = machine.journal("PRIORITY=3", "_COMM=uidtraced")
    assert "/run/uidtraced/lock cannot be opened" in told["MESSAGE"]
    assert machine.run("cat", "/etc/passwd") == before
    machine.shell("rm -f /run/uidtraced/lock; systemctl reset-failed uidtraced")
    # a socket of somebody else in the place of the control socket is replaced
    squat = "import socket; socket.socket(socket.AF_UNIX).bind('/run/uidtraced/control')"
    machine.run("/usr/bin/python3", "-S", "-c", squat)
    machine.run("chown", "1000", CONTROL)
    machine.run("systemctl", "start", "uidtraced")
    own = machine.run("id", "-u", "uidtraced").strip()
    assert machine.run("stat", "-c", "%u %a", CONTROL) == f"{own} 600\n"
    assert machine.run("/usr/local/bin/uidtraced", "status").startswith("healthy")
