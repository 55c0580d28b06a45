"""PPO on a tiny world: a policy that was taught a few answers, and a reward model that counts words it likes."""

import copy
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from tokenizers import pre_tokenizers
from transformers import PreTrainedModel

from stages import train_ppo
from synthalign.core import json_lines, tables
from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.policies import answering, batching, checkpoints, ppo_rollouts, ppo_training, prompting
from synthalign.policies.ppo_rollouts import PolicyAndValue, Rollout, ValueModel
from synthalign.policies.ppo_settings import Settings
from synthalign.policies.ppo_training import State, Targets
from synthalign.reward import scoring
from tests import tiny
from tests.taught import LESSONS, QUESTIONS, TOKENIZER, fond_of, lesson, loss_on, prompts, taught

SETTINGS: dict[str, Any] = dict(
    seed=0,
    steps=4,
    rollout_batch=16,
    minibatch=8,
    epochs=2,
    learning_rate=1e-3,
    value_learning_rate=1e-3,
    schedule="constant",
    warmup_steps=0,
    clip=0.2,
    value_clip=0.2,
    discount=1.0,
    gae_lambda=0.95,
    kl_coefficient=0.05,
    kl_target=None,
    kl_horizon=1000.0,
    turn_ends=False,
    missing_stop_penalty=-1.0,
    whiten_rewards=False,
    temperature=1.0,
    max_new_tokens=24,
    max_gradient_norm=1.0,
    ptx_coefficient=0.0,
    ptx_batch=0,
    snapshot_every=2,
    checkpoint_every=2,
    device_batch_size=8,
)


def run(
    folder: Path, *, policy: PreTrainedModel | None = None, reward_model: PreTrainedModel | None = None, **changes: Any
) -> tuple[PreTrainedModel, State]:
    policy = policy or taught()
    given: dict[str, Any] = dict(prompts=prompts(), questions=prompts(), ptx_texts=[], folder=folder)
    settings = Settings(**(SETTINGS | {key: value for key, value in changes.items() if key in SETTINGS}))
    given |= {key: value for key, value in changes.items() if key not in SETTINGS}
    reward_model = reward_model or fond_of(" forest")
    state = ppo_training.train(Accelerator(cpu=True), policy, reward_model, TOKENIZER, settings, **given)
    return policy, state


def digest(model: PreTrainedModel, folder: Path) -> str:
    model.save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def sample(
    policy: PreTrainedModel, reward_model: PreTrainedModel, count: int = 16
) -> tuple[PolicyAndValue, list[Rollout]]:
    both = PolicyAndValue(policy, ValueModel(copy.deepcopy(reward_model)), temperature=1.0)
    chosen = (prompts() * count)[:count]
    rollouts = ppo_rollouts.sample_rollouts(
        Accelerator(cpu=True),
        both,
        copy.deepcopy(policy),
        reward_model,
        TOKENIZER,
        chosen,
        [str(place) for place in range(count)],
        seed=0,
        max_new_tokens=24,
        device_batch_size=5,
    )
    return both, rollouts


def aims(rollouts: list[Rollout], **changes: Any) -> Targets:
    settings: dict[str, Any] = dict(
        kl_coefficient=0.1,
        turn_ends=False,
        missing_stop_penalty=-1.0,
        whiten_rewards=False,
        discount=1.0,
        gae_lambda=0.95,
    )
    return ppo_training.targets(rollouts, **(settings | changes))


def improve(both: PolicyAndValue, rollouts: list[Rollout], goals: Targets, **changes: Any) -> dict[str, float]:
    settings: dict[str, Any] = dict(
        pad=TOKENIZER.pad_token_id,
        clip=0.2,
        value_clip=0.2,
        ptx_coefficient=0.0,
        max_gradient_norm=1e9,
        device_batch_size=6,
    )
    optimizer = torch.optim.SGD(both.parameters(), lr=0.0)
    return ppo_training.improve(Accelerator(cpu=True), both, optimizer, rollouts, goals, [], **(settings | changes))


