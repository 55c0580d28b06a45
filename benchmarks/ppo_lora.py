"""PPO of SmolLM2-135M with LoRA, and the same with all weights: what `ppo_lora_memory` and `ppo_lora_speed` share.

    SMOLLM2=folder python -m benchmarks.ppo_lora lora    # or: whole; one run, its figures as JSON

Each run is a process of its own: two steps of the loop of `train_ppo` on the same prompts, with the reward model as an
adapter and a head on the policy's base, or as a whole model.  At first both sides have the same policy, and so write
the same answers.  Seconds are those of the second step, without loading and snapshots; memory is the greatest resident
set of the process.  The reward model's head is drawn, not trained: neither figure depends on it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator

from synthalign.generation import adapters, models
from synthalign.generation.adapters import Lora
from synthalign.policies import one_base, ppo_training, prompting
from synthalign.policies.ppo_settings import Settings

MODEL = Path(os.environ.get("SMOLLM2", "models/base/smollm2"))
"""SmolLM2-135M-Instruct as `base_models` makes it, or any folder of a model that ends its answers."""

PAD = "<file_sep>"
"""A token that no text has, where the model pads with its end-of-sequence token."""

LORA = Lora(rank=16, alpha=32.0, dropout=0.0, target_modules=None, merge=False)
SETTINGS = Settings(
    seed=0,
    steps=3,  # of which two are made: the last is followed by a snapshot
    rollout_batch=8,
    minibatch=8,
    epochs=4,  # as Stiennon et al. 2020
    learning_rate=1e-5,
    value_learning_rate=1e-5,
    schedule="constant",
    warmup_steps=0,
    clip=0.2,
    value_clip=0.2,
    discount=1.0,
    gae_lambda=0.95,
    kl_coefficient=0.05,
    kl_target=None,
    kl_horizon=10000.0,
    turn_ends=False,
    missing_stop_penalty=-1.0,
    whiten_rewards=False,
    temperature=1.0,
    max_new_tokens=32,
    max_gradient_norm=1.0,
    ptx_coefficient=0.0,
    ptx_batch=0,
    snapshot_every=0,
    checkpoint_every=100,
    device_batch_size=2,
)
QUESTIONS = [
    f"{ask} {what}?"
    for what in (
        "a red fox",
        "plum cake",
        "the city of Riga",
        "an old clock",
        "the grey owl",
        "good bread",
        "rain",
        "tea",
    )
    for ask in ("What is", "Can you tell me something about", "Why do people like", "What would you ask about")
]


class Run(NamedTuple):
    seconds: float
    """Of the second step."""
    cpu: float
    """The same of the processor, which counts where other programs take turns."""
    tokens: float
    """Of an answer in it, on average."""
    peak: int
    """Bytes."""


def padded(folder: Path) -> str:
    """MODEL with a token of its own for padding, the weights linked."""
    folder.mkdir()
    for file in MODEL.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    tokenizer = models.read_tokenizer(folder)
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = PAD
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (folder / name).unlink(missing_ok=True)
        tokenizer.save_pretrained(folder)
    return str(folder)


def prepare(folder: Path) -> None:
    """In `folder` the policy, and a reward model of either kind."""
    base = padded(folder / "policy")
    tokenizer = models.load_tokenizer(base)
    model = models.load_reward(base, new_head=True)
    models.save(model, tokenizer, folder / "whole")
    adapters.save(adapters.attach(model, LORA, "SEQ_CLS", 0), tokenizer, folder / "lora", LORA, base)


class Enough(Exception):
    """Two steps are made."""


def train(folder: Path, side: str, changes: dict[str, int]) -> None:
    """Two steps in this process, with some settings changed; prints a `Run`."""
    models.fix_rounding("training")
    lora = LORA if side == "lora" else None
    settings = SETTINGS.model_copy(update={"lora": lora} | changes)
    start = str(folder / "policy")
    policy, tokenizer = models.load_causal(start), models.load_tokenizer(start)
    reward_model = one_base.reward_of(policy, lora, folder=start, reward=str(folder / side))
    one_base.learner(policy, lora, seed=0)
    prompts = prompting.make_prompts([(one, one) for one in QUESTIONS], tokenizer, longest=64)
    steps = []

    def report(row: dict[str, Any]) -> None:
        steps.append((row, time.perf_counter(), time.process_time()))
        if len(steps) == 2:
            raise Enough

    with suppress(Enough):
        ppo_training.train(
            Accelerator(),
            policy,
            reward_model,
            tokenizer,
            settings,
            prompts=prompts,
            questions=prompts[:1],
            ptx_texts=[],
            folder=folder / "work",
            report=report,
        )
    (_, *before), (row, *after) = steps
    seconds, cpu = (end - start for start, end in zip(before, after, strict=True))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(Run(seconds, cpu, row["tokens"], peak)))


@contextmanager
def prepared() -> Iterator[Path]:
    """A folder that is ready for `run`."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        yield Path(folder)


def run(folder: Path, side: str, **changes: int) -> Run:
    """The figures of one side in a process of its own, with some settings changed."""
    command = [sys.executable, "-m", "benchmarks.ppo_lora", side, str(folder), json.dumps(changes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(*json.loads(done.stdout.splitlines()[-1]))


def main(side: str, folder: str | None = None, changes: str = "{}") -> None:
    if folder:
        train(Path(folder), side, json.loads(changes))
        return
    with prepared() as own:
        print(run(own, side))


if __name__ == "__main__":
    main(*sys.argv[1:])
