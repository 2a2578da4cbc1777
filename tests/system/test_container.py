"""The Dockerfile's steps, in trees in place of images: no engine is needed for that."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import harness
import rig


def instructions() -> list[tuple[str, str]]:
    text = (rig.ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


class Build:
    """Does what an engine does with the instructions that the Dockerfile has, and no others."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._stages: dict[str, Path] = {}
        self.tree = Path()
        self.command: dict[str, list[str]] = {}
        for word, rest in instructions():
            getattr(self, f"_{word.lower()}")(rest)

    def _from(self, rest: str) -> None:
        image, _, name = rest.partition(" AS ")
        assert image == "debian:12-slim"
        self.tree = self._stack.enter_context(rig.overlay(rig.slim_tree()))
        self._stages[name] = self.tree

    def _copy(self, rest: str) -> None:
        words = rest.split()
        source = rig.ROOT
        if words[0].startswith("--from="):
            source = self._stages[words.pop(0).removeprefix("--from=")]
        origin, target = words
        if origin == ".":
            rig.copy_checkout(self.tree, target.lstrip("/"))
            return
        to = self.tree / target.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        path = source / origin.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, to, symlinks=True)
        else:
            shutil.copy(path, to)

    def _run(self, rest: str) -> None:
        rig.chroot(self.tree, "sh", "-ec", rest)

    def _entrypoint(self, rest: str) -> None:
        self.command["entrypoint"] = json.loads(rest)

    def _cmd(self, rest: str) -> None:
        self.command["cmd"] = json.loads(rest)


@pytest.fixture(scope="module")
def image():
    with contextlib.ExitStack() as stack:
        yield Build(stack)


def test_the_image_traces_the_machine(image):
    command = [*image.command["entrypoint"], *image.command["cmd"]]
    policy = image.tree / image.command["cmd"][2].lstrip("/")
    policy.write_text("version: 1\nusers:\n  1000: [chdir]\n")
    inside = f"exec chroot {image.tree} {shlex.join(command)}"
    prepare = "\n".join(
        f"mount -t {kind} {kind} {image.tree}/{place}"
        for kind, place in (("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "run"))
    )
    with subprocess.Popen(
        [*harness.OWN_RUN, "sh", "-ec", f"{prepare}\n{inside}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            log = harness.Lines(process.stderr)
            records = harness.Lines(process.stdout)
            log.wait(lambda line: line["event"] == "tracing")
            harness.as_user(1000, "env", "--chdir=/", "true")
            event = records.wait(lambda one: one["event"] == "syscall")
            assert (event["uid"], event["syscall"], event["comm"]) == (1000, "chdir", "env")
            # seen through the mount of the directory, as the comment in the Dockerfile has it
            fresh = policy.with_suffix(".new")
            fresh.write_text("version: 1\nusers:\n  1000: [chdir]\n  1001: [chdir]\n")
            fresh.rename(policy)
            records.wait(lambda one: one["event"] == "policy" and one["revision"] == 2)
        finally:
            process.terminate()
        assert process.wait(harness.WAIT_SECONDS) == 0
        records.join()
        log.join()
    assert harness.left_behind() == set()


def test_the_image_has_no_compiler(image):
    found = [name for name in ("gcc", "clang", "cc") if (image.tree / "usr/bin" / name).exists()]
    assert found == []
