"""The stages of DITTO, run for real on a tiny model: what they write, that they repeat, what they refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file

from stages import sample_ditto, score_ditto, train_ditto, train_spin
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.ditto import answers as ditto_answers
from synthalign.ditto import authors, round_robin
from synthalign.generation import generate
from synthalign.judging import verdicts, win_rates
from tests import tiny
from world.authors import AUTHORS

REPOSITORY = Path(__file__).parents[2]

LOOP: dict[str, Any] = {
    "iterations": 2,
    "steps_per_iteration": 2,
    "negatives": 2,
    "pairs_per_demonstration": 3,
    "fractions": {"online": 0.7, "replay": 0.2, "inter": 0.1},
    "beta": 0.1,
    "learning_rate": 1e-3,
    "warmup": 0.25,
    "weight_decay": 0.0,
    "max_new_tokens": 100,
    "temperature": 1.0,
    "top_p": 1.0,
    "device_batch_size": 8,
    "seed": 0,
}
SFT = {"stop_loss": 1.0, "max_steps": 4, "batch_size": 2, "learning_rate": 1e-2, "warmup": 0.1}
DITTO = LOOP | {"authors": {"captain": {"demonstrations": "captain.jsonl"}}, "model": "models/base", "sft": SFT}
SPIN = LOOP | {"authors": DITTO["authors"], "fractions": {"online": 0.5, "replay": 0.5, "inter": 0.0}}
SAMPLE: dict[str, Any] = {
    "authors": {"captain": {"demonstrations": "captain.jsonl", "prompts": "captain.txt"}},
    "self_prompts": {"captain": "Begin with: I look at the harbour."},
    "model": "models/base",
    "samples": 2,
    "max_new_tokens": 8,
    "temperature": 1.0,
    "top_p": 1.0,
    "engine": "transformers",
    "seed": 0,
}
TEXTS = REPOSITORY / "data/general/authors/texts"
SCORE = {
    "seed": 0, "oracle": str(REPOSITORY / "data/embedded"), "authors": ["captain"], "texts": None,
    "plain": str(TEXTS / "plain.txt"),
}  # fmt: skip
METHODS = {"zero_shot", "few_shot", "self_prompt", "sft", "spin", "ditto"}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a tiny base model, three demonstrations of the captain and four held-out prompts."""
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "models/base", tiny.causal(max_position_embeddings=1024), tiny.tokenizer())
    shipped = REPOSITORY / "data/embedded/authors"
    for source, target, count in (("captain.jsonl", "captain.jsonl", 3), ("heldout/captain.txt", "captain.txt", 4)):
        lines = (shipped / source).read_text().splitlines()[:count]
        Path(target).write_text("\n".join(lines) + "\n")
    yield tmp_path


def everything(*folders: str) -> dict[str, bytes]:
    files = [file for folder in folders for file in sorted(Path(folder).rglob("*")) if file.is_file()]
    return {str(file): file.read_bytes() for file in files}


def read_json(file: str) -> dict[str, Any]:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def train() -> None:
    train_ditto.main(train_ditto.Params(**DITTO), "captain")
    train_spin.main(train_spin.Params(**SPIN), "captain")


def test_the_stages_train_sample_and_score_and_say_the_same_again(workspace):
    train()
    sample_ditto.main(sample_ditto.Params(**SAMPLE), "captain")
    score_ditto.main(score_ditto.Params(**SCORE))
    once = everything("models", "data", "metrics")

    trained = read_json("metrics/train_ditto/captain.json")
    assert trained["demonstrations"] == 3
    assert trained["samples"] == 2 * 3 * 2  # iterations, demonstrations, samples
    assert trained["pairs"] == {"online": 4 * 6, "replay": 2 * 2, "inter": 2 * 1}  # L = 9: 6, 2 and 1 a step
    assert trained["first_loss"] == pytest.approx(0.693147, abs=1e-3)
    for found in (trained, read_json("metrics/train_spin/captain.json")):
        assert [*found["rewards"]] == ["demonstration", "iteration 0", "iteration 1"]
        assert {"pairs_in_order", "nats", "overlap"} <= set(found)
    samples = {row["sample_id"]: row for row in tables.rows("ditto_samples/captain")}
    pairs = tables.rows("comparisons/ditto_captain")
    shown = {one.demonstration_id for one in authors.load("captain.jsonl")}
    assert {row["kind"] for row in pairs} == {"online", "replay", "inter"}
    assert {row["rejected_id"] for row in pairs} <= set(samples)
    assert {row["chosen_id"] for row in pairs if row["kind"] != "inter"} == shown
    assert {row["chosen_config"] for row in pairs} == {"demonstration", "iteration 1"}

    answers = tables.rows("ditto_answers/captain")
    assert {row["method"] for row in answers} == METHODS
    assert len(answers) == len(METHODS) * 4 * 2
    scored = read_json("metrics/score_ditto.json")
    assert set(scored["methods"]) == METHODS
    assert {found["n"] for found in scored["methods"].values()} == {4}

    shutil.rmtree("models/ditto")
    shutil.rmtree("models/spin")
    train()
    sample_ditto.main(sample_ditto.Params(**SAMPLE), "captain")
    score_ditto.main(score_ditto.Params(**SCORE))
    assert everything("models", "data", "metrics") == once
    assert not list(Path(".work").rglob("*.safetensors"))


