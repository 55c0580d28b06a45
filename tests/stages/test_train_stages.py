"""The training stages, run for real on tiny models: what they learn, what they write, and that they repeat."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file

from stages import label_gold, train_asis_reward, train_dpo, train_reward, train_sft, validate_comparisons
from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.feedback import comparisons, simulation
from synthalign.generation import models
from synthalign.policies import dpo_training
from synthalign.reward import pairwise, scoring, training
from tests import tiny

REPOSITORY = Path(__file__).parents[2]

OPTIMIZER = {
    "learning_rate": 3e-3,
    "epochs": 1,
    "batch_size": 8,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "max_length": 64,
    "seed": 0,
}
REWARD = OPTIMIZER | {
    "feedback": {"test": {"max_pairs": 400}},
    "model": "models/base",
    "held_out": 0.2,
    "loss": "pairs",
}
SFT = OPTIMIZER | {"model": "models/base"}
DPO = OPTIMIZER | {"model": "models/base", "comparisons": "sft", "max_pairs": 400, "beta": 0.1}
DPO |= {"loss": "sigmoid", "label_smoothing": 0.0}
ASIS = {key: value for key, value in REWARD.items() if key not in ("loss", "feedback")} | {
    "max_pairs": 400,
    "community_qa": "qa.parquet",
    "pairs_per_question": 10,
}

SIDES = ("chosen", "rejected")
GOOD, BAD = "The red fox lives in the forest.", "Why do you ask?"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder with a tiny base model in models/base."""
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "models/base", tiny.causal(), tiny.tokenizer())
    yield tmp_path


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def pair(number: int, *, good: str = GOOD, bad: str = BAD, p_chosen: float = 1.0) -> dict:
    return {
        "comparison_id": f"c{number:04}",
        "query_id": f"q{number // 2:04}",
        "prompt": said("user", f"Question {number // 2}?"),
        "chosen": said("assistant", f"{good} {number % 7}"),
        "rejected": said("assistant", f"{bad} {number % 5}"),
        "chosen_id": f"good{number}",
        "rejected_id": f"bad{number}",
        "chosen_config": "a",
        "rejected_config": "b",
        "chosen_finish_reason": "eos",
        "rejected_finish_reason": "eos",
        "feedback": "test",
        "p_chosen": p_chosen,
    }


def write_pairs(name: str, pairs: list[dict]) -> None:
    tables.write(pairs, f"comparisons/{name}", key="comparison_id", schema=comparisons.SCHEMA)


