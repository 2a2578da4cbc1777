from __future__ import annotations

from pathlib import Path

from uidtraced.events.cgroups import CgroupNames, find_hierarchy

MOUNTS = """22 1 0:21 / /proc rw,nosuid - proc proc rw
30 29 0:26 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw
31 29 0:27 / /sys/fs/cgroup/my\\040mount rw,relatime - cgroup2 cgroup2 rw
32 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""


def test_the_hierarchy_is_where_the_kernel_says():
    assert find_hierarchy(MOUNTS) == "/sys/fs/cgroup/my mount"
    assert find_hierarchy(MOUNTS.splitlines()[0]) is None


def test_a_group_is_named_by_its_path(tmp_path):
    inner = tmp_path / "system.slice" / "cron.service"
    inner.mkdir(parents=True)
    names = CgroupNames(str(tmp_path))
    assert names(inner.stat().st_ino) == "/system.slice/cron.service"
    assert names(tmp_path.stat().st_ino) == "/"


def test_a_group_that_came_later_is_found_and_one_that_went_keeps_its_name(tmp_path):
    names = CgroupNames(str(tmp_path))
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
    names = CgroupNames(str(tmp_path))
    names._next_ns = 2**63
    assert names(5) is None
    assert looks == []


def test_without_a_hierarchy_there_are_no_names():
    names = CgroupNames("")
    names._root = None
    assert names(1) is None
    assert Path("/proc/self/mountinfo").exists()
