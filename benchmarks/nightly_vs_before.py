"""`make nightly` in a clean clone, its first run: server, worker, deployment, the whole graph, gates and publishing."""

from benchmarks.bench import Comparison
from benchmarks.whole_graph import compared


def compare() -> Comparison:
    return compared("make nightly, first run", "nightly")