def read_json(file: str) -> dict:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def weights(folder: str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


# --- reward models


def test_a_member_with_epochs_of_its_own_makes_as_many_passes_and_the_others_theirs(workspace):
    for name in ("test", "twice"):
        write_pairs(name, [pair(number) for number in range(48)])
    params = train_reward.Params(
        **REWARD | {"epochs": 1, "feedback": {"test": {"max_pairs": 400}, "twice": {"max_pairs": 400, "epochs": 2}}}
    )

    for name in ("test", "twice"):
        train_reward.main(params, name)

    steps = {name: read_json(f"metrics/plots/train_reward/{name}.json")[-1]["step"] for name in ("test", "twice")}
    pairs = read_json("metrics/train_reward/test.json")["pairs"]
    assert steps == {"test": math.ceil(pairs / 8), "twice": math.ceil(2 * pairs / 8)}


def test_a_member_of_ratings_stands_beside_those_of_pairs(workspace):
    members = {"test": {"max_pairs": 400}, "rated": {"max_pairs": 400, "loss": "ratings"}}
    params = train_reward.Params(**REWARD | {"feedback": members, "loss": "pairs", "epochs": 4})

    for name in members:
        write_pairs(name, of_three(48))
        train_reward.main(params, name)

    pairs, rated = (read_json(f"metrics/train_reward/{name}.json") for name in members)
    assert "responses" not in pairs
    assert rated["responses"] == 3 * rated["queries"] == rated["pairs"]
    assert rated["held_out_accuracy"]["value"] == 1.0


def test_a_member_that_is_a_probe_stands_beside_those_that_are_trained(workspace):
    members = {"test": {"max_pairs": 400}, "probed": {"max_pairs": 400, "probe": 0.5}}
    params = train_reward.Params(**REWARD | {"feedback": members})
    for name in members:
        write_pairs(name, [pair(number) for number in range(48)])
        train_reward.main(params, name)

    probed = read_json("metrics/train_reward/probed.json")
    assert probed["held_out_accuracy"]["value"] == 1.0
    assert {"reward_mean", "reward_std", "pairs"} <= probed.keys() == read_json("metrics/train_reward/test.json").keys()
    assert [point["step"] for point in read_json("metrics/plots/train_reward/probed.json")] == [1]
    configs = {name: read_json(f"models/reward/{name}/config.json") for name in members}
    assert [config["num_hidden_layers"] for config in configs.values()] == [2, 1]
    [right, wrong] = scoring.of_answers(
        "models/reward/probed", [("Question 0?", f"{GOOD} 1"), ("Question 0?", f"{BAD} 1")]
    )
    assert right > wrong


def test_a_probe_leaves_what_an_interrupted_run_of_its_member_has_done_and_learns_pairs_in_a_family_of_ratings(
    workspace,
):
    write_pairs("test", [pair(number) for number in range(48)])
    params = train_reward.Params(**REWARD | {"loss": "ratings", "feedback": {"test": {"max_pairs": 400, "probe": 1.0}}})

    train_reward.main(params, "test")

    found = read_json("metrics/train_reward/test.json")
    assert found["pairs"] + found["held_out_pairs"] == 48
    assert "responses" not in found
    assert not Path(".work/train_reward").exists()


@pytest.mark.parametrize("more", [{"epochs": 2}, {"loss": "rankings"}])
def test_a_probe_makes_no_passes_and_learns_pairs_alone(more):
    with pytest.raises(
        ValueError, match="a probe is fitted to pairs, and in one go: leave out `epochs`, and `loss` if not pairs"
    ):
        train_reward.Params(**REWARD | {"feedback": {"test": {"max_pairs": 400, "probe": 0.5} | more}})


def test_a_reward_model_learns_which_side_is_chosen_and_its_scores_are_normalised(workspace):
    write_pairs("test", [pair(number) for number in range(96)])

    train_reward.main(train_reward.Params(**REWARD), "test")

    metrics = read_json("metrics/train_reward/test.json")
    assert metrics["held_out_accuracy"]["value"] == 1.0
    assert metrics["held_out_loss"] < 0.5 * math.log(2)
    assert metrics["held_out_longer"]["value"] == 1.0  # the good answer is the longer one here
    assert metrics["pairs"] + metrics["held_out_pairs"] == metrics["pairs_available"] == 96
    curve = read_json("metrics/plots/train_reward/test.json")
    assert [point["step"] for point in curve] == [1, 10, math.ceil(metrics["pairs"] / 8)]
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=0.2)
    assert curve[-1]["accuracy"] == 1.0

    model, tokenizer = models.load_reward("models/reward/test"), models.load_tokenizer("models/reward/test")
    assert {tensor.dtype for tensor in load_file("models/reward/test/model.safetensors").values()} == {torch.float32}
    _, held_out = pairwise.choose(tables.rows("comparisons/test"), max_pairs=400, held_out=0.2, seed=0)
    sides = {f"{row['prompt']}{row[side]}": row["prompt"] + row[side] for row in held_out for side in SIDES}
    scores = torch.tensor(scoring.score(model, tokenizer, list(sides.values()), max_length=64))
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert not Path(".work").exists() or not list(Path(".work").rglob("*.safetensors"))


def test_a_reward_model_learns_the_probability_that_a_soft_label_gives(workspace):
    # Two answers, one label: the best difference of rewards is logit(0.8) = log 4.
    same = {"prompt": said("user", "?"), "chosen": said("assistant", "A."), "rejected": said("assistant", "B.")}
    write_pairs("test", [pair(number, p_chosen=0.8) | same for number in range(96)])

    train_reward.main(train_reward.Params(**REWARD | {"epochs": 2}), "test")

    least = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert read_json("metrics/train_reward/test.json")["held_out_loss"] == pytest.approx(least, abs=0.01)


