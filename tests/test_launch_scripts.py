"""accelerate/slurm.sh with an `sbatch` that runs the jobs here: a test of our side only. No Slurm has seen it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_processes import ROOT, journals, made, run_alone, workspace

SBATCH = r"""#!/usr/bin/env bash
# Runs each task of an array at once, as a job with nothing else to do; every call is a line of the file `calls`.
printf '%q ' "$@" >> calls; echo >> calls
for word in "$@"; do
    case $word in
        --array=*) last=${word#--array=0-};;
        --output=*) log=${word#--output=};;
    esac
done
for ((task = 0; task <= ${last:-0}; task++)); do
    SLURM_ARRAY_TASK_ID=$task bash -c "${@: -1}" > "${log/\%a/$task}" 2>&1 || echo "task $task failed" >> calls
done
echo "42;cluster"
"""


def script(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "sbatch").write_text(SBATCH)
    (tools / "dvc").write_text(
        f'#!/bin/sh\necho "dvc $*" >> calls\nexec {sys.executable} -m stages.sample_responses a\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [str(ROOT / "accelerate/slurm.sh"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_job_array_makes_all_rows_and_the_job_behind_it_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_alone(workspace(tmp_path / "alone", monkeypatch))
    folder = workspace(tmp_path / "cluster", monkeypatch)
    shutil.copyfile(ROOT / "accelerate/cpu.yaml", folder / "accelerate.yaml")

    done = script(folder, "2", "--gres=gpu:1", "sample_responses", "a")

    assert done.returncode == 0, done.stderr
    assert "sample_responses@a: 2 shards are job 42, the stage itself is 42" in done.stdout
    array, merge, repro = (folder / "calls").read_text().splitlines()
    assert "--array=0-1" in array and "--gres=gpu:1" in array
    assert "--dependency=afterany:42 " in merge
    assert repro == "dvc repro --single-item sample_responses@a"
    assert "shard 1/2 has its rows" not in (folder / "logs/sample_responses@a.0.log").read_text()
    assert "shard 0/2 has its rows; 150 of 300" in (folder / "logs/sample_responses@a.0.log").read_text()
    assert made(folder) == expected
    assert journals(folder) == {}  # given up, since nobody is to record the outs here


@pytest.mark.parametrize("words", [[], ["0", "sample_responses"], ["a"], ["2"], ["2", "x; echo"], ["2", "a", "$(b)"]])
def test_a_wrong_call_starts_no_job(tmp_path: Path, words: list[str]) -> None:
    assert script(tmp_path, *words).returncode != 0
    assert not (tmp_path / "calls").exists()


def test_every_machine_of_skypilot_has_a_shard_of_its_own() -> None:
    task = yaml.safe_load((ROOT / "accelerate/skypilot.task.yaml").read_text())

    assert "SYNTHALIGN_SHARD=$SKYPILOT_NODE_RANK/$SKYPILOT_NUM_NODES\n" in task["run"]
    assert task["envs"].keys() == {"STAGE", "MEMBER", "BUCKET"}
    assert subprocess.run(["bash", "-n", "-c", task["setup"] + task["run"]]).returncode == 0