# ------------------------------------------------------------------------------------------------ what a batch is


def test_states_are_the_positions_before_the_chosen_tokens() -> None:
    batch = batching.collate([[7, 8], [7]], [[9], [5, 6, 0]], pad=1, device=torch.device("cpu"))

    assert batch.input_ids.tolist() == [[7, 8, 9, 1], [7, 5, 6, 0]]
    assert batch.states.tolist() == [[False, True, False, False], [True, True, True, False]]
    assert batch.chosen.tolist() == [9, 5, 6, 0]
    assert batching.by_answer(batch.chosen, batch.mask).tolist() == [[9, 0, 0], [5, 6, 0]]


def test_padding_changes_neither_logprobs_nor_values() -> None:
    both, rollouts = sample(taught(), tiny.reward(seed=1))
    lengths = {len(rollout.prompt.token_ids) + len(rollout.token_ids) for rollout in rollouts}
    assert len(lengths) > 1, "all answers are equally long, so nothing is padded"

    for rollout in rollouts:
        alone = batching.collate(
            [rollout.prompt.token_ids], [rollout.token_ids], pad=TOKENIZER.pad_token_id, device=torch.device("cpu")
        )
        reading = both(alone)
        assert torch.allclose(reading.logprobs[0], rollout.logprobs, atol=1e-5)
        assert torch.allclose(reading.values[0], rollout.values, atol=1e-5)


def test_rows_of_like_length_are_read_together() -> None:
    assert batching.alike([9, 2, 9, 1, 2], 2) == [[3, 1], [4, 0], [2]]


def test_a_pass_over_the_prompts_takes_each_once_and_the_next_pass_has_another_order() -> None:
    passes = prompting.draw(5, 0, 10, seed=0, name="x")

    assert sorted(passes[:5]) == sorted(passes[5:]) == [0, 1, 2, 3, 4]
    assert passes[:5] != passes[5:]
    assert prompting.draw(5, 3, 4, seed=0, name="x") == passes[3:7]
    assert prompting.draw(5, 0, 10, seed=1, name="x") != passes


# ------------------------------------------------------------------------------------------------ L1, L2, L5, L8


def test_l1_before_the_first_update_ratio_is_one_and_kl_and_clip_fraction_are_zero() -> None:
    both, rollouts = sample(taught(), fond_of(" forest"))

    done = improve(both, rollouts, aims(rollouts))

    assert [rollout.kl for rollout in rollouts] == [0.0] * 16
    assert done["clip_fraction"] == 0.0
    assert done["approximate_kl"] == pytest.approx(0.0, abs=1e-9)
    # With every ratio 1 the policy loss is minus the sum of the advantages, which are whitened.
    assert done["policy_loss"] == pytest.approx(0.0, abs=1e-3)


def test_l1_the_rewards_of_each_answer_sum_to_its_score_less_beta_times_its_kl() -> None:
    policy, rollouts = sample(taught(), fond_of(" forest"))[0].policy, None
    for parameter in policy.parameters():
        parameter.data.mul_(0.9)
    both = PolicyAndValue(policy, ValueModel(fond_of(" forest")), temperature=1.0)
    rollouts = ppo_rollouts.sample_rollouts(
        Accelerator(cpu=True), both, taught(), fond_of(" forest"), TOKENIZER, prompts(), list("abcd"),
        seed=0, max_new_tokens=24, device_batch_size=4,
    )  # fmt: skip
    goals = aims(rollouts, gae_lambda=1.0, kl_coefficient=0.3)

    for row, rollout in enumerate(rollouts):
        kl = rollout.kl
        score = rollout.reward if rollout.is_complete else -1.0
        assert kl != 0.0
        assert goals.returns[row, 0].item() == pytest.approx(score - 0.3 * kl, abs=1e-4)