def test_a_label_below_one_half_teaches_that_the_rejected_side_is_better(workspace):
    write_pairs("test", [pair(number, good=BAD, bad=GOOD, p_chosen=0.0) for number in range(96)])

    train_reward.main(train_reward.Params(**REWARD), "test")

    assert read_json("metrics/train_reward/test.json")["held_out_accuracy"]["value"] == 1.0


def test_accumulation_takes_the_same_steps_as_one_large_batch(workspace, monkeypatch):
    write_pairs("test", [pair(number) for number in range(48)])
    train_reward.main(train_reward.Params(**REWARD), "test")
    at_once = load_file("models/reward/test/model.safetensors")

    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    train_reward.main(train_reward.Params(**REWARD), "test")

    for name, tensor in load_file("models/reward/test/model.safetensors").items():
        assert torch.allclose(tensor, at_once[name], atol=2e-4), name


def of_three(queries: int) -> list[dict]:
    """The three comparisons of three responses to each query, the third the worst."""

    def compared(number: int, better: int, worse: int) -> dict:
        texts = {"good": f"{GOOD} {better}", "bad": f"{GOOD if worse < 2 else BAD} {worse}"}
        return pair(2 * number, **texts) | {
            "comparison_id": f"c{number}{better}{worse}",
            "chosen": said("assistant", texts["good"]),
            "rejected": said("assistant", texts["bad"]),
        }

    return [compared(number, *two) for number in range(queries) for two in ((0, 1), (0, 2), (1, 2))]


@pytest.mark.parametrize("loss", ["rankings", "ratings"])
def test_a_reward_model_learns_from_whole_queries(workspace, loss):
    write_pairs("test", of_three(48))

    changes = {"loss": loss, "epochs": 4, "feedback": {"test": {"max_pairs": 143}}}
    train_reward.main(train_reward.Params(**REWARD | changes), "test")

    metrics = read_json("metrics/train_reward/test.json")
    assert metrics["pairs"] + metrics["held_out_pairs"] == 47 * 3  # 143 would cut the last query
    assert metrics["responses"] == 3 * metrics["queries"] == metrics["pairs"]
    assert metrics["queries_left_out"] == 0
    assert metrics["held_out_accuracy"]["value"] == 1.0


def test_rankings_that_people_bring_become_pairs_and_are_learned_by_query(workspace):
    texts = [f"{GOOD} Look there at night.", GOOD, "I am not sure.", BAD]
    with open("rankings.jsonl", "w") as file:
        for number in range(40):
            ranks = [1, 2, 3, 3] if number % 2 else [1, 2, 3, 4]
            file.write(json.dumps({"prompt": f"Question {number}?", "responses": texts, "ranks": ranks}) + "\n")

    label_gold.main(label_gold.Params(oracle=None, human_pairs="rankings.jsonl"))
    changes = {"feedback": {"gold": {"max_pairs": 1000}}, "loss": "rankings", "epochs": 2}
    train_reward.main(train_reward.Params(**REWARD | changes), "gold")

    labelled, trained = read_json("metrics/label_gold.json"), read_json("metrics/train_reward/gold.json")
    assert labelled["pairs"] == 20 * 6 + 20 * 5  # C(4, 2), and one tie less
    assert labelled["left_out"] == {"both sides have one rank": 20}
    assert trained["pairs"] + trained["held_out_pairs"] == labelled["pairs"]
    assert trained["responses"] == 4 * trained["queries"]
    assert trained["held_out_accuracy"]["value"] > 0.9


def test_no_query_has_pairs_on_both_sides_of_the_split():
    pairs = [pair(number) for number in range(200)]

    train, held_out = pairwise.choose(pairs, max_pairs=150, held_out=0.2, seed=0)

    assert len(train) + len(held_out) == 150
    assert {row["query_id"] for row in train} & {row["query_id"] for row in held_out} == set()
    assert 0.1 < len(held_out) / 150 < 0.3
    other = pairwise.choose(pairs[:100], max_pairs=150, held_out=0.2, seed=0)[1]
    assert {row["query_id"] for row in other} <= {
        row["query_id"] for row in pairwise.choose(pairs, max_pairs=200, held_out=0.2, seed=0)[1]
    }


