from __future__ import annotations

import os
from pathlib import Path

from uidtraced.events.cgroups import CgroupNames, find_hierarchy

MOUNTS = b"""22 1 0:21 / /proc rw,nosuid - proc proc rw
30 29 0:26 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw
31 29 0:27 / /sys/fs/cgroup/my\\040mount rw,relatime - cgroup2 cgroup2 rw
32 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""


def test_the_hierarchy_is_where_the_kernel_says():
    assert find_hierarchy(MOUNTS) == b"/sys/fs/cgroup/my mount"
    assert find_hierarchy(MOUNTS.splitlines()[0]) is None


def test_what_users_call_their_mounts_and_groups_hurts_nobody(tmp_path):
    fuse = (
        "23 1 0:9 / /home/u/\x0c\u2028\x85 rw - fuse x\n".encode()
        + b"24 1 0:9 / /\xff rw - fuse x\n"
    )
    assert find_hierarchy(MOUNTS + fuse) == b"/sys/fs/cgroup/my mount"
    inner = bytes(tmp_path) + b"/\xff\x1b[2J\\xff"
    os.mkdir(inner)
    assert CgroupNames(bytes(tmp_path))(os.stat(inner).st_ino) == "/\\xff\x1b[2J\\x5cxff"


def test_a_group_that_its_owner_shuts_meanwhile_has_no_name(tmp_path, monkeypatch):
    (tmp_path / "open").mkdir()
    walk = os.walk

    def walks(root):
        for found in walk(root):
            # ENAMETOOLONG, as EACCES where it is shut
            yield found if found[0] == root else (found[0] + b"x" * 5000, [], [])

    monkeypatch.setattr(os, "walk", walks)
    assert CgroupNames(bytes(tmp_path))((tmp_path / "open").stat().st_ino) is None


def test_a_group_is_named_by_its_path(tmp_path):
    inner = tmp_path / "system.slice" / "cron.service"
    inner.mkdir(parents=True)
    names = CgroupNames(bytes(tmp_path))
    assert names(inner.stat().st_ino) == "/system.slice/cron.service"
    assert names(tmp_path.stat().st_ino) == "/"


def test_a_group_that_came_later_is_found_and_one_that_went_keeps_its_name(tmp_path):
    names = CgroupNames(bytes(tmp_path))
    assert names(0) is None
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    number = fresh.stat().st_ino
    while names(number) is None:  # it may have looked just before
        pass
    fresh.rmdir()
    assert names(0) is None
    assert names(number) == "/fresh"


def test_the_hierarchy_is_not_read_for_every_unknown_group(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(CgroupNames, "_look", lambda self, root: looks.append(root))
    names = CgroupNames(bytes(tmp_path))
    names._next_ns = 2**63
    assert names(5) is None
    assert looks == []


def test_without_a_hierarchy_there_are_no_names():
    names = CgroupNames(b"")
    names._root = None
    assert names(1) is None
    assert Path("/proc/self/mountinfo").exists()