def test_l2_and_l5_the_value_at_the_last_token_is_the_score_that_the_reward_model_gives() -> None:
    reward_model = tiny.reward(seed=1)
    both, rollouts = sample(taught(), reward_model)
    complete = [rollout for rollout in rollouts if rollout.is_complete]
    assert complete

    for rollout in complete:
        assert rollout.token_ids[-1] == TOKENIZER.eos_token_id
        whole = torch.tensor([rollout.prompt.token_ids + rollout.token_ids])
        padded = torch.cat([whole, torch.full((1, 3), TOKENIZER.pad_token_id)], dim=1)
        values = both.value(padded)
        assert values[0, whole.shape[1] - 1].item() == pytest.approx(rollout.reward, abs=1e-5)


def test_l5_policy_value_reward_and_reference_share_no_parameter(tmp_path: Path) -> None:
    policy, reward_model = taught(), fond_of(" forest")
    before = {name: parameter.clone() for name, parameter in reward_model.named_parameters()}

    both, _ = sample(policy, reward_model)
    run(tmp_path / "work", policy=policy, reward_model=reward_model, steps=1)

    places = [{p.data_ptr() for p in model.parameters()} for model in (both.policy, both.value, reward_model)]
    assert places[0] & places[1] == places[0] & places[2] == places[1] & places[2] == set()
    assert all(torch.equal(before[name], parameter) for name, parameter in reward_model.named_parameters())


def test_l4_a_score_has_mean_zero_and_deviation_one_where_the_reward_model_says_so(tmp_path: Path) -> None:
    """The loss that counts a prompt's pairs as one is train_reward's; what PPO needs is the zero and the unit."""
    folder = tiny.save(tmp_path / "reward", fond_of(" forest"), TOKENIZER)
    _, rollouts = sample(taught(), fond_of(" forest"))
    scoring.normalise(folder, [rollout.reward for rollout in rollouts])

    _, normalised = sample(taught(), models.load_reward(folder))

    scores = np.array([rollout.reward for rollout in normalised])
    assert scores.mean() == pytest.approx(0.0, abs=1e-5)
    assert scores.std() == pytest.approx(1.0, abs=1e-5)


def rollout(text: str, token_ids: list[int], finish_reason: str, score: float) -> Rollout:
    nothing = torch.zeros(len(token_ids))
    return Rollout(prompts()[0], text, token_ids, finish_reason, score, 0.0, nothing, nothing, nothing, 0.0)


def test_l8_cut_off_and_empty_answers_are_paid_the_penalty_at_their_last_token() -> None:
    rollouts = [
        rollout(" Riga.", [5, 6, 0], "eos", 2.0),
        rollout(" Riga. Riga", [5, 6, 5], "length", 2.0),
        rollout(" Riga.", [5, 6, 7], "stop", 2.0),
        rollout("", [0], "eos", 2.0),
        rollout(" ", [3, 0], "eos", 2.0),
    ]

    goals = aims(rollouts, gae_lambda=0.0)

    # With values of 0 and lambda = 0 the return is the token's reward.
    assert goals.returns.tolist() == [[0, 0, 2], [0, 0, -1], [0, 0, -1], [-1, 0, 0], [0, -1, 0]]


# ------------------------------------------------------------------------------------------------ one update


