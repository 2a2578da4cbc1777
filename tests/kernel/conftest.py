from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

import harness
from tracing import open_tracer


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if "/kernel/" in str(item.path):
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    """Every program and map that a test made is gone after it."""
    harness.need_root()
    before = harness.bpf_objects()
    yield
    assert harness.left_behind(before) == set()


@pytest.fixture
def tracer():
    with open_tracer() as tracer:
        yield tracer


@pytest.fixture
def public():
    with harness.public_directory() as path:
        yield path


@pytest.fixture
def pins():
    """A bpffs of this test's own."""
    with tempfile.TemporaryDirectory(prefix="uidtraced-test-") as name:
        subprocess.run(["mount", "-t", "bpf", "bpf", name], check=True)
        try:
            yield Path(name) / "uidtraced"
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)
