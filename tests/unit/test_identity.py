"""The name service for real: users and groups of files, and sources that fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ASK = """
import json
from uidtraced.policy.identity import Names, SystemDirectory
found = SystemDirectory().resolve(Names(frozenset({"root", "alice", "gone"}),
                                        frozenset({"dev", "none"})))
groups = {name: sorted(uids) for name, uids in found.groups.items()}
print(json.dumps([dict(found.users), groups, sorted(found.stale)]))
"""
LIST = """
import pwd
from uidtraced.policy import nss
listed = [(one.pw_name, one.pw_uid, one.pw_gid) for one in pwd.getpwall()]
assert listed == list(nss.users()) == list(nss.users()), listed
print(len(listed))
"""
PASSWD = "root:x:0:0::/:/bin/sh\nalice:x:1500:1500::/:/bin/sh\nbob:x:1501:1600::/:/bin/sh\n"
GROUP = "root:x:0:\nalice:x:1500:\ndev:x:1600:alice,gone\n"

# a source behind the files that fails, as a directory that is down does
FAILS = """
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
enum nss_status _nss_down_getpwnam_r(const char *n, struct passwd *p, char *b, size_t l, int *e)
{
	*e = ECONNREFUSED;
	return NSS_STATUS_UNAVAIL;
}
enum nss_status _nss_down_getgrnam_r(const char *n, struct group *g, char *b, size_t l, int *e)
{
	*e = ECONNREFUSED;
	return NSS_STATUS_UNAVAIL;
}
"""


def run(directory, services: str, *command: str):
    """Run *command* with files of its own under /etc, and a library path of its own."""
    (directory / "passwd").write_text(PASSWD)
    (directory / "group").write_text(GROUP)
    (directory / "nsswitch").write_text(f"passwd: {services}\ngroup: {services}\n")
    mounts = "\n".join(
        f"mount --bind {directory}/{name} /etc/{target}"
        for name, target in (
            ("passwd", "passwd"),
            ("group", "group"),
            ("nsswitch", "nsswitch.conf"),
        )
    )
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{mounts}\nexec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LD_LIBRARY_PATH": str(directory)},
    )


def ask(directory, services: str):
    """Resolve there."""
    done = run(directory, services, sys.executable, "-P", "-c", ASK)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_members_are_those_of_the_list_and_of_the_primary_group(tmp_path) -> None:
    users, groups, stale = ask(tmp_path, "files")
    assert users == {"root": 0, "alice": 1500}
    assert groups == {"dev": [1500, 1501]}
    assert stale == []


def test_all_who_can_be_listed_are_however_long_their_entry_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PASSWD", PASSWD + f"long:x:7:8:{'x' * 40_000}:/:\n")
    done = run(tmp_path, "files", sys.executable, "-P", "-c", LIST)
    assert (done.stdout, done.stderr) == ("4\n", "")


@pytest.fixture(scope="module")
def down(tmp_path_factory):
    directory = tmp_path_factory.mktemp("nss")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(directory / "libnss_down.so.2")],
        input=FAILS,
        text=True,
        check=True,
    )
    return directory


def test_a_source_that_fails_is_not_taken_for_one_that_has_nobody(down) -> None:
    users, groups, stale = ask(down, "files down")
    assert users == {"root": 0, "alice": 1500}  # the files know them
    assert groups == {}  # who else is in it nobody can tell
    assert stale == ["dev", "gone", "none"]


def test_a_plan_that_nobody_can_know_is_no_plan(down, tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nusers:\n  alice: [kill]\n  gone: [kill]\n")
    command = [sys.executable, "-P", "-m", "uidtraced.cli", "plan", str(path)]
    done = run(down, "files down", *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the name service does not answer for 1 names (gone); ask again" in done.stderr
