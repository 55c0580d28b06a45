"""One kind of step on a model folder, for `benchmarks.memory`: how much memory it took, as a line of JSON.

    python -m benchmarks.memory_step ppo path/to/model work_folder
    python -m benchmarks.memory_step ppo_lora path/to/model work_folder     # after the kind `adapters`

What is measured is the process's largest resident set less its resident set with the tokenizer and all code loaded, in
bytes. Texts are as long as `SIZES` lets them be, so that nothing is padded. The kinds that end in _lora train adapters;
`adapters` writes those that sampling and PPO begin with, in a process of its own.
"""

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from transformers import AutoConfig, AutoModelForCausalLM

from synthalign.generation import adapters, generate, models
from synthalign.generation.adapters import Lora
from synthalign.policies import dpo_training, one_base, ppo_training, prompting
from synthalign.policies.ppo_settings import Settings as PPOSettings
from synthalign.reward import pairwise
from synthalign.reward.training_settings import Settings

SIZES = {
    "sampling": {"prefix": 677, "own": 32, "new": 32, "slots": 64},
    "reward": {"batch_size": 2, "max_length": 256},
    "dpo": {"batch_size": 2, "max_length": 128},
    "ppo": {"rows": 2, "prompt": 64, "new": 64},
}
LORA = Lora(rank=16, alpha=32.0, dropout=0.0, target_modules=None, merge=False)
ENDING = "_lora"
STEPS = 2
"""The second begins with the moments of Adam that the first made."""

TEXT = "The red fox lives in the forest, where it hunts mice and sleeps under the roots of an old oak tree. "


def words(tokenizer: Any, count: int) -> str:
    """A text of about so many tokens, not fewer."""
    once = len(tokenizer(TEXT)["input_ids"])
    return TEXT * (count // once + 1)


def exactly(tokenizer: Any, count: int) -> str:
    """A text of exactly so many tokens, or one or two fewer."""
    return str(tokenizer.decode(tokenizer(words(tokenizer, count))["input_ids"][:count]))


def pairs(tokenizer: Any, count: int, length: int) -> list[dict[str, Any]]:
    said = exactly(tokenizer, length - 40)
    return [
        {
            "comparison_id": f"{row}",
            "query_id": f"{row}",
            "prompt": [{"role": "user", "content": words(tokenizer, length)}],
            "chosen": [{"role": "assistant", "content": said}],
            "rejected": [{"role": "assistant", "content": f"No. {said}"}],
            "chosen_finish_reason": "eos",
            "rejected_finish_reason": "eos",
            "p_chosen": 1.0,
        }
        for row in range(count)
    ]


def settings(size: dict[str, int], lora: Lora | None) -> Settings:
    return Settings(epochs=1, warmup=0.0, weight_decay=0.0, seed=0, lora=lora, **size)


def make_adapters(folder: Path, work: Path) -> None:
    """In `work` a policy and a reward model as adapters on the folder's model, as training leaves them."""
    tokenizer = models.load_tokenizer(folder)
    policy, reward_model = models.load_causal(folder), models.load_reward(folder, new_head=True)
    adapters.save(adapters.attach(policy, LORA, "CAUSAL_LM", 0), tokenizer, work / "policy", LORA, folder)
    adapters.save(adapters.attach(reward_model, LORA, "SEQ_CLS", 0), tokenizer, work / "reward", LORA, folder)


def sampling(folder: Path, work: Path, size: dict[str, int], lora: Lora | None) -> None:
    tokenizer = models.load_tokenizer(folder)
    generate.generate(
        models.load_causal(work / "policy" if lora else folder), tokenizer,
        prefix=exactly(tokenizer, size["prefix"]) + "\n\n",
        suffixes=[exactly(tokenizer, size["own"] - 3) + str(row) for row in range(size["slots"])],
        row_ids=[str(row) for row in range(size["slots"])], seed=0, max_new_tokens=size["new"], temperature=1.0,
        top_p=0.9, batch_size=size["slots"], workers=1,
    )  # fmt: skip


def reward(folder: Path, work: Path, size: dict[str, int], lora: Lora | None) -> None:
    rows = pairs(models.load_tokenizer(folder), STEPS * size["batch_size"], size["max_length"])
    pairwise.train(
        rows,
        base_model=folder,
        folder=work / "out",
        work=work / "steps",
        learning_rate=1e-6,
        settings=settings(size, lora),
    )


def dpo(folder: Path, work: Path, size: dict[str, int], lora: Lora | None) -> None:
    rows = pairs(models.load_tokenizer(folder), STEPS * size["batch_size"], size["max_length"])
    dpo_training.train(
        rows, base_model=folder, folder=work / "out", work=work / "steps", beta=0.1, learning_rate=1e-6,
        settings=settings(size, lora),
    )  # fmt: skip


def ppo(folder: Path, work: Path, size: dict[str, int], lora: Lora | None) -> None:
    tokenizer = models.load_tokenizer(folder)
    asked = exactly(tokenizer, size["prompt"] - 12)
    prompts = prompting.make_prompts([("q", asked)], tokenizer, longest=size["prompt"])
    given = PPOSettings(
        seed=0, steps=STEPS, rollout_batch=size["rows"], minibatch=size["rows"], epochs=1, learning_rate=1e-6,
        value_learning_rate=1e-6, schedule="constant", warmup_steps=0, clip=0.2, value_clip=0.2, discount=1.0,
        gae_lambda=0.95, kl_coefficient=0.1, kl_target=None, kl_horizon=1e4, turn_ends=False,
        missing_stop_penalty=-1.0,
        whiten_rewards=False, temperature=1.0, max_new_tokens=size["new"], max_gradient_norm=1.0, ptx_coefficient=0.0,
        ptx_batch=0, snapshot_every=0, checkpoint_every=1000, device_batch_size=size["rows"], lora=lora,
    )  # fmt: skip
    policy = models.load_causal(folder, "training")
    if lora:
        reward_model = one_base.reward_of(policy, lora, folder=str(folder), reward=str(work / "reward"))
        one_base.learner(policy, lora, seed=0)
    else:
        reward_model = models.load_reward(folder, "training", new_head=True)
    ppo_training.train(
        Accelerator(cpu=True), policy, reward_model, tokenizer, given,
        prompts=prompts, questions=prompts, ptx_texts=[], folder=work / "run",
    )  # fmt: skip


KINDS: dict[str, Callable[[Path, Path, dict[str, int], Lora | None], None]] = {
    "sampling": sampling,
    "reward": reward,
    "dpo": dpo,
    "ppo": ppo,
}


def main(kind: str, folder: str, work: str) -> None:
    if kind == "adapters":
        make_adapters(Path(folder), Path(work))
        return
    lora = LORA if kind.endswith(ENDING) else None
    kind = kind.removesuffix(ENDING)
    models.load_tokenizer(folder)
    with torch.device("meta"):  # the code of the architecture, and of peft where there are adapters
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), trust_remote_code=False)
    if lora:
        adapters.attach(model, lora, "CAUSAL_LM", 0)
    before = psutil.Process().memory_info().rss
    KINDS[kind](Path(folder), Path(work), SIZES[kind], lora)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"before": before, "peak": most - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
