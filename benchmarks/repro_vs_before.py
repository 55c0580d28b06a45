"""`make repro` in a clean clone, nothing cached, beside the same before stages ran beside each other."""

from benchmarks.bench import Comparison
from benchmarks.whole_graph import compared


def compare() -> Comparison:
    return compared("make repro, nothing cached", "repro")
