from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "uidtraced.service"
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.txt"))
SHELL_SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("script", ".ci")
    for path in (ROOT / folder).iterdir()
    if path.read_bytes().startswith(b"#!/bin/sh\n")
)
# what fixes a place to download from, which is for the machine's own configuration to say; the
# brackets keep this file from matching itself
FIXED_SOURCE = re.compile(
    r"(?<!no-emit-)(index[-_]url|trusted[-_]host|find[-_]links)|/[s]imple/|"
    r"(deb|security|snapshot)[.]debian[.]org|[f]iles[.]pythonhosted[.]org",
    re.IGNORECASE,
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def tracked_files() -> list[Path]:
    # a checkout that another user owns is as good
    listed = run("git", "-c", "safe.directory=*", "ls-files", "-z")
    if listed.returncode != 0:
        pytest.skip(f"{ROOT} is no git checkout: {listed.stdout.strip()}")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of each distribution in the lock file *name*."""
    found = {}
    for entry in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        if entry and not entry.startswith(("#", " ")):
            distribution, version = re.match(r"([\w.-]+)==(\S+)(?= |$)", entry).groups()
            hashes = re.findall(r" --hash=sha256:[0-9a-f]{64}(?= |$)", entry)
            found[canonicalize_name(distribution)] = (version, len(hashes))
    return found


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def setting(name: str) -> str:
    return re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)[1]


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_a_script_is_posix_shell(script) -> None:
    parsed = run("sh", "-n", script)
    assert (parsed.returncode, parsed.stdout) == (0, "")
    checked = run("shellcheck", "--shell=sh", script)
    assert (checked.returncode, checked.stdout) == (0, "")
    assert (ROOT / script).stat().st_mode & 0o111 == 0o111


def test_the_scripts_of_the_readme_are_among_them() -> None:
    assert {"script/run", "script/test", "script/install", ".ci/run"} <= set(SHELL_SCRIPTS)


def test_no_file_says_where_to_download_from() -> None:
    said = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked_files()
        if (match := FIXED_SOURCE.search(path.read_text("utf-8", "replace")))
    ]
    assert said == []


def test_there_is_a_lock_for_each_purpose() -> None:
    assert LOCKS == ["requirements-build.txt", "requirements-dev.txt", "requirements.txt"]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_dependency_has_a_hash(lock) -> None:
    entries = locked(lock)
    assert entries
    assert [name for name, (_, hashes) in entries.items() if not hashes] == []


@pytest.mark.parametrize(
    ("wanted", "locks"),
    [
        (project()["build-system"]["requires"], ["requirements-build.txt"]),
        (project()["project"]["dependencies"], ["requirements.txt"]),
        (
            project()["project"]["optional-dependencies"]["dev"],
            ["requirements-dev.txt", "requirements.txt"],
        ),
    ],
    ids=["build", "run", "dev"],
)
def test_a_lock_holds_what_pyproject_wants(wanted, locks) -> None:
    versions = {name: entry[0] for lock in locks for name, entry in locked(lock).items()}
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"script/lock was not run: {requirement} is missing"
        assert version in requirement.specifier, f"script/lock was not run: {requirement}"


def test_the_locks_agree_where_they_overlap() -> None:
    seen: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, (version, _) in locked(lock).items():
            seen.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in seen.items() if len(versions) > 1} == {}


@pytest.fixture
def unit(tmp_path) -> str:
    """Copy the unit: the program that it starts need not be installed here."""
    text, changed = re.subn(
        r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE
    )
    assert changed == 1
    path = tmp_path / UNIT.name
    path.write_text(text)
    return str(path)


def test_systemd_finds_nothing_wrong_with_the_unit(unit) -> None:
    verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert (verified.returncode, verified.stdout) == (0, "")


def test_the_unit_exposes_little(unit) -> None:
    analyzed = run("systemd-analyze", "security", "--offline=true", "--threshold=12", unit)
    assert analyzed.returncode == 0, analyzed.stdout.splitlines()[-1]


def test_the_unit_has_two_capabilities_and_no_more() -> None:
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert set(setting(name).split()) == {"CAP_BPF", "CAP_PERFMON"}


def test_the_user_and_the_run_directory_are_the_unit_s(tmp_path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed")
    (tmp_path / "etc").mkdir()
    for tool, name in (
        (["systemd-sysusers"], "sysusers"),
        (["systemd-tmpfiles", "--create"], "tmpfiles"),
    ):
        made = run(*tool, f"--root={tmp_path}", str(ROOT / "systemd" / f"uidtraced.{name}.conf"))
        assert made.returncode == 0, made.stdout
    users = (tmp_path / "etc" / "passwd").read_text().splitlines()
    (entry,) = [line.split(":") for line in users if line.startswith(setting("User") + ":")]
    assert entry[6].endswith("/nologin")
    directory = (tmp_path / "run" / setting("RuntimeDirectory")).stat()
    assert directory.st_uid == int(entry[2])
    assert directory.st_mode & 0o7777 == int(setting("RuntimeDirectoryMode"), 8)
    # not root's, also where root runs it by hand before the service starts
    lock = tmp_path / "run" / setting("RuntimeDirectory") / "lock"
    assert lock.stat().st_uid == int(entry[2])


def test_the_image_is_built_from_files_that_are_there() -> None:
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert [name for name in kept if not (ROOT / name).exists()] == []
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY ([^-.\s]\S*) ", dockerfile, re.MULTILINE)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    # the image has it where script/install puts it
    assert setting("ExecStart").split()[0] in dockerfile
