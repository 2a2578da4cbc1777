"""A Debian 12 tree to install into, and real systemd booted from it.

Trees are made by debootstrap and kept in a cache outside the checkout; what a test does to one
goes into an overlay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("UIDTRACED_TEST_CACHE", "/var/cache/uidtraced-tests"))
SOURCE = "usr/src/uidtraced"
SUITE = "bookworm"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES = "var/lib/machine-certificates.crt"  # where no package of the tree writes
NEW_MACHINE = "git systemd systemd-sysv"
WAIT_SECONDS = 60.0
RUN_SECONDS = 600.0  # setting up a new machine


def run(*command: str | Path, **options: Any) -> str:
    """Run *command*; its output where it fails is the test's message."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(one) for one in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def debian_sources() -> list[tuple[str, str, str]]:
    """Return URI, suite and component of each Debian archive that this machine's apt knows."""
    form = "$(REPO_URI) $(SUITE) $(CODENAME) $(COMPONENT) $(LABEL)"
    lines = run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()
    found = []
    for line in lines:
        uri, _, codename, component, label = line.split(" ", 4)
        if label.startswith("Debian"):
            found.append((uri, codename, component))
    assert found, "this machine's apt knows no Debian archive: run apt-get update"
    return found


def key_of(*paths: Path, text: str = "") -> str:
    """Return a short digest of files."""
    digest = hashlib.sha256(text.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def mounts(tree: Path) -> Iterator[None]:
    """Give a chroot what it needs of the kernel."""
    kinds = (("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"))
    done = []
    try:
        for kind, place in kinds:
            run("mount", "-t", kind, kind, tree / place)
            done.append(tree / place)
        yield
    finally:
        for mounted in reversed(done):
            run("umount", "--lazy", mounted)


def environment() -> dict[str, str]:
    """Return a new machine's environment, with this machine's way to the network."""
    names = ("PIP_", "SSL_", "http", "HTTP")
    found = {k: v for k, v in os.environ.items() if k.startswith(names)}
    found |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    if BUNDLE.exists():
        found |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), f"/{CERTIFICATES}")
    return found | {"HOME": "/root", "LC_ALL": "C.UTF-8"}


def chroot(tree: Path, *command: str) -> str:
    """Run *command* in *tree* as a new machine would."""
    with mounts(tree):
        return run("chroot", tree, *command, env=environment())


def slim_tree() -> Path:
    """Return the least Debian 12, with this machine's way to the archives; made where missing."""
    sources = debian_sources()
    tree = CACHE / f"slim-{key_of(text=str(sources))}"
    if tree.exists():
        return tree
    mirror = next(uri for uri, suite, _ in sources if suite == SUITE)
    fresh = _fresh(tree)
    run("debootstrap", "--variant=minbase", SUITE, fresh, mirror)
    rows = sorted({f"deb {uri} {suite} {component}\n" for uri, suite, component in sources})
    (fresh / "etc/apt/sources.list").write_text("".join(rows))
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(path).exists():
            shutil.copy(path, fresh / path[1:])
    if BUNDLE.exists():
        shutil.copy(BUNDLE, fresh / CERTIFICATES)
    for conf in Path("/etc/apt/apt.conf.d").glob("99*"):
        shutil.copy(conf, fresh / "etc/apt/apt.conf.d")
    fresh.rename(tree)
    return tree


def bare_tree() -> Path:
    """Return a new machine: Debian 12 with systemd and git."""
    slim = slim_tree()
    tree = CACHE / f"bare-{key_of(text=slim.name + NEW_MACHINE)}"
    if tree.exists():
        return tree
    fresh = _fresh(tree)
    run("cp", "-a", f"{slim}/.", fresh)
    install = f"apt-get -qq update; apt-get -qqy install --no-install-recommends {NEW_MACHINE}"
    chroot(fresh, "sh", "-ec", install)
    fresh.rename(tree)
    return tree


