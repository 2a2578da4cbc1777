"""The README's commands, word for word, on a new machine."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

import harness
import rig


def blocks() -> list[str]:
    text = (rig.ROOT / "README.md").read_text("utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def new_machine():
    """A Debian 12 with git and systemd and nothing else, booted, and a checkout in it."""
    with rig.overlay(rig.bare_tree()) as tree:
        rig.copy_checkout(tree)
        machine = rig.Machine(tree, network=True)
        yield machine
        machine.stop()
    assert harness.left_behind() == set()


def test_a_new_user_gets_what_the_readme_says(new_machine):
    first, *others = blocks()
    assert first == "script/run\n"
    command = new_machine.inside("sh", "-c", f"cd /{rig.SOURCE} && exec {first}")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        # it says what it installs, then starts, and the first record is the policy's
        line = process.stdout.readline()
        assert line.startswith('{"ts":"'), process.stderr.read()
        assert '"event":"policy"' in line
        # what the example traces shows within seconds
        new_machine.run("chmod", "644", "/etc/hostname")
        line = process.stdout.readline()
        assert '"syscall":"fchmodat"' in line
        new_machine.shell("kill -INT $(cat /run/uidtraced/lock)")
        assert process.wait(harness.WAIT_SECONDS) == 0
    outputs = [new_machine.shell(f"cd /{rig.SOURCE}\n{block}") for block in others]
    install, policy, plan, look = outputs
    assert "Active: active (running)" in install
    assert policy == ""
    expected = "~ root (0): +ptrace\n0 created, 1 swapped, 0 deleted, 1 unchanged\nhealthy: pid "
    assert plan.startswith(expected)
    expected = 'nobody: openat(AT_FDCWD, "/etc/hostname", O_RDONLY)'
    deadline = time.monotonic() + harness.WAIT_SECONDS
    while expected not in look:  # no person is so quick that the journal has not got it yet
        assert time.monotonic() < deadline, look
        look = new_machine.shell(others[-1].splitlines()[-1])
    new_machine.shell(f"cd /{rig.SOURCE} && script/install && script/uninstall")
    left = new_machine.shell("find / -xdev -name '*uidtrace*' -not -path '*/src/*' | sort")
    assert left.splitlines() == ["/etc/uidtrace.yaml"]


def test_a_second_set_up_says_nothing(new_machine):
    assert new_machine.shell(f"cd /{rig.SOURCE} && script/setup") == ""
