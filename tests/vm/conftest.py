from __future__ import annotations

import pytest

SAID = pytest.StashKey[list[str]]()


def pytest_configure(config) -> None:
    config.stash[SAID] = []


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if "/vm/" in str(item.path):
            item.add_marker(pytest.mark.vm)


@pytest.fixture(scope="session")
def tell(request):
    """Return what adds a line to the summary, also where all is well."""
    return request.config.stash[SAID].append


def pytest_terminal_summary(terminalreporter, config) -> None:
    if config.stash[SAID]:
        terminalreporter.section("other kernels")
        for line in config.stash[SAID]:
            terminalreporter.line(line)
