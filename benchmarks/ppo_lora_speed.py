"""A step of PPO with LoRA on one base, beside that of PPO with all weights (`ppo_lora`)."""

from benchmarks import ppo_lora
from benchmarks.bench import Comparison, take_turns, versions


def compare() -> Comparison:
    with ppo_lora.prepared() as folder:
        pairs = take_turns(
            lambda: ppo_lora.run(folder, "lora").seconds,
            lambda: ppo_lora.run(folder, "whole").seconds,
            warm_up=False,
        )
    settings = ppo_lora.SETTINGS
    answers = settings.rollout_batch
    updates = settings.epochs * answers // settings.minibatch
    return Comparison(
        work=f"PPO of SmolLM2-135M with LoRA: a step of {answers} answers, {updates} updates",
        against="the same with all weights",
        ratios=[there / here for here, there in pairs],
        at_least=1.3,
        versions=versions("torch", "transformers", "peft"),
        notes={
            "answers_a_second": round(answers / min(here for here, _ in pairs), 3),
            "answers_a_second_of_the_other": round(answers / min(there for _, there in pairs), 3),
            "rank": ppo_lora.LORA.rank,
        },
    )