def _fresh(tree: Path) -> Path:
    fresh = tree.with_suffix(".new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(parents=True)
    return fresh


def prepared_tree() -> Path:
    """Return a bare tree in which script/setup has run, without the project."""
    bare = bare_tree()
    files = [ROOT / one for one in ("script/setup", "requirements-build.txt", "requirements.txt")]
    tree = CACHE / f"prepared-{key_of(*files, text=bare.name)}"
    if tree.exists():
        return tree
    fresh = _fresh(tree)
    run("cp", "-a", f"{bare}/.", fresh)
    copy_checkout(fresh)
    chroot(fresh, "env", "VENV=/usr/local/lib/uidtraced", f"/{SOURCE}/script/setup")
    chroot(fresh, "/usr/local/lib/uidtraced/bin/pip", "uninstall", "-qy", "uidtraced")
    (fresh / "usr/local/lib/uidtraced/project.stamp").unlink()
    shutil.rmtree(fresh / SOURCE)
    fresh.rename(tree)
    return tree


def copy_checkout(tree: Path, place: str = SOURCE) -> None:
    """Copy what git has or would have of this checkout."""
    listed = run("git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard")
    names = [one for one in listed.split("\0") if one and (ROOT / one).is_file()]
    for name in names:
        target = tree / place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


@contextlib.contextmanager
def overlay(tree: Path) -> Iterator[Path]:
    """Mount *tree* so that changes to it go to memory."""
    with tempfile.TemporaryDirectory(prefix="uidtraced-rig-") as name:
        memory = Path(name)
        run("mount", "-t", "tmpfs", "tmpfs", memory)
        try:
            for part in ("upper", "work", "root"):
                (memory / part).mkdir()
            options = f"lowerdir={tree},upperdir={memory / 'upper'},workdir={memory / 'work'}"
            run("mount", "-t", "overlay", "overlay", "-o", options, memory / "root")
            try:
                yield memory / "root"
            finally:
                run("umount", memory / "root")
        finally:
            run("umount", memory)


class Machine:
    """A container with systemd as pid 1, booted from *tree*."""

    def __init__(self, tree: Path, *, network: bool = False) -> None:
        self._tree = tree
        self._since_us = 0
        self._console = tempfile.TemporaryFile()  # noqa: SIM115
        self._nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
                *("--capability=all", "--system-call-filter=bpf perf_event_open"),
                *("--console=passive", f"--directory={tree}"),
                *(() if network else ("--private-network",)),
                *(("--resolv-conf=off",) if network else ()),
                f"--machine=uidtraced-{os.getpid()}",
            ],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=subprocess.STDOUT,
        )
        try:
            self.pid = self._wait_for(self._leader)
            self._wait_for(self._booted)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, find: Any) -> Any:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := find()):
            assert self._nspawn.poll() is None, self.console()
            assert time.monotonic() < deadline, self.console()
            time.sleep(0.05)
        return found

    def console(self) -> str:
        """Return what the machine said while it booted."""
        self._console.seek(0)
        return self._console.read().decode(errors="replace")[-4000:]

    def _leader(self) -> int:
        """Return the pid of the machine's systemd: the grandchild in a pid namespace of its own."""
        own = os.readlink("/proc/self/ns/pid")
        pids = [self._nspawn.pid]
        while pids:
            pid = pids.pop()
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                if os.readlink(f"/proc/{pid}/ns/pid") != own:
                    return pid
            except OSError:
                continue
            pids += [int(one) for one in children]
        return 0

    def _booted(self) -> bool:
        state = subprocess.run(
            self.inside("systemctl", "is-system-running"), capture_output=True, text=True
        ).stdout.strip()
        return state in ("running", "degraded")

    def inside(self, *command: str) -> list[str]:
        """Return *command* as one that runs in the machine as root."""
        clean = ["env", "-i", *(f"{name}={value}" for name, value in environment().items())]
        return ["nsenter", "--target", str(self.pid), "--all", "--wdns=/", *clean, *command]

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None, user: str = ""
    ) -> str:
        """Run *command* in the machine as root, or as *user*, and return what it says."""
        if user:
            command = ("setpriv", "--reuid", user, "--clear-groups", *command)
        done = subprocess.run(
            self.inside(*command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            input=stdin,
            timeout=RUN_SECONDS,
        )
        if check:
            assert done.returncode == 0, f"{command}:\n{done.stdout}\n{self.unit_log()}"
        return done.stdout

    def unit_log(self) -> str:
        """Return the end of the unit's log, for messages."""
        command = self.inside("journalctl", "-u", "uidtraced", "-n", "30", "--no-pager")
        return subprocess.run(command, capture_output=True, text=True).stdout

    def as_user(self, user: str, *command: str) -> str:
        """Run *command* in the machine as *user*."""
        return self.run(*command, user=user)

    def shell(self, script: str) -> str:
        """Run *script* in the machine's shell."""
        return self.run("sh", "-ec", script)

    def forget_journal(self) -> None:
        """Let `journal` return only what comes from now on."""
        self.run("journalctl", "--sync")
        self._since_us = time.time_ns() // 1000

    @property
    def since(self) -> str:
        """From when on the journal matters, in journalctl's words: to the microsecond."""
        seconds, us = divmod(self._since_us, 1_000_000)
        return f"--since=@{seconds}.{us:06}"

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the unit's journal entries that match, the oldest first."""
        self.run("journalctl", "--sync")
        command = ("journalctl", "-u", "uidtraced", "-o", "json", "--all", self.since)
        said = self.run(*command, *matches)
        return [json.loads(line) for line in said.split("\n") if line.startswith("{")]

    def wait_journal(self, count: int, *matches: str) -> list[dict[str, Any]]:
        """Wait for *count* entries and return them."""
        deadline = time.monotonic() + WAIT_SECONDS
        while len(found := self.journal(*matches)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count}: {self.unit_log()}"
        return found

    def show(self, *properties: str) -> dict[str, str]:
        """Return properties of the unit."""
        said = self.run("systemctl", "show", "uidtraced", f"--property={','.join(properties)}")
        return dict(line.partition("=")[::2] for line in said.splitlines())

    def stop(self) -> None:
        """Power off."""
        if self._nspawn.poll() is None:
            self._nspawn.terminate()  # nspawn asks the machine's systemd to power off
            try:
                self._nspawn.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        self._console.close()
