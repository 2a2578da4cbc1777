"""The disks of a guest: a Debian 12 with what the tests need, and this checkout as it was built.

Only the kernel shall differ from one guest to the other of an architecture.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archive import unpacked
from rig import CACHE, ROOT, SUITE, copy_checkout, key_of, run

if TYPE_CHECKING:
    from kernels import Kernel

HERE = Path(__file__).parent
VENV = "opt/venv"
PACKAGES: Final = (
    "base-files base-passwd bash bpftool busybox-static coreutils dash findutils gcc grep "
    "libbpf-dev libc-bin libc6-dev libsystemd-dev mount passwd procps python3 python3-dev sed tar "
    "util-linux "
)
ADDED: Final = {"amd64": "gcc-multilib", "arm64": ""}
MODULES: Final = ("virtio_pci", "virtio_blk", "overlay")
HEAVY: Final = ("mypy", "mypyc", "ruff", "pip", "setuptools", "uidtraced-*")
TRIPLE: Final = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}


def system(arch: str) -> Path:
    """Return the tree of Debian 12 for *arch*."""
    return unpacked(SUITE, arch, PACKAGES + ADDED[arch])


def system_disk(arch: str) -> Path:
    """Return the disk of `system`, with what packages would have configured."""
    tree = system(arch)
    disk = tree.with_suffix(".ext4")
    if not disk.exists():
        for name in ("passwd", "group"):
            shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
        for name in ("proc", "sys", "dev", "run", "tmp", "results", "src", "vm"):
            (tree / name).mkdir(exist_ok=True)
        _compile(*tree.glob("usr/lib/python3*"))
        _make_disk(tree, disk)
    return disk


def _compile(*folders: Path) -> None:
    """Byte-compile Python's files: an emulated machine takes most of its time for that."""
    options = ("-q", "-j0", "--invalidation-mode=unchecked-hash")
    run(sys.executable, "-m", "compileall", *options, *folders)


