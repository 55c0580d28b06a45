"""The longest test first: the toy graph runs in two clones while all other tests run, and is waited for at its own."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from tests import small_graph


@pytest.fixture(scope="session", autouse=True)
def toy_graphs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Popen[bytes]]]:
    """Two clones in which all of ALMoST runs, as `make repro` runs it, a thread each; none unless a test needs them."""
    running: dict[Path, Popen[bytes]] = {}
    if any(item.path.name == "test_whole_graph.py" for item in request.session.items):
        root = tmp_path_factory.mktemp("graph")
        running = {
            folder: small_graph.start(folder, "report")
            for folder in map(small_graph.clone, (root / "one", root / "other"))
        }
    try:
        yield running
    finally:
        for process in running.values():
            process.kill()
