"""The peak memory of `build_comparisons` over a million responses: filters, pairs, and every table it writes.

The stage runs as it is, in a process of its own, on 200,000 queries that five configurations answered; the answers are
pieces of one random text, as long as those of real models.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import yaml

from benchmarks.bench import Comparison, versions
from stages.sample_responses import RESPONSES
from synthalign.core import tables
from synthalign.core.tables import Row
from synthalign.queries import mining

QUERIES, CONFIGURATIONS = 200_000, ("a", "b", "c", "d", "e")
LIMIT = 3_000_000_000
"""Bytes that the stage may take."""

SETTINGS = {"ranking": list(CONFIGURATIONS), "mode": "all_pairs", "size_pairs": [], "min_characters": 50}


def query_rows() -> Iterator[Row]:
    for place in range(QUERIES):
        said = {"query_id": f"{place:016x}", "text": f"What is known about number {place}?"}
        yield said | {"origin": "mined", "split": "train"}


def response_rows(config: str) -> Iterator[Row]:
    """Responses of 40 to 560 characters; one of five breaks off in mid-sentence."""
    draw = random.Random(config)
    text = "".join(draw.choices("etaoinshrdlu    ", k=1_000_000))
    for place in range(QUERIES):
        start, length = draw.randrange(len(text) - 600), draw.randrange(40, 560)
        said = text[start : start + length] + ("" if draw.random() < 0.2 else ".")
        given = {"config": config, "model": f"models/{config}", "shots": 3, "sample_index": 0, "tokens": length // 4}
        ids = {"response_id": f"{config}{place:015x}", "query_id": f"{place:016x}"}
        yield ids | {"text": said, "finish_reason": "eos"} | given


def compare() -> Comparison:
    code = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("params.yaml").write_text(yaml.safe_dump({"build_comparisons": SETTINGS}), encoding="utf-8")
        tables.write_ordered(query_rows(), "queries", key="query_id", schema=mining.QUERIES)
        for config in CONFIGURATIONS:
            rows = response_rows(config)
            tables.write_ordered(rows, f"responses/{config}", key="response_id", schema=RESPONSES)
        command = [sys.executable, "-m", "stages.build_comparisons"]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(code)}, stdout=sys.stderr)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        assert status == 0, "build_comparisons failed; its output is above"
        written = sum(file.stat().st_size for file in Path("data").glob("comparisons*/**/*.parquet"))
    peak = 1024 * usage.ru_maxrss
    return Comparison(
        work=f"build_comparisons over {QUERIES * len(CONFIGURATIONS):,} responses: memory",
        against="3 GB",
        ratios=[LIMIT / peak],
        at_least=1.0,
        versions=versions("pyarrow"),
        notes={"peak_mb": round(peak / 1e6), "seconds": round(seconds), "written_mb": round(written / 1e6)},
    )
