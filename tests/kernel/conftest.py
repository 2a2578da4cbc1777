from __future__ import annotations

import harness
import pytest


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
    for _ in range(200):  # the kernel frees maps after a grace period
        left = harness.bpf_objects() - before
        if not left:
            return
    pytest.fail(f"left in the kernel: {left}")


@pytest.fixture
def public():
    with harness.public_directory() as path:
        yield path