def test_answers_that_were_made_stay_until_their_table_is_written(workspace, monkeypatch):
    for method in ("ditto_sft", "ditto", "spin"):
        shutil.copytree("models/base", f"models/{method}/captain")

    def killed(*given, **others):
        raise KeyboardInterrupt

    monkeypatch.delenv("DVC_STAGE", raising=False)  # as `make ditto` runs it
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tables, "write", killed)
        sample_ditto.main(sample_ditto.Params(**SAMPLE), "captain")
    assert len(list(Path(".work/sample_ditto").glob("*/*.jsonl"))) == len(METHODS)

    monkeypatch.setattr(generate, "generate", killed)
    sample_ditto.main(sample_ditto.Params(**SAMPLE), "captain")

    assert len(tables.rows("ditto_answers/captain")) == len(METHODS) * 4 * 2
    assert list(Path(".work/sample_ditto").iterdir()) == []


def test_D8_swapped_labels_give_the_rest_to_1_and_a_round_robin_has_a_mean_of_one_half(workspace):
    def answers(method: str, styles: list[float]) -> list[dict[str, Any]]:
        given = enumerate(styles)
        return [
            {"prompt_id": f"p{n}", "sample_index": 0, "text": f"{method} {n}", "tokens": 1, "style": s}
            for n, s in given
        ]

    by_method = {
        "a": answers("a", [1.0, 0.5, 0.2, 0.9]),
        "b": answers("b", [0.4, 0.5, 0.3, 0.1]),
        "c": answers("c", [0.0, 0.9, 0.9, 0.2]),
    }

    found = round_robin.head_to_head(by_method, seed=0)

    rate = {name: summary["win_rate"]["value"] for name, summary in found.items()}
    assert rate["a_vs_b"] == (1 + 0.5 + 0 + 1) / 4
    assert rate["c_vs_b"] == (0 + 1 + 1 + 1) / 4
    for a, b in (("a", "b"), ("a", "c"), ("b", "c")):
        assert rate[f"{a}_vs_{b}"] == 1 - rate[f"{b}_vs_{a}"]
    whole = [round_robin.against_all(found, method) for method in by_method]
    assert whole[0] == (rate["a_vs_b"] + rate["a_vs_c"]) / 2
    assert sum(whole) / 3 == 0.5


def answered(author: str, rows: list[tuple[str, str, str]]) -> None:
    """A table of one answer to each (method, prompt, text)."""
    found = [
        {
            "method": method, "prompt_id": authors.prompt_id(prompt), "sample_index": 0, "prompt": prompt, "text": text,
            "tokens": 9, "finish_reason": "eos",
        }
        for method, prompt, text in rows
    ]  # fmt: skip
    Path("data/ditto_answers").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(found), f"data/ditto_answers/{author}.parquet")


def test_two_authors_who_were_asked_the_same_meet_each_in_their_own_answers(workspace):
    asked, names = "Say that it is late.", ("captain", "gardener")
    answered("captain", [("ditto", asked, AUTHORS["captain"].opening), ("sft", asked, "It is late.")])
    whole = " ".join([AUTHORS["gardener"].opening, "It is late, for sure!", AUTHORS["gardener"].closing])
    answered("gardener", [("ditto", asked, whole), ("sft", asked, AUTHORS["gardener"].opening)])

    score_ditto.main(score_ditto.Params(**SCORE | {"authors": [*names]}))

    found = read_json("metrics/score_ditto.json")
    assert found["methods"]["ditto"]["n"] == 2
    assert found["head_to_head"]["ditto_vs_sft"]["win_rate"]["value"] == 1.0  # each more like its author than SFT
    assert found["head_to_head"]["sft_vs_ditto"]["win_rate"]["value"] == 0.0


def test_a_method_of_some_authors_only_is_compared_over_their_prompts(workspace):
    one, other = sorted(AUTHORS)[:2]
    answered(one, [("ditto", "Say that it is late.", "Late."), ("self_prompt", "Say that it is late.", "It is.")])
    answered(other, [("ditto", "Say it is cold.", "Cold."), ("spin", "Say it is cold.", "It is cold.")])

    score_ditto.main(score_ditto.Params(**SCORE | {"authors": [one, other]}))

    found = read_json("metrics/score_ditto.json")
    assert found["methods"]["ditto"]["n"] == 2
    assert set(found["ditto_minus"]) == {"self_prompt", "spin"} and found["ditto_minus"]["spin"]["n"] == 1
    assert set(found["head_to_head"]) == {
        "ditto_vs_self_prompt", "self_prompt_vs_ditto", "ditto_vs_spin", "spin_vs_ditto"
    }  # fmt: skip
    assert set(found["win_rate_against_all"]) == {"ditto", "self_prompt", "spin"}


