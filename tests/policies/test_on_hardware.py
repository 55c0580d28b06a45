"""What hardware.yaml changes of a trained model, and what it must not."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import PreTrainedModel, Trainer, TrainingArguments

from synthalign.dialogue import chat
from synthalign.generation import models
from synthalign.generation.adapters import Lora
from synthalign.generation.attention_interface import attention_of
from synthalign.generation.generate import generate
from synthalign.policies import dpo_training, one_base
from synthalign.reward import training
from synthalign.reward.training_settings import Settings
from tests import tiny
from tests.ditto.test_training import align
from tests.policies.test_ppo_training import run
from tests.policies.test_rrhf_training import run as run_rrhf
from tests.taught import QUESTIONS, TOKENIZER, taught

Weights = dict[str, torch.Tensor]

LORA = Lora(rank=2, alpha=4.0, dropout=0.0, target_modules=None, merge=False)

PAIRS = [
    {
        "prompt": [{"role": "user", "content": f"Where is {row}?"}],
        "chosen": [{"role": "assistant", "content": "In Riga."}],
        "rejected": [{"role": "assistant", "content": "I do not know."}],
        "chosen_finish_reason": "eos",
        "rejected_finish_reason": "eos",
    }
    for row in range(8)
]


def on(folder: Path, hardware: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this hardware.yaml, which is the current one from now on."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "hardware.yaml").write_text(hardware, encoding="utf-8")
    return folder


def by_dpo(folder: Path) -> Weights:
    base = tiny.save(folder / "base", tiny.causal(), tiny.tokenizer())
    settings = Settings(epochs=1, batch_size=4, warmup=0.0, weight_decay=0.0, max_length=200, seed=0)
    out, work = folder / "out", folder / "work"
    dpo_training.train(PAIRS, base_model=base, folder=out, work=work, beta=0.1, learning_rate=1e-3, settings=settings)
    return load_file(out / "model.safetensors")


def by_ppo(folder: Path) -> Weights:
    policy, _ = run(folder / "steps", policy=taught(), steps=1)
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


@pytest.mark.parametrize("train", [by_dpo, by_ppo])
def test_recomputed_layers_change_no_bit_of_what_is_learned(train, tmp_path, monkeypatch):
    plain = train(on(tmp_path / "plain", "{}", monkeypatch))
    again = train(on(tmp_path / "again", "gradient_checkpointing: true", monkeypatch))

    assert all(torch.equal(plain[name], again[name]) for name in plain)


def kept_for_backward(model: PreTrainedModel) -> int:
    """Bytes of the tensors that a forward pass keeps, weights aside."""
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(torch.arange(5, 45)[None], use_cache=False)
    return sum(tensor.nbytes for tensor in kept.values())


def test_a_loop_of_ours_keeps_the_inputs_of_layers_alone_after_sampling_too(tmp_path, monkeypatch):
    on(tmp_path / "again", "gradient_checkpointing: true", monkeypatch)
    model = tiny.causal()
    plain = kept_for_backward(model)

    training.recomputing(model)
    with attention_of(model):  # decoding is in evaluation mode
        assert not model.training

    assert kept_for_backward(model) < plain / 4


def test_fewer_rows_on_a_device_are_accumulated_to_the_same_step_but_for_rounding(tmp_path, monkeypatch):
    plain = by_dpo(on(tmp_path / "plain", "{}", monkeypatch))
    few = by_dpo(on(tmp_path / "few", "device_rows: {training: 1}", monkeypatch))
    start = tiny.causal().state_dict()

    moved = max(float((plain[name] - start[name]).abs().max()) for name in plain)
    assert moved > 1e-3
    assert all(torch.allclose(plain[name], few[name], atol=2e-4) for name in plain)


def test_a_model_is_trained_and_saved_in_the_type_that_the_file_names(tmp_path, monkeypatch):
    weights = by_dpo(on(tmp_path / "bf16", "weights: {training: bf16}", monkeypatch))

    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapters"])
def test_a_compiled_model_is_saved_under_the_names_of_its_own_tensors(
    lora: Lora | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # put back after transformers has set it
    base = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    model = training.to_train(models.load_causal(base), lora, "CAUSAL_LM", seed=0)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path / "work"),
            use_cpu=True,
            max_steps=1,
            learning_rate=0.01,
            report_to="none",
            torch_compile=True,
            torch_compile_backend="eager",  # inductor would take half a minute, and names tensors alike
        ),
        train_dataset=[{"input_ids": [5, 9, 30], "labels": [5, 9, 30]}] * 8,  # type: ignore[arg-type]
    )
    trainer.train()

    training.save(trainer, tiny.tokenizer(), tmp_path / "out", lora=lora, base=base)

    AcceleratorState._reset_state(reset_partial_state=True)
    tokens = torch.tensor([[5, 9, 30]])
    after, before = (models.load_causal(folder)(tokens).logits for folder in (tmp_path / "out", base))
    torch.testing.assert_close(after, model.eval()(tokens).logits)
    assert not torch.allclose(after, before, atol=1e-4)


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As accelerate/gpu.yaml has it: weights of 32 bits, products of 16."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_policy_in_mixed_precision_samples_as_it_does_alone_and_its_other_passes_stay_mixed(mixed: None) -> None:
    asked: dict[str, Any] = {
        "prefix": "",
        "suffixes": [chat.prompt([{"role": "user", "content": QUESTIONS[0][1]}])],
        "row_ids": ["0"],
        "samples": 4,
        "seed": 0,
        "max_new_tokens": 12,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    alone, policy, products = generate(taught(), TOKENIZER, **asked), taught(), []
    Accelerator(cpu=True).prepare(policy)

    assert generate(policy, TOKENIZER, **asked) == alone
    policy.lm_head.register_forward_hook(lambda module, given, out: products.append(out.dtype))
    policy(torch.tensor([[5, 6]]))
    assert products == [torch.bfloat16]


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapters"])
def test_every_loop_of_ours_samples_and_learns_in_mixed_precision(
    mixed: None, lora: Lora | None, tmp_path: Path
) -> None:
    def policy() -> PreTrainedModel:
        found = taught()
        one_base.learner(found, lora, seed=0)
        return found

    _, ditto = align(tmp_path / "ditto", policy())
    _, rrhf = run_rrhf(tmp_path / "rrhf", policy=policy(), epochs=1)
    _, ppo = run(tmp_path / "ppo", policy=policy(), steps=1)

    assert len(ditto.samples) > 0 and len(rrhf.samples) > 0
    said = [value for row in [*ditto.log, *rrhf.log, *ppo.log] for value in row.values()]
    assert said and all(math.isfinite(value) for value in said)


@pytest.mark.parametrize(("rows", "most", "held"), [(16, None, 16), (16, 6, 4), (16, 99, 16), (7, 6, 1)])
def test_a_device_holds_the_most_rows_that_divide_its_share(rows: int, most: int | None, held: int):
    assert training.held_rows(rows, most) == held
