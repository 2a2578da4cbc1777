from __future__ import annotations

import pytest

import harness
import rig


def pytest_collection_modifyitems(items):
    for item in items:
        if "/system/" in str(item.path):
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def installed():
    """A tree in which a new user has run script/install."""
    harness.need_root()
    with rig.overlay(rig.prepared_tree()) as tree:
        rig.copy_checkout(tree)
        rig.chroot(tree, f"/{rig.SOURCE}/script/install")
        rig.chroot(tree, "useradd", "--create-home", "--uid", "1000", "alice")
        yield tree


@pytest.fixture(scope="session")
def booted(installed):
    machine = rig.Machine(installed)
    yield machine
    machine.stop()
    assert harness.left_behind() == set()
