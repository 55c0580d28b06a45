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
    parser = argparse.ArgumentParser(description="Worker of generation_vs_generate and generation_vs_vllm (README.md).")
    parser.add_argument("work", type=Path, help="a JSON file: model, prefix, queries, how to sample")
    asked: dict[str, Any] = json.loads(parser.parse_args().work.read_text(encoding="utf-8"))
    return asked


def serve(run: Callable[[], int], *packages: str) -> None:
    """Say the packages' versions when ready, then answer every line with the seconds and tokens of one run."""
    print(json.dumps({package: version(package) for package in packages}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens}), flush=True)
