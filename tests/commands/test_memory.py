"""Memory counted by hand for a Llama of two layers: D 32, F 64, four heads of 8 (H 32), two key heads (K 16), V 400."""

import inspect
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from synthalign.commands import cli, memory, memory_card, memory_kinds, memory_plan, memory_shapes, memory_way
from synthalign.commands.memory import Held, Need
from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.generation import adapters, gguf_header, shared_prefix
from synthalign.generation.generate import generate
from synthalign.policies import answering
from synthalign.reward import probe
from tests import tiny, tiny_gguf
from tests.small_tables import ROOT

P = 400 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32) + 32
"""Embedding, which is the output layer too; queries and output, keys and values, MLP and norms of a layer; a norm."""

LAYER = 4 * (6 * 32 + 4 * 32 + 4 * 64 + 10)
"""Bytes that the backward pass needs of a token, in float32, of a text of ten."""

PASSING = 4 * (4 * 32 + 2 * 32 + 3 * 64)
"""Bytes of a token in float32 where there is no backward pass."""


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


def test_layers_that_gpt2_has_the_other_way_round_get_adapters_too(folder: Path):
    GPT2Config(vocab_size=400, n_positions=64, n_embd=32, n_layer=2, n_head=4).save_pretrained(folder)

    found = memory_shapes.shape(str(folder), None)

    attention, mlp = [(32, 3 * 32), (32, 32)], [(32, 4 * 32), (4 * 32, 32)]
    assert found.linears == tuple(2 * (attention + mlp))
    lora = adapters.Lora(rank=4, alpha=8.0, dropout=0.0, target_modules=None, merge=False)
    model = adapters.attach(GPT2LMHeadModel(GPT2Config.from_pretrained(folder)), lora, "CAUSAL_LM", seed=0)
    assert found.adapter(4) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_training_all_weights_takes_sixteen_bytes_a_parameter_and_adapters_one_base(shape: memory.Shape):
    every = memory.training(Held(), shape, rows=3, tokens=10, accumulates=True, words=False)
    adapters = memory.training(Held(w=2, a=2, rank=4), shape, rows=3, tokens=10, accumulates=True, words=False)

    assert every.weights + every.gradients + every.optimizer == 16 * P
    assert every.activations == 30 * (2 * LAYER + 4 * 3 * 32)
    assert adapters.weights + adapters.gradients + adapters.optimizer == 2 * P + 16 * shape.adapter(4)
    assert adapters.activations == every.activations / 2 + 30 * 5 * 2 * 32  # norms keep their input in float32


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


@pytest.mark.parametrize(
    ("rows", "most", "workers", "found"),
    [
        (32, 256, 1, (1, 32)),  # 4 prompts with 8 completions each
        (32, 256, 2, (2, 16)),
        (40, 256, 2, (2, 32)),  # 20 each, in whole blocks of 16
        (8, 256, 2, (1, 16)),  # less than a block is for one worker
        (1000, 256, 2, (2, 256)),
        (None, 256, 2, (2, 256)),
        (0, 256, 2, (1, 16)),
    ],
)
def test_a_call_takes_no_more_slots_than_it_has_rows(rows: int | None, most: int, workers: int, found: tuple[int, int]):
    assert memory.dealt(rows, most, workers) == found


def test_the_numbers_that_are_written_down_again_are_those_of_the_code():
    assert (memory.BLOCK, memory.PIECE) == (shared_prefix.BLOCK, shared_prefix.PIECE)
    assert inspect.signature(generate).parameters["batch_size"].default == memory_kinds.SLOTS
    assert answering.DEVICE_BATCH == memory_kinds.ASKED
    assert probe.BATCH == memory_kinds.PROBED


