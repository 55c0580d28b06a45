import math
from collections import Counter
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import fully_shard
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from synthalign.core.errors import UserError
from synthalign.policies import dpo_training
from synthalign.reward import pairwise, training
from synthalign.reward.training_settings import Settings
from tests import families, tiny
from tests.families import EXPERTS, REFUSED, WHOLE


def numbers():
    file = BytesIO()
    torch.save({"python": 0}, file)
    return file.getvalue()


NUMBERS = numbers()
"""What a process leaves of its random numbers."""


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


def test_every_row_is_seen_once_in_every_pass():
    order = training.batch_order([5] * 12, batch_size=4, epochs=2, seed=0)

    assert len(order) == 2 * 12
    assert set(Counter(order).values()) == {2}


def test_the_last_batch_is_filled_up_with_rows_of_one_more_pass():
    order = training.batch_order([5] * 10, batch_size=4, epochs=1, seed=0)

    assert len(order) == 12  # ceil(10 / 4) × 4
    assert set(order) == set(range(10))


def test_fewer_rows_than_a_batch_still_make_a_whole_batch():
    order = training.batch_order([5] * 3, batch_size=8, epochs=1, seed=0)

    assert len(order) == 8
    assert sorted(Counter(order).values()) == [2, 3, 3]  # 8 = 3 + 3 + 2


def test_rows_of_like_length_share_a_batch():
    lengths = [1, 100] * 32

    order = training.batch_order(lengths, batch_size=8, epochs=1, seed=0)

    assert all(len({lengths[row] for row in batch}) == 1 for batch in batches(order, 8))
    assert [lengths[batch[0]] for batch in batches(order, 8)] != sorted([1, 100] * 4)  # and not all short ones first


def test_the_order_depends_on_the_seed_alone():
    lengths = list(range(50))

    assert training.batch_order(lengths, batch_size=4, epochs=1, seed=3) == training.batch_order(
        lengths, batch_size=4, epochs=1, seed=3
    )
    assert training.batch_order(lengths, batch_size=4, epochs=1, seed=3) != training.batch_order(
        lengths, batch_size=4, epochs=1, seed=4
    )


def test_nothing_to_train_on_is_said():
    with pytest.raises(UserError, match="no row to train on"):
        training.batch_order([], batch_size=4, epochs=1, seed=0)


def test_a_batch_is_divided_among_processes_and_accumulation_steps():
    assert training.per_device_batch(64, processes=4, accumulation=2) == 64 // (4 * 2)
    assert training.per_device_batch(64, processes=1, accumulation=1) == 64


@pytest.mark.parametrize(("batch", "processes"), [(30, 4), (2, 4)])
def test_a_batch_that_cannot_be_divided_evenly_is_refused(batch, processes):
    with pytest.raises(UserError, match=f"a batch of {batch} rows cannot be divided among {processes} processes"):
        training.per_device_batch(batch, processes=processes, accumulation=1)


def test_which_pairs_are_drawn_does_not_depend_on_their_order():
    rows = [{"comparison_id": f"{number}"} for number in range(20)]

    drawn = training.draw(rows, 5, seed=0)

    assert len(drawn) == 5
    assert drawn == training.draw(rows[::-1], 5, seed=0)
    assert drawn != training.draw(rows, 5, seed=1)
    assert training.draw(rows, 9, seed=0)[:5] == drawn


def test_one_process_that_sees_two_cards_trains_on_one_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    for name, answer in (("is_available", True), ("device_count", 2), ("set_device", None)):
        monkeypatch.setattr(torch.cuda, name, lambda *given, answer=answer: answer)
    AcceleratorState._reset_state(reset_partial_state=True)

    try:
        made = training.arguments(
            TrainingArguments,
            work=tmp_path, steps=1, batch_size=4, learning_rate=0.1, warmup=0.0, weight_decay=0.0, seed=0,
        )  # fmt: skip
        found = made.device, made.n_gpu, made.train_batch_size
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)

    assert found == (torch.device("cuda", 0), 1, 4)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_try(tmp_path, loss):
    args = TrainingArguments(str(tmp_path), learning_rate=0.5, report_to="none", use_cpu=True)
    state = TrainerState(global_step=20, max_steps=80)

    with pytest.raises(UserError, match=r"by step 20 of 80 .* smaller `learning_rate` \(now 0.5\)"):
        training.Watch().on_log(args, state, TrainerControl(), logs={"loss": loss})