def test_feedback_that_is_not_in_the_settings_is_named():
    with pytest.raises(UserError, match="train_reward has no feedback 'other'; it has test"):
        train_reward.main(train_reward.Params(**REWARD), "other")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there are no comparisons to train on"),
        ([pair(number, p_chosen=math.nan) for number in range(3)], "comparison c0000: p_chosen is nan"),
        ([pair(number, p_chosen=1.5) for number in range(3)], "p_chosen is 1.5, which is no probability"),
        ([pair(0)], "1 comparisons make"),
    ],
)
def test_comparisons_that_cannot_be_learned_from_are_refused(workspace, pairs, message):
    write_pairs("test", [])
    pq.write_table(pa.Table.from_pylist(pairs, schema=comparisons.SCHEMA), "data/comparisons/test.parquet")  # not ours

    with pytest.raises(UserError, match=message):
        train_reward.main(train_reward.Params(**REWARD), "test")


def test_a_run_that_diverges_stops_and_leaves_no_model(workspace):
    write_pairs("test", [pair(number) for number in range(96)])
    spoilt = tiny.causal()
    spoilt.model.norm.weight.data.fill_(math.inf)
    tiny.save(workspace / "models/base", spoilt, tiny.tokenizer())

    with pytest.raises(UserError, match="the loss is nan by step 1 of"):
        train_reward.main(train_reward.Params(**REWARD), "test")

    assert not Path("models/reward/test").exists()


# --- the As-is reward model


def community(number: int) -> dict:
    answers = [
        {"text": f"{GOOD} {number % 7}", "votes": 7, "accepted": True},
        {"text": f"{BAD} {number % 5}", "votes": 0, "accepted": False},
        {"text": "Tie.", "votes": 0, "accepted": False},
    ]
    return {"question": f"Question {number}?", "answers": answers}


def test_the_asis_model_learns_from_votes_and_validates_synthetic_comparisons(workspace):
    pq.write_table(pa.Table.from_pylist([community(number) for number in range(60)]), "qa.parquet")
    train_asis_reward.main(train_asis_reward.Params(**ASIS))

    metrics = read_json("metrics/train_asis_reward.json")
    assert metrics["pairs_available"] == 60 * 2  # the tie gives none
    assert metrics["held_out_accuracy"]["value"] > 0.9

    # Of three comparisons the rule of thumb has one right and one wrong; the third fell to the heuristic filter.
    right, wrong, dropped = pair(0), pair(2, good=BAD, bad=GOOD), pair(4)
    rows = [row | {"drop_reason": reason} for row, reason in ((right, None), (wrong, None), (dropped, "outweighed"))]
    tables.write(rows, "comparisons_ranked", key="comparison_id", schema=comparisons.DROPPED_SCHEMA)
    same_style = pair(6, good=BAD, bad=GOOD) | {"feedback": "size"}  # the As-is model would not agree
    tables.write([same_style], "comparisons/size", key="comparison_id", schema=comparisons.SCHEMA)
    validate_comparisons.main(validate_comparisons.Params(max_length=64))

    [kept] = tables.rows("comparisons/almost")
    assert kept["comparison_id"] == right["comparison_id"]
    assert kept["feedback"] == "almost"
    assert kept["asis_chosen"] > kept["asis_rejected"]
    lost = {row["comparison_id"]: row for row in tables.rows("comparisons_dropped/almost")}
    assert {key: row["drop_reason"] for key, row in lost.items()} == {"c0002": "asis_disagrees", "c0004": "outweighed"}
    assert lost["c0002"]["asis_chosen"] <= lost["c0002"]["asis_rejected"]
    assert lost["c0004"]["asis_chosen"] is None
    metrics = read_json("metrics/validate_comparisons.json")
    assert (metrics["ranked"], metrics["heuristic"], metrics["kept"]) == (3, 2, 1)
    both = {row["comparison_id"]: row["feedback"] for row in tables.rows("comparisons/almost_size")}
    assert both == {right["comparison_id"]: "almost", same_style["comparison_id"]: "size"}
    assert (metrics["agreement"], metrics["dropped"]) == (1 / 2, {"asis_disagrees": 1, "outweighed": 1})


