"""The training stages with LoRA adapters in place of all weights: what they learn, what they write, and what is off."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from stages import train_asis_reward, train_dpo, train_flan, train_reward, train_sft
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.flan import mixture
from synthalign.generation import models
from synthalign.policies import dpo_training
from synthalign.reward import scoring
from tests import tiny
from tests.stages import test_train_stages as full
from tests.stages.test_train_stages import GOOD, everything, finished, pair, read_json, said, stage_process

LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "target_modules": None, "merge": False}
SFT = full.SFT | {"lora": LORA, "epochs": 6, "learning_rate": 2e-2}
DPO = full.DPO | {"lora": LORA, "learning_rate": 1e-2}
REWARD = full.REWARD | {"lora": LORA, "learning_rate": 1e-2, "epochs": 2}
ASIS = full.ASIS | {"lora": LORA, "learning_rate": 1e-2, "epochs": 2}
MERGED = {"lora": LORA | {"merge": True}}


def fill(folder: Path) -> None:
    """The working folder, with a tiny base model in models/base, pairs and demonstrations."""
    tiny.save(folder / "models/base", tiny.causal(), tiny.tokenizer())
    for name in ("test", "sft"):
        full.write_pairs(name, [pair(number) for number in range(96)])
    questions = [f"Question {number}?" for number in range(32)]
    full.write_demonstrations("test", [[*said("user", text), *said("assistant", GOOD)] for text in questions])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder that was filled."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    yield tmp_path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What fine-tuning with adapters writes in such a folder, `alone` and `merged`."""
    folder, made = tmp_path_factory.mktemp("tuned"), {}
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        fill(folder)
        for name, settings in (("alone", SFT), ("merged", SFT | MERGED)):
            train_sft.main(train_sft.Params(**settings), "test")
            made[name] = Path(shutil.move("models/sft/test", name)).absolute()
    return made


def put(tuned: Path, folder: str = "models/sft/test") -> None:
    """Copy a policy to where its stage would have written it."""
    shutil.copytree(tuned, folder)