DROPPING = {
    "llama": (dict(attention_dropout=0.5), {}),
    "opt": (dict(dropout=0.5, attention_dropout=0.5, layerdrop=0.5), WHOLE["opt"]),
    "bloom": (dict(hidden_dropout=0.5, attention_dropout=0.5), REFUSED["bloom"]),
    "starcoder2": (dict(residual_dropout=0.5, embedding_dropout=0.5, attention_dropout=0.5), {}),
    "gpt2": (dict(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5), WHOLE["gpt2"]),
    "falcon": (dict(hidden_dropout=0.5, attention_dropout=0.5), {}),
    "gptj": (dict(attn_pdrop=0.5, resid_pdrop=0.5, n_embd=32, n_layer=2, n_head=4, rotary_dim=4), {}),
    "xglm": (dict(dropout=0.5, layerdrop=0.5, d_model=32, ffn_dim=64, num_layers=2, attention_heads=4), {}),
    "biogpt": (dict(hidden_dropout_prob=0.5, layerdrop=0.5), {}),
    "mixtral": (dict(attention_dropout=0.5, router_jitter_noise=0.5), EXPERTS),
}
"""Families that drop by modules, by numbers of their own, and by what they read in their configuration."""


@pytest.mark.parametrize("family", DROPPING)
def test_two_passes_in_training_are_equal_wherever_a_model_has_its_dropout(family):
    dropping, settings = DROPPING[family]
    model = families.causal(family, settings | dropping).train()
    ids = torch.arange(5, 45)[None]

    with torch.no_grad():
        assert not torch.equal(model(ids).logits, model(ids).logits)
        training.without_dropout(model)
        still = model(ids).logits
        assert torch.equal(still, model(ids).logits)
        assert torch.allclose(still, model.eval()(ids).logits, atol=1e-5)


