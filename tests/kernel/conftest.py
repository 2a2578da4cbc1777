from __future__ import annotations

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