def by_numpy(
    logits: list[Any], old: Any, reference: list[Any], values: list[Any], goals: dict[str, Any]
) -> dict[str, Any]:
    """One PPO update of answers b = 0, 1, ..., written anew: arrays in, losses and gradients out."""
    eps, beta, lam = goals["clip"], goals["beta"], goals["lambda"]
    advantages, returns = [], []
    for b, tokens in enumerate(goals["tokens"]):
        rewards = [-beta * (old["logprobs"][b][t] - reference[b][t]) for t in range(len(tokens))]
        rewards[-1] += goals["scores"][b]
        v, following, row = [*old["values"][b], 0.0], 0.0, []
        for t in reversed(range(len(tokens))):
            following = rewards[t] + v[t + 1] - v[t] + lam * following
            row.insert(0, following)
        advantages.append(np.array(row))
        returns.append(np.array(row) + np.array(v[:-1]))
    flat = np.concatenate(advantages)
    advantages = [(row - flat.mean()) / flat.std() for row in advantages]
    policy = value = clipped = squared = 0.0
    gradients, value_gradients = [], []
    for b, tokens in enumerate(goals["tokens"]):
        top = logits[b].max(axis=1, keepdims=True)
        probabilities = np.exp(logits[b] - top) / np.exp(logits[b] - top).sum(axis=1, keepdims=True)
        chosen = np.eye(logits[b].shape[1])[tokens]
        delta = np.log((probabilities * chosen).sum(axis=1)) - old["logprobs"][b]
        ratio, a = np.exp(delta), advantages[b]
        free, held = -ratio * a, -np.clip(ratio, 1 - eps, 1 + eps) * a
        policy += np.maximum(free, held).sum()
        active = (free > held) | (np.abs(ratio - 1) <= eps)
        gradients.append((-a * ratio * active)[:, None] * (chosen - probabilities) / len(flat))
        limited = np.clip(values[b], old["values"][b] - eps, old["values"][b] + eps)
        one, two = (values[b] - returns[b]) ** 2, (limited - returns[b]) ** 2
        value += 0.5 * np.maximum(one, two).sum()
        inside = np.abs(values[b] - old["values"][b]) <= eps
        value_gradients.append(np.where((one > two) | inside, values[b] - returns[b], 0.0) / len(flat))
        clipped += (np.abs(ratio - 1) > eps).sum()
        squared += 0.5 * (delta**2).sum()
    return dict(policy=policy, value=value, clipped=clipped, squared=squared, logits=gradients, values=value_gradients)


