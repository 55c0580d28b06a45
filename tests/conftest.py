"""The longest test first: with a worker of pytest-xdist for each core, the others have all other tests meanwhile."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != "test_whole_graph.py")
