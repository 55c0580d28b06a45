"""RLOO and GRPO by TRL's trainers on our engine's answers, on a tiny world."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from pydantic import ValidationError

from stages import train_group_rl
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.policies import group_training
from tests import families, tiny
from tests.taught import QUESTIONS, TOKENIZER, fond_of, taught

REPOSITORY = Path(__file__).parents[2]

FAMILY: dict[str, Any] = dict(
    seed=0,
    steps=3,
    rollout_batch=8,
    answers=4,
    minibatch=4,
    epochs=2,
    warmup=0.1,
    clip=0.2,
    missing_stop_penalty=-1.0,
    temperature=1.0,
    max_new_tokens=24,
    max_prompt_tokens=60,
)
MEMBER: dict[str, Any] = dict(
    policy="models/sft/rmsp", reward="models/reward/almost", kl_coefficient=0.05, learning_rate=1e-3
)


def params(**changes: Any) -> train_group_rl.Params:
    member = MEMBER | {key: value for key, value in changes.items() if key in MEMBER}
    family = FAMILY | {key: value for key, value in changes.items() if key in FAMILY or key == "lora"}
    policies = {name: member | {"algorithm": name} for name in ("rloo", "grpo")}
    return train_group_rl.Params.model_validate(family | {"policies": policies})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy, a reward model, and queries of which one is an evaluation question."""
    monkeypatch.chdir(tmp_path)
    tiny.save(Path("models/sft/rmsp"), taught(), TOKENIZER)
    tiny.save(Path("models/reward/almost"), fond_of(" forest"), TOKENIZER)
    queries = [{"query_id": query_id, "text": question, "split": "train"} for query_id, question in QUESTIONS]
    queries[0]["split"] = "eval"
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "text", "split")])
    tables.write(queries, "queries", key="query_id", schema=schema)
    return tmp_path


def metrics(name: str) -> dict[str, Any]:
    return yaml.safe_load(Path(f"metrics/train_group_rl/{name}.json").read_text())


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_the_stage_writes_policy_curve_log_and_metrics_and_leaves_no_scratch(workspace: Path, name: str) -> None:
    train_group_rl.main(params(), name)

    before, after = models.load_causal("models/sft/rmsp"), models.load_causal(f"models/group_rl/{name}")
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    assert [row["step"] for row in tables.rows(f"group_rl_curve/{name}")] == [0, 3]
    found = metrics(name)
    assert (found["updates"], found["answers"]) == (3 * 2 * 8 / 4, 3 * 8)
    assert 3 * 8 <= found["tokens_sampled"] <= 3 * 8 * 24
    assert found["before"]["kl"] == 0.0
    log = yaml.safe_load(Path(f"metrics/plots/train_group_rl/{name}.json").read_text())
    assert {"step", "reward", "kl", "entropy", "tokens", "loss"} <= set(log[0])
    assert list(Path(".work/train_group_rl").iterdir()) == []


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_the_reward_rises(workspace: Path, name: str) -> None:
    train_group_rl.main(params(steps=20, learning_rate=5e-3), name)

    log = yaml.safe_load(Path(f"metrics/plots/train_group_rl/{name}.json").read_text())
    assert log[-1]["reward"] > log[0]["reward"]


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_answers_of_one_reward_teach_nothing(workspace: Path, name: str) -> None:
    tiny.save(Path("models/reward/almost"), fond_of(" forest", scale=0.0), TOKENIZER)

    train_group_rl.main(params(kl_coefficient=0.0, missing_stop_penalty=0.0), name)

    before, after = models.load_causal("models/sft/rmsp"), models.load_causal(f"models/group_rl/{name}")
    assert torch.allclose(before.lm_head.weight, after.lm_head.weight, atol=1e-6)


def test_an_answer_without_an_end_is_paid_the_penalty_in_place_of_its_score() -> None:
    end = TOKENIZER.eos_token_id
    rewards = group_training.reward_function(fond_of(" forest"), TOKENIZER, ends={end}, missing_stop_penalty=-1.0)

    whole, cut, empty = rewards(
        completions=[" the forest", " the forest", " "],
        completion_ids=[[5, end], [5, 6], [end]],
        question=["Where?"] * 3,
    )

    assert whole is not None and whole > 0
    assert (cut, empty) == (-1.0, -1.0)


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_an_answer_that_ends_with_another_of_the_policys_ends_is_paid_its_score(workspace: Path, name: str) -> None:
    policy = taught()
    period = TOKENIZER(".").input_ids[-1]
    policy.generation_config.eos_token_id = [TOKENIZER.eos_token_id, period]  # as Llama 3 and Qwen have several
    tiny.save(Path("models/sft/rmsp"), policy, TOKENIZER)

    train_group_rl.main(params(steps=1, epochs=1, missing_stop_penalty=-100.0), name)

    log = yaml.safe_load(Path(f"metrics/plots/train_group_rl/{name}.json").read_text())
    assert log[0]["without_end_share"] < 1
    assert log[0]["reward"] > -100 * log[0]["without_end_share"] - 1


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_learning_reads_the_prompts_that_answers_were_sampled_behind(
    workspace: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("models/sft/rmsp/tokenizer.json")
    said = yaml.safe_load(file.read_text())
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<eos>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<eos>": {"id": "<eos>", "ids": [TOKENIZER.eos_token_id], "tokens": ["<eos>"]}},
    }
    file.write_text(json.dumps(said))
    assert models.load_tokenizer("models/sft/rmsp")("So").input_ids[-1] == TOKENIZER.eos_token_id
    read: list[list[int]] = []
    tokenize = group_training.OurAnswers._tokenize_prompts
    monkeypatch.setattr(
        group_training.OurAnswers,
        "_tokenize_prompts",
        lambda self, prompts: (read.extend(found := tokenize(self, prompts)[0]), (found, None, {}))[1],
    )

    train_group_rl.main(params(steps=1, epochs=1), name)

    assert read and all(row[-1] != TOKENIZER.eos_token_id for row in read)