def test_one_update_has_the_losses_and_gradients_of_a_calculation_in_numpy() -> None:
    both, rollouts = sample(taught(), tiny.reward(seed=1), count=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in both.parameters():  # so that ratios leave the clip, and values too
            parameter.data += 0.05 * torch.randn_like(parameter)
        shifted = [r.reference_logprobs + 0.3 * torch.randn(len(r.token_ids)) for r in rollouts]
    rollouts = [Rollout(**(vars(r) | {"reference_logprobs": s})) for r, s in zip(rollouts, shifted, strict=True)]

    done = improve(both, rollouts, aims(rollouts))

    twin = copy.deepcopy(both)
    twin.zero_grad()
    logits, values = [], []
    for one in rollouts:
        ids = torch.tensor([one.prompt.token_ids + one.token_ids])
        states = slice(len(one.prompt.token_ids) - 1, ids.shape[1] - 1)
        logits.append(twin.policy(input_ids=ids).logits[0, states])
        values.append(twin.value(ids)[0, states])
    expected = by_numpy(
        [row.detach().double().numpy() for row in logits],
        {
            "logprobs": [one.logprobs.double().numpy() for one in rollouts],
            "values": [one.values.double().numpy() for one in rollouts],
        },
        [one.reference_logprobs.double().numpy() for one in rollouts],
        [row.detach().double().numpy() for row in values],
        {
            "clip": 0.2,
            "beta": 0.1,
            "lambda": 0.95,
            "tokens": [one.token_ids for one in rollouts],
            "scores": [one.reward if one.is_complete else -1.0 for one in rollouts],
        },
    )
    for row, gradient in zip([*logits, *values], [*expected["logits"], *expected["values"]], strict=True):
        row.backward(torch.tensor(gradient, dtype=torch.float32), retain_graph=True)

    assert 0 < expected["clipped"] < done["tokens"]
    assert done["policy_loss"] == pytest.approx(expected["policy"], abs=1e-3)
    assert done["value_loss"] == pytest.approx(expected["value"], rel=1e-5)
    assert done["clip_fraction"] == expected["clipped"]
    assert done["approximate_kl"] == pytest.approx(expected["squared"], rel=1e-4)
    for (name, ours), theirs in zip(both.named_parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3), name


def test_the_number_of_rows_on_a_device_at_once_does_not_change_the_gradient() -> None:
    both, rollouts = sample(taught(), tiny.reward(seed=1))
    goals = aims(rollouts)

    gradients = []
    for size in (16, 3):
        improve(both, rollouts, goals, device_batch_size=size)
        gradients.append([parameter.grad.clone() for parameter in both.parameters() if parameter.grad is not None])

    assert any(gradient.abs().max() > 1e-3 for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


# ------------------------------------------------------------------------------------------------ whole runs


def test_training_moves_the_policy_towards_what_the_reward_model_likes(tmp_path: Path) -> None:
    _, state = run(tmp_path, steps=8, rollout_batch=32, minibatch=16, learning_rate=3e-3)

    first, last = state.log[0], state.log[-1]
    assert last["reward"] > first["reward"] + 0.3
    assert first["kl"] == 0.0 < last["kl"]
    assert all(math.isfinite(value) for row in state.log for value in row.values())


def test_snapshots_are_at_the_start_every_few_steps_and_at_the_end(tmp_path: Path) -> None:
    _, state = run(tmp_path, steps=3)

    assert [(row["step"], row["question_id"]) for row in state.curve] == [
        (step, query_id) for step in (0, 2, 3) for query_id, _ in QUESTIONS
    ]
    assert {row["kl"] for row in state.curve if row["step"] == 0} == {0.0}


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            raise Killed

    changes: dict[str, Any] = dict(steps=5, checkpoint_every=2, kl_target=1.0, warmup_steps=2, schedule="linear")
    whole, whole_state = run(tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        run(tmp_path / "halves", report=kill, **changes)
    resumed: list[int] = []
    halves, halves_state = run(
        tmp_path / "halves", report=lambda row: resumed.append(row["step"]), **(changes | {"checkpoint_every": 1})
    )

    assert resumed == [3, 4, 5]
    assert digest(halves, tmp_path / "a") == digest(whole, tmp_path / "b")
    assert halves_state == whole_state


def test_an_adaptive_coefficient_is_logged_and_changes(tmp_path: Path) -> None:
    _, state = run(tmp_path, steps=2, kl_target=6.0, kl_horizon=160.0)

    # Step 1 has a KL of 0, which is below the target: beta (1 - 0.2 * 16 / 160).
    assert [row["kl_coefficient"] for row in state.log] == pytest.approx([0.05, 0.05 * 0.98])


def test_a_model_that_breaks_stops_the_run_naming_the_step_and_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step [1-4] of 4: the gradient of .*; lower learning_rate "):
        run(tmp_path, learning_rate=1e30, max_gradient_norm=1e30)


def test_a_score_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    broken = fond_of(" forest")
    broken.score.weight.data.fill_(float("nan"))

    with pytest.raises(UserError, match="scores .* with nan"):
        run(tmp_path, reward_model=broken)


def test_the_number_of_free_cores_does_not_change_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more than one, policy and value model learn beside each other; with one, in one pass."""
    settings = dict(steps=2, ptx_coefficient=0.5, ptx_batch=4, ptx_texts=[lesson(*pair) for pair in LESSONS])
    several, state = run(tmp_path / "several", **settings)

    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(len(os.sched_getaffinity(0))))
    one, other_state = run(tmp_path / "one", **settings)

    assert models.free_cores(one.device) == 1
    assert digest(several, tmp_path / "a") == digest(one, tmp_path / "b")
    assert state.log == other_state.log


def test_batches_that_do_not_divide_among_processes_are_refused() -> None:
    with pytest.raises(UserError, match=r"train_ppo\.minibatch = 8 does not divide among 3 processes"):
        ppo_training.check_division(minibatch=8, ptx_batch=0, processes=3)


# ------------------------------------------------------------------------------------------------ the stage


def stage_params(**changes: Any) -> train_ppo.Params:
    settings = SETTINGS | dict(
        policies={"test": {"policy": "models/sft/rmsp", "reward": "models/reward/almost"}},
        steps=3,
        max_prompt_tokens=60,
        ptx_texts="texts.jsonl",
        ptx_max_tokens=64,
    )
    return train_ppo.Params.model_validate(settings | changes)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy, a reward model and five queries, of which one is an evaluation question."""
    monkeypatch.chdir(tmp_path)
    tiny.save(Path("models/sft/rmsp"), taught(), TOKENIZER)
    tiny.save(Path("models/reward/almost"), fond_of(" forest"), TOKENIZER)
    queries = [{"query_id": query_id, "text": question, "split": "train"} for query_id, question in QUESTIONS]
    queries[0]["split"] = "eval"
    queries.append({"query_id": "long", "text": "Where does the red fox live? " * 20, "split": "train"})
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "text", "split")])
    tables.write(queries, "queries", key="query_id", schema=schema)
    return tmp_path


