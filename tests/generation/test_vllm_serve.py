"""Replicas of a real `vllm serve` behind one endpoint file, where its environment is (benchmarks/peers/README.md)."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
import torch

from flows import local_cluster, nightly
from flows.background import background, free_port
from synthalign.commands import export
from synthalign.dialogue import encoding
from synthalign.generation import models
from synthalign.generation.generate import Generation
from tests.commands.test_export import TALK, project  # noqa: F401
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


def serve(held: ExitStack, model: Path, log: Path) -> tuple[str, "subprocess.Popen[bytes]"]:
    """The address of a server of the model `large` and its process, which ends with the stack, once it is up."""
    given = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    port = free_port()
    # what `vllm serve` runs; the command itself does not start in the CPU build 0.32.0 (vllm-cpu)
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", f"--model={model}", f"--port={port}"]
    command += ["--served-model-name=large", "--host=127.0.0.1", "--dtype=float32", "--max-model-len=512"]
    process = held.enter_context(background([*command, "--enforce-eager"], given, log))
    for _ in local_cluster.waiting("vLLM's server", process, log):
        if nightly.answers(f"http://127.0.0.1:{port}/health"):
            break
    return f"http://127.0.0.1:{port}/v1", process


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two servers of one model."""
    folder = tmp_path_factory.mktemp("vllm")
    with ExitStack() as held:
        yield dict(serve(held, MODEL, folder / f"{number}.log") for number in range(2))


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


def test_an_export_is_served_with_the_tokens_of_training_and_answers_as_in_transformers(
    project: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(MODEL, "models/large")
    folder = export.export("models/large")
    tokenizer = models.load_tokenizer("models/large")
    prompt, _ = encoding.encode(tokenizer, [[*TALK, {"role": "assistant", "content": "In a tree."}]])[0]

    with ExitStack() as held:
        url, _ = serve(held, folder.absolute(), tmp_path / "export.log")
        said = {"model": "large", "messages": TALK}
        tokens = httpx2.post(url.replace("/v1", "/tokenize"), json=said, timeout=60).json()["tokens"]
        greedy = said | {"temperature": 0, "max_tokens": 8}
        answer = httpx2.post(f"{url}/chat/completions", json=greedy, timeout=60).json()["choices"][0]["message"]

    assert tokens == prompt
    ids = torch.tensor([prompt])
    ours = models.load_causal("models/large").generate(ids, max_new_tokens=8, do_sample=False)[0, len(prompt) :]
    assert answer["content"] == tokenizer.decode(ours, skip_special_tokens=True)
