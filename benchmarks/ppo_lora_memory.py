"""The peak memory of PPO with LoRA on one base, beside that of PPO with all weights (`ppo_lora`)."""

from benchmarks import ppo_lora
from benchmarks.bench import Comparison, take_turns, versions

CHANGES = {"rollout_batch": 4, "minibatch": 4, "epochs": 1}
"""Two groups of answers to an update, and an update with the moments of the one before: more take no more memory."""


def compare() -> Comparison:
    with ppo_lora.prepared() as folder:
        pairs = take_turns(
            lambda: ppo_lora.run(folder, "lora", **CHANGES).peak,
            lambda: ppo_lora.run(folder, "whole", **CHANGES).peak,
            warm_up=False,
        )
    return Comparison(
        work="PPO of SmolLM2-135M with LoRA: memory",
        against="the same with all weights",
        ratios=[there / here for here, there in pairs],
        at_least=round(1 / 0.35, 3),
        versions=versions("torch", "transformers", "peft"),
        notes={
            "peak_mb": round(max(here for here, _ in pairs) / 1e6),
            "peak_mb_of_the_other": round(max(there for _, there in pairs) / 1e6),
            "share": round(max(here / there for here, there in pairs), 3),
            "rank": ppo_lora.LORA.rank,
            "answers_at_once": ppo_lora.SETTINGS.device_batch_size,
        },
    )
