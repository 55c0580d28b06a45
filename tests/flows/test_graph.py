"""The graph as DVC sees it, of this repository and of small ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import graph
from tests.flows.conftest import Make, call


def test_every_stage_of_this_repository_comes_after_those_it_needs() -> None:
    stages = graph.read()

    listed = call("dvc", "stage", "list", "--name-only").split()
    assert sorted(stages) == sorted(listed)
    places = {name: place for place, name in enumerate(stages)}
    assert [name for name, stage in stages.items() for need in stage.needs if places[need] > places[name]] == []
    assert stages["train_ppo@almost"].gpu and not stages["check_settings"].gpu
    assert "train_sft@rmsp" in stages["train_ppo@almost"].needs
    assert stages["train_ppo@almost"].outs[:2] == ("models/ppo/almost", "data/ppo_curve/almost.parquet")


def test_a_target_brings_what_it_needs_and_a_family_all_its_members() -> None:
    def stage(name: str, *needs: str) -> graph.Stage:
        return graph.Stage(name, needs, False, ())

    stages = {s.name: s for s in [stage("a"), stage("f@1", "a"), stage("f@2"), stage("b", "f@1"), stage("c")]}

    assert list(graph.select(stages, ["b"])) == ["a", "f@1", "b"]
    assert list(graph.select(stages, ["f"])) == ["a", "f@1", "f@2"]
    assert list(graph.select(stages, ["f@2", "c"])) == ["f@2", "c"]
    assert list(graph.select(stages, ["all"])) == list(stages)
    with pytest.raises(ValueError, match="targets: 'f@3' is no stage of dvc.yaml; did you mean f@2, f@1"):
        graph.select(stages, ["f@3"])


def to_run(*targets: str) -> set[str]:
    return graph.look(targets or ["all"])[1]


def test_only_what_changed_and_what_follows_has_to_run(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = {"one": "in.out", "two": "one.out", "other": "else.out"}
    stages = {
        name: {"cmd": f"cp {dep} {name}.out", "deps": [dep], "outs": [f"{name}.out"]} for name, dep in copy.items()
    }
    monkeypatch.chdir(repository(stages))
    Path("in.out").write_text("1")
    Path("else.out").write_text("1")
    assert to_run() == {"one", "two", "other"}

    call("dvc", "repro")
    assert to_run() == set()

    Path("in.out").write_text("2")
    assert to_run() == {"one", "two"}
    assert to_run("other") == set()

    Path("dvc.yaml").write_text("stages: 7")
    with pytest.raises(RuntimeError, match="dvc.yaml"):
        to_run()


def test_a_flow_is_imported_without_dvc_and_the_library() -> None:
    code = "import sys, flows.align; print(*sorted({m.split('.')[0] for m in sys.modules}))"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert {"prefect", "flows"} <= set(loaded)
    assert {"dvc", "torch", "transformers", "pandas", "pyarrow", "synthalign", "stages"} & set(loaded) == set()
