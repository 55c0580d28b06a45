"""Policy, reference, reward and value model as adapters and heads on one base."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from synthalign.generation import adapters, models
from synthalign.generation.adapters import Lora
from synthalign.policies import one_base, ppo_training
from synthalign.policies.ppo_settings import Settings
from synthalign.reward import scoring
from tests import tiny
from tests.policies.test_ppo_training import SETTINGS
from tests.taught import QUESTIONS, TOKENIZER, fond_of, prompts, taught

LORA = Lora(rank=2, alpha=4.0, dropout=0.1, target_modules=None, merge=False)
DIALOGUES = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": f"It lives in {place}."}]
    for _, question in QUESTIONS
    for place in ("Riga", "the forest", "the sky above the old city")
]


def moved(learner: Any, seed: int, size: float = 0.1) -> Any:
    """An adapter as after training: what was zero is not."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, parameter in learner.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter.data += size * torch.randn_like(parameter)
    return learner


def adapted(folder: str, base: str, *, task: Any, seed: int, merge: bool) -> str:
    """A folder of a model that was trained by LoRA over that in the folder `base`."""
    lora = LORA.model_copy(update={"merge": merge})
    model = models.load_causal(base) if task == "CAUSAL_LM" else models.load_reward(base, new_head=True)
    adapters.save(moved(adapters.attach(model, lora, task, seed), seed), TOKENIZER, folder, lora, base)
    return folder


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    tiny.save(Path("models/base"), taught(), TOKENIZER)
    return "models/base"


def storages(*modules: nn.Module) -> int:
    """Bytes of all parameters, each place in memory once."""
    found = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for m in modules for p in m.parameters()}
    return sum(found.values())


def opened(policy: str, reward: str) -> tuple[PreTrainedModel, PreTrainedModel, PreTrainedModel, PreTrainedModel]:
    """Policy, reference, reward and value model as train_ppo has them."""
    model = models.load_causal(policy)
    reward_model = one_base.reward_of(model, LORA, folder=policy, reward=reward)
    one_base.learner(model, LORA, seed=0)
    return model, one_base.reference_of(model), reward_model, one_base.value_of(reward_model, LORA, seed=0)


# ------------------------------------------------------------------------------------------------ what is in memory


@pytest.mark.parametrize("start", ["models/base", "models/sft"])
@pytest.mark.parametrize("merge", [True, False])
def test_four_models_hold_one_base_and_score_as_the_folder_of_the_reward_model(
    base: str, start: str, merge: bool
) -> None:
    adapted("models/sft", base, task="CAUSAL_LM", seed=1, merge=merge)
    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=merge)
    file = Path(reward) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"reward_mean": 0.5, "reward_std": 2.0}))

    four = opened(start, reward)

    one = storages(models.load_causal(base))
    assert one < storages(*four) < 1.5 * one  # tiny models, and so adapters that are large beside them
    assert sum(p.numel() for p in four[0].parameters() if p.requires_grad) < 0.2 * four[0].num_parameters()
    expected = scoring.score(models.load_reward(reward), TOKENIZER, DIALOGUES)
    assert scoring.score(four[2], TOKENIZER, DIALOGUES) == pytest.approx(expected, abs=1e-4)
    assert scoring.score(four[3], TOKENIZER, DIALOGUES) == scoring.score(four[2], TOKENIZER, DIALOGUES)


def test_a_reward_model_of_its_own_weights_is_held_beside_and_the_value_model_on_it(base: str) -> None:
    tiny.save(Path("models/reward"), fond_of(" forest"), TOKENIZER)

    policy, reference, reward_model, value = opened(base, "models/reward")

    assert storages(policy, reference) < 1.5 * storages(reference)
    assert storages(reward_model, value) < 1.5 * storages(reward_model)
    assert storages(policy, reward_model) == storages(policy) + storages(reward_model)
    scores = scoring.score(models.load_reward("models/reward"), TOKENIZER, DIALOGUES)
    assert scoring.score(value, TOKENIZER, DIALOGUES) == scores