def test_prompts_are_read_a_thousand_tokens_at_a_time_however_many_slots_there_are(shape: memory.Shape):
    few_words = replace(shape, vocabulary=4)  # so that reading takes more than choosing

    def read(**given: int) -> float:
        return memory.sampling(few_words, w=4, prefix=0, new=1, **given).activations

    assert read(own=640, slots=256) == 1024 * PASSING
    assert read(own=640, slots=256, workers=2) == 2 * 1024 * PASSING
    assert read(own=10, slots=16) == 160 * PASSING
    assert read(own=2000, slots=16) == 2000 * PASSING  # a longer prompt is read by itself


def test_each_worker_has_slots_and_words_of_its_own_and_all_share_the_prefix(shape: memory.Shape):
    need = memory.sampling(shape, w=4, prefix=30, own=6, new=4, slots=16, workers=2, device="cpu")

    assert need.weights == 4 * P
    assert need.caches == memory.cache(shape, 30 + 2 * 16 * (6 + 4), 4)
    assert need.activations == memory.CHOICE_COPIES * 4 * 2 * 16 * 400


def test_each_worker_reads_texts_of_its_own_with_logits_of_the_words_that_are_asked_for(shape: memory.Shape):
    need = memory.scoring(shape, w=4, rows=2, tokens=10, workers=3, words=4)

    assert need.activations == 3 * (2 * 10 * PASSING + 2 * 4 * (2 * 4 * 400))


def test_threads_that_have_a_part_of_a_loss_each_hold_its_activations_each(shape: memory.Shape):
    few_words = replace(shape, vocabulary=4)
    given = {"rows": 2, "prompt": 6, "new": 4, "accumulates": True}

    need = memory.loop(Held(rank=4), few_words, value=few_words, threads=3, **given)

    assert need.activations == 3 * (20 * (2 * LAYER + 4 * 3 * 32) + 4 * 4 * 8 * 4)


def test_recomputed_layers_leave_their_inputs_and_one_layer(shape: memory.Shape):
    assert memory.body(Held(recomputed=True), shape, 1, 10) == 10 * (4 * 3 * 32 + 4 * 2 * 32 + LAYER)


def test_in_mixed_precision_the_inputs_of_layers_and_norms_stay_float32_and_weights_are_there_twice(
    shape: memory.Shape,
):
    mixed = Held(w=4, a=2)
    layer = 2 * (4 + 4) * 32 + 2 * (
        5 * 32 + 4 * 32 + 4 * 64 + 10
    )  # norms; queries, keys, values, gate, up ask for one each
    end = 4 * 2 * 32 + 2 * 32

    need = memory.training(mixed, shape, rows=1, tokens=10, accumulates=False, words=False)
    again = memory.training(replace(mixed, recomputed=True), shape, rows=1, tokens=10, accumulates=False, words=False)

    assert need.activations == 10 * (2 * layer + end) + 2 * P
    assert again.activations == 10 * (4 * 2 * 32 + layer + end) + 2 * P


def test_frozen_weights_are_copied_for_products_layer_by_layer_where_these_are_recomputed(shape: memory.Shape):
    assert memory.copies(Held(w=4, a=2, rank=4), shape) == 2 * P
    assert memory.copies(Held(w=4, a=2, rank=4, recomputed=True), shape) == 0
    assert memory.copies(Held(w=4, a=4), shape) == memory.copies(Held(w=2, a=2), shape) == 0


@pytest.mark.parametrize(
    ("held", "dtype"),
    [(Held(4, 4), torch.float32), (Held(4, 2), torch.float32), (Held(2, 2), torch.bfloat16)],
    ids=["fp32", "mixed", "bf16"],
)
def test_what_a_pass_is_told_to_keep_is_what_torch_saves_within_two_percent(
    held: Held, dtype: torch.dtype, tmp_path: Path
):
    config = tiny.config(hidden_size=128, intermediate_size=384, num_key_value_heads=4)
    config.save_pretrained(tmp_path)
    shape = memory_shapes.shape(str(tmp_path), None)
    model = LlamaForCausalLM(config).to(dtype).train()
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.data_ptr(), tensor)
        return tensor

    texts = {"input_ids": torch.full((4, 64), 5), "attention_mask": torch.ones(4, 64, dtype=torch.int64)}
    texts["attention_mask"][0, :9] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=held.a < held.w),
    ):
        model(**texts, use_cache=False)

    saved = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)
    assert memory.body(held, shape, 4, 64) + memory.copies(held, shape) == pytest.approx(saved, rel=0.02)


