"""Memory counted by hand for a Llama of two layers: D 32, F 64, four heads of 8 (H 32), two key heads (K 16), V 400."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from synthalign.commands import cli, memory, memory_plan, memory_shapes
from synthalign.commands.memory import Held, Need
from synthalign.core import hardware
from synthalign.core.errors import UserError
from tests import tiny
from tests.small_tables import ROOT

P = 400 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32) + 32
"""Embedding, which is the output layer too; queries and output, keys and values, MLP and norms of a layer; a norm."""

LAYER = 4 * (6 * 32 + 4 * 32 + 4 * 64 + 10)
"""Bytes that the backward pass needs of a token, in float32, of a text of ten."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny.config().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def shape(folder: Path) -> memory.Shape:
    return memory_shapes.shape(str(folder), None)


def test_a_shape_is_what_config_json_says_without_any_weights(shape: memory.Shape):
    assert P == 31_392
    assert (shape.parameters, shape.untied) == (P, 0)
    assert (shape.hidden, shape.inner, shape.heads, shape.key_heads, shape.layers) == (32, 64, 32, 16, 2)
    assert shape.as_reward().parameters == P + 32


def test_a_cache_has_a_key_and_a_value_of_every_layer_for_each_token(shape: memory.Shape):
    assert memory.cache(shape, 10, 4) == 10 * 4 * 2 * 2 * 16


def test_an_adapter_has_rank_times_inputs_and_outputs_of_every_linear_layer(shape: memory.Shape):
    queries_and_output, keys_and_values, mlp = 2 * (32 + 32), 2 * (32 + 16), 3 * (32 + 64)

    assert shape.adapter(4) == 4 * 2 * (queries_and_output + keys_and_values + mlp)


def test_training_all_weights_takes_sixteen_bytes_a_parameter_and_adapters_one_base(shape: memory.Shape):
    every = memory.training(Held(), shape, rows=3, tokens=10, accumulates=True, words=False)
    adapters = memory.training(Held(w=2, a=2, rank=4), shape, rows=3, tokens=10, accumulates=True, words=False)

    assert every.weights + every.gradients + every.optimizer == 16 * P
    assert every.activations == 30 * (2 * LAYER + 4 * 3 * 32)
    assert adapters.weights + adapters.gradients + adapters.optimizer == 2 * P + 16 * shape.adapter(4)
    assert adapters.activations == every.activations / 2


def test_ppo_takes_forty_bytes_a_parameter(shape: memory.Shape):
    reward = shape.as_reward()
    beside = 4 * (P + 2 * reward.parameters)  # the reference; reward and value model

    need = memory.loop(Held(), shape, beside=beside, value=reward, rows=2, prompt=6, new=4, accumulates=False)

    assert need.weights + need.gradients + need.optimizer == 40 * P + 20 * 32


def test_ppo_reads_answers_with_both_models_and_four_times_the_logits_of_their_tokens(shape: memory.Shape):
    few_words = replace(shape, vocabulary=4)  # so that decoding takes less than the step

    need = memory.loop(Held(), few_words, value=few_words, rows=2, prompt=6, new=4, accumulates=True)

    assert need.activations == 2 * 20 * (2 * LAYER + 4 * 3 * 32) + 4 * 4 * 8 * 4


def test_where_decoding_takes_more_than_a_step_its_caches_count_beside_gradients(shape: memory.Shape):
    need = memory.loop(Held(), shape, rows=2, prompt=6, new=4, accumulates=False)

    assert need.caches == memory.cache(shape, 8 * 10, 4)
    assert need.peak == 16 * P + need.caches + memory.CHOICE_COPIES * 4 * 8 * 400


def test_recomputed_layers_leave_their_inputs_and_one_layer(shape: memory.Shape):
    assert memory.body(shape, 1, 10, 4, recomputed=True) == 10 * (4 * 3 * 32 + 4 * 2 * 32 + LAYER)