def test_the_share_with_the_penalty_leaves_out_another_turn_where_that_is_an_end() -> None:
    made = [rollout(" Riga.", [1], reason, 0.0) for reason in ("eos", "stop", "stop", "length")]

    of_turns, of_none = (ppo_training.describe(made, turn_ends=turn_ends) for turn_ends in (True, False))

    assert (of_turns["missing_stop_share"], of_turns["penalised_share"]) == (0.75, 0.25)
    assert (of_none["missing_stop_share"], of_none["penalised_share"]) == (0.75, 0.75)


def test_the_stage_writes_policy_curve_log_and_summary_and_leaves_no_scratch(workspace: Path) -> None:
    train_ppo.main(stage_params(), "test")

    assert models.load_tokenizer("models/ppo/test").get_vocab() == TOKENIZER.get_vocab()
    before, after = models.load_causal("models/sft/rmsp"), models.load_causal("models/ppo/test")
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    snapshots = [(row["step"], row["question_id"]) for row in tables.rows("ppo_curve/test")]
    assert snapshots == [(0, "q0"), (2, "q0"), (3, "q0")]
    log = json.loads(Path("metrics/plots/train_ppo/test.json").read_text())
    assert [row["step"] for row in log] == [1, 2, 3]
    assert {"reward", "kl", "entropy", "clip_fraction", "value_loss", "tokens", "missing_stop_share"} <= set(log[0])
    assert [row["penalised_share"] for row in log] == [row["missing_stop_share"] for row in log]  # no turn is an end
    summary = json.loads(Path("metrics/train_ppo/test.json").read_text())
    assert (summary["prompts"], summary["prompts_too_long"], summary["questions"]) == (3, 1, 1)
    assert summary["answers"] == 3 * 16
    assert summary["tokens_sampled"] == sum(row["tokens"] * 16 for row in log)
    assert summary["before"]["kl"] == 0.0 < abs(summary["after"]["kl"])
    assert list(Path(".work/train_ppo").iterdir()) == []


def test_hosts_that_would_go_on_from_different_steps_are_told_before_the_first(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "gather_object", lambda mine: [*mine, 2])  # as the other host said

    with pytest.raises(UserError, match="not every process sees the checkpoint"):
        train_ppo.main(stage_params(), "test")


def test_a_reward_model_of_another_vocabulary_is_refused(workspace: Path) -> None:
    other = tiny.tokenizer()
    other.add_tokens(["<other>"])
    other.save_pretrained("models/reward/almost")

    with pytest.raises(UserError, match=r"models/sft/rmsp and models/reward/almost have different vocabularies"):
        train_ppo.main(stage_params(), "test")