def test_gradients_take_the_place_of_activations_unless_earlier_rows_left_them():
    need = Need(weights=10, gradients=5, optimizer=20, activations=7)

    assert need.peak == 10 + 20 + 7
    assert Need(10, 5, 20, 7, accumulates=True).peak == 10 + 20 + 7 + 5


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("24", 24e9), ("1.5 GiB", 1.5 * 2**30)])
def test_a_card_is_a_number_of_gigabytes(text: str, size: float):
    assert memory_card.card_bytes(text) == size


@pytest.mark.parametrize("text", ["big", "0", "24MB", ""])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(UserError, match="--card .* write it as 24GB"):
        memory_card.card_bytes(text)


# -- the plan of a profile --------------------------------------------------------------------------------------------


@cache
def embedded() -> Any:
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def params(folder: Path) -> dict[str, Any]:
    """The embedded profile with the tiny model for every base model."""
    given: dict[str, Any] = deepcopy(embedded())
    for model in given["base_models"].values():
        model["source"] = str(folder)
    Path("params.yaml").write_text(json.dumps(given), encoding="utf-8")
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


def test_a_gguf_file_is_told_by_its_header_before_a_folder_is_made_of_it(params: dict[str, Any]):
    tiny_gguf.write(Path("fox.gguf"), tiny.causal(seed=0))
    params["base_models"]["large"] |= {"source": "fox.gguf", "revision": "0" * 64}

    found = memory_shapes.shape_of("models/base/large", params)

    assert found == memory_shapes.shape("tiny", None)
    assert found.parameters == P


def test_a_gguf_file_that_cannot_be_told_is_unknown_with_the_reason(params: dict[str, Any]):
    params["base_models"]["large"] |= {"source": "owl.gguf", "revision": "0" * 64}

    with pytest.raises(memory_shapes.Unknown, match="owl.gguf is not there yet: bring it"):
        memory_shapes.shape_of("models/base/large", params)
    Path("owl.gguf").write_text("no model", encoding="utf-8")
    with pytest.raises(memory_shapes.Unknown, match="owl.gguf is no GGUF file"):
        memory_shapes.shape_of("models/base/large", params)
    tiny_gguf.write(Path("owl.gguf"), tiny.causal(seed=0), general__architecture="mamba")
    assert gguf_header.read(Path("owl.gguf")).settings["general.architecture"] == "mamba"
    with pytest.raises(memory_shapes.Unknown, match="the architecture 'mamba', which is not read here"):
        memory_shapes.shape_of("models/base/large", params)


def test_a_folder_of_adapters_has_the_shape_of_its_base(params: dict[str, Any]):
    Path("adapters").mkdir()
    file = Path("adapters/adapter_config.json")
    params["base_models"]["large"]["source"] = "adapters"

    file.write_text(json.dumps({"base_model_name_or_path": "nowhere"}), encoding="utf-8")
    with pytest.raises(memory_shapes.Unknown, match="adapters holds adapters for nowhere, and there is no such folder"):
        memory_shapes.shape_of("models/base/large", params)
    file.write_text(json.dumps({"base_model_name_or_path": "tiny"}), encoding="utf-8")
    assert memory_shapes.shape_of("models/base/large", params).parameters == P


CPU = memory_way.Way(hardware.Hardware(), device="cpu")
"""One process with one free core."""


def need(params: Mapping[str, Any], stage: str, way: memory_way.Way = CPU) -> Need:
    return next(plan for name, plan in memory_plan.stages(params) if name.partition("@")[0] == stage)(way)


