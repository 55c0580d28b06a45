"""Policy, reference, reward and value model as adapters and heads on one base."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from stages import train_ditto, train_group_rl, train_ppo, train_rrhf, train_spin
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.ditto import training as ditto_training
from synthalign.generation import adapters, attention, models
from synthalign.generation.adapters import Lora
from synthalign.policies import answering, one_base, ppo_training, rrhf_settings, rrhf_sources, rrhf_training
from synthalign.policies.ppo_settings import Settings
from synthalign.reward import scoring
from tests import tiny
from tests.ditto.test_training import DEMONSTRATIONS
from tests.ditto.test_training import SETTINGS as DITTO
from tests.policies.test_group_training import FAMILY as GROUP
from tests.policies.test_group_training import MEMBER as GROUP_MEMBER
from tests.policies.test_ppo_training import SETTINGS
from tests.policies.test_rrhf_training import SETTINGS as RRHF
from tests.policies.test_rrhf_training import VARIANT
from tests.stages.test_ditto_stages import DITTO as DITTO_STAGE
from tests.taught import QUESTIONS, TOKENIZER, fond_of, prompts, taught

LORA = Lora(rank=2, alpha=4.0, dropout=0.0, target_modules=None, merge=False)
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
    torch.manual_seed(seed)  # of a new head
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


@pytest.mark.parametrize(("start", "merge"), [("models/base", True), ("models/sft", True), ("models/sft", False)])
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
    assert all(attention.shares_rows(model, 50) for model in four[2:])  # several answers to a prompt are one row


def test_adapters_whose_base_has_changed_or_that_have_no_head_are_not_put_on_it(base: str) -> None:
    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=True)
    headless = adapted("models/sft", base, task="CAUSAL_LM", seed=1, merge=False)
    policy = models.load_causal(base)
    with pytest.raises(UserError, match="models/sft is no reward model"):
        one_base.reward_of(policy, LORA, folder=base, reward=headless)
    tiny.save(Path(base), moved(taught(), 5), TOKENIZER)

    beside = one_base.reward_of(models.load_causal(base), LORA, folder=base, reward=reward)

    scores = scoring.score(models.load_reward(reward), TOKENIZER, DIALOGUES)
    assert scoring.score(beside, TOKENIZER, DIALOGUES) == scores


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


def test_on_a_base_of_16_bits_adapters_and_heads_are_float32_and_ppo_changes_them(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=False)
    expected = scoring.score(models.load_reward(reward), TOKENIZER, DIALOGUES)
    Path("bf16.yaml").write_text("weights: {training: bf16, reading: bf16}\n")
    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "bf16.yaml")

    policy, reward_model, _ = start(base, reward)
    value = one_base.value_of(reward_model, LORA, seed=0)

    for model in (policy, value):
        kinds = {(p.dtype, p.requires_grad) for p in model.parameters()}
        assert kinds <= {(torch.float32, True), (torch.float32, False), (torch.bfloat16, False)}
        assert {p.dtype for name, p in model.named_parameters() if "lora_" not in name} >= {torch.bfloat16}
    spread = max(expected) - min(expected)
    assert scoring.score(reward_model, TOKENIZER, DIALOGUES) == pytest.approx(expected, abs=0.1 * spread)
    state = run(Path("work"), policy, reward_model, steps=2)
    assert state.log[0]["kl"] == 0.0 < abs(state.log[-1]["kl"])


def test_of_a_policy_that_was_merged_into_16_bits_the_reward_model_is_held_beside(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update below half a step of bfloat16 is lost where it is merged, and would be taken off all the same."""
    merged = adapted("models/sft", base, task="CAUSAL_LM", seed=1, merge=True)
    reward = adapted("models/reward", base, task="SEQ_CLS", seed=2, merge=False)
    Path("bf16.yaml").write_text("weights: {training: bf16, reading: bf16}\n")
    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "bf16.yaml")

    policy, found, _ = start(merged, reward)

    assert policy.dtype == torch.bfloat16
    assert not {p.data_ptr() for p in policy.parameters()} & {p.data_ptr() for p in found.parameters()}
    expected = scoring.score(models.load_reward(reward, "training"), TOKENIZER, DIALOGUES)
    assert scoring.score(found, TOKENIZER, DIALOGUES) == expected