@pytest.mark.parametrize("lora", [None, dict(rank=2, alpha=4.0, dropout=0.0, target_modules=None, merge=True)])
@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_probabilities_behind_padding_are_those_without_it_also_where_positions_are_learned(
    workspace: Path, name: str, lora: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt2 = families.causal("gpt2", families.WHOLE["gpt2"])
    gpt2.generation_config.eos_token_id = gpt2.config.eos_token_id = TOKENIZER.eos_token_id
    tiny.save(Path("models/sft/rmsp"), gpt2, TOKENIZER)
    kind = group_training.OurRLOO if name == "rloo" else group_training.OurGRPO
    [method] = [one for one in dir(kind) if one.startswith("_get_per_token_logps")]
    theirs, padding, models_read = getattr(kind, method), [], set()

    def compared(self: Any, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, *given: Any, **more: Any):
        found = theirs(self, model, ids, mask, keep, *given, **more)
        for row, real, said in zip(ids, mask.bool(), found[0], strict=True):
            alone = model(input_ids=row[real][None]).logits[0, :-1].log_softmax(-1)
            expected = alone.gather(-1, row[real][1:, None])[:, 0][-int(real[-keep:].sum()) :]
            torch.testing.assert_close(said[real[-keep:]], expected, atol=1e-4, rtol=1e-4)
            padding.append(int((~real[:-keep]).sum()))
        models_read.add(id(model))
        return found

    monkeypatch.setattr(kind, method, compared)

    train_group_rl.main(params(steps=2, epochs=1, rollout_batch=16, minibatch=16, lora=lora), name)

    assert max(padding) > 0, "no prompt was padded"
    assert len(models_read) == (1 if lora else 2)  # policy and reference, which with adapters are one model


def test_a_model_that_tells_padding_from_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = families.causal("gpt2", families.WHOLE["gpt2"])
    monkeypatch.setattr(model.base_model, "register_forward_pre_hook", lambda *given, **more: None)

    with pytest.raises(UserError, match="GPT2LMHeadModel says something else behind padding.*train_ppo or train_rrhf"):
        group_training.count_from_the_first_token(model)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "opt", "gemma", "olmo2", "mixtral"])
def test_a_model_that_padding_leaves_alone_is_left_as_it_is(family: str) -> None:
    model = families.causal(family, families.WHOLE[family])

    group_training.count_from_the_first_token(model)

    assert not model.base_model._forward_pre_hooks


def test_sharded_models_are_refused_before_one_loads(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")

    with pytest.raises(UserError, match="FSDP shards models; .*RLOO and GRPO sample from whole models"):
        train_group_rl.main(params(), "rloo")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": 1}, "answers\n  Input should be greater than or equal to 2"),
        ({"answers": 3}, "rollout_batch = 8 is not a multiple of answers = 3"),
        ({"minibatch": 3}, "rollout_batch = 8 is not a multiple of minibatch = 3"),
    ],
)
def test_groups_that_cannot_be_formed_are_refused_before_a_model_loads(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        params(**changes)


def test_what_is_wrong_is_named(workspace: Path) -> None:
    with pytest.raises(UserError, match="train_group_rl has no policy 'other'; it has rloo, grpo"):
        train_group_rl.main(params(), "other")
    with pytest.raises(UserError, match=r"raise train_group_rl\.max_prompt_tokens"):
        train_group_rl.main(params(max_prompt_tokens=2), "rloo")


def test_a_reward_that_is_no_number_stops_the_run(workspace: Path) -> None:
    broken = fond_of(" forest")
    broken.score.weight.data.fill_(math.nan)
    tiny.save(Path("models/reward/almost"), broken, TOKENIZER)

    with pytest.raises(UserError, match="scores .* with nan"):
        train_group_rl.main(params(), "rloo")


def everything() -> dict[str, bytes]:
    files = [file for folder in ("models/group_rl", "data", "metrics") for file in Path(folder).rglob("*")]
    return {str(file): file.read_bytes() for file in sorted(files) if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_kill_9_and_again_makes_the_same_bytes(workspace: Path, name: str) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"train_group_rl": params(steps=40).model_dump()}))
    command = [sys.executable, "-m", "stages.train_group_rl", name]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=600)
    undisturbed = everything()

    process = subprocess.Popen(command, env=environment)
    while not list(Path(".work/train_group_rl").glob("*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(command, env=environment, check=True, timeout=600, capture_output=True, text=True)

    assert "going on from here" in again.stdout
    assert everything() == undisturbed
