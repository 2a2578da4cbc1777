"""Fetches packages of other suites and architectures by the machine's own apt, and unpacks them.

Nothing of them runs here, nor is configured: what a guest needs of that, `image` makes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
from typing import TYPE_CHECKING

from rig import CACHE, debian_sources, key_of, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, as Debian has them


@contextlib.contextmanager
def cache_lock() -> Iterator[None]:
    """Let one thread of all processes at a time add to the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "vm.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _apt(suite: str, arch: str) -> dict[str, str]:
    """Return the environment of an apt that knows *suite* alone, and no installed package."""
    root = CACHE / f"apt-{suite}-{arch}"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    own = [uri for uri, _, component in debian_sources() if component == "main"]
    sources = root / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {own[0]} {suite} main\n")
    settings = {
        "APT::Architecture": arch,
        "APT::Architectures::": arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": root / "state",
        "Dir::State::status": root / "state/status",
        "Dir::Cache": root / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
    }
    config = root / "apt.conf"
    lines = ["#clear APT::Architectures;\n"]
    lines += [f'{name} "{value}";\n' for name, value in settings.items()]
    config.write_text("".join(lines))
    environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C.UTF-8"}
    run("apt-get", "-q", "update", env=environment)
    return environment


def unpacked(suite: str, arch: str, packages: str, *, alone: bool = False) -> Path:
    """Return a tree with *packages* of *suite*, and all that they depend on unless *alone*.

    *alone* takes what the packages directly depend on in their place: of a name that stands for
    the newest version, that version.
    """
    tree = CACHE / f"{suite}-{arch}-{key_of(text=packages + str(alone))}"
    if tree.exists():
        return tree
    apt = _apt(suite, arch)
    fresh = tree.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    debs = fresh / "debs"
    debs.mkdir()
    names = packages.split()
    if alone:
        said = run("apt-cache", "depends", "--important", *names, env=apt)
        names = [line.split()[-1] for line in said.splitlines() if "Depends:" in line]
        run("apt-get", "-q", "download", *names, env=apt, cwd=debs)
    else:
        place = f"Dir::Cache::archives={debs}"
        (debs / "partial").mkdir()
        run("apt-get", "-qy", "--download-only", "-o", place, "install", *names, env=apt)
    for name in MERGED:
        (fresh / "usr" / name).mkdir(parents=True)
        (fresh / name).symlink_to(f"usr/{name}")
    for deb in sorted(debs.glob("*.deb")):
        script = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink'
        run("bash", "-eo", "pipefail", "-c", script, "unpack", deb, fresh)
    shutil.rmtree(debs)
    fresh.rename(tree)
    return tree