def test_an_adapter_on_an_embedding_of_its_own_writes_and_is_put_back(tmp_path: Path) -> None:
    tiny.save(tmp_path / "base", tiny.causal(tie_word_embeddings=False, vocab_size=len(TOKENIZER)), TOKENIZER)
    lora = LORA.model_copy(update={"target_modules": ["embed_tokens", "q_proj"]})
    model = models.load_causal(tmp_path / "base")
    learner = moved(one_base.learner(model, lora, seed=0), 3)
    given: dict[str, Any] = {"seed": 0, "temperature": 1.0, "max_new_tokens": 4, "device_batch_size": 4}

    before = answering.written(model, TOKENIZER, prompts(), [str(place) for place in range(len(prompts()))], **given)
    one_base.save(learner, TOKENIZER, tmp_path / "learned", lora=lora, base=tmp_path / "base")

    again = one_base.policy_on(models.load_causal(tmp_path / "base"), tmp_path / "learned")
    assert attention.plain(again, [3, 4, 5]) == pytest.approx(attention.plain(model, [3, 4, 5]), abs=1e-6)
    assert len(before[0].token_ids) > 0


# ------------------------------------------------------------------------------------------------ the others


def test_rrhf_begins_with_the_losses_of_full_training_and_changes_the_adapter_alone(base: str) -> None:
    answers = [("The red fox lives in Riga.", 1.0), ("A city.", 0.5), ("It is old.", 0.0)]
    rows = [{"query_id": "q0", "text": text, "reward": reward, "finish_reason": "eos"} for text, reward in answers]
    first = {}
    for name, lora in (("adapters", LORA), ("whole", None)):
        policy = models.load_causal(base)
        one_base.learner(policy, lora, seed=0)
        settings = rrhf_settings.Settings(**RRHF | {"batch_size": 1}, lora=lora)
        variant = rrhf_settings.Variant(**VARIANT | {"learning_rate": 1e-2})
        state = rrhf_training.train(
            Accelerator(cpu=True),
            policy,
            fond_of(" forest"),
            TOKENIZER,
            settings,
            variant,
            prompts=prompts(),
            questions=prompts(),
            given=[*rrhf_sources.from_table(rows, prompts(), TOKENIZER).values()],
            folder=Path(name),
        )
        first[name] = state.log[0]
        assert state.log[-1]["fine_tuning_loss"] < state.log[0]["fine_tuning_loss"]
        assert {row["kl"] for row in state.curve if row["step"] == 0} == {0.0}
        start = dict(models.load_causal(base).named_parameters())
        now = {key.replace(".base_layer", ""): p for key, p in policy.named_parameters() if "lora_" not in key}
        assert all(torch.equal(now[key], start[key]) for key in start) == (lora is not None)
    assert first["adapters"] == pytest.approx(first["whole"], abs=1e-6)


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_ditto_begins_with_the_loss_of_full_training_against_a_reference_on_the_same_base(
    base: str, reference: Any
) -> None:
    logs = {}
    for name, lora in (("adapters", LORA), ("whole", None)):
        policy = models.load_causal(base)
        one_base.learner(policy, lora, seed=0)
        Path(name).mkdir()
        given = DITTO | {"reference": reference, "learning_rate": 1e-2}
        learned = ditto_training.align(
            Accelerator(cpu=True), policy, TOKENIZER, DEMONSTRATIONS, folder=Path(name), **given
        )
        logs[name] = learned.log
        assert learned.log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
        start = dict(models.load_causal(base).named_parameters())
        now = {key.replace(".base_layer", ""): p for key, p in policy.named_parameters() if "lora_" not in key}
        assert all(torch.equal(now[key], start[key]) for key in start) == (lora is not None)
    assert logs["adapters"][1]["loss"] < math.log(2)
    if reference == "previous":  # measured against itself at the start of every iteration
        assert logs["adapters"][2]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert logs["adapters"][0] == pytest.approx(logs["whole"][0], abs=1e-5)


# ------------------------------------------------------------------------------------------------ the stages

SHOWN = LORA.model_dump()


@pytest.fixture
def graph(base: str) -> str:
    """A policy that was fine-tuned by LoRA, a reward model that was trained by LoRA over the same base, queries."""
    adapted("models/sft/rmsp", base, task="CAUSAL_LM", seed=1, merge=False)
    adapted("models/reward/almost", base, task="SEQ_CLS", seed=2, merge=True)
    queries = [{"query_id": query_id, "text": question, "split": "train"} for query_id, question in QUESTIONS]
    queries[0]["split"] = "eval"
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "text", "split")])
    tables.write(queries, "queries", key="query_id", schema=schema)
    return "models/sft/rmsp"


