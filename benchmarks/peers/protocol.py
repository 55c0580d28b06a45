"""What a peer's script does with its standard input and output."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def work() -> dict[str, Any]:
    """The work that the one argument names."""
    parser = argparse.ArgumentParser(description="Worker of a generation benchmark (README.md).")
    parser.add_argument("work", type=Path, help="a JSON file: model, prefix, queries, how to sample")
    asked: dict[str, Any] = json.loads(parser.parse_args().work.read_text(encoding="utf-8"))
    return asked


def serve(run: Callable[[], int], *packages: str, **versions: str) -> None:
    """Say the packages' versions, and others, when ready; then answer every line with a run's seconds and tokens."""
    print(json.dumps({package: version(package) for package in packages} | versions), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens}), flush=True)
