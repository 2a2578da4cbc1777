"""Events tell which program ran, as /proc/PID/exe would have; each is read after its end."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from harness import OWN_RUN, as_user, compile_c
from tracing import NOBODY, drain, put, rules
from uidtraced.rules import Scope

if TYPE_CHECKING:
    from pathlib import Path

# calls as the user UID, if any, deletes FILE, if any, and then calls again
SOURCE = """
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	if (argc == 3 && setuid(atoi(argv[2])))
		return 1;
	getppid();
	if (argc == 2)
		return unlink(argv[1]) + (getppid() < 0);
	return 0;
}
"""


@pytest.fixture
def program(public) -> Path:
    return compile_c(public, SOURCE, "-static")  # so that it runs in a root without libraries


@pytest.fixture(autouse=True)
def traced(tracer):
    put(tracer, Scope.REAL, NOBODY, rules("getppid"))
    tracer.attach()
    return tracer


def paths(tracer) -> list[str | None]:
    return [event.exe for event in drain(tracer)]


@pytest.mark.kernels
def test_a_program_is_told_by_its_path(tracer, program) -> None:
    as_user(NOBODY, str(program))
    assert paths(tracer) == [str(program)]


def test_a_script_is_run_by_its_interpreter(tracer, public) -> None:
    script = public / "script"
    script.write_text("#!/bin/sh\nexit\n")
    script.chmod(0o755)
    as_user(NOBODY, str(script))
    (event,) = drain(tracer)  # a shell asks for its parent when it starts
    assert (event.comm, event.exe) == ("script", os.path.realpath("/bin/sh"))


def test_execve_is_of_the_program_that_calls_it(tracer, program) -> None:
    put(tracer, Scope.REAL, NOBODY, rules("execve", "getppid"))
    as_user(NOBODY, str(program))
    setpriv = os.path.realpath(shutil.which("setpriv") or "")
    found = [(event.syscall, event.exe) for event in drain(tracer)]
    assert found == [("execve", setpriv), ("getppid", str(program))]


def test_a_deleted_program_is_said_to_be(tracer, program) -> None:
    program.parent.chmod(0o777)
    as_user(NOBODY, str(program), str(program))
    assert paths(tracer) == [str(program), f"{program} (deleted)"]


def test_a_program_that_was_renamed_has_its_new_name(tracer, program) -> None:
    as_user(NOBODY, str(program))
    other = program.rename(program.with_name("other"))
    as_user(NOBODY, str(other))
    moved = program.parent.rename(program.parent.with_suffix(".moved"))
    as_user(NOBODY, str(moved / "other"))
    moved.rename(program.parent)
    assert paths(tracer) == [str(program), str(other), str(moved / "other")]


def test_a_program_on_a_mount_of_another_namespace_has_its_whole_path(tracer, program) -> None:
    place = program.parent / "place"
    place.mkdir()
    inner = place / "deeper" / "program"
    steps = f'mount -t tmpfs tmpfs {place}; mkdir {inner.parent}; cp {program} {inner}; exec "$@"'
    as_nobody = ["setpriv", "--reuid", str(NOBODY), "--clear-groups"]
    command = [*OWN_RUN, "sh", "-ec", steps, "sh", *as_nobody, str(inner)]
    subprocess.run(command, check=True)
    assert not inner.exists()
    assert paths(tracer) == [str(inner)]


def test_a_root_of_its_own_is_where_its_paths_begin(tracer, program) -> None:
    root = program.parent / "root"
    root.mkdir()
    steps = (
        f"mount -t tmpfs tmpfs {root}; mkdir {root}/old {root}/bin; "
        f"cp {program} {root}/bin/it; cd {root}; "
        "pivot_root . old; "
        f"exec /bin/it as {NOBODY}"
    )
    subprocess.run([*OWN_RUN, "sh", "-ec", steps], check=True)
    assert paths(tracer) == ["/bin/it"]


def test_a_program_without_a_place_has_its_name(tracer, program) -> None:
    fd = os.memfd_create("in memory", 0)
    os.write(fd, program.read_bytes())
    as_user(NOBODY, f"/proc/self/fd/{fd}", pass_fds=[fd])
    os.close(fd)
    assert paths(tracer) == ["/memfd:in memory (deleted)"]


def test_a_long_path_has_its_end(tracer, program) -> None:
    place = program.parent
    for _ in range(5):
        place = place / ("d" * 200)
    place.mkdir(parents=True)
    long = shutil.copy(program, place / "long")
    as_user(NOBODY, str(long))
    (path,) = paths(tracer)
    assert path is not None
    assert path.startswith(".../d")
    assert str(long).endswith(path.removeprefix("..."))
