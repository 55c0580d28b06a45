"""PPO as in `train_ppo` beside TRL's experimental PPOTrainer, which has an environment of its own (peers/README.md).

Both sides start from the same policy and reward model, answer batches of the same prompts with at most as many tokens,
and make as many updates of as many answers, in fp32 on as many threads. Needs models/ of a reproduced tree: a policy
that ends its answers.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.peers import environment
from synthalign.core import tables
from synthalign.core.stage import params
from synthalign.generation import models
from synthalign.policies import ppo_training, prompting
from synthalign.policies.ppo_settings import Settings

STEPS = 4
MEMBER = "almost"
"""Of train_ppo: whose models are trained."""
WORKER = Path(__file__).parent / "peers" / "trl_ppo.py"


class Stage(Settings, frozen=True, extra="ignore"):
    """What benchmarks need of the section train_ppo of params.yaml."""

    policies: dict[str, dict[str, Any]]
    max_prompt_tokens: int

    @property
    def policy(self) -> str:
        return str(self.policies[MEMBER]["policy"])

    @property
    def reward(self) -> str:
        return str(self.policies[MEMBER]["reward"])


def ours(settings: Stage, prompts: list[prompting.Prompt], folder: Path) -> float:
    """Seconds of our loop, a snapshot of one question before and after it included."""
    policy, reward = models.load_causal(settings.policy), models.load_reward(settings.reward)
    tokenizer, accelerator = models.load_tokenizer(settings.policy), Accelerator()
    start = time.perf_counter()
    ppo_training.train(
        accelerator,
        policy,
        reward,
        tokenizer,
        settings,
        prompts=prompts,
        questions=prompts[:1],
        ptx_texts=[],
        folder=folder,
    )
    return time.perf_counter() - start


def theirs(python: Path, settings: Stage, prompts: Path) -> float:
    """Seconds of TRL's loop in a process of its own, which may use every instruction (see
    `synthalign.generation.models`).
    """
    sizes = settings.model_dump() | {"threads": torch.get_num_threads()}
    command = [python, WORKER, settings.policy, settings.reward, prompts, json.dumps(sizes)]
    without = {name: value for name, value in os.environ.items() if name not in models.HELD}
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, env=without)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def compare() -> Comparison:
    settings = params("train_ppo", Stage).model_copy(update={"steps": STEPS, "ptx_coefficient": 0.0})
    python = environment("trl") / "bin" / "python"
    tokenizer = models.load_tokenizer(settings.policy)
    queries = [(row["query_id"], row["text"]) for row in tables.stream("queries") if row["split"] == "train"]
    prompts = prompting.make_prompts(queries, tokenizer, longest=settings.max_prompt_tokens)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.json"
        file.write_text(json.dumps([prompt.token_ids for prompt in prompts]), encoding="utf-8")
        pairs = take_turns(lambda: ours(settings, prompts, Path(folder)), lambda: theirs(python, settings, file))
    answers = STEPS * settings.rollout_batch
    of_peer = "import trl; print(trl.__version__)"
    peer = subprocess.run([python, "-c", of_peer], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    return Comparison(
        work=f"PPO, {STEPS} steps of {settings.rollout_batch} answers",
        against="TRL's experimental PPOTrainer",
        ratios=[there / here for here, there in pairs],
        at_least=4.0,
        versions=versions("torch", "transformers") | {"trl": peer},
        notes={
            "updates": STEPS * settings.epochs * settings.rollout_batch // settings.minibatch,
            "answers_a_second": round(answers / min(here for here, _ in pairs), 1),
            "answers_a_second_of_the_other": round(answers / min(there for _, there in pairs), 1),
        },
    )