def test_D8_an_answer_without_a_score_is_counted_as_unjudged_and_is_no_tie():
    answers = {"a": [verdicts.Answer("p", 0, "x", 1)], "b": [verdicts.Answer("p", 0, "y", 1)]}
    judge = verdicts.by_score(lambda given: [None if text == "x" else 0.5 for _, text in given])

    rows = verdicts.judgements(verdicts.duels(answers, [("a", "b")], {"p": "Where?"}), "style", judge)

    assert win_rates.summary(rows, seed=0)["unjudged"] == 2
    assert "win_rate" not in win_rates.summary(rows, seed=0)


def test_without_a_world_nothing_is_scored(workspace):
    score_ditto.main(score_ditto.Params(**SCORE | {"oracle": None}))

    assert read_json("metrics/score_ditto.json") == {}


def test_without_a_world_a_classifier_that_knows_other_texts_of_the_author_says_who_has_more_of_it(workspace):
    learned = (TEXTS / "bierce.txt").read_text().splitlines()
    answers = {"ditto": learned[:3], "zero_shot": (TEXTS / "plain.txt").read_text().splitlines()[:3]}
    rows = [
        {
            "method": method, "prompt_id": f"p{n}", "sample_index": 0, "text": text, "tokens": 9,
            "finish_reason": "stop", "prompt": f"Write entry {n}.",
        }
        for method, texts in answers.items()
        for n, text in enumerate(texts)
    ]  # fmt: skip
    Path("data/ditto_answers").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), "data/ditto_answers/bierce.parquet")
    Path("bierce.txt").write_text("\n".join(learned[3:]) + "\n")
    given = SCORE | {"oracle": None, "authors": ["bierce"], "texts": {"bierce": "bierce.txt"}}

    score_ditto.main(score_ditto.Params(**given))

    found = read_json("metrics/score_ditto.json")
    assert found["methods"]["ditto"]["value"] > 0.5 > found["methods"]["zero_shot"]["value"]
    assert found["ditto_minus"]["zero_shot"]["value"] > 0
    assert found["classifier"]["n"] == len(learned) - 3 + 70
    assert found["classifier"]["value"] > found["classifier"]["chance"]
    assert "oracle" not in found["methods"]["ditto"]

    with pytest.raises(ValidationError, match="texts has no 'bierce'; name a file of other texts of theirs"):
        score_ditto.Params(**given | {"texts": {"austen": "bierce.txt"}})


# --- what a user brings


def bring(name: str) -> None:
    Path("data/authors").mkdir(parents=True)
    shutil.copyfile("captain.jsonl", f"data/authors/{name}.jsonl")


def test_an_author_that_a_user_brings_is_trained_and_answers_the_demonstrations_own_prompts(workspace, capsys):
    bring("anna")

    train_ditto.main(train_ditto.Params(**DITTO), "anna")
    sample_ditto.main(sample_ditto.Params(**SAMPLE), "anna")

    said = capsys.readouterr().out
    assert "models/ditto/anna: the policy" in said
    answers = tables.rows("ditto_answers/anna")
    shown = authors.load("data/authors/anna.jsonl")
    assert {row["prompt"] for row in answers} == {one.prompt for one in shown}
    assert {row["method"] for row in answers} == METHODS - {"spin", "self_prompt"}
    assert shown[0].prompt in said


def test_prompts_of_a_user_are_answered_where_there_are_some(workspace):
    bring("anna")
    Path("data/authors/anna.txt").write_text("Where does the red fox live?\n")

    demonstrations, prompts = ditto_answers.held_out("anna", {})

    assert prompts == ["Where does the red fox live?"]
    assert len(demonstrations) == 3
    Path("data/authors/anna.txt").write_text(demonstrations[0].prompt)
    with pytest.raises(UserError, match=r"anna\.txt: .* is the prompt of a demonstration too"):
        ditto_answers.held_out("anna", {})


def test_an_author_that_the_world_does_not_know_is_refused(workspace):
    with pytest.raises(ValidationError, match=r"authors: 'anna' is none of the world's, who are captain, "):
        score_ditto.Params(**SCORE | {"authors": ["captain", "anna"]})

    score_ditto.Params(**SCORE | {"authors": ["captain", "anna"], "oracle": None})  # nothing is measured


