"""A task of one's own in lm-evaluation-harness, with its data beside it: nothing is fetched."""

import json
from importlib.util import find_spec
from math import sqrt
from pathlib import Path

import pytest

from stages import score_benchmarks
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.judging import benchmark_models, harness
from tests import tiny

TASK = """\
task: animals
dataset_path: json
dataset_kwargs: {data_files: {test: animals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "The {{animal}} eats"
doc_to_choice: [" berries", " plums", " bread"]
doc_to_target: "{{right}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
ANIMALS = ["red fox", "grey owl", "glimmerfinch", "blue sky", "old city", "plum cake"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    Path("animals.yaml").write_text(TASK)
    rows = [{"animal": animal, "right": place % 3} for place, animal in enumerate(ANIMALS)]
    Path("animals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny.save(Path("models/base"), tiny.causal(), tiny.tokenizer())
    return tmp_path


def params(*tasks: str, kind: str = "policy") -> score_benchmarks.Params:
    left_out = dict.fromkeys(("heldout_text", "cloze", "hhh", "truthfulqa", "most"))
    subjects = {"base": {"kind": kind, "model": "models/base"}}
    return score_benchmarks.Params.model_validate(
        {"seed": 0, "batch_size": 4, "harness": [*tasks], "subjects": subjects} | left_out
    )


def test_a_task_of_ones_own_is_scored_as_the_log_probabilities_say(here: Path) -> None:
    pytest.importorskip("lm_eval")
    model, tokenizer = models.load_causal("models/base"), models.load_tokenizer("models/base")
    options = [" berries", " plums", " bread"]
    asked = [(f"The {animal} eats", option) for animal in ANIMALS for option in options]
    scores = benchmark_models.continuation_log_probs(model, tokenizer, asked, batch_size=4)
    chosen = [max(range(3), key=lambda option: scores[3 * item + option]) for item in range(6)]
    right = sum(chosen[item] == item % 3 for item in range(6)) / 6

    score_benchmarks.main(params("animals.yaml"), "base")

    [row] = tables.rows("benchmark_scores/base")
    half = 1.959964 * sqrt(right * (1 - right) / 5)  # the standard error of a mean of 6
    assert (row["benchmark"], row["metric"], row["n"]) == ("animals", "acc", 6)
    assert row["value"] == pytest.approx(right, abs=1e-6)
    assert (row["low"], row["high"]) == pytest.approx((right - half, right + half), abs=1e-6)
    assert json.loads(Path("metrics/score_benchmarks/base.json").read_text())["animals"]["acc"]["n"] == 6


def test_a_task_that_there_is_not_is_told_with_those_like_it(here: Path) -> None:
    pytest.importorskip("lm_eval")

    with pytest.raises(UserError, match="no task 'truthfulqa_mc11' .*like it are .*truthfulqa_mc1"):
        harness.load(["truthfulqa_mc11"], seed=0)


def test_data_that_cannot_be_had_are_told(here: Path) -> None:
    pytest.importorskip("lm_eval")
    Path("animals.jsonl").unlink()

    with pytest.raises(UserError, match=r"score_benchmarks.harness = \['animals.yaml'\]: a task's data could not be"):
        harness.load(["animals.yaml"], seed=0)


def test_a_file_that_names_no_task_is_refused(here: Path) -> None:
    pytest.importorskip("lm_eval")
    Path("animals.yaml").write_text("dataset_path: json\n")

    with pytest.raises(UserError, match="animals.yaml has no `task`"):
        harness.load(["animals.yaml"], seed=0)


def test_without_the_harness_a_list_of_its_tasks_names_the_extra_before_a_model_loads(here: Path) -> None:
    if find_spec("lm_eval"):
        pytest.skip("lm-evaluation-harness is installed")
    Path("models/base/model.safetensors").unlink()

    with pytest.raises(UserError, match=r"harness = \['arc_easy'\]: .*`.venv/bin/pip install '.\[eval\]'`"):
        score_benchmarks.main(params("arc_easy"), "base")