def bring(params: dict[str, Any], *, seeds: int, questions: int) -> None:
    """Files of so many seed queries and evaluation questions, a blank line between them."""
    for name, count in (("seed_queries", seeds), ("eval_questions", questions)):
        Path(name).write_text("Why?\n\n" * count, encoding="utf-8")
        params["mine_queries"][name] = name


def test_mining_has_as_many_slots_as_a_round_has_queries(params: dict[str, Any], shape: memory.Shape):
    params["mine_queries"] |= {"round_size": 4, "completions": 8, "shots": 10, "max_new_tokens": 40}
    two = replace(CPU, workers=2)

    assert need(params, "mine_queries").caches == memory.cache(shape, 32 * (10 * 64 + 40), 4)
    assert need(params, "mine_queries", two).caches == memory.cache(shape, 2 * 16 * (10 * 64 + 40), 4)
    few = replace(CPU, hardware=hardware.Hardware(device_rows=hardware.DeviceRows(sampling=16)))
    assert need(params, "mine_queries", few).caches == memory.cache(shape, 16 * (10 * 64 + 40), 4)


def test_responses_are_as_many_as_the_seeds_the_target_and_the_evaluation_questions(
    params: dict[str, Any], shape: memory.Shape
):
    params["mine_queries"]["target"] = 20
    one = params["sample_responses"]["configurations"]["a"]
    one |= {"shots": 0, "max_new_tokens": 48, "splits": ["train", "eval"]}
    each = 64 + 48  # of a question, and of a response

    any_number = need(params, "sample_responses")
    bring(params, seeds=30, questions=14)  # 30 + 20 + 14 make 64 rows
    few, two_processes = need(params, "sample_responses"), need(params, "sample_responses", replace(CPU, processes=2))
    one["splits"] = ["eval"]

    assert any_number.caches == memory.cache(shape, 256 * each, 4)
    assert few.caches == memory.cache(shape, 64 * each, 4)
    assert two_processes.caches == memory.cache(shape, 32 * each, 4)
    assert need(params, "sample_responses").caches == memory.cache(shape, 16 * each, 4)


def test_ditto_decodes_what_its_demonstrations_ask_for_and_no_four_times_its_rows(
    params: dict[str, Any], shape: memory.Shape
):
    file = Path("captain.jsonl")
    params["train_ditto"] |= {"authors": {"captain": {"demonstrations": str(file)}}, "negatives": 10}
    params["train_ditto"] |= {"device_batch_size": 1, "max_new_tokens": 96}
    each = 64 + 96

    assert need(params, "train_ditto").caches == memory.cache(shape, 256 * each, 4)
    file.write_text("{}\n" * 7, encoding="utf-8")
    assert need(params, "train_ditto").caches == memory.cache(shape, 80 * each, 4)  # 70 in whole blocks


@pytest.mark.parametrize("family", ["train_ditto", "train_spin"])
def test_ditto_reads_up_to_two_texts_for_each_pair_with_the_logits_of_their_prompts(
    family: str, params: dict[str, Any], shape: memory.Shape
):
    file = Path("captain.jsonl")
    file.write_text("{}\n" * 7, encoding="utf-8")
    params[family] |= {"authors": {"captain": {"demonstrations": str(file)}}, "negatives": 1, "max_new_tokens": 96}
    params[family] |= {"pairs_per_demonstration": 2, "device_batch_size": 8}

    several = need(params, family)
    params[family]["pairs_per_demonstration"] = 1  # seven pairs, which are one group

    tokens = 16 * (64 + 96)
    assert several.activations == memory.body(Held(), shape, 16, 64 + 96) + 4 * 4 * tokens * 400
    assert (several.accumulates, need(params, family).accumulates) == (True, False)


def test_a_reward_model_waits_beside_the_decoding_of_preferences_where_there_is_no_gpu(params: dict[str, Any]):
    assert need(params, "sample_preferences").weights == 4 * (P + P + 32)
    assert need(params, "sample_preferences", replace(CPU, device="gpu")).weights == 4 * P


