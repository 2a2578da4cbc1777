"""A virtual machine that boots a kernel, does one job and is gone."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archive import cache_lock
from image import kernel_files, project_disk, system_disk

if TYPE_CHECKING:
    from kernels import Kernel

CPUS: Final = 2
"""So that what is kept per cpu is tested."""

BOOT_SECONDS: Final = 1800
RESULT_BYTES: Final = 16 * 2**20

# Emulation: hardware help is not to be had where the tests run in a virtual machine themselves.
# The guest's cpus take turns in one thread: in threads of their own, QEMU 7.2 may go on for ever
# with an int3 that one cpu has taken out again while the other ran into it, as the kernel does
# where it switches a tracepoint.
_TURNS: Final = ("-accel", "tcg,thread=single")
_MACHINE: Final = {
    "amd64": ("qemu-system-x86_64", "-machine", "q35", "-cpu", "Nehalem"),
    "arm64": ("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72"),
}
_CONSOLE: Final = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


@dataclass(frozen=True)
class Report:
    """What a guest left: the job's exit code, its files in /results, and all that it said."""

    code: int
    files: dict[str, str]
    console: str


def run_guest(kernel: Kernel, job: str, *parameters: str) -> Report:
    """Boot *kernel* with *parameters* more on its command line, and run the shell's *job* as root.

    AssertionError, with the end of the console, where it does not come to an end.
    """
    with tempfile.TemporaryDirectory(prefix="uidtraced-vm-") as name:
        directory = Path(name)
        result, console = directory / "result", directory / "console"
        with result.open("wb") as file:
            file.truncate(RESULT_BYTES)
        with cache_lock():
            image, ramfs = kernel_files(kernel)
            disks = (
                (system_disk(kernel.arch), "readonly=on"),
                (project_disk(kernel.arch, job, directory), "readonly=on"),
                (result, "readonly=off"),
            )
        line = f"console={_CONSOLE[kernel.arch]} quiet panic=-1 mitigations=off"
        command = [
            *_MACHINE[kernel.arch],
            *_TURNS,
            *("-smp", str(CPUS), "-m", "2048", "-nodefaults", "-no-reboot", "-display", "none"),
            *("-serial", f"file:{console}"),
            *("-kernel", str(image), "-initrd", str(ramfs)),
            *("-append", " ".join((line, *parameters))),
        ]
        for path, mode in disks:
            command += ["-drive", f"file={path},format=raw,if=virtio,{mode}"]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=BOOT_SECONDS
        )
        said = console.read_text(errors="replace") if console.exists() else ""
        assert done.returncode == 0, f"{done.stdout.decode()}\n{said[-4000:]}"
        with result.open("rb") as file:
            assert file.read(512).strip(b"\0"), f"{kernel}: no result\n{said[-6000:]}"
        with tarfile.open(result) as archive:
            files = {
                one.name.removeprefix("./"): archive.extractfile(one).read().decode()  # type: ignore[union-attr]
                for one in archive
                if one.isfile()
            }
        return Report(int(files.pop("code")), files, said)