def test_adapters_learn_the_demonstrated_answer_and_the_base_stays_as_it_was(
    workspace: Path, tuned: dict[str, Path]
) -> None:
    trained_from = everything(str(tuned["alone"].parent / "models/base"))
    assert [*trained_from.values()] == [*everything("models/base").values()]
    put(tuned["alone"])
    assert not Path("models/sft/test/model.safetensors").exists()
    model, tokenizer = models.load_causal("models/sft/test"), models.load_tokenizer("models/sft/test")
    prompt: Any = tokenizer("Human: Question 99?\n\nAssistant:", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(written) == f" {GOOD}<eos>"


def test_a_merged_policy_is_the_one_that_its_adapters_make_of_the_base(workspace: Path, tuned: dict[str, Path]) -> None:
    put(tuned["alone"], "models/sft/adapters")
    put(tuned["merged"])

    alone = everything("models/sft/adapters")
    beside = everything("models/sft/test/adapter")
    assert [*beside.values()] == [*alone.values()]
    whole, loaded = load_file("models/sft/test/model.safetensors"), models.load_causal("models/sft/adapters")
    for name, tensor in loaded.state_dict().items():
        if name in whole:
            torch.testing.assert_close(whole[name], tensor, atol=1e-6, rtol=1e-6)


def test_dpo_with_adapters_is_refused_under_fsdp_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")

    with pytest.raises(UserError, match="distributed_type FSDP shards models.* accelerate/gpu.yaml.* `lora: null`"):
        train_dpo.main(train_dpo.Params(**DPO | {"model": "not there"}))
    dpo_training.check(None)


def test_the_reference_of_dpo_is_the_policy_with_its_own_adapters_and_without_the_new_ones(
    workspace: Path, tuned: dict[str, Path]
) -> None:
    put(tuned["merged"])

    curves = []
    for model in ("models/sft/test", "models/sft/test/adapter"):
        train_dpo.main(train_dpo.Params(**DPO | {"model": model}))
        curves.append(read_json("metrics/plots/train_dpo/dpo.json"))

    assert curves[0] == curves[1]
    first, *_, last = curves[1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards_margins"] == pytest.approx(0, abs=1e-4)
    assert last["loss"] < math.log(2) - 0.1
    assert sorted(file.name for file in Path("models/dpo").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.sha256",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    # What was taught first is still there: the policy begins an answer as the fine-tuned one does, the base does not.
    prompt: Any = models.load_tokenizer("models/dpo")("Human: Question 3?\n\nAssistant:", return_tensors="pt").input_ids
    last_token = [models.load_causal(f)(prompt).logits[0, -1] for f in ("models/dpo", "models/sft/test", "models/base")]
    policy, reference, base = (logits.log_softmax(-1) for logits in last_token)
    distance = [(policy.exp() * (policy - other)).sum().item() for other in (reference, base)]
    assert distance[0] < 0.1 * distance[1]


@pytest.mark.parametrize("merge", [False, True])
def test_a_reward_model_of_adapters_learns_with_its_head_and_its_scores_are_normalised(
    workspace: Path, merge: bool
) -> None:
    train_reward.main(train_reward.Params(**REWARD | {"lora": LORA | {"merge": merge}}), "test")

    metrics = read_json("metrics/train_reward/test.json")
    assert metrics["held_out_accuracy"]["value"] == 1.0
    assert metrics["held_out_loss"] < 0.5 * math.log(2)
    tokenizer = models.load_tokenizer("models/reward/test")
    dialogues = [[*said("user", "Question 3?"), *said("assistant", text)] for text in (GOOD, "Why do you ask?")]
    folders = ["models/reward/test", *(["models/reward/test/adapter"] if merge else [])]
    scores = [scoring.score(models.load_reward(folder), tokenizer, dialogues) for folder in folders]
    assert all(good > bad + 1 for good, bad in scores)
    assert all(one == pytest.approx(scores[0], abs=1e-4) for one in scores)


def test_all_weights_of_a_policy_that_adapters_made_can_be_trained(workspace: Path, tuned: dict[str, Path]) -> None:
    put(tuned["alone"])

    train_dpo.main(train_dpo.Params(**full.DPO | {"model": "models/sft/test"}))

    before, after = (models.load_causal(folder).state_dict() for folder in ("models/sft/test", "models/dpo"))
    assert not any(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_the_asis_model_learns_by_adapters(workspace: Path) -> None:
    pq.write_table(pa.Table.from_pylist([full.community(number) for number in range(60)]), "qa.parquet")

    train_asis_reward.main(train_asis_reward.Params(**ASIS))

    assert read_json("metrics/train_asis_reward.json")["held_out_accuracy"]["value"] > 0.9
    assert Path("models/asis_reward/adapter_model.safetensors").exists()


def test_a_reward_model_of_adapters_can_be_trained_on(workspace: Path) -> None:
    train_reward.main(train_reward.Params(**REWARD), "test")
    shutil.move("models/reward/test", "models/first")

    train_reward.main(train_reward.Params(**REWARD | {"model": "models/first"}), "test")

    assert read_json("metrics/train_reward/test.json")["held_out_accuracy"]["value"] == 1.0
    assert read_json("metrics/plots/train_reward/test.json")[0]["accuracy"] == 1.0  # it began where the first ended


def test_packed_examples_are_learned_by_adapters(workspace: Path) -> None:
    alike = {name: "a" for name in ("example_id", "task", "family", "template", "query")}
    alike |= {"shots": 0, "cot": False, "inverted": False}
    rows = [
        alike | {"mixture_id": f"m{at:03}", "messages": [*said("user", f"Question {at}?"), *said("assistant", GOOD)]}
        for at in range(32)
    ]
    tables.write(rows, "mixtures/test", key="mixture_id", schema=mixture.SCHEMA)
    section = {key: value for key, value in SFT.items() if key not in ("model", "learning_rate")}
    member = {"model": "models/base", "mixture": "test", "learning_rate": 2e-2}

    train_flan.main(train_flan.Params(**section | {"members": {"test": member}, "epochs": 20}), "test")

    metrics = read_json("metrics/train_flan/test.json")
    assert metrics["last_loss"] < 1 < 5 < metrics["first_loss"]
    assert models.load_causal("models/flan/test").config.vocab_size == tiny.VOCABULARY


def test_a_target_that_no_module_has_stops_a_stage_before_it_has_begun(workspace: Path) -> None:
    wrong = {"lora": LORA | {"target_modules": ["query"]}}
    for main, section in (
        (lambda params: train_sft.main(params, "test"), train_sft.Params(**SFT | wrong)),
        (train_dpo.main, train_dpo.Params(**DPO | wrong)),
        (lambda params: train_reward.main(params, "test"), train_reward.Params(**REWARD | wrong)),
        (train_asis_reward.main, train_asis_reward.Params(**ASIS | wrong)),
    ):
        with pytest.raises(UserError, match="'query', which names no layer of Llama.* those there are: down_proj"):
            main(section)  # type: ignore[operator]
    assert not Path(".work").exists()


def test_an_adapters_dropout_drops_in_every_trainer_that_takes_one(workspace: Path) -> None:
    def of_reward(lora: dict[str, Any]) -> None:
        train_reward.main(train_reward.Params(**REWARD | lora), "test")

    for folder, train in (
        ("models/sft/test", lambda lora: train_sft.main(train_sft.Params(**SFT | lora), "test")),
        ("models/dpo", lambda lora: train_dpo.main(train_dpo.Params(**DPO | lora))),
        ("models/reward/test", of_reward),
    ):
        found = []
        for dropout in (0.0, 0.5):
            train({"lora": LORA | {"dropout": dropout}, "epochs": 1})
            found.append(load_file(f"{folder}/adapter_model.safetensors"))
        assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0]), folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_reward", "train_dpo"])
def test_a_run_of_adapters_that_was_killed_goes_on_and_ends_with_the_same_bytes(workspace: Path, name: str) -> None:
    section = {"train_reward": REWARD, "train_dpo": DPO}[name] | {"epochs": 10, "lora": LORA | {"dropout": 0.1}}
    item = () if name == "train_dpo" else ("test",)
    finished(stage_process(name, section, *item))
    undisturbed = everything("models") | everything("metrics")

    process = stage_process(name, section, *item)
    while not any(file.stat().st_size for file in Path(".work").glob(f"{name}/*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = stage_process(name, section, *item)
    output, _ = again.communicate(timeout=600)

    assert again.returncode == 0, output
    assert "going on from here" in output
    assert everything("models") | everything("metrics") == undisturbed


@pytest.mark.slow
def test_two_processes_train_the_adapters_of_one_against_one_reference(workspace: Path) -> None:
    finished(stage_process("train_dpo", DPO))
    alone = load_file("models/dpo/adapter_model.safetensors")
    # accelerate starts one process for --cpu or MULTI_CPU, whatever the number asked for
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0", "-m", "stages.train_dpo"]
    environment = os.environ | {"PYTHONPATH": str(full.REPOSITORY), "OMP_NUM_THREADS": "1"}

    subprocess.run(command, env=environment | {"ACCELERATE_USE_CPU": "true"}, check=True, timeout=600)

    together = load_file("models/dpo/adapter_model.safetensors")
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=2e-4, rtol=0)