def test_equal_scores_are_no_agreement(workspace):
    tiny.save(workspace / "models/asis_reward", tiny.reward(), tiny.tokenizer())
    same = pair(0, good="The same.", bad="The same.")
    same["rejected"] = same["chosen"]
    rows = [same | {"drop_reason": None}]
    tables.write(rows, "comparisons_ranked", key="comparison_id", schema=comparisons.DROPPED_SCHEMA)
    tables.write([], "comparisons/size", key="comparison_id", schema=comparisons.SCHEMA)

    validate_comparisons.main(validate_comparisons.Params(max_length=64))

    assert tables.rows("comparisons/almost") == []
    assert [row["drop_reason"] for row in tables.rows("comparisons_dropped/almost")] == ["asis_disagrees"]


def test_a_file_that_is_no_community_file_is_refused(workspace):
    pq.write_table(pa.table({"question": ["q"], "answers": [["a"]]}), "qa.parquet")
    with pytest.raises(UserError, match="qa.parquet, row 1: not a community file"):
        train_asis_reward.main(train_asis_reward.Params(**ASIS))

    with pytest.raises(UserError, match="nowhere.parquet: cannot be read .*; not a community file"):
        train_asis_reward.main(train_asis_reward.Params(**ASIS | {"community_qa": "nowhere.parquet"}))


# --- fine-tuning


def write_demonstrations(
    name: str, dialogues: list[list[dict[str, str]]], finish_reason: str = "eos", taught: int | None = None
) -> None:
    rows = [
        {"demonstration_id": f"d{number:04}", "query_id": f"q{number}", "messages": messages, "reward": 0.0}
        | {"finish_reason": finish_reason, "taught": taught}
        for number, messages in enumerate(dialogues)
    ]
    tables.write(rows, f"demonstrations/{name}", key="demonstration_id", schema=simulation.DEMONSTRATIONS)


def test_the_targets_are_exactly_the_answer_and_its_end():
    tokenizer = tiny.tokenizer()
    messages = [*said("user", "Where does the red fox live?"), *said("assistant", "In the forest.")]
    [encoded] = train_sft.encoding.fitting(tokenizer, [messages], 64)

    row = train_sft.labelled(encoded)

    assert tokenizer.decode(row["input_ids"]) == "Human: Where does the red fox live?\n\nAssistant: In the forest.<eos>"
    targets = [label for label in row["labels"] if label != -100]
    assert tokenizer.decode(targets) == " In the forest.<eos>"
    assert row["labels"] == [-100] * (len(row["labels"]) - len(targets)) + row["input_ids"][-len(targets) :]


