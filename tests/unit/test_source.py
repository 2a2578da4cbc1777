"""Which files are read as a policy, and which are refused: kinds, owners, modes, the way there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from uidtraced.errors import PolicyError
from uidtraced.policy import load
from uidtraced.policy.source import MAX_BYTES, read_source

CHECK = (sys.executable, "-P", "-m", "uidtraced.cli", "check")
STRANGER = 12345


@pytest.fixture
def policy(tmp_path) -> Path:
    """Return a good policy in a directory of its own."""
    path = tmp_path / "etc" / "p.yaml"
    path.parent.mkdir(mode=0o755)
    path.write_text("version: 1\n")
    path.chmod(0o644)
    return path


def refusals(path: Path) -> list[str]:
    """Return why *path* is refused, each said to be at its start."""
    with pytest.raises(PolicyError) as caught:
        read_source(path)
    start = f"{path}:1:1: error: "
    lines = str(caught.value).splitlines()
    assert all(line.startswith(start) for line in lines), lines
    return [line.removeprefix(start) for line in lines]


def test_what_is_no_plain_file_is_refused_at_once(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()
    expected = {
        tmp_path / "fifo": "this is a FIFO; a policy is a plain file",
        tmp_path / "socket": "this is a socket; a policy is a plain file",
        tmp_path: "this is a directory; a policy is a plain file",
        Path("/dev/zero"): "this is a device; a policy is a plain file",
        tmp_path / "no": "no such file; write a policy there, or name another with --policy",
        tmp_path / "dangling": (
            "a symlink to nowhere, where there is no file; write a policy there"
        ),
        tmp_path / "loop": (
            "cannot be read: Too many levels of symbolic links; a policy is a plain file"
        ),
        tmp_path / "file" / "p": "cannot be read: Not a directory; a policy is a plain file",
    }
    assert {path: refusals(path) for path in expected} == {
        path: [said] for path, said in expected.items()
    }


def test_a_file_of_the_kernel_that_never_ends_is_refused() -> None:
    done = subprocess.run([*CHECK, "/proc/kmsg"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stdout.startswith("/proc/kmsg:1:1: error: ")


def test_a_policy_that_is_too_large_is_refused_unread(policy) -> None:
    with policy.open("r+") as file:
        file.truncate(2**40)  # a hole
    assert refusals(policy) == [
        f"larger than {MAX_BYTES} bytes; name ranges or groups, not each user"
    ]


def test_text_is_utf8_with_or_without_a_mark(policy) -> None:
    cases = {
        b"version: 1\nusers: \xff\n": "2:8: error: byte 0xff is not UTF-8; save the file as UTF-8",
        "# \u00e9 ".encode()
        + b"\xe9": "1:5: error: byte 0xe9 is not UTF-8; save the file as UTF-8",
        b"\xef\xbb\xbf# \xff": "1:3: error: byte 0xff is not UTF-8; save the file as UTF-8",
        "version: 1".encode("utf-16"): "1:1: error: byte 0xff is not UTF-8; save the file as UTF-8",
    }
    for raw, expected in cases.items():
        policy.write_bytes(raw)
        with pytest.raises(PolicyError) as caught:
            load(policy)
        assert str(caught.value) == f"{policy}:{expected}"
    policy.write_bytes(b"\xef\xbb\xbfversion: 1\r\n")
    assert load(policy).policy.version == 1


def test_a_policy_that_others_may_write_or_own_is_refused(policy) -> None:
    for mode in (0o664, 0o646, 0o666):
        policy.chmod(mode)
        assert refusals(policy) == [f"mode {mode:04o} lets others write it; chmod go-w {policy}"]
    os.chown(policy, STRANGER, 0)
    assert refusals(policy) == [
        f"mode 0666 lets others write it; chmod go-w {policy}",
        f"owned by uid {STRANGER}, who could change it; chown root {policy}",
    ]
    policy.chmod(0o644)
    os.chown(policy, 0, STRANGER)
    assert load(policy).policy.version == 1


def test_a_process_trusts_root_and_itself() -> None:
    with tempfile.TemporaryDirectory() as directory:
        policy = Path(directory, "p.yaml")
        policy.write_text("version: 1\n")
        policy.chmod(0o644)
        policy.parent.chmod(0o755)

        def check(uid: int) -> str:
            return subprocess.run([*CHECK, policy], capture_output=True, text=True, user=uid).stdout

        assert check(STRANGER) == ""
        os.chown(policy, STRANGER, 0)
        assert check(STRANGER) == ""
        assert f"owned by uid {STRANGER}, who could change it" in check(STRANGER + 1)
        os.chown(policy, 0, 0)
        policy.chmod(0o600)
        assert check(STRANGER) == (
            f"{policy}:1:1: error: uid {STRANGER} may not read it; chmod a+r {policy}, "
            "and a+x for the directories on the way\n"
        )


def test_a_directory_that_others_may_write_is_refused_unless_sticky(policy) -> None:
    for directory in (policy.parent, policy.parent.parent):
        for mode in (0o775, 0o757, 0o777):
            directory.chmod(mode)
            (said,) = refusals(policy)
            assert said == (
                f"the directory {directory} on the way has mode {mode:04o}, so others could put "
                f"another policy in its place; chmod go-w {directory}"
            )
        directory.chmod(0o1777)
        assert read_source(policy).text == "version: 1\n"
        os.chown(directory, STRANGER, 0)
        (said,) = refusals(policy)
        assert said == (
            f"the directory {directory} on the way is owned by uid {STRANGER}, who could put "
            f"another policy in its place; chown root {directory}"
        )
        os.chown(directory, 0, 0)
        directory.chmod(0o755)


def test_the_way_of_every_symlink_is_looked_at(policy, tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "link").symlink_to("../b/link")
    (tmp_path / "b" / "link").symlink_to(policy.parent)  # to a directory, by its full path
    path = tmp_path / "a" / "link" / "p.yaml"
    assert read_source(path).text == "version: 1\n"
    for directory in (tmp_path / "a", tmp_path / "b", policy.parent):
        directory.chmod(0o777)
        (said,) = refusals(path)
        assert said.startswith(f"the directory {directory} on the way has mode 0777")
        directory.chmod(0o755)
    os.chown(tmp_path / "b" / "link", STRANGER, 0, follow_symlinks=False)
    link = tmp_path / "b" / "link"
    (said,) = refusals(path)
    assert said == (
        f"the symlink {link} on the way is owned by uid {STRANGER}, who could turn it elsewhere; "
        f"chown -h root {link}"
    )


def test_a_relative_path_is_looked_at_up_to_the_root(policy, monkeypatch) -> None:
    monkeypatch.chdir(policy.parent)
    relative = policy.relative_to(policy.parent)
    assert read_source(relative).text == "version: 1\n"
    policy.parent.parent.chmod(0o777)
    (said,) = refusals(relative)
    assert said.startswith(f"the directory {policy.parent.parent} on the way has mode 0777")


def test_a_directory_mounted_read_only_can_be_of_any_mode(policy) -> None:
    # as Kubernetes mounts a ConfigMap: mode 0777, but nobody can write there
    policy.parent.chmod(0o777)
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'
    command = ["unshare", "-m", "sh", "-ec", script, "sh", policy.parent, *CHECK, policy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(refusals(policy)) == 1


WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
count = 0
while True:
    count += 1
    os.pwrite(fd, b"version: 1 # %012d\\n" % count, 0)
"""


def test_a_file_that_never_settles_is_refused(policy) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, policy])
    try:
        deadline = time.monotonic() + 60
        told = None
        while told is None and time.monotonic() < deadline:
            try:
                assert read_source(policy).text.startswith("version: 1")
            except PolicyError as error:
                told = str(error)
    finally:
        writer.kill()
        writer.wait()
    assert told == (
        f"{policy}:1:1: error: the file changes while it is read; save it once more when all is "
        "written"
    )
    assert load(policy).policy.version == 1


def test_a_name_that_a_terminal_would_obey_is_shown_escaped(tmp_path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\x1b[31m\n.yaml"
    done = subprocess.run([*CHECK, path], capture_output=True)
    assert done.returncode == 1
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1
    assert rb"/\udcff\x1b[31m\n.yaml:1:1: error: no such file" in done.stdout
