"""The processes that a launcher promised, and those that there are; with accelerate's own launcher at the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthalign.core import launcher, stage
from synthalign.core.errors import UserError

ROOT = Path(__file__).parents[2]

STAGE = """
from pydantic import BaseModel
from synthalign.core import stage

class Params(BaseModel):
    pass

def main(params: Params) -> None:
    print("the stage ran")

stage.run(main, "train", Params)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def launch_file(kind: str, processes: int) -> str:
    Path("accelerate.yaml").write_text(
        f"compute_environment: LOCAL_MACHINE\ndistributed_type: {kind!r}\nnum_machines: 1\n"
        f"num_processes: {processes}\nuse_cpu: true\nmixed_precision: 'no'\nmain_process_port: 0\n"
    )
    return "accelerate.yaml"


def command(*words: str) -> list[str]:
    return [sys.executable, "/bin/accelerate-launch", *words, "-m", "stages.train", "a"]


@pytest.mark.parametrize("kind", ["MULTI_CPU", "NO"])
def test_a_file_that_promises_two_processes_and_gets_one_is_named(kind: str) -> None:
    words = command("--config_file", launch_file(kind, 2))

    with pytest.raises(UserError, match=rf"accelerate.yaml: num_processes = 2, but .* started 1 .*: {kind} .*_GPU"):
        launcher.check(words, {})


@pytest.mark.parametrize("words", [["--num_processes", "2"], ["--num-processes=2"]])
def test_the_command_line_is_named_where_it_promises(words: list[str]) -> None:
    with pytest.raises(UserError, match="--num_processes 2, but accelerate launch started 1"):
        launcher.check([sys.executable, "-m", "accelerate.commands.launch", "--cpu", *words, "-m", "stages.train"], {})


def test_what_was_promised_and_came_passes() -> None:
    file = launch_file("MULTI_GPU", 16)

    launcher.check(command("--config_file", file), {"WORLD_SIZE": "16"})
    launcher.check(command("--config-file", file, "--num_processes", "2"), {"WORLD_SIZE": "2"})  # which goes first
    launcher.check(command("--config_file", launch_file("NO", 1)), {})
    launcher.check(command("--config_file", launch_file("MULTI_CPU", 4)), {"PMI_SIZE": "4"})  # started by mpirun
    launcher.check(command("--cpu"), {})


@pytest.mark.parametrize("name", launcher.RANKS)
def test_one_process_writes_whoever_started_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in launcher.RANKS:
        monkeypatch.delenv(other, raising=False)
    assert stage.is_main_process()
    monkeypatch.setenv(name, "1")
    assert not stage.is_main_process()
    monkeypatch.setenv(name, "0")
    assert stage.is_main_process()


def test_other_programs_and_a_stages_own_words_promise_nothing() -> None:
    launcher.check(["dvc", "repro", "--num_processes", "2"], {})
    launcher.check(["torchrun", "--nproc_per_node", "2"], {"WORLD_SIZE": "2"})


@pytest.mark.parametrize(("kind", "runs"), [("MULTI_CPU", 0), ("MULTI_GPU", 2)])
def test_accelerates_launcher_starts_two_processes_on_the_cpu_or_the_stage_says_that_it_did_not(
    kind: str, runs: int
) -> None:
    Path("params.yaml").write_text("train: {}\n")
    Path("stage.py").write_text(STAGE)
    words = ["-m", "accelerate.commands.launch", "--quiet", "--config_file", launch_file(kind, 2), "stage.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    ended = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300)

    assert ended.stdout.count("the stage ran") == runs
    assert (ended.returncode == 0) == bool(runs)
    assert ("train: accelerate.yaml: num_processes = 2, but accelerate launch started 1" in ended.stderr) == (not runs)


def test_a_trainer_does_not_go_on_in_another_precision_nor_where_each_draws_on_another_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ACCELERATE_MIXED_PRECISION", *launcher.WORLD_SIZES):
        monkeypatch.delenv(name, raising=False)
    assert launcher.of_results() == ""
    assert launcher.of_results(draws=True) == "num_processes 1"

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as accelerate-launch says it
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launcher.of_results() == ""
    assert launcher.of_results(draws=True) == "num_processes 4"

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert launcher.of_results() == "mixed_precision bf16, "
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert launcher.of_results() == "mixed_precision bf16, sharded, "
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    assert launcher.of_results(draws=True) == "mixed_precision bf16, num_processes 4"