def test_what_a_policy_learns_is_in_no_other_model_and_the_reference_is_the_start_to_the_bit(base: str) -> None:
    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=False)
    policy, reference, reward_model, value = opened(base, reward)
    ids = torch.tensor([prompts()[0].token_ids])
    mask = torch.ones_like(ids)
    start = models.load_causal(base)(input_ids=ids).logits
    rewards = scoring.token_values(reward_model, ids, mask)
    assert torch.equal(policy(input_ids=ids).logits, start)

    moved(policy, 3)
    moved(value, 4)

    assert not torch.equal(policy(input_ids=ids).logits, start)
    assert torch.equal(reference(input_ids=ids).logits, start)
    assert not torch.equal(scoring.token_values(value, ids, mask), rewards)
    assert torch.equal(scoring.token_values(reward_model, ids, mask), rewards)


# ------------------------------------------------------------------------------------------------ PPO


def run(folder: Path, policy: PreTrainedModel, reward_model: PreTrainedModel, **changes: Any) -> ppo_training.State:
    given: dict[str, Any] = dict(prompts=prompts(), questions=prompts(), ptx_texts=[], folder=folder)
    given |= {key: value for key, value in changes.items() if key not in SETTINGS}
    own = {key: value for key, value in changes.items() if key in SETTINGS}
    settings = Settings(**(SETTINGS | dict(learning_rate=1e-2, steps=3) | own), lora=LORA)
    return ppo_training.train(Accelerator(cpu=True), policy, reward_model, TOKENIZER, settings, **given)


def start(base: str, reward: str) -> tuple[PreTrainedModel, PreTrainedModel, Any]:
    policy = models.load_causal(base)
    reward_model = one_base.reward_of(policy, LORA, folder=base, reward=reward)
    return policy, reward_model, one_base.learner(policy, LORA, seed=0)


def test_ppo_changes_the_policys_adapter_alone_and_begins_without_a_kl(base: str) -> None:
    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=False)
    policy, reward_model, learner = start(base, reward)
    scores = scoring.score(reward_model, TOKENIZER, DIALOGUES)

    state = run(Path("work"), policy, reward_model)

    assert state.log[0]["kl"] == 0.0 < abs(state.log[-1]["kl"])
    assert {row["kl"] for row in state.curve if row["step"] == 0} == {0.0}
    assert all(math.isfinite(value) for row in state.log for value in row.values())
    assert scoring.score(reward_model, TOKENIZER, DIALOGUES) == scores
    whole = dict(models.load_causal(base).named_parameters())
    kept = {name.replace(".base_layer", ""): p for name, p in policy.named_parameters() if "lora_" not in name}
    assert kept.keys() == whole.keys()
    assert all(torch.equal(kept[name], whole[name]) for name in whole)
    one_base.save(learner, TOKENIZER, "models/ppo", lora=LORA, base=base)
    ids = torch.tensor([prompts()[0].token_ids])
    saved, again = models.load_causal("models/ppo"), one_base.policy_on(models.load_causal(base), "models/ppo")
    assert torch.allclose(saved(input_ids=ids).logits, policy(input_ids=ids).logits, atol=1e-4)
    assert torch.equal(again(input_ids=ids).logits, policy(input_ids=ids).logits)


def test_a_run_with_adapters_that_was_killed_goes_on_to_the_same_bytes_and_stores_no_base(base: str) -> None:
    class Killed(Exception):
        pass

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            raise Killed

    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=False)
    changes: dict[str, Any] = dict(steps=4, checkpoint_every=2)
    whole, reward_model, _ = start(base, reward)
    whole_state = run(Path("whole"), whole, reward_model, **changes)
    with pytest.raises(Killed):
        run(Path("halves"), *start(base, reward)[:2], report=kill, **changes)
    [stored] = Path("halves").glob("step-*/models.safetensors")
    assert stored.stat().st_size < 0.7 * (Path(base) / "model.safetensors").stat().st_size

    halves, reward_model, _ = start(base, reward)
    halves_state = run(Path("halves"), halves, reward_model, **changes)

    ours, theirs = dict(whole.named_parameters()), dict(halves.named_parameters())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert halves_state == whole_state