def test_stages_that_score_read_in_every_free_core(params: dict[str, Any]):
    read = need(params, "judge_answers").activations

    assert read == 64 * 512 * PASSING
    assert need(params, "judge_answers", replace(CPU, workers=2)).activations == 2 * read
    assert need(params, "validate_comparisons").activations == 64 * 256 * PASSING  # its max_length


def test_a_probe_is_read_and_holds_no_gradients(params: dict[str, Any]):
    members = {"almost": {"max_pairs": 400}, "gold": {"max_pairs": 400, "probe": 0.5}}
    plans = dict(memory_plan.stages(params | {"train_reward": params["train_reward"] | {"feedback": members}}))

    trained, read = (plans[f"train_reward@{name}"](CPU) for name in members)

    assert trained.gradients > 0 == read.gradients == read.optimizer
    assert read.peak < trained.peak / 2
    reading_16_bits = hardware.Weights(training="fp32", reading="bf16")
    on_a_gpu = replace(CPU, hardware=hardware.Hardware(weights=reading_16_bits))
    assert plans["train_reward@gold"](on_a_gpu).weights == read.weights  # which is held as a trainer holds it


def test_policies_that_are_taken_as_rewards_have_logits(params: dict[str, Any]):
    logits = 2 * 4 * 64 * 512 * 400  # and their sums

    found = need(params, "score_scorers")
    params["score_scorers"]["likelihoods"] = {}
    implied = need(params, "score_scorers")
    params["score_scorers"]["implicit_rewards"] = {}

    assert implied.activations == found.activations
    assert found.activations == 64 * 512 * PASSING + logits
    assert need(params, "score_scorers").activations == 64 * 512 * PASSING


def test_a_snapshot_of_dpo_decodes_beside_three_models(params: dict[str, Any]):
    bring(params, seeds=1, questions=98)
    params["snapshot_dpo"] |= {"max_prompt_tokens": 192, "max_new_tokens": 80}
    tiny.config(num_hidden_layers=16).save_pretrained("deep")  # so that caches take more than reading
    for model in params["base_models"].values():
        model["source"] = "deep"

    found = need(params, "snapshot_dpo", replace(CPU, workers=2))

    deep = P + 14 * (P - 400 * 32 - 32) // 2
    assert found.weights == 4 * (deep + deep + deep + 32)
    assert found.caches == 4 * 2 * 64 * (192 + 80) * 2 * 16 * 16  # 49 sequences each, in whole blocks; 16 layers


def test_a_snapshot_of_dpo_reads_answers_with_their_logits_where_that_takes_more(params: dict[str, Any]):
    bring(params, seeds=1, questions=98)
    params["snapshot_dpo"] |= {"max_prompt_tokens": 8, "max_new_tokens": 400}

    found = need(params, "snapshot_dpo", replace(CPU, workers=2))

    assert found.caches == 0
    assert found.activations == 2 * (32 * (8 + 400) * PASSING + 2 * 4 * 32 * 400 * 400)


LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": None, "merge": True}


def test_with_adapters_policy_and_reward_model_of_group_rl_are_on_one_base(params: dict[str, Any], shape: memory.Shape):
    assert need(params, "train_group_rl").weights == 4 * (2 * P + P + 32)  # policy, reference, reward model

    params["train_group_rl"]["lora"] = LORA

    assert need(params, "train_group_rl").weights == 4 * (P + shape.adapter(4))


def test_group_rl_decodes_a_rollout_batch_beside_the_moments_of_adam(params: dict[str, Any], shape: memory.Shape):
    bring(params, seeds=1, questions=16)
    params["train_group_rl"] |= {"rollout_batch": 128, "minibatch": 1, "max_prompt_tokens": 192, "max_new_tokens": 64}
    params["train_group_rl"]["policies"]["rloo"]["reward"] = "models/reward/gold"

    found = need(params, "train_group_rl")

    assert found.caches == memory.cache(shape, 128 * (192 + 64), 4)
    assert found.optimizer == 8 * P


