"""Replicas of a real `vllm serve` behind one endpoint file, where its environment is (benchmarks/peers/README.md)."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows import local_cluster, nightly
from flows.background import background, free_port
from synthalign.generation.generate import Generation
from tests.generation.test_openai_engine import ask, journaled

PYTHON = Path(os.environ.get("SYNTHALIGN_PEERS", ".work/peers"), "vllm/bin/python").absolute()
MODEL = Path("data/embedded/models/large").resolve()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM has an environment of its own"),
]

Replicas = dict[str, "subprocess.Popen[bytes]"]
"""Processes by their addresses."""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two servers of one model."""
    folder = tmp_path_factory.mktemp("vllm")
    given = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    found = {}
    with ExitStack() as held:
        for number in range(2):
            port, log = free_port(), folder / f"{number}.log"
            # what `vllm serve` runs; the command itself does not start in the CPU build 0.32.0 (vllm-cpu)
            command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", f"--model={MODEL}", f"--port={port}"]
            command += ["--served-model-name=large"]
            command += ["--host=127.0.0.1", "--dtype=float32", "--max-model-len=512", "--enforce-eager"]
            found[f"http://127.0.0.1:{port}/v1"] = held.enter_context(background(command, given, log))
            for _ in local_cluster.waiting("vLLM's server", found[f"http://127.0.0.1:{port}/v1"], log):
                if nightly.answers(f"http://127.0.0.1:{port}/health"):
                    break
        yield found


def ask_all(folder: Path, replicas: Replicas, rows: int, samples: int = 1) -> dict[str, list[Generation]]:
    folder.mkdir()
    return ask(folder, None, rows=rows, samples=samples, backoff=0.1, urls=list(replicas), model="large", timeout=120)


def texts(made: dict[str, list[Generation]]) -> list[list[str]]:
    return [[one.text for one in many] for many in made.values()]


def test_each_row_has_its_samples_and_the_same_seed_brings_them_again(replicas: Replicas, tmp_path: Path) -> None:
    made = ask_all(tmp_path / "one", replicas, 20, samples=3)
    again = ask_all(tmp_path / "two", replicas, 20, samples=3)

    assert [len(many) for many in made.values()] == [3] * 20
    assert sum(len(set(many)) > 1 for many in texts(made)) >= 15  # three draws, not one three times
    assert all("\n\n" not in text for many in texts(made) for text in many)
    assert texts(again) == texts(made)


def test_when_a_replica_is_killed_the_other_has_its_rows_and_each_is_kept_once(
    replicas: Replicas, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    victim = list(replicas.values())[1]

    def kill_in_the_middle() -> None:
        while sum(len(file.read_bytes().splitlines()) for file in folder.glob("work/rows.*.jsonl")) < 20:
            time.sleep(0.02)
        os.killpg(victim.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    made = ask_all(folder, replicas, 200)
    killer.join()

    assert victim.wait(30) == -signal.SIGKILL
    assert list(made) == sorted(str(row) for row in range(200))
    assert sorted(journaled(folder)) == sorted(made)