def check_policy(folder: str, start: str, *, merge: bool) -> None:
    """A policy that was written as `merge` says, is another than the one it began as, and was saved as measured."""
    settings = json.loads(next(Path(folder).rglob("adapter_config.json")).read_text())
    assert settings["base_model_name_or_path"] == start
    assert (Path(folder) / "model.safetensors").exists() == merge
    ids = torch.tensor([prompts()[0].token_ids])
    after, before = models.load_causal(folder), models.load_causal(start)
    assert not torch.equal(after(input_ids=ids).logits, before(input_ids=ids).logits)


def test_train_ppo_writes_an_adapter_over_an_adapter_and_its_policy_merged(graph: str) -> None:
    params = SETTINGS | dict(steps=2, max_prompt_tokens=60, ptx_texts="texts.jsonl", ptx_max_tokens=64)
    params |= {"policies": {"test": {"policy": graph, "reward": "models/reward/almost"}}}

    train_ppo.main(train_ppo.Params.model_validate(params | {"lora": SHOWN | {"merge": True}}), "test")

    check_policy("models/ppo/test", graph, merge=True)
    found = json.loads(Path("metrics/train_ppo/test.json").read_text())
    assert found["before"]["kl"] == 0.0 < abs(found["after"]["kl"])


def test_train_rrhf_writes_an_adapter_over_an_adapter(graph: str) -> None:
    member = VARIANT | dict(policy=graph, reward="models/reward/almost", source="policy")
    params = RRHF | {"candidates": "rmsp", "max_prompt_tokens": 60, "policies": {"test": member}, "lora": SHOWN}

    train_rrhf.main(train_rrhf.Params.model_validate(params), "test")

    check_policy("models/rrhf/test", graph, merge=False)


@pytest.mark.parametrize(("name", "merge"), [("rloo", True), ("grpo", False)])
def test_train_group_rl_begins_and_ends_on_one_base(graph: str, name: str, merge: bool) -> None:
    member = GROUP_MEMBER | {"policy": graph, "learning_rate": 1e-2, "algorithm": name}
    params = GROUP | {"policies": {name: member}, "lora": SHOWN | {"merge": merge}}

    train_group_rl.main(train_group_rl.Params.model_validate(params), name)

    check_policy(f"models/group_rl/{name}", graph, merge=merge)
    found = json.loads(Path(f"metrics/train_group_rl/{name}.json").read_text())
    assert found["before"]["kl"] == 0.0 < abs(found["after"]["kl"])
    log = json.loads(Path(f"metrics/plots/train_group_rl/{name}.json").read_text())
    assert log[0]["kl"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_all_weights_of_a_policy_of_unmerged_adapters_are_trained_against_that_policy(graph: str, name: str) -> None:
    policy = adapted("models/sft/unmerged", graph, task="CAUSAL_LM", seed=4, merge=False)
    member = GROUP_MEMBER | {"policy": policy, "learning_rate": 1e-2, "algorithm": name}

    train_group_rl.main(train_group_rl.Params.model_validate(GROUP | {"policies": {name: member}}), name)

    log = json.loads(Path(f"metrics/plots/train_group_rl/{name}.json").read_text())
    assert log[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert "reference" not in Path(f"models/group_rl/{name}/config.json").read_text()


def test_train_ditto_and_train_spin_write_adapters_over_the_fine_tuned_model(base: str) -> None:
    lines = [json.dumps({"prompt": one.prompt, "output": one.output}) for one in DEMONSTRATIONS]
    Path("captain.jsonl").write_text("\n".join(lines) + "\n")
    ditto = DITTO_STAGE | {"max_new_tokens": 40, "lora": SHOWN}
    spin = {key: value for key, value in ditto.items() if key not in ("sft", "model")}

    train_ditto.main(train_ditto.Params.model_validate(ditto | {"model": base}), "captain")
    train_spin.main(train_spin.Params.model_validate(spin), "captain")

    check_policy("models/ditto_sft/captain", base, merge=False)
    check_policy("models/ditto/captain", "models/ditto_sft/captain", merge=False)
    check_policy("models/spin/captain", "models/ditto_sft/captain", merge=False)
    assert {file.name for file in Path("models/ditto_sft/captain").iterdir()} & {"supervise.json"} == set()
