from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType

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


@pytest.mark.parametrize("kind", [DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU])
def test_whole_models_on_every_device_are_not_and_no_loss_is_divided_for_accumulation(kind):
    accelerator = SimpleNamespace(distributed_type=kind, gradient_accumulation_steps=4)

    checkpoints.take_over(accelerator)

    assert accelerator.gradient_accumulation_steps == 1
