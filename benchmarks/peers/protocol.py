"""What a peer's script does with its standard input and output."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def work() -> dict[str, Any]:
    """The work that the first argument names."""
    asked: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return asked


def serve(run: Callable[[], int], *packages: str) -> None:
    """Say the packages' versions when ready, then answer every line with the seconds and tokens of one run."""
    print(json.dumps({package: version(package) for package in packages}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens}), flush=True)