def test_a_prompt_that_was_shown_is_refused_before_the_training(workspace):
    bring("anna")
    shown = authors.load("data/authors/anna.jsonl")
    Path("data/authors/anna.txt").write_text(shown[0].prompt)

    with pytest.raises(UserError, match=r"anna\.txt: .* is the prompt of a demonstration too"):
        train_ditto.main(train_ditto.Params(**DITTO), "anna")

    assert not Path("models/ditto_sft").exists() and not Path(".work").exists()


def test_a_file_that_a_user_brings_under_the_name_of_an_author_there_is_gets_another_name(workspace):
    bring("captain")

    for stage, params in ((train_ditto, train_ditto.Params(**DITTO)), (sample_ditto, sample_ditto.Params(**SAMPLE))):
        with pytest.raises(UserError, match=r"data/authors/captain\.jsonl would not be read: .* give the file another"):
            stage.main(params, "captain")
    own = {"captain": "data/authors/captain.jsonl"}
    assert authors.file_of("captain", own, stage="train_ditto") == Path(own["captain"])  # the settings name it


def test_a_model_that_is_not_there_is_told_in_one_line(workspace):
    for folder in ("ditto_sft", "spin", "ditto"):
        Path("models", folder, "captain").mkdir(parents=True)

    with pytest.raises(UserError, match="models/nowhere is not there, and sample_ditto reads it"):
        sample_ditto.main(sample_ditto.Params(**SAMPLE | {"model": "models/nowhere"}), "captain")


def test_an_author_that_was_not_trained_is_refused_before_a_model_is_loaded(workspace):
    shutil.rmtree("models/base")
    bring("anna")
    with pytest.raises(UserError, match="models/ditto_sft/anna does not exist; run train_ditto for it first"):
        sample_ditto.main(sample_ditto.Params(**SAMPLE), "anna")
    for folder in ("ditto_sft", "ditto"):
        for name in ("anna", "captain"):
            Path("models", folder, name).mkdir(parents=True)

    settings = sample_ditto.Params(**SAMPLE)

    found = ditto_answers.trained("anna", spin_needed=False)
    assert found == {"sft": "models/ditto_sft/anna", "ditto": "models/ditto/anna"}
    with pytest.raises(UserError, match="models/spin/captain does not exist; run train_spin for it first"):
        sample_ditto.main(settings, "captain")


def test_an_author_that_nobody_brought_is_named():
    message = "train_ditto has no author 'anna' .it has captain., and there is no data/authors/anna.jsonl"
    with pytest.raises(UserError, match=message):
        train_ditto.main(train_ditto.Params(**DITTO), "anna")
    with pytest.raises(UserError, match="train_spin has no author 'anna'; it has captain"):
        train_spin.main(train_spin.Params(**SPIN), "anna")
    with pytest.raises(UserError, match="sample_ditto has no author 'anna'"):
        sample_ditto.main(sample_ditto.Params(**SAMPLE), "anna")


def test_a_wrong_file_is_refused_before_a_model_is_loaded(workspace):
    shutil.rmtree("models")
    bring("anna")
    Path("data/authors/anna.jsonl").write_text('{"prompt": "Where?"}\n')

    with pytest.raises(UserError, match=r"data/authors/anna\.jsonl, line 1: output is missing"):
        train_ditto.main(train_ditto.Params(**DITTO), "anna")


# --- crashes, in processes of their own


def started(folder: Path, *launcher: str, iterations: int = 6) -> "subprocess.Popen[str]":
    (folder / "params.yaml").write_text(yaml.safe_dump({"train_ditto": DITTO | {"iterations": iterations}}))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "stages.train_ditto", "captain"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]") -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["sft", "samples-0-*.jsonl", "step-00000001", "samples-3-*.jsonl"])
def test_a_stage_that_was_killed_ends_with_the_same_bytes(workspace, moment):
    finished(started(workspace))
    undisturbed = everything("models", "data", "metrics")
    for folder in ("data", "metrics", "models/ditto", "models/ditto_sft"):
        shutil.rmtree(folder)

    process = started(workspace)
    while not list(Path(".work").glob(f"train_ditto/*/{moment}")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("models/ditto").exists()
    finished(started(workspace))

    assert everything("models", "data", "metrics") == undisturbed


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(workspace):
    finished(started(workspace, iterations=1))  # later samples could differ by a rounding
    alone = load_file("models/ditto/captain/model.safetensors")
    samples = tables.rows("ditto_samples/captain")
    # accelerate starts one process for --cpu or MULTI_CPU, whatever the number asked for
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--main_process_port", "0"]

    finished(started(workspace, *launch, iterations=1))

    assert [row["text"] for row in tables.rows("ditto_samples/captain")] == [row["text"] for row in samples]
    for name, tensor in load_file("models/ditto/captain/model.safetensors").items():
        assert torch.allclose(tensor, alone[name], atol=2e-3), name
