"""LoRA adapters: where they may be put, that they begin at the base, and that a folder of them is a model folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file

from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.generation import adapters, model_folder, models, precision
from synthalign.generation.adapters import Lora
from tests import families, tiny
from tests.small_tables import ROOT

TOKENIZER = tiny.tokenizer()
TOKENS = torch.tensor([[5, 9, 30, 31, 7, 250, 12]])


def lora(**changes: Any) -> Lora:
    return Lora(**{"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": None, "merge": False} | changes)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a tiny language model, as a stage names it."""
    monkeypatch.chdir(tmp_path)
    tiny.save(Path("models/base"), tiny.causal(), TOKENIZER)
    return "models/base"


def shaken(model: Any, seed: int = 1) -> Any:
    """The model with B drawn too, as if it had been trained, and a reward model's head moved."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def trained(
    base: str, folder: str, settings: Lora, *, task: adapters.Task = "CAUSAL_LM", seed: int = 1
) -> torch.Tensor:
    """Write adapters that seem trained on `base` to `folder`; what the model says with them."""
    model = models.load_causal(base) if task == "CAUSAL_LM" else models.load_reward(base, new_head=True)
    model_with = shaken(adapters.attach(model, settings, task, seed=0), seed)
    said = read(model_with)
    adapters.save(model_with, TOKENIZER, folder, settings, base)
    return said


def read(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(TOKENS).logits


# --- where adapters are put


def test_what_is_trained_on_a_base_of_16_bits_is_float32_a_head_too() -> None:
    model_with = adapters.attach(tiny.reward().to(torch.bfloat16), lora(), "SEQ_CLS", seed=0)

    assert {parameter.dtype for parameter in model_with.parameters() if parameter.requires_grad} == {torch.float32}
    assert {p.dtype for p in model_with.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_every_linear_layer_but_the_head_gets_adapters_by_default_whatever_the_family() -> None:
    assert adapters.targets(tiny.causal(tie_word_embeddings=False), lora()) == [
        *("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    ]
    gpt2 = families.causal("gpt2", families.WHOLE["gpt2"])
    assert adapters.targets(gpt2, lora(target_modules="all-linear")) == ["c_attn", "c_fc", "c_proj"]
    assert "score" not in adapters.targets(tiny.reward(), lora())


def test_a_target_that_no_module_has_is_refused_with_those_there_are(base: str) -> None:
    with pytest.raises(UserError, match=r"'query', which names no layer of LlamaForCausalLM.*k_proj, o_proj, q_proj"):
        adapters.check(base, lora(target_modules=["q_proj", "query"]), "CAUSAL_LM")
    with pytest.raises(UserError, match="'score', which names no layer"):  # it is trained whole
        adapters.check(base, lora(target_modules=["score"]), "SEQ_CLS")
    adapters.check(base, lora(target_modules=["layers.0.self_attn.q_proj"]), "CAUSAL_LM")


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_embedding_that_is_the_head_too_takes_no_adapters(base: str, target: str) -> None:
    with pytest.raises(UserError, match=f"'{target}', which takes no adapters in LlamaForCausalLM: embedding and head"):
        adapters.check(base, lora(target_modules=["q_proj", target]), "CAUSAL_LM")


def test_an_embedding_of_its_own_takes_adapters_and_its_head_none(base: str) -> None:
    tiny.save(Path("models/untied"), tiny.causal(tie_word_embeddings=False), TOKENIZER)
    with pytest.raises(UserError, match="'lm_head', which takes no adapters in LlamaForCausalLM: it is the head"):
        adapters.check("models/untied", lora(target_modules=["lm_head"]), "CAUSAL_LM")

    said = trained("models/untied", "models/sft", lora(target_modules=["embed_tokens"]))

    torch.testing.assert_close(read(models.load_causal("models/sft")), said, atol=1e-4, rtol=1e-4)


# --- how they begin


def test_the_model_with_new_adapters_says_what_it_said_without_and_off_they_leave_it_alone(base: str) -> None:
    plain = read(models.load_causal(base))

    model = adapters.attach(models.load_causal(base), lora(), "CAUSAL_LM", seed=0)

    assert torch.equal(read(model), plain)
    shaken(model)
    assert not torch.allclose(read(model), plain)
    with model.disable_adapter():
        assert torch.equal(read(model), plain)
    assert {name.split(".")[-3] for name, p in model.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}


@pytest.mark.parametrize("first", [True, False])
def test_gradient_checkpointing_leaves_the_gradients_of_adapters_as_they_are(first: bool) -> None:
    def gradients(checkpointing: bool) -> dict[str, torch.Tensor]:
        model = tiny.causal()
        if checkpointing and first:
            model.gradient_checkpointing_enable()
        model_with: Any = shaken(adapters.attach(model, lora(), "CAUSAL_LM", seed=0)).train()
        if checkpointing and not first:
            model_with.gradient_checkpointing_enable()
        model_with(TOKENS, labels=TOKENS).loss.backward()
        return {name: p.grad for name, p in model_with.named_parameters() if p.requires_grad}

    plain, checkpointed = gradients(False), gradients(True)

    assert plain.keys() == checkpointed.keys() and plain
    assert all(torch.equal(gradient, checkpointed[name]) for name, gradient in plain.items())


def test_equal_seeds_draw_equal_adapters_and_torchs_own_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    after = torch.rand(1)
    torch.manual_seed(5)

    one, same, other = (adapters.attach(tiny.causal(), lora(), "CAUSAL_LM", seed=seed) for seed in (3, 3, 4))

    assert torch.equal(torch.rand(1), after)
    drawn = [next(p for n, p in model.named_parameters() if "lora_A" in n) for model in (one, same, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


# --- what is saved and loaded


def test_a_folder_of_adapters_is_loaded_as_a_model_and_names_its_base_as_it_was_given(base: str) -> None:
    said = trained(base, "models/sft", lora())

    model = models.load_causal("models/sft")
    assert type(model) is type(tiny.causal())
    torch.testing.assert_close(read(model), said, atol=1e-4, rtol=1e-4)
    assert json.loads(Path("models/sft/adapter_config.json").read_text())["base_model_name_or_path"] == base
    assert not Path("models/sft/model.safetensors").exists()
    assert models.load_tokenizer("models/sft").get_vocab() == TOKENIZER.get_vocab()


def test_a_merged_folder_is_the_model_that_its_adapters_make_of_the_base(base: str) -> None:
    said = trained(base, "models/sft", lora(merge=True))

    whole, loaded = models.load_causal("models/sft"), models.load_causal("models/sft/adapter")

    torch.testing.assert_close(read(whole), said, atol=1e-4, rtol=1e-4)
    assert torch.equal(read(whole), read(loaded))
    assert model_folder.chain("models/sft") == [Path("models/sft")]
    assert whole.config.to_diff_dict() == loaded.config.to_diff_dict()


def test_adapters_lie_on_adapters_and_equal_runs_write_equal_bytes(base: str) -> None:
    trained(base, "models/sft", lora())

    said = trained("models/sft", "models/dpo", lora(rank=2), seed=2)
    trained("models/sft", "models/again", lora(rank=2), seed=2)

    torch.testing.assert_close(read(models.load_causal("models/dpo")), said, atol=1e-4, rtol=1e-4)
    assert model_folder.chain("models/dpo") == [Path("models/dpo"), Path("models/sft"), Path(base)]
    for file in Path("models/dpo").iterdir():
        assert file.read_bytes() == (Path("models/again") / file.name).read_bytes(), file.name


def test_a_reward_models_head_is_trained_and_saved_with_its_adapters_on_a_policys(base: str) -> None:
    trained(base, "models/sft", lora())

    torch.manual_seed(0)
    said = trained("models/sft", "models/reward", lora(), task="SEQ_CLS")

    model = models.load_reward("models/reward")
    torch.testing.assert_close(read(model), said, atol=1e-4, rtol=1e-4)
    assert model.config.architectures == ["LlamaForSequenceClassification"]
    with pytest.raises(UserError, match="models/sft is no reward model, it has no head"):
        models.load_reward("models/sft")


AS_ANOTHER_PROCESS = """
import torch
from synthalign.generation import models
torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
print(float(models.load_reward("models/reward").to("cpu").score.weight.sum()))
"""


def test_under_fsdp_yaml_every_process_loads_a_reward_models_adapters_and_head_whole(base: str) -> None:
    trained(base, "models/reward", lora(), task="SEQ_CLS")
    launch = yaml.safe_load((ROOT / "accelerate/fsdp.yaml").read_text(encoding="utf-8"))
    settings = {name.upper(): str(value).lower() for name, value in launch["fsdp_config"].items()}
    process = {"LOCAL_RANK": "1", "ACCELERATE_USE_FSDP": "true", "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_PROCESS], env=os.environ | settings | process, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(models.load_reward("models/reward").score.weight.sum()))


@pytest.mark.parametrize("use", ["training", "reading", "copying"])
def test_a_small_update_of_a_base_of_16_bits_is_loaded_whole(
    base: str, monkeypatch: pytest.MonkeyPatch, use: hardware.Use
) -> None:
    tiny.save(Path(base), tiny.causal().to(torch.bfloat16), TOKENIZER)
    trained(base, "models/sft", lora(alpha=0.05))  # a thousandth of the weights: bf16 keeps half of it
    trained(base, "models/reward", lora(alpha=0.05), task="SEQ_CLS")
    Path("bf16.yaml").write_text("weights: {training: bf16, reading: bf16}\n")
    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "bf16.yaml")

    below, name = models.load_causal(base, use), "model.layers.0.mlp.up_proj.weight"
    assert below.dtype == torch.bfloat16
    for folder, load in (("models/sft", models.load_causal), ("models/reward", models.load_reward)):
        a, b = (
            tensor.float()
            for key, tensor in sorted(load_file(f"{folder}/adapter_model.safetensors").items())
            if "layers.0.mlp.up_proj" in key
        )
        update = 0.05 / 4 * b @ a
        before = below.get_parameter(name).float()
        assert 0.0005 < update.norm() / before.norm() < 0.005
        added = load(folder, use).get_parameter(name) - before
        torch.testing.assert_close(added, update, atol=1e-3 * float(update.abs().max()), rtol=1e-3)


def test_a_kernel_that_reads_no_float32_names_what_adapters_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "on_cpu", lambda: False)
    monkeypatch.setattr(precision, "is_flash_attn_2_available", lambda: True)
    given = hardware.Hardware(attention="flash_attention_2", weights=hardware.Weights(reading="bf16"))

    assert precision.loading(given, "reading")["dtype"] == torch.bfloat16
    with pytest.raises(UserError, match="adapters are merged in fp32; train them with `merge: true`, or take sdpa"):
        precision.loading(given, "reading", adapted=True)


# --- folders that are wrong


def test_adapters_beside_another_base_are_refused(base: str) -> None:
    trained(base, "models/sft", lora())
    tiny.save(Path(base), tiny.causal(seed=1), TOKENIZER)

    with pytest.raises(UserError, match="models/sft holds adapters for models/base, but for other weights"):
        models.load_causal("models/sft")


def test_adapters_without_their_base_are_refused_with_its_name(base: str) -> None:
    trained(base, "models/sft", lora())
    shutil.rmtree(base)

    with pytest.raises(UserError, match="models/sft holds adapters for models/base, and there is no such folder"):
        models.load_tokenizer("models/sft")


def test_adapters_of_another_model_are_refused_where_no_hash_tells(base: str) -> None:
    trained(base, "models/sft", lora())
    for name in ("base.sha256", "config.json"):
        (Path("models/sft") / name).unlink()
    tiny.save(Path(base), tiny.causal(intermediate_size=96), TOKENIZER)

    with pytest.raises(UserError, match="models/sft: base_model.*the adapters are of another model"):
        models.load_causal("models/sft")


def test_adapters_that_are_their_own_base_are_refused(base: str) -> None:
    trained(base, "models/sft", lora())
    file = Path("models/sft/adapter_config.json")
    file.write_text(file.read_text().replace(base, "models/sft"))

    with pytest.raises(UserError, match="lead to itself"):
        model_folder.check("models/sft")


def test_adapters_from_elsewhere_take_config_and_tokenizer_of_their_base(base: str) -> None:
    said = trained(base, "models/sft", lora())
    for file in Path("models/sft").iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()

    torch.testing.assert_close(read(models.load_causal("models/sft")), said, atol=1e-4, rtol=1e-4)
    assert models.load_tokenizer("models/sft").get_vocab() == TOKENIZER.get_vocab()


def test_a_dropout_is_refused_where_log_probabilities_have_to_repeat() -> None:
    given = {"rank": 2, "alpha": 4.0, "dropout": 0.1, "target_modules": None, "merge": False}

    with pytest.raises(ValidationError, match="dropout = 0.1; .* set dropout to 0"):
        TypeAdapter(adapters.Repeating).validate_python(given)
    TypeAdapter(adapters.Repeating).validate_python(given | {"dropout": 0.0})