def _make_disk(tree: Path, disk: Path) -> None:
    megabytes = int(run("du", "-sm", tree).split()[0])
    fresh = disk.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    options = ("-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "root_owner=0:0")
    run("mke2fs", "-t", "ext4", *options, "-d", tree, fresh, f"{megabytes * 5 // 4 + 16}M")
    fresh.rename(disk)


def project_disk(arch: str, job: str, directory: Path) -> Path:
    """Return a disk, made in *directory*, with this checkout, its package and the shell's *job*."""
    tree = directory / "project"
    copy_checkout(tree, "src")
    (tree / "vm").mkdir()
    (tree / "vm/job").write_text(job)
    shutil.copy(HERE / "inside/run", tree / "vm")
    if arch == "arm64":
        target = ("--target=arm-linux-gnueabihf", "-O2", "-Wall", "-marm", "-fomit-frame-pointer")
        linked = ("-nostdlib", "-static", "-fuse-ld=lld", "-o", tree / "vm/arm32")
        run("clang", *target, HERE / "inside/arm32.c", *linked)
    venv = tree / VENV
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    packages = venv / "lib/python3.11/site-packages"
    if arch == "amd64":
        here = sysconfig.get_path("platlib")
        shutil.copytree(here, packages, ignore=shutil.ignore_patterns(*HEAVY))
    else:
        shutil.copytree(_wheels(arch), packages)
        _build(arch, packages, directory)
    _compile(packages, tree / "src/tests")
    disk = directory / "project.ext4"
    _make_disk(tree, disk)
    shutil.rmtree(tree)
    return disk


def _wheels(arch: str) -> Path:
    """Return a folder with the locked dependencies, for another architecture than this one."""
    files = [ROOT / name for name in ("requirements.txt", "requirements-dev.txt")]
    there = CACHE / f"wheels-{arch}-{key_of(*files, HERE / 'image.py')}"
    if there.exists():
        return there
    fresh = there.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    machine = TRIPLE[arch].partition("-")[0]
    options = [f"--platform=manylinux{one}_{machine}" for one in ("_2_17", "2014", "_2_28")]
    options += ["--only-binary=:all:", "--no-deps", "--require-hashes", f"--target={fresh}"]
    for file in files:
        text = file.read_text()
        # there is no wheel of systemd-python, and nobody in a guest runs mypy or ruff
        blocks = re.findall(r"^[a-z].*(?:\n[ ]+.*)*", text, re.MULTILINE)
        kept = [one for one in blocks if not re.match(r"(systemd-python|mypy|ruff|librt)=", one)]
        wanted = fresh.parent / f"{fresh.name}.txt"
        wanted.write_text("\n".join(kept))
        run(sys.executable, "-m", "pip", "-q", "install", *options, "--requirement", wanted)
        wanted.unlink()
    source = fresh.with_suffix(".sdist")
    pattern = r"^systemd-python=(?:.*\n[ ]+)+.*"
    locked = re.search(pattern, files[0].read_text(), re.MULTILINE)
    assert locked is not None
    source.mkdir(exist_ok=True)
    (source / "locked.txt").write_text(locked[0])
    pip = (sys.executable, "-m", "pip", "-q")
    sdist = ("--no-deps", "--no-build-isolation", "--no-binary=:all:", "--require-hashes")
    run(*pip, "install", *sdist, f"--target={fresh}", "-r", source / "locked.txt", env=cross(arch))
    shutil.rmtree(source)
    fresh.rename(there)
    return there


def cross(arch: str) -> dict[str, str]:
    """Return the environment in which setuptools builds for *arch*, with its own tree's headers."""
    tree, triple = system(arch), TRIPLE[arch]
    settings = tree / "vm/sysconfig"  # what Python there was built with, and nothing else of it
    settings.mkdir(parents=True, exist_ok=True)
    name = f"_sysconfigdata__{triple}"
    shutil.copy(tree / f"usr/lib/python3.11/{name}.py", settings)
    # clang and not a cross gcc, which Debian has not beside gcc-multilib
    clang = f"clang --target={triple} --sysroot={tree}"
    return {
        **os.environ,
        "PYTHONPATH": str(settings),
        "_PYTHON_SYSCONFIGDATA_NAME": name,
        "_PYTHON_HOST_PLATFORM": f"linux-{triple.partition('-')[0]}",
        "CC": clang,
        "CFLAGS": f"-I{tree}/usr/include/python3.11",
        "LDSHARED": f"{clang} -shared -fuse-ld=lld",
        "PKG_CONFIG_LIBDIR": f"{tree}/usr/lib/{triple}/pkgconfig",
        "PKG_CONFIG_SYSROOT_DIR": str(tree),
    }


def _build(arch: str, packages: Path, directory: Path) -> None:
    """Build this checkout for *arch*, as script/setup does for this machine."""
    source = directory / "source"
    copy_checkout(source, "")
    pip = (sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--no-build-isolation")
    run(*pip, f"--target={packages}", source, env=cross(arch))
    shutil.rmtree(source)


def kernel_files(kernel: Kernel) -> tuple[Path, Path]:
    """Return the kernel itself, and the initramfs that finds the disks."""
    tree = unpacked(kernel.suite, kernel.arch, kernel.package, alone=True)
    (image,) = tree.glob("boot/vmlinuz-*")
    key = key_of(HERE / "init", text=str(MODULES))
    ramfs = tree / f"initramfs-{key}"
    if not ramfs.exists():
        parts = tree / "initramfs.new"
        shutil.rmtree(parts, ignore_errors=True)
        for name in ("bin", "modules", "dev", "proc"):
            (parts / name).mkdir(parents=True)
        shutil.copy(system(kernel.arch) / "usr/bin/busybox", parts / "bin")
        shutil.copy(HERE / "init", parts)
        order = _copy_modules(tree, parts / "modules")
        (parts / "modules/order").write_text("\n".join(order))
        archive = 'find . | cpio --quiet -o -H newc >"$1"'
        run("sh", "-ec", archive, "cpio", ramfs.with_suffix(".new"), cwd=parts)
        ramfs.with_suffix(".new").rename(ramfs)
        shutil.rmtree(parts)
    return image, ramfs


def _copy_modules(tree: Path, target: Path) -> list[str]:
    """Copy MODULES and what they need, unpacked; return their names in the order of loading."""
    found = tree.glob("usr/lib/modules/**/*.ko*")
    files = {path.name.split(".")[0].replace("-", "_"): path for path in found}
    order: list[str] = []

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or path.name.split(".")[0] + ".ko" in order:
            return  # it is built in
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends[1].decode().split(",") if depends else ():
            add(other.replace("-", "_"))
        order.append(path.name.split(".")[0] + ".ko")
        (target / order[-1]).write_bytes(content)

    for name in MODULES:
        add(name)
    return order
