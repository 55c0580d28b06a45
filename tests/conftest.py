"""The longest test first: with a worker of pytest-xdist for each core, the others have all other tests meanwhile."""

import signal

import pytest


def pytest_configure() -> None:
    """A job in the background of a script ignores SIGINT, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (item.path.name != "test_whole_graph.py", item.path.name not in WAITING))


WAITING = {
    *("test_nightly.py", "test_claims.py", "test_repro.py", "test_align.py", "test_process.py", "test_stage.py"),
    *("test_warm.py", "test_pocket_cost.py"),
}
"""Those that wait more than they compute are next, beside the whole graph, which has both cores."""