def test_a_reward_model_that_makes_other_tokens_of_a_text_is_refused(workspace: Path) -> None:
    other = tiny.tokenizer()
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # the same vocabulary, another split
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    other.save_pretrained("models/reward/almost")

    with pytest.raises(UserError, match=r"models/sft/rmsp and models/reward/almost make other tokens of the same text"):
        train_ppo.main(stage_params(), "test")


def test_a_reward_model_that_ends_texts_with_another_token_is_refused(workspace: Path) -> None:
    other = tiny.tokenizer()
    other.eos_token, other.pad_token = "<pad>", "<eos>"
    other.save_pretrained("models/reward/almost")

    with pytest.raises(UserError, match="make other tokens of the same text"):
        train_ppo.main(stage_params(), "test")


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4.0, "dropout": 0.0, "target_modules": None}])
def test_a_reward_model_that_is_larger_than_the_policy_teaches_it(workspace: Path, lora: dict[str, Any] | None) -> None:
    larger = tiny.reward(seed=1, hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6)
    tiny.save(Path("models/reward/almost"), larger, TOKENIZER)

    train_ppo.main(stage_params(steps=1, lora=lora and {**lora, "merge": True}), "test")

    before, after = models.load_causal("models/sft/rmsp"), models.load_causal("models/ppo/test")
    assert after.num_parameters() == before.num_parameters() < larger.num_parameters()
    changed = [
        name for name, weight in after.state_dict().items() if not torch.equal(weight, before.state_dict()[name])
    ]
    assert changed
    [row] = json.loads(Path("metrics/plots/train_ppo/test.json").read_text())
    assert math.isfinite(row["value_loss"]) and row["value_loss"] > 0
    score = scoring.of_answers("models/reward/almost", [(QUESTIONS[0][1], one["text"]) for one in snapshot(0)])
    assert [one["reward"] for one in snapshot(0)] == pytest.approx(score, abs=1e-5)


def snapshot(step: int) -> list[dict[str, Any]]:
    return [row for row in tables.rows("ppo_curve/test") if row["step"] == step]


def test_a_reward_model_that_cannot_read_the_longest_answer_is_refused(workspace: Path) -> None:
    tiny.save(Path("models/reward/almost"), tiny.reward(max_position_embeddings=32), TOKENIZER)

    with pytest.raises(UserError, match=r"make \d+ tokens, but models/reward/almost has a context of 32; lower one of"):
        train_ppo.main(stage_params(), "test")


def test_no_prompt_that_is_short_enough_is_an_error_that_names_the_setting(workspace: Path) -> None:
    with pytest.raises(UserError, match=r"0 train and 0 eval queries .* raise train_ppo\.max_prompt_tokens"):
        train_ppo.main(stage_params(max_prompt_tokens=2), "test")


@pytest.mark.parametrize("line", ["no json", '{"words": "a"}', '{"text": " "}', '{"text": 3}', "[]"])
def test_a_bad_line_of_the_pretraining_texts_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "The red fox."}\n' + line + "\n")

    with pytest.raises(UserError, match=r"texts\.jsonl, line 2: "):
        json_lines.texts(file)


def test_minibatches_must_divide_the_rollout_batch_and_ptx_needs_a_batch() -> None:
    with pytest.raises(ValidationError, match="rollout_batch = 16 is not a multiple of minibatch = 6"):
        stage_params(minibatch=6)
    with pytest.raises(ValidationError, match="test: ptx_coefficient above 0 needs a ptx_batch"):
        stage_params(ptx_coefficient=1.0)


def test_a_member_puts_its_settings_in_the_place_of_the_familys() -> None:
    member = {"policy": "models/sft/rmsp", "reward": "models/reward/almost"}
    params = stage_params(policies={"plain": member, "short": member | {"steps": 1, "kl_coefficient": 0.5}})

    plain, short = params.settings("plain"), params.settings("short")

    assert (plain.steps, plain.kl_coefficient) == (3, SETTINGS["kl_coefficient"])
    assert (short.steps, short.kl_coefficient) == (1, 0.5)
    assert short.learning_rate == SETTINGS["learning_rate"]


