"""Build steps that pyproject.toml cannot say: the cffi module, and the BPF object by clang."""

import os
import subprocess
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
TARGET_ARCH = {"x86_64": "x86", "aarch64": "arm64"}


class BuildExt(build_ext):
    """Compile the BPF program beside the extension module, so that both are of one event.h."""

    def run(self) -> None:
        """Compile the extension, then the BPF object into the package."""
        super().run()
        package = ROOT if self.inplace else Path(self.build_lib)
        out = package / "uidtraced" / "kernel" / "uidtraced.bpf.o"
        out.parent.mkdir(parents=True, exist_ok=True)
        machine = sysconfig.get_platform().rpartition("-")[2]  # what is built for, not on
        if machine not in TARGET_ARCH:
            raise SystemExit(f"uidtraced does not support {machine}, only {', '.join(TARGET_ARCH)}")
        # asm/types.h lies in the multiarch folder, which clang's bpf target does not search
        multiarch = sysconfig.get_config_var("MULTIARCH") or f"{machine}-linux-gnu"
        command = [
            os.environ.get("CLANG", "clang"),
            *("-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3"),
            f"-D__TARGET_ARCH_{TARGET_ARCH[machine]}",
            f"-I/usr/include/{multiarch}",
            *("-c", str(ROOT / "bpf" / "uidtraced.bpf.c"), "-o", str(out)),
            # no build path in the object: equal sources give equal objects
            f"-fdebug-prefix-map={ROOT.resolve()}=.",
        ]
        subprocess.run(command, check=True)
        strip = os.environ.get("LLVM_STRIP", "llvm-strip")
        subprocess.run([strip, "-g", str(out)], check=True)  # DWARF goes, BTF stays


setup(cffi_modules=["uidtraced/kernel/_build.py:ffibuilder"], cmdclass={"build_ext": BuildExt})
