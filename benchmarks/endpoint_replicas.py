"""Rows a second behind an endpoint file with one replica, two and four: benchmarks/results/endpoint_replicas.json.

    python -m benchmarks.endpoint_replicas                           # under a minute
    python -m benchmarks.endpoint_replicas --runs 1 --rows 64 --dry  # to see that it works

A replica is a process that answers after a fixed time and takes a fixed number of requests at once; it computes
nothing, so that what is measured is how the client spreads rows, with its journal and its account of what is paid.  The
numbers of replicas take turns, and all replicas run all the time.
"""

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import machine, versions
from synthalign.generation import endpoint, openai_engine, parallel
from synthalign.generation.spending import Spending

REPLICAS = (1, 2, 4)
LATENCY = 0.2
"""Seconds from a request to its answer."""

AT_ONCE = 16
"""Requests that a replica takes at once, and that the client may have under way at each."""

ROWS = 320
MODEL = "stub"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, room: asyncio.Semaphore) -> None:
    """The requests of one connection: the list of models, or a text that follows from the prompt alone."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().split("\r\n")
            sizes = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
            body = await reader.readexactly(sizes[0]) if sizes else b""
            if lines[0].startswith("GET"):
                told: dict[str, Any] = {"data": [{"id": MODEL}]}
            else:
                async with room:
                    await asyncio.sleep(LATENCY)
                choice = {"text": f" {hashlib.sha256(body).hexdigest()}", "index": 0, "finish_reason": "stop"}
                told = {"choices": [choice], "usage": {"prompt_tokens": 8, "completion_tokens": 16}}
            content = json.dumps(told).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.close()


async def serve() -> None:
    """What a replica runs: it prints its port and answers until it is ended."""
    room = asyncio.Semaphore(AT_ONCE)
    server = await asyncio.start_server(partial(answer, room=room), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def measure(urls: list[str], rows: int) -> tuple[float, str]:
    """Seconds for the rows, and a hash of what was said."""
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), f"{name}/endpoint.yaml"
        settings = {
            "urls": urls, "model": MODEL, "api_key_env": None, "concurrency": AT_ONCE, "timeout": 30, "max_attempts": 3,
            "max_tokens": None, "max_cost": None, "prompt_price": 0, "completion_price": 0,
        }  # fmt: skip
        Path(file).write_text(json.dumps(settings), encoding="utf-8")
        spending = Spending.open(folder, file, endpoint.read(file))
        begin = time.perf_counter()
        made = parallel.generated(
            partial(openai_engine.generate, spending),
            folder=folder,
            name="rows",
            prefix="What is ",
            suffixes=[f"animal number {row}?" for row in range(rows)],
            row_ids=[f"{row:06}" for row in range(rows)],
            seed=0,
            max_new_tokens=64,
            temperature=1.0,
            top_p=0.9,
        )
        seconds = time.perf_counter() - begin
        spending.close()
    said = json.dumps({row: [one.text for one in many] for row, many in made.items()})
    return seconds, hashlib.sha256(said.encode()).hexdigest()


def summary(rows: int, found: dict[int, list[float]]) -> list[dict[str, Any]]:
    """The figures of each number of replicas; `best` is what latency and places allow at most."""
    entries = []
    for count, seconds in found.items():
        rates = [rows / one for one in seconds]
        gains = [before / one for before, one in zip(found[1], seconds, strict=True)]
        best = rows / (-(-rows // (AT_ONCE * count)) * LATENCY)
        entries.append(
            {"replicas": count, "n": len(rates)}
            | {"rows_per_second": round(median(rates), 1), "low": round(min(rates), 1), "high": round(max(rates), 1)}
            | {"best": round(best, 1), "speedup": round(median(gains), 2)}
            | {"speedup_low": round(min(gains), 2), "speedup_high": round(max(gains), 2)}
        )
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endpoint_replicas", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of every number of replicas (default 5)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of a run (default {ROWS})")
    parser.add_argument("--dry", action="store_true", help="print the figures and keep none")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
        return

    os.environ["NO_PROXY"] = "127.0.0.1"
    found: dict[int, list[float]] = {count: [] for count in REPLICAS}
    hashes, load = set(), [os.getloadavg()[0]]
    with ExitStack() as held:
        command, urls = [sys.executable, "-m", "benchmarks.endpoint_replicas", "--serve"], []
        for _ in range(max(REPLICAS)):
            replica = held.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            held.callback(replica.terminate)
            assert replica.stdout is not None
            urls.append(f"http://127.0.0.1:{int(replica.stdout.readline())}/v1")
        measure(urls, AT_ONCE)  # what is loaded with the first request does not count
        for run in range(given.runs):
            for count in REPLICAS[:: -1 if run % 2 else 1]:
                seconds, digest = measure(urls[:count], given.rows)
                found[count].append(seconds)
                hashes.add(digest)
                print(f"  run {run + 1}: {count} replicas: {given.rows / seconds:.1f} rows/s", file=sys.stderr)
            load.append(os.getloadavg()[0])
    assert len(hashes) == 1, "what was said depends on who was asked"

    result = {
        "machine": machine(),
        "load_average": [round(min(load), 2), round(max(load), 2)],
        "work": f"{given.rows} rows, an answer after {LATENCY} s, {AT_ONCE} requests at once at each replica",
        "versions": versions("httpx2"),
        "measured": summary(given.rows, found),
    }
    told = json.dumps(result, indent=2) + "\n"
    if not given.dry:
        Path("benchmarks/results/endpoint_replicas.json").write_text(told, encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