def test_gradients_take_the_place_of_activations_unless_earlier_rows_left_them():
    need = Need(weights=10, gradients=5, optimizer=20, activations=7)

    assert need.peak == 10 + 20 + 7
    assert Need(10, 5, 20, 7, accumulates=True).peak == 10 + 20 + 7 + 5


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("24", 24e9), ("1.5 GiB", 1.5 * 2**30)])
def test_a_card_is_a_number_of_gigabytes(text: str, size: float):
    assert memory_plan.card_bytes(text) == size


@pytest.mark.parametrize("text", ["big", "0", "24MB", ""])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(UserError, match="--card .* write it as 24GB"):
        memory_plan.card_bytes(text)


# -- the plan of a profile --------------------------------------------------------------------------------------------


@pytest.fixture
def params(folder: Path) -> dict[str, Any]:
    """The embedded profile with the tiny model for every base model."""
    given: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for model in given["base_models"].values():
        model["source"] = str(folder)
    Path("params.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    return given


def test_a_card_that_holds_every_stage_is_said_to(params: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    cli.main(["plan", "--memory", "--card", "24GB"])

    said = capsys.readouterr().out
    assert "train_ppo@almost, ptx and 3 more" in said
    assert said.endswith("A card of 24GB holds every stage.\n")


def test_a_card_that_is_too_small_names_the_stages_and_what_would_fit(
    params: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as left:
        cli.main(["plan", "--memory", "--card", "0.1GB"])

    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 1
    assert "Does not fit 0.1GB: train_sft; train_dpo: 0.16 GB; fits with: gradient_checkpointing." in lines


def test_a_model_that_is_not_there_yet_is_unknown_and_not_a_crash(
    params: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    params["base_models"]["large"] |= {"source": "nobody/nothing", "revision": "0" * 40}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")

    cli.main(["plan", "--memory"])

    unknown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Unknown"))
    assert "sample_responses@a" in unknown and "nobody/nothing is not in the hub's cache" in unknown


def test_a_gguf_file_is_told_by_the_folder_that_is_made_of_it(params: dict[str, Any]):
    given = params["base_models"]["large"]
    made, source = Path("models/base/large"), Path("fox.gguf")
    given |= {"source": str(source), "revision": "0" * 64}

    with pytest.raises(memory_shapes.Unknown, match="fox.gguf is not there yet"):
        memory_shapes.shape_of(str(made), params)
    source.touch()
    with pytest.raises(memory_shapes.Unknown, match="`dvc repro base_models` does it"):
        memory_shapes.shape_of(str(made), params)
    tiny.config().save_pretrained(made)
    assert memory_shapes.shape_of(str(made), params).parameters == P


@pytest.mark.parametrize("stage", ["train_ditto", "train_spin"])
def test_ditto_holds_its_reference_beside_the_policy_and_with_adapters_one_base(stage: str, params: dict[str, Any]):
    plan = next(plan for name, plan in memory_plan.stages(params) if name.startswith(stage))

    whole, adapters = (plan(memory_plan.Way(hardware.Hardware(), rank=rank)) for rank in (None, 4))

    assert whole.weights == 2 * 4 * P
    assert adapters.weights < 2 * 4 * P


def test_every_stage_that_holds_a_model_has_a_line(params: dict[str, Any]):
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    holding = {name for name, one in graph.items() if "warm.launch" in str(one)}

    for name in ("score_comparisons", "score_policies", "score_candidates", "score_pairs"):
        params[name]["people"] = "models/reward/gold"

    planned = {name.partition("@")[0] for name, _ in memory_plan.stages(params)}

    assert holding == planned


def test_what_memory_does_not_look_at_is_refused(params: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    for more in (["train_ppo"], ["--json"]):
        with pytest.raises(SystemExit):
            cli.main(["plan", *more, "--memory"])
        assert "leave TARGET and --json out" in capsys.readouterr().err


def test_without_a_model_that_judges_a_measuring_stage_has_no_line(params: dict[str, Any]):
    params["judge_answers"] |= {"reward": None, "people": None}
    params["score_pairs"]["people"] = None

    planned = {name for name, _ in memory_plan.stages(params)}

    assert not {"judge_answers", "score_pairs"} & planned
