"""llama.cpp's server on whole prompts, two threads, `slots` (8) sequences decoded together, prompts kept in its cache.

A slot keeps the prefix after the first prompt, so that of every later one it reads the question alone. Every slot has a
client that sends the next question when it has its answer. Needs nothing but Python's own library.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from protocol import serve, work

asked = work()
ROOT = Path(asked["root"]).resolve()
SLOTS = asked.get("slots", 8)
LONGEST = 1024
"""Tokens of prompt and answer together."""


def command(port: int) -> list[str]:
    """The server, by the loader and the libraries that it was packed with."""
    libraries = ROOT / "usr/lib/x86_64-linux-gnu"
    given = ["--model", str(Path(asked["model"]).resolve()), "--port", str(port), "--ctx-size", str(SLOTS * LONGEST)]
    given += ["--parallel", str(SLOTS), "--threads", "2", "--threads-batch", "2", "--threads-http", str(SLOTS + 2)]
    given += ["--cache-ram", "0", "--no-ui", "--log-disable", *asked.get("options", [])]
    loader = [str(ROOT / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", f"{libraries}:{libraries}/llama"]
    return [*loader, str(ROOT / "usr/bin/llama-server"), *given]


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def version(address: str) -> str:
    with urllib.request.urlopen(f"{address}/props") as answer:
        return str(json.load(answer)["build_info"])


def wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Until the model is loaded."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise SystemExit(f"llama-server ended with {server.returncode}")


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # The kinds of CPU are libraries that it looks for in the current folder; it takes the best for this machine.
    folder = ROOT / "usr/lib/x86_64-linux-gnu/ggml/backends0"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} if not os.environ.get("SHOW_PEER") else {}
    server = subprocess.Popen(command(port), cwd=folder, **quiet)
    try:
        wait_for(address, server)

        def answer(query: str) -> int:
            body = {
                "prompt": asked["prefix"] + query,
                "n_predict": asked["max_new_tokens"],
                "temperature": asked["temperature"],
                "top_p": asked["top_p"],
                "top_k": asked.get("top_k", 0),
                "min_p": 0.0,
                "samplers": ["top_k", "top_p", "temperature"],
                "stop": asked["stops"],
                "cache_prompt": True,
            }
            return int(post(f"{address}/completion", body)["tokens_predicted"])

        def run() -> int:
            with ThreadPoolExecutor(SLOTS) as clients:
                return sum(clients.map(answer, asked["queries"]))

        serve(run, **{"llama.cpp": version(address)})
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
