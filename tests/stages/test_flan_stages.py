"""The FLAN stages, run for real on tiny models: mixed, learned, answered, scored."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file

from stages import answer_tasks, build_mixture, score_tasks, train_flan
from synthalign.commands import profiles
from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from tests import families, tiny
from tests.families import REFUSED, WINDOWS

REPOSITORY = Path(__file__).parents[2]
PROFILE = yaml.safe_load(profiles.composed(REPOSITORY / "profiles/embedded.yaml").settings)
SMALL = {"task_examples": 40, "examples": 60, "max_characters": 300}
ONE = {"direct": 4, "cot": 1, "direct_weight": 0.7, "cot_weight": 0.3}
TRAIN = {
    "members": {"tuned": {"model": "models/base", "mixture": "few", "learning_rate": 3e-3}},
    "epochs": 2,
    "batch_size": 4,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "max_length": 320,
    "seed": 0,
}
ANSWER = PROFILE["answer_tasks"] | {
    "items": 4,
    "shots": [0, 1],
    "task_examples": 40,
    "max_new_tokens": 6,
    "subjects": {"base": {"model": "models/base"}, "tuned": {"model": "models/flan/tuned"}},
}
SCORE = {
    "seed": 0,
    "subjects": ["base", "tuned"],
    "mixtures": ["few"],
    "differences": {"tuned": ["tuned", "base"]},
    "sweep": ["base", "tuned", "tuned"],
}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/embedded").symlink_to(REPOSITORY / "data/embedded")
    tiny.save(tmp_path / "models/base", tiny.causal(), tiny.tokenizer())
    return tmp_path


def mix(**changes):
    settings = PROFILE["build_mixture"] | SMALL | {"mixtures": {"few": ONE}}
    return build_mixture.Params(**settings | changes)


def read_json(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


def test_from_tasks_to_scores_and_the_same_bytes_again(workspace):
    build_mixture.main(mix(), "few")
    train_flan.main(train_flan.Params(**TRAIN), "tuned")
    for subject in ("base", "tuned"):
        answer_tasks.main(answer_tasks.Params(**ANSWER), subject)
    score_tasks.main(score_tasks.Params(**SCORE))

    mixed = read_json("metrics/build_mixture/few.json")
    assert mixed["rows"] == sum(mixed["tasks"].values()) == 60
    assert len(mixed["tasks"]) == 4 + 1
    trained = read_json("metrics/train_flan/tuned.json")
    assert trained["examples"] + trained["too_long"] == 60
    assert trained["steps"] == math.ceil(trained["packed_rows"] * 2 / 4)
    assert trained["last_loss"] < trained["first_loss"]
    assert trained["filled"] > trained["filled_one_a_row"]
    before, after = (load_file(f"models/{folder}/model.safetensors") for folder in ("base", "flan/tuned"))
    assert any(not torch.equal(before[name], after[name]) for name in before)

    answers = tables.rows("task_answers/base")
    assert len(answers) == 11 * 4 * 2  # tasks, items, zero and one shot
    assert {row["task"] for row in answers} == set(mix().block_list)
    assert {row["metric"] for row in answers if row["task"] == "colour_check"} == {"choice"}
    assert {row["chance"] for row in answers if row["task"] == "bed_why"} == {0.0}
    assert {row["chance"] for row in answers if row["task"] == "bed_choice"} == {1 / 4}
    assert {row["chance"] for row in answers if row["task"] == "which_home"} == {1 / 2}
    scores = read_json("metrics/score_tasks.json")
    assert set(scores["subjects"]) == {"base", "tuned"}
    gap = scores["subjects"]["tuned"]["all"]["value"] - scores["subjects"]["base"]["all"]["value"]
    assert scores["differences"]["tuned"]["all"]["value"] == pytest.approx(gap, abs=2e-6)

    files = ["data/mixtures/few.parquet", "models/flan/tuned/model.safetensors", "data/task_answers/tuned.parquet"]
    first = [Path(file).read_bytes() for file in files]
    build_mixture.main(mix(), "few")
    train_flan.main(train_flan.Params(**TRAIN), "tuned")
    answer_tasks.main(answer_tasks.Params(**ANSWER), "tuned")
    assert [Path(file).read_bytes() for file in files] == first


def test_a_file_of_instructions_takes_the_worlds_place(workspace):
    rows = [
        {"task": task, "input": f"{task} {at}?", "target": f"answer {at}", "rationale": f"As {at} is."}
        for task in ("mine", "yours", "hers")
        for at in range(9)
    ]
    (workspace / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"source": "mine.jsonl", "direct_tasks": ["mine"], "cot_tasks": ["yours"], "block_list": ["hers"]}

    build_mixture.main(mix(**own, mixtures={"few": ONE | {"direct": 1}}), "few")
    settings = ANSWER | {"source": "mine.jsonl", "written": ["hers"], "chosen": [], "reasoned": []}
    answer_tasks.main(answer_tasks.Params(**settings), "base")

    assert {row["task"] for row in tables.rows("mixtures/few")} == {"mine", "yours"}
    assert len(tables.rows("task_answers/base")) == 4 * 2
    with pytest.raises(UserError, match="'hers' is on the block-list"):
        build_mixture.main(mix(**own | {"direct_tasks": ["hers"]}, mixtures={"few": ONE | {"direct": 1}}), "few")
    with pytest.raises(UserError, match="answer_tasks.chosen: 'hers' has examples without options"):
        answer_tasks.main(answer_tasks.Params(**settings | {"written": [], "chosen": ["hers"]}), "base")


def test_reasoning_with_solved_examples_needs_examples_that_reason(workspace):
    rows = [{"task": "sums", "input": f"What is {at} and 1?", "target": str(at + 1)} for at in range(9)]
    (workspace / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ANSWER | {"source": "mine.jsonl", "written": [], "chosen": [], "reasoned": ["sums"]}

    with pytest.raises(UserError, match="'sums' has 9 examples without a rationale"):
        answer_tasks.main(answer_tasks.Params(**settings), "base")
    answer_tasks.main(answer_tasks.Params(**settings | {"shots": [0]}), "base")

    assert len(tables.rows("task_answers/base")) == 4


def test_several_rows_that_ask_the_same_are_one_item_that_any_of_their_targets_answers(workspace):
    rows = [{"task": "sums", "input": f"What is {at} and 1?", "target": said} for at in range(9) for said in ("x", "y")]
    (workspace / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = answer_tasks.Params(**ANSWER | {"source": "mine.jsonl"})

    found = answer_tasks.examples(params, "sums")

    assert len(found) == 9
    assert {frozenset((one.target, *one.accepted)) for one in found} == {frozenset("xy")}


def test_without_a_source_everything_is_empty_and_says_so(workspace, capsys):
    build_mixture.main(mix(source=None), "few")
    train_flan.main(train_flan.Params(**TRAIN), "tuned")
    for subject in ("base", "tuned"):
        answer_tasks.main(answer_tasks.Params(**ANSWER | {"source": None}), subject)
    score_tasks.main(score_tasks.Params(**SCORE))

    said = capsys.readouterr().out
    assert "build_mixture: source is null" in said
    assert "train_flan: data/mixtures/few.parquet is empty: nothing is trained" in said
    assert "answer_tasks: source is null" in said
    assert "score_tasks: nothing was answered" in said
    assert tables.rows("mixtures/few") == tables.rows("task_answers/tuned") == []
    assert Path("models/flan/tuned").is_dir()
    assert read_json("metrics/score_tasks.json") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixtures": {"few": ONE | {"direct_weight": 0.0, "cot_weight": 0.0}}}, "the weights are"),
        ({"direct_tasks": ["bed_why"]}, "'bed_why' is on the block-list"),
        ({"direct_tasks": ["animal_age"]}, "there is no task 'animal_age'"),
        ({"cot_tasks": ["colour_choice"], "direct_tasks": ["kind_check"]}, "without a rationale"),
        ({"task_examples": 2, "shots": [3]}, "has 2 examples; 3 in front of another need at least 4"),
        ({"mixtures": {"other": ONE}}, "build_mixture has no mixture 'few'; it has other"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(workspace, changes, message):
    with pytest.raises(UserError, match=message):
        build_mixture.main(mix(**changes), "few")

    assert not Path("data/mixtures").exists()


def test_an_evaluation_task_that_was_learned_stops_the_scoring(workspace):
    build_mixture.main(mix(block_list=[], direct_tasks=["bed_choice", "kind_check"]), "few")
    answer_tasks.main(answer_tasks.Params(**ANSWER), "base")

    with pytest.raises(UserError, match="is of the task 'bed_choice' .* put the task on build_mixture.block_list"):
        score_tasks.main(
            score_tasks.Params(**SCORE | {"subjects": ["base"], "differences": {}, "sweep": ["base", "base", "base"]})
        )


def test_names_that_are_not_in_the_settings_are_told(workspace):
    with pytest.raises(UserError, match="train_flan has no member 'x'; it has tuned"):
        train_flan.main(train_flan.Params(**TRAIN), "x")
    with pytest.raises(UserError, match="answer_tasks has no subject 'x'; it has base, tuned"):
        answer_tasks.main(answer_tasks.Params(**ANSWER), "x")
    build_mixture.main(mix(), "few")
    answer_tasks.main(answer_tasks.Params(**ANSWER), "base")
    only_base = SCORE | {"subjects": ["base"]}
    with pytest.raises(ValidationError, match=r"differences.tuned = .*; a difference is between two of subjects: base"):
        score_tasks.Params(**only_base)
    with pytest.raises(ValidationError, match=r"sweep = .*: 'tuned' is none of subjects: base"):
        score_tasks.Params(**only_base | {"differences": {}})


@pytest.mark.parametrize("names", [["tuned"], ["tuned", "base", "tuned"]])
def test_a_difference_that_is_no_pair_is_told_with_its_key(workspace, names):
    Path("params.yaml").write_text(yaml.safe_dump({"score_tasks": SCORE | {"differences": {"odd": names}}}))

    with pytest.raises(UserError, match=r"params.yaml: score_tasks: .*differences.odd = \['tuned'.* is between two of"):
        stage.params("score_tasks", score_tasks.Params)


@pytest.mark.parametrize(
    ("changes", "measured", "missing"),
    [({"reasoned": []}, "direct", "cot"), ({"written": [], "chosen": []}, "cot", "direct")],
)
def test_a_kind_of_task_that_is_not_held_out_is_left_out(workspace, changes, measured, missing):
    build_mixture.main(mix(), "few")
    answer_tasks.main(answer_tasks.Params(**ANSWER | changes), "base")
    alone = {"subjects": ["base"], "differences": {"same": ["base", "base"]}, "sweep": ["base"] * 3}

    score_tasks.main(score_tasks.Params(**SCORE | alone))

    scores = read_json("metrics/score_tasks.json")
    assert {"all", measured} == set(scores["differences"]["same"])
    assert scores["subjects"]["base"]["all"] == scores["subjects"]["base"][measured]
    assert not any(key.startswith(missing) for key in scores["subjects"]["base"])
    assert set(read_json("metrics/plots/task_scores.json")["scores"][0]) == {"subject", "all", measured}


def test_a_mixture_whose_examples_are_all_too_long_is_told(workspace):
    build_mixture.main(mix(), "few")

    with pytest.raises(UserError, match=r"none of 60 examples fits in max_length = 4 tokens"):
        train_flan.main(train_flan.Params(**TRAIN | {"max_length": 4}), "tuned")


@pytest.mark.parametrize("family", ["gemma3_text", "gemma2", "lfm2"])
def test_a_base_model_whose_layers_do_not_see_whole_rows_learns_one_example_a_row(family, workspace, capsys):
    settings = (WINDOWS | REFUSED)[family]
    tiny.save(workspace / "models/base", families.causal(family, settings), tiny.tokenizer())
    build_mixture.main(mix(), "few")

    train_flan.main(train_flan.Params(**TRAIN | {"epochs": 1}), "tuned")

    trained = read_json("metrics/train_flan/tuned.json")
    assert trained["packed_rows"] == trained["examples"] > 0
    assert math.isfinite(trained["last_loss"])
    assert "ForCausalLM apart; each has its own" in capsys.readouterr().out