def test_a_member_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="train_ppo has no policy 'other'; it has test"):
        train_ppo.main(stage_params(), "other")


# ------------------------------------------------------------------------------------------------ slow: L6, L7


@pytest.mark.slow
def test_l6_kl_falls_as_beta_rises_and_without_beta_the_proxy_rises_while_the_truth_falls(tmp_path: Path) -> None:
    """The reward model likes the word forest; the truth is that one forest is right, and that more are babble."""
    kl, proxy, gold = [], [], []
    for beta in (0.0, 0.05, 0.2, 5.0):
        _, state = run(
            tmp_path / str(beta),
            kl_coefficient=beta,
            steps=8,
            rollout_batch=32,
            minibatch=16,
            learning_rate=3e-3,
            schedule="linear",
            device_batch_size=64,
            questions=prompts() * 16,
            snapshot_every=0,
        )
        for step in (0, 8) if not kl else (8,):
            rows = [row for row in state.curve if row["step"] == step]
            kl.append(answering.average(rows)["kl"])
            proxy.append(answering.average(rows)["reward"])
            gold.append(sum(row["text"].count("forest") == 1 for row in rows) / len(rows))

    start, *betas = range(5)
    assert [kl[place] for place in betas] == sorted(kl[1:], reverse=True)
    assert proxy[1] > proxy[start] and gold[1] < gold[start], "no over-optimisation without beta"
    assert gold[3] > max(gold[1], gold[4], gold[start]), "the best beta is neither the smallest nor the largest"


@pytest.mark.slow
def test_l7_with_ptx_the_policy_forgets_less_of_what_it_was_trained_on(tmp_path: Path) -> None:
    texts = [lesson(*pair) for pair in LESSONS]
    before = loss_on(taught(), texts[1::2]).item()
    after = []
    for coefficient in (0.0, 2.0):
        policy, state = run(
            tmp_path / str(coefficient), kl_coefficient=0.0, steps=16, rollout_batch=32, minibatch=16,
            learning_rate=3e-3, ptx_texts=texts[::2], ptx_batch=8, ptx_coefficient=coefficient, snapshot_every=0,
        )  # fmt: skip
        after.append((loss_on(policy, texts[1::2]).item(), state.log[-1]["reward"]))
    assert after[0][0] > after[1][0] > before
    assert after[0][1] >= after[1][1]


def launch(folder: Path, processes: int) -> dict[str, Any]:
    """`run` in fresh processes; the log and the digest of the policy.

    `accelerate launch` starts several processes through torchrun where there are GPUs, and through MPI where there are
    none; here torchrun starts them on the CPU.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    command += ["-m", "tests.policies.test_ppo_training", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "result.json").read_text())


@pytest.mark.slow
def test_two_processes_come_to_the_same_policy_as_one_and_one_to_the_same_bytes_every_time(tmp_path: Path) -> None:
    one, again, two = launch(tmp_path / "a", 1), launch(tmp_path / "b", 1), launch(tmp_path / "c", 2)

    assert [one["processes"], two["processes"]] == [1, 2]
    assert one == again
    for ours, theirs in zip(one["log"], two["log"], strict=True):
        assert ours == pytest.approx(theirs, abs=2e-4)
    assert one["norms"] == pytest.approx(two["norms"], rel=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    trained, end = run(out / "work", steps=3, device_batch_size=4)
    if Accelerator().is_main_process:
        result = {
            "processes": Accelerator().num_processes,
            "digest": digest(trained, out / "model"),
            "norms": [parameter.double().norm().item() for parameter in trained.parameters()],
            "log": end.log,
        }
        (out / "result.json").write_text(json.dumps(result))
