"""The worker of `ppo_vs_trl`, run with the peer's own Python: TRL's PPOTrainer on given models and prompts.

    python trl_ppo.py POLICY REWARD PROMPTS SETTINGS

POLICY and REWARD are folders, PROMPTS a JSON file of token ids, SETTINGS a JSON object. Prints one line of JSON: the
seconds of `PPOTrainer.train()`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer


def main(policy: str, reward: str, prompts: str, settings: str) -> None:
    given = json.loads(settings)
    torch.set_num_threads(given["threads"])
    tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
    causal = [AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32) for _ in range(2)]
    scoring = [
        AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1, dtype=torch.float32) for _ in range(2)
    ]
    rows = [{"input_ids": token_ids} for token_ids in json.loads(Path(prompts).read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output_dir=folder,
            per_device_train_batch_size=given["rollout_batch"],
            num_mini_batches=given["rollout_batch"] // given["minibatch"],
            num_ppo_epochs=given["epochs"],
            total_episodes=given["rollout_batch"] * given["steps"],
            response_length=given["max_new_tokens"],
            learning_rate=given["learning_rate"],
            kl_coef=given["kl_coefficient"],
            temperature=1.0,
            stop_token="eos",
            num_sample_generations=0,
            seed=given["seed"],
            bf16=False,
            save_strategy="no",
            report_to="none",
        )
        trainer = PPOTrainer(
            args=config,
            processing_class=tokenizer,
            model=causal[0],
            ref_model=causal[1],
            reward_model=scoring[0],
            value_model=scoring[1],
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(rows[:1]),
        )
        start = time.perf_counter()
        trainer.train()
        print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("policy", "reward", "prompts", "settings"):
        parser.add_argument(name)
    main(**vars(parser.parse_args()))