def test_fine_tuning_teaches_the_demonstrated_answer_and_its_end(workspace):
    write_demonstrations(
        "test", [[*said("user", f"Question {number}?"), *said("assistant", GOOD)] for number in range(32)]
    )

    train_sft.main(train_sft.Params(**SFT | {"epochs": 6, "learning_rate": 1e-2}), "test")

    model, tokenizer = models.load_causal("models/sft/test"), models.load_tokenizer("models/sft/test")
    prompt = tokenizer("Human: Question 99?\n\nAssistant:", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(written) == f" {GOOD}<eos>"
    metrics = read_json("metrics/train_sft/test.json")
    assert metrics["steps"] == 6 * 32 / 8
    assert metrics["target_tokens"] == 32 * len(tokenizer(f" {GOOD}<eos>")["input_ids"])
    assert metrics["last_loss"] < 0.2 < 5 < metrics["first_loss"]
    assert sorted(file.name for file in Path("models/sft/test").iterdir()) == sorted(
        [
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    )


@pytest.mark.parametrize(("finish_reason", "ends"), [("stop", 2), ("length", 1)])
def test_a_demonstration_that_was_cut_off_is_learned_without_an_end_and_its_earlier_turns_with_one(
    workspace, finish_reason, ends
):
    turns = [*said("user", "One?"), *said("assistant", "Yes."), *said("user", "Two?"), *said("assistant", "Because it")]
    write_demonstrations("test", [turns] * 4, finish_reason)

    train_sft.main(train_sft.Params(**SFT), "test")

    tokenizer = models.load_tokenizer("models/base")
    words = len(tokenizer(" Yes.").input_ids) + len(tokenizer(" Because it").input_ids)
    metrics = read_json("metrics/train_sft/test.json")
    assert metrics["target_tokens"] == 4 * (words + ends)
    assert metrics["without_end"] == 4 * (2 - ends)


def test_every_turn_of_a_demonstration_is_a_reply_to_learn(workspace):
    turns = [*said("user", "One?"), *said("assistant", "First."), *said("user", "Two?"), *said("assistant", "Second.")]
    write_demonstrations("test", [turns] * 4)

    train_sft.main(train_sft.Params(**SFT), "test")

    metrics = read_json("metrics/train_sft/test.json")
    assert (metrics["demonstrations"], metrics["replies"], metrics["too_long"]) == (4, 4 * 2, 0)


def test_of_a_distilled_dialogue_the_last_answer_alone_is_learned(workspace):
    turns = [*said("user", "One?"), *said("assistant", "First."), *said("user", "Two?"), *said("assistant", "Second.")]
    write_demonstrations("test", [turns] * 4, taught=1)

    train_sft.main(train_sft.Params(**SFT), "test")

    metrics = read_json("metrics/train_sft/test.json")
    tokens = len(models.load_tokenizer("models/base")(" Second.<eos>").input_ids)
    assert (metrics["replies"], metrics["target_tokens"]) == (4, 4 * tokens)


def test_demonstrations_that_do_not_fit_are_counted_or_refused(workspace):
    short, long = said("assistant", "Yes."), said("assistant", "word " * 60)
    write_demonstrations("test", [[*said("user", "Well?"), *short], [*said("user", "Well?"), *long]])
    train_sft.main(train_sft.Params(**SFT), "test")
    assert read_json("metrics/train_sft/test.json")["too_long"] == 1

    write_demonstrations("test", [[*said("user", "Well?"), *long]])
    with pytest.raises(UserError, match="none of 1 replies fits in max_length = 64"):
        train_sft.main(train_sft.Params(**SFT), "test")


# --- direct preference optimisation


def test_before_the_first_step_of_dpo_the_loss_is_log_2_and_the_rewards_are_0(workspace):
    write_pairs("sft", [pair(number) for number in range(64)])

    train_dpo.main(train_dpo.Params(**DPO))

    first, *_, last = read_json("metrics/plots/train_dpo/dpo.json")
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards_margins"] == pytest.approx(0, abs=1e-4)
    assert last["loss"] < math.log(2) - 0.1


def test_dpo_makes_the_chosen_side_likelier_and_says_how_far(workspace):
    write_pairs("sft", [pair(number) for number in range(96)])

    train_dpo.main(train_dpo.Params(**DPO))

    metrics = read_json("metrics/train_dpo.json")
    assert metrics["last_accuracy"] == 1.0
    assert metrics["last_margin"] > 0.5
    assert (metrics["pairs"], metrics["steps"]) == (96, 96 / 8)
    assert models.load_causal("models/dpo").config.vocab_size == tiny.VOCABULARY


def test_conservative_dpo_learns_as_much_of_the_other_side_as_it_doubts(workspace):
    write_pairs("sft", [pair(number) for number in range(96)])

    train_dpo.main(train_dpo.Params(**DPO | {"label_smoothing": 0.1}))

    metrics = read_json("metrics/train_dpo.json")
    assert metrics["first_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics["last_accuracy"] == 1.0
    # The best margin is log(.9 / .1) = 2.2 and the loss there .3251, where the loss of DPO goes on to 0.
    assert 0.3250 <= metrics["last_loss"] < math.log(2) - 0.1


def test_ipo_begins_at_the_square_of_the_margin_that_it_aims_at(workspace):
    write_pairs("sft", [pair(number) for number in range(96)])

    train_dpo.main(train_dpo.Params(**DPO | {"loss": "ipo", "beta": 0.25}))

    metrics = read_json("metrics/train_dpo.json")
    assert metrics["first_loss"] == pytest.approx((1 / (2 * 0.25)) ** 2, abs=1e-4)
    assert metrics["last_loss"] < metrics["first_loss"] / 2


def test_smoothed_labels_of_a_loss_that_has_none_are_refused():
    with pytest.raises(ValueError, match="label_smoothing = 0.1 is of the loss sigmoid, and loss is ipo; set it to 0"):
        train_dpo.Params(**DPO | {"loss": "ipo", "label_smoothing": 0.1})


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([], "there are no comparisons to train on"),
        ([pair(0, p_chosen=0.5)], "comparison c0000: p_chosen is 0.5, .* DPO takes labels for facts"),
        ([pair(0, p_chosen=0.3)], "comparison c0000: p_chosen is 0.3, .* DPO takes labels for facts"),
    ],
)
def test_labels_that_dpo_cannot_take_for_facts_are_refused(workspace, pairs, says):
    write_pairs("sft", pairs)

    with pytest.raises(UserError, match=f"comparisons/sft.parquet: {says}"):
        train_dpo.main(train_dpo.Params(**DPO))


def test_a_reward_model_that_nothing_could_measure_is_not_trained(workspace):
    write_pairs("test", [pair(number, p_chosen=0.5) for number in range(96)])

    with pytest.raises(UserError, match="held-out comparisons are labelled 0.5, so nothing can be measured"):
        train_reward.main(train_reward.Params(**REWARD), "test")
    assert not Path("models/reward").exists()


def test_both_responses_of_a_dpo_row_follow_the_same_prompt_and_both_fit():
    tokenizer = tiny.tokenizer()
    rows = dpo_training.tokenized([pair(0)], tokenizer, 1000)

    [row] = rows
    assert tokenizer.decode(row["prompt_ids"]) == "Human: Question 0?\n\nAssistant:"
    assert tokenizer.decode(row["chosen_ids"]) == f" {GOOD} 0<eos>"
    assert tokenizer.decode(row["rejected_ids"]) == f" {BAD} 0<eos>"
    longer = max(len(row["chosen_ids"]), len(row["rejected_ids"]))
    [cut] = dpo_training.tokenized([pair(0)], tokenizer, longer + 3)
    assert cut == row | {"prompt_ids": row["prompt_ids"][-3:]}
    assert dpo_training.tokenized([pair(0)], tokenizer, longer) == []


@pytest.mark.parametrize(
    ("reasons", "ends"),
    [
        (("eos", "eos"), ("<eos>", "<eos>")),
        (("stop", "stop"), ("<eos>", "")),  # it was over, but the end that is pushed away was never written
        (("eos", "length"), ("<eos>", "")),
        ((None, None), ("<eos>", "<eos>")),  # people's
    ],
)
def test_a_dpo_row_has_an_end_where_a_chosen_answer_is_whole_and_where_a_rejected_one_wrote_it(reasons, ends):
    tokenizer = tiny.tokenizer()
    given = pair(0) | dict(zip(("chosen_finish_reason", "rejected_finish_reason"), reasons, strict=True))

    [row] = dpo_training.tokenized([given], tokenizer, 1000)

    assert tokenizer.decode(row["chosen_ids"]) == f" {GOOD} 0{ends[0]}"
    assert tokenizer.decode(row["rejected_ids"]) == f" {BAD} 0{ends[1]}"


def test_pairs_whose_chosen_answer_was_cut_off_are_not_learned_from_and_counted(workspace):
    half = [pair(number) | {"chosen_finish_reason": "length"} for number in range(8)]
    write_pairs("sft", [*half, *(pair(number) for number in range(8, 64))])

    train_dpo.main(train_dpo.Params(**DPO))

    metrics = read_json("metrics/train_dpo.json")
    assert (metrics["pairs_available"], metrics["chosen_cut_off"], metrics["pairs"]) == (64, 8, 56)
    write_pairs("sft", half)
    with pytest.raises(UserError, match="comparisons/sft.parquet: the chosen answers of all 8 .* raise max_new_tokens"):
        train_dpo.main(train_dpo.Params(**DPO))


# --- repeatability


def stage_process(name: str, section: dict, *item: str, threads: int = 1) -> subprocess.Popen:
    Path("params.yaml").write_text(yaml.safe_dump({name: section}), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}", *item],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


def everything(folder: str) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file()}


