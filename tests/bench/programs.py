"""The small C programs whose calls are traced, and the empty BPF program."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from uidtraced.kernel.libbpf import check, check_pointer, ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
TRACER_CPU = 0
CALLER_CPU = 1
ROUNDS = 25


def compile_program(name: str, directory: Path, *flags: str) -> Path:
    """Compile *name*.c into *directory*, which other users can enter."""
    program = directory / name
    subprocess.run(["gcc", "-O2", *flags, str(HERE / f"{name}.c"), "-o", str(program)], check=True)
    return program


class Loop:
    """loop.c: the time that a system call takes."""

    def __init__(self, directory: Path) -> None:
        self._program = compile_program("loop", directory)

    def command(self, uid: int, nr: int, calls: int, rounds: int = ROUNDS) -> list[str]:
        """Return the command that makes call *nr* as *uid*."""
        words = (CALLER_CPU, uid, nr, calls, rounds)
        return [str(self._program), *(str(one) for one in words)]

    def sample(
        self, uid: int, nr: int, calls: int, rounds: int = ROUNDS, wrap: Sequence[str] = ()
    ) -> list[float]:
        """Return the ns a call of each of *rounds*."""
        command = [*wrap, *self.command(uid, nr, calls, rounds)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return [float(line) for line in done.stdout.split()]


class EmptyProgram:
    """empty.bpf.c, loaded; `on` attaches it."""

    def __init__(self, directory: Path) -> None:
        built = directory / "empty.bpf.o"
        include = f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
        command = ["clang", "-O2", "-g", "-target", "bpf", include, "-c"]
        subprocess.run([*command, str(HERE / "empty.bpf.c"), "-o", str(built)], check=True)
        code = built.read_bytes()
        self._object = check_pointer("bpf_object__open_mem", lib.uidtraced_open(code, len(code)))
        check("bpf_object__load", lib.bpf_object__load(self._object))
        found = lib.bpf_object__find_program_by_name(self._object, b"empty")
        self._program = check_pointer("bpf_object__find_program_by_name", found)

    @contextlib.contextmanager
    def on(self) -> Iterator[list[str]]:
        """Run it at every system call."""
        program = lib.bpf_program__fd(self._program)
        link = check("bpf_raw_tracepoint_open", lib.bpf_raw_tracepoint_open(b"sys_enter", program))
        try:
            yield []
        finally:
            os.close(link)

    def close(self) -> None:
        """Unload it."""
        opened, self._object = self._object, ffi.NULL
        if opened != ffi.NULL:
            lib.bpf_object__close(opened)
