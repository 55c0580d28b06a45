import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch import nn

from synthalign.core.errors import UserError
from synthalign.policies import checkpoints


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_sharded_models_are_refused(kind):
    with pytest.raises(UserError, match=f"distributed_type {kind.value} shards models; .*cpu.yaml .* `lora`"):
        checkpoints.take_over(SimpleNamespace(distributed_type=kind))


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_they_are_refused_before_a_model_is_loaded(kind, monkeypatch):
    checkpoints.check()
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")

    with pytest.raises(UserError, match=f"distributed_type {kind} shards models; .*SPIN.* `lora`"):
        checkpoints.check()


def test_losses_that_are_scaled_for_float16_are_refused_where_no_step_is_skipped(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")

    with pytest.raises(UserError, match="mixed_precision fp16 scales losses .* PPO and RRHF do not; write bf16"):
        checkpoints.check()
    checkpoints.check(skips_steps=True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    checkpoints.check()


@pytest.mark.parametrize("kind", [DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU])
def test_whole_models_on_every_device_are_not_and_no_loss_is_divided_for_accumulation(kind):
    accelerator = SimpleNamespace(distributed_type=kind, gradient_accumulation_steps=4)

    checkpoints.take_over(accelerator)

    assert accelerator.gradient_accumulation_steps == 1


def saved(folder: Path, step: int) -> None:
    """A checkpoint of a model whose weights are the step's number."""
    model = nn.Linear(2, 1)
    for parameter in model.parameters():
        parameter.data.fill_(step)
    checkpoints.save(folder, step, model, torch.optim.AdamW(model.parameters()), {"step": step})


@pytest.mark.parametrize("name", ["models.safetensors", "optimizer.pt", "state.json"])
def test_a_checkpoint_that_a_power_cut_has_left_empty_is_passed_over_and_made_again(tmp_path, name):
    saved(tmp_path / "one", 1)
    saved(tmp_path, 2)
    shutil.move(tmp_path / "one/step-00000001", tmp_path / "step-00000001")
    (tmp_path / "step-00000002" / name).write_bytes(b"")
    model = nn.Linear(2, 1)

    state = checkpoints.load(tmp_path, model, torch.optim.AdamW(model.parameters()))

    assert state == {"step": 1}
    assert model.weight.tolist() == [[1.0, 1.0]]

    saved(tmp_path, 2)  # in the place of the one that cannot be read
    assert [folder.name for folder in tmp_path.glob("step-*")] == ["step-00000002"]
    assert checkpoints.load(tmp_path, model, torch.optim.AdamW(model.parameters())) == {"step": 2}


def stepped(optimizer_of):
    """The weights of a model after two steps."""
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    optimizer = optimizer_of(model.parameters())
    for _ in range(2):
        model(torch.ones(40)).square().sum().backward()
        optimizer.step()
    return model.weight


def test_a_step_on_a_card_is_one_kernel_without_copies_of_the_moments_and_on_a_cpu_what_it_was():
    of_a_card = checkpoints.adamw(nn.Linear(2, 1).parameters(), torch.device("cuda"), weight_decay=0.1)
    here = stepped(lambda weights: checkpoints.adamw(weights, torch.device("cpu"), weight_decay=0.1))

    assert of_a_card.defaults["fused"] is True
    assert torch.equal(here, stepped(lambda weights: torch.optim.AdamW(weights, weight_decay=0.1)))


def test_moments_that_one_card_wrote_are_read_to_the_cpu_and_not_by_all_processes_to_that_card(tmp_path, monkeypatch):
    def spied(file, **given):
        places.append(given.get("map_location"))
        return load(file, **given)

    load, places = torch.load, []
    monkeypatch.setattr(torch, "load", spied)
    saved(tmp_path, 1)
    model = nn.Linear(2, 1)

    checkpoints.load(tmp_path, model, torch.optim.AdamW(model.parameters()))

    assert places == ["cpu"]


def test_without_a_checkpoint_that_can_be_read_a_run_begins_anew(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "step-00000001/state.json").write_bytes(b"")
    model = nn.Linear(2, 1)

    assert checkpoints.load(tmp_path, model, torch.optim.AdamW(model.parameters())) is None