@pytest.mark.slow
def test_two_fresh_processes_make_the_same_bytes_with_one_thread_or_two(workspace):
    write_pairs("test", [pair(number) for number in range(96)])

    finished(stage_process("train_reward", REWARD, "test", threads=1))
    once = everything("models/reward") | everything("metrics")
    finished(stage_process("train_reward", REWARD, "test", threads=2))

    assert everything("models/reward") | everything("metrics") == once


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_reward", "train_sft", "train_dpo"])
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(workspace, name):
    write_pairs("test", [pair(number) for number in range(96)])
    write_pairs("sft", [pair(number) for number in range(96)])
    write_demonstrations(
        "test", [[*said("user", f"Question {number}?"), *said("assistant", GOOD)] for number in range(96)]
    )
    section = {"train_reward": REWARD, "train_sft": SFT, "train_dpo": DPO}[name] | {"epochs": 10}
    item = () if name == "train_dpo" else ("test",)
    finished(stage_process(name, section, *item))
    undisturbed = everything("models") | everything("metrics")

    process = stage_process(name, section, *item)
    while not list(Path(".work").glob(f"{name}/*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = stage_process(name, section, *item)
    output, _ = again.communicate(timeout=600)

    assert again.returncode == 0, output
    assert "going on from here" in output
    assert everything("models") | everything("metrics") == undisturbed


@pytest.mark.parametrize("name", ["train_reward", "train_sft", "train_dpo"])
def test_a_run_that_had_ended_when_dvc_was_killed_takes_no_step_again(workspace, monkeypatch, capsys, name):
    write_pairs("test", [pair(number) for number in range(96)])
    write_pairs("sft", [pair(number) for number in range(96)])
    write_demonstrations(
        "test", [[*said("user", f"Question {number}?"), *said("assistant", GOOD)] for number in range(96)]
    )
    module, section = {
        "train_reward": (train_reward, REWARD),
        "train_sft": (train_sft, SFT),
        "train_dpo": (train_dpo, DPO),
    }[name]
    item = () if name == "train_dpo" else ("test",)
    monkeypatch.setenv("DVC_STAGE", name)  # as under DVC: what is needed to go on is kept until dvc.lock is written
    module.main(module.Params(**section), *item)
    before = everything("models") | everything("metrics")
    for folder in ("models/reward", "models/sft", "models/dpo", "metrics"):
        shutil.rmtree(folder, ignore_errors=True)

    module.main(module.Params(**section), *item)

    [curve] = Path("metrics/plots").rglob("*.json")
    assert f"checkpoint-{read_json(curve)[-1]['step']}: going on from here" in capsys.readouterr().out
    assert everything("models") | everything("metrics") == before
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {name: "recorded"}}))
    stage.sweep()
    assert list(Path(".work").glob("*/*")) == []


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(workspace):
    write_pairs("test", [pair(number) for number in range(48)])
    finished(stage_process("train_reward", REWARD, "test"))
    alone = load_file("models/reward/test/model.safetensors")
    # accelerate starts one process for --cpu or MULTI_CPU, whatever the number asked for
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

    subprocess.run([*command, "-m", "stages.train_reward", "test"], env=environment, check=True, timeout=600)

    for name, tensor in load_file("models/reward/test/model.safetensors").items():
        assert torch.allclose(tensor, alone[name], atol=2e-4), name