def test_a_folder_of_adapters_is_counted_in_float32_whatever_type_hardware_yaml_names(params: dict[str, Any]):
    half = replace(CPU, hardware=hardware.Hardware(weights=hardware.Weights(training="bf16", reading="bf16")))
    params["train_dpo"]["model"] = "models/sft/rmsp"
    for policy in params["sample_answers"]["policies"].values():
        policy["model"] = "models/sft/rmsp"
    whole = {stage: need(params, stage, half).weights for stage in ("sample_answers", "train_dpo", "score_rewards")}
    params["train_sft"]["lora"] = params["train_reward"]["lora"] = LORA | {"merge": False}

    for stage, weights in whole.items():
        assert need(params, stage, half).weights == 2 * weights, stage
    params["train_sft"]["lora"] = params["train_reward"]["lora"] = LORA
    for stage, weights in whole.items():
        assert need(params, stage, half).weights == weights, stage
    Path("mine").mkdir()
    Path("mine/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "tiny"}), encoding="utf-8")
    assert memory_shapes.is_adapters("mine", params) and not memory_shapes.is_adapters("tiny", params)


@pytest.mark.parametrize("stage", ["train_ppo", "train_rrhf", "train_group_rl", "train_ditto", "train_spin"])
def test_what_refuses_fsdp_names_adapters_as_the_way(stage: str, params: dict[str, Any]):
    with pytest.raises(memory_shapes.Unknown, match="refuses FSDP.* accelerate/gpu.yaml and a `lora` block"):
        need(params, stage, memory_way.Way(hardware.Hardware(), processes=8, sharded=True))


def test_under_fsdp_dpo_is_told_without_adapters_alone_which_are_no_way_to_make_it_fit(params: dict[str, Any]):
    plan = next(plan for name, plan in memory_plan.stages(params) if name == "train_dpo")
    sharded = memory_way.Way(hardware.Hardware(), processes=8, sharded=True)

    assert plan(sharded).weights == 4 * P / 8
    mixed = plan(replace(sharded, mixed=True)).activations
    assert mixed == plan(memory_way.Way(hardware.Hardware(), processes=8, mixed=True)).activations - 2 * P
    with pytest.raises(memory_shapes.Unknown, match="DPO with a `lora` block refuses FSDP"):
        plan(replace(sharded, rank=16))
    assert memory_card.remedy(plan, sharded, card=1).startswith("none of LoRA")


def test_parts_of_a_loss_that_free_cores_compute_beside_each_other_are_counted_each(params: dict[str, Any]):
    params["train_rrhf"] |= {"batch_size": 64, "device_batch_size": 32, "max_new_tokens": 64, "lora": LORA}

    one, two = (need(params, "train_rrhf", replace(CPU, workers=workers)) for workers in (1, 2))
    several_processes = need(params, "train_rrhf", replace(CPU, workers=2, processes=2))

    assert two.activations == 2 * one.activations
    assert several_processes.activations == one.activations


def test_the_free_cores_of_a_process_work_beside_each_other_only_without_a_gpu(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(12))
    Path("accelerate.yaml").write_text("{use_cpu: true, num_processes: 6, num_machines: 2}", encoding="utf-8")

    assert memory_card.in_force(card=None).workers == 4  # three processes on each machine
    assert memory_card.in_force(card=24e9).workers == 1


def test_tasks_that_nobody_has_given_load_no_model(params: dict[str, Any]):
    params["answer_tasks"]["source"] = None

    assert not [name for name, _ in memory_plan.stages(params) if name.startswith("answer_tasks")]


@pytest.mark.parametrize("stage", ["train_ditto", "train_spin"])
def test_ditto_holds_its_reference_beside_the_policy_and_with_adapters_one_base(stage: str, params: dict[str, Any]):
    plan = next(plan for name, plan in memory_plan.stages(params) if name.startswith(stage))

    whole, adapters = (plan(memory_way.Way(hardware.Hardware(), rank=rank)) for rank in (None, 4))

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