@pytest.mark.parametrize("family", ["opt", "bloom", "starcoder2", "gpt2", "falcon"])
def test_dpo_begins_at_the_logarithm_of_2_wherever_a_model_has_its_dropout(family, tmp_path):
    dropping, settings = DROPPING[family]
    folder = tiny.save(tmp_path / "base", families.causal(family, settings | dropping), tiny.tokenizer())
    pairs = [
        {
            "prompt": [{"role": "user", "content": f"Where is {row}?"}],
            "chosen": [{"role": "assistant", "content": "In Riga."}],
            "rejected": [{"role": "assistant", "content": "I do not know."}],
            "chosen_finish_reason": "eos",
            "rejected_finish_reason": "eos",
        }
        for row in range(4)
    ]

    curve, _ = dpo_training.train(
        pairs,
        base_model=folder,
        folder=tmp_path / "dpo",
        work=tmp_path / "work",
        beta=0.1,
        learning_rate=1e-4,
        settings=Settings(epochs=1, batch_size=4, warmup=0.0, weight_decay=0.0, max_length=200, seed=0),
    )

    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_only_a_whole_checkpoint_is_gone_on_from(tmp_path):
    for step, state in ((9, '{"global_step": 9}'), (10, '{"global_step": 10}'), (20, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
        (tmp_path / f"checkpoint-{step}" / "rng_state.pth").write_bytes(NUMBERS)
    (tmp_path / "checkpoint-30").mkdir()

    assert training._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert training._last_checkpoint(tmp_path / "empty") is None

    (tmp_path / "checkpoint-10/optimizer.pt").touch()  # a power cut has taken what was in it
    assert training._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")


def test_a_checkpoint_without_the_random_numbers_of_every_process_is_not_gone_on_from(tmp_path, monkeypatch):
    for step, processes in ((10, 2), (20, 1)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
        for process in range(processes):
            (tmp_path / f"checkpoint-{step}/rng_state_{process}.pth").write_bytes(NUMBERS)

    monkeypatch.setenv("WORLD_SIZE", "2")

    assert training._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_a_checkpoint_that_fewer_processes_made_is_gone_on_from(tmp_path, monkeypatch):
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "checkpoint-20/trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-20/rng_state.pth").write_bytes(NUMBERS)

    monkeypatch.setenv("WORLD_SIZE", "2")

    assert training._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")


def test_what_a_sharded_model_returns_is_not_rounded_to_the_type_it_computes_in(tmp_path):
    """FSDP on one process of the CPU, as accelerate would set it up: 250.3 is no number of bfloat16."""

    class Large(torch.nn.Linear):
        def forward(self, given):
            return super().forward(given).float() + 0.3

    def returned(plugin):
        layer = Large(1, 1, bias=False)
        layer.weight.data.fill_(250.0)
        sharded = fully_shard(layer, mp_policy=plugin.mixed_precision_policy)
        return sharded(torch.ones(1, 1)).item()

    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    plugin.set_mixed_precision("bf16")
    accelerator = SimpleNamespace(distributed_type=DistributedType.FSDP, state=SimpleNamespace(fsdp_plugin=plugin))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert returned(plugin) == 250.0, "accelerate does not round any more: outputs_in_float32 can go"
        training.outputs_in_float32(accelerator)
        assert returned(plugin) == pytest.approx(250.3, abs=1e-4)
        assert plugin.mixed_precision_policy.param_dtype == torch.bfloat16
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("trainer", [pairwise.PairwiseTrainer, dpo_training.TokenizedDPOTrainer])
def test_trainers_that_subtract_what_a_model_returns_ask_for_all_of_it(trainer, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "outputs_in_float32", seen.append)
    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", lambda self: setattr(self, "accelerator", "its"))

    trainer.create_accelerator_and_postprocess(object.__new__(trainer))

    assert seen == ["its"]


def test_the_older_checkpoint_stays_until_the_newest_is_on_the_disk(tmp_path, monkeypatch):
    for step in (10, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    seen = []
    monkeypatch.setattr(training.durable, "keep", lambda newest: seen.append((newest.name, len([*tmp_path.iterdir()]))))
    state = TrainerState(global_step=20, is_world_process_zero=True)

    training.Watch().on_save(TrainingArguments(output_dir=str(tmp_path), use_cpu=True), state, TrainerControl())

    assert seen == [("checkpoint-20", 2)]
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-20"]


def test_a_run_that_is_killed_before_its_model_is_written_trains_no_step_again(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    base = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    pairs = [
        {
            "comparison_id": str(row), "prompt": [{"role": "user", "content": f"Where is number {row}?"}],
            "chosen": [{"role": "assistant", "content": "In Riga."}], "chosen_finish_reason": "eos",
            "rejected": [{"role": "assistant", "content": "No."}], "rejected_finish_reason": "eos", "p_chosen": 1.0,
        }
        for row in range(8)
    ]  # fmt: skip
    settings = Settings(epochs=1, batch_size=4, warmup=0.0, weight_decay=0.0, max_length=200, seed=0)

    def train():
        return dpo_training.train(
            pairs, base_model=base, folder=tmp_path / "dpo", work=tmp_path / "work", beta=0.1, learning_rate=1e-4,
            settings=settings,
        )  # fmt: skip

    def killed(*given, **others):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "save", killed)
        train()
    assert [folder.name for folder in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-2"]

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", killed)
        curve, _ = train()
    assert curve[-1]["step"] == 2
    assert (tmp_path / "dpo/model.safetensors").exists()
    assert not (tmp_path / "work").exists()