def test_hosts_that_would_go_on_from_different_checkpoints_are_told_before_the_first_step(workspace, monkeypatch):
    write_pairs("test", [pair(number) for number in range(48)])
    monkeypatch.setattr(training, "gather_object", lambda mine: [*mine, "checkpoint-20"])  # as the other host said

    with pytest.raises(UserError, match="not every process sees the checkpoint"):
        train_reward.main(train_reward.Params(**REWARD), "test")


def test_rows_keep_their_order_in_the_trainer(workspace):
    rows = [{"input_ids": [5 + number, 6], "labels": [-100, 6]} for number in range(12)]
    order = training.batch_order([2] * 12, batch_size=4, epochs=1, seed=0)
    trainer = train_sft.SFTTrainer(
        model=tiny.causal(),
        args=training.arguments(
            train_sft.SFTConfig,
            work=workspace / "work",
            steps=3,
            batch_size=4,
            learning_rate=1e-3,
            warmup=0.0,
            weight_decay=0.0,
            seed=0,
            max_length=None,
        ),
        train_dataset=Dataset.from_list(rows).select(order),
        processing_class=tiny.tokenizer(),
    )

    seen = [ids[0] - 5 for batch in trainer.get_train_dataloader() for ids in batch["input_ids"].tolist()]

    assert seen == order
