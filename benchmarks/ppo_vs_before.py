"""PPO as in `train_ppo`, beside this repository at 8d51fce (`reinforcement`)."""

from pathlib import Path
from typing import Any

from benchmarks import reinforcement
from benchmarks.ppo_vs_trl import Stage
from synthalign.core import tables
from synthalign.core.stage import params
from synthalign.generation import models
from synthalign.policies import prompting

STEPS = 5


def compare() -> Any:
    stage = params("train_ppo", Stage)
    settings = stage.model_dump() | {"steps": STEPS, "ptx_coefficient": 0.0, "snapshot_every": 0}
    return reinforcement.compared(
        {
            "method": "ppo",
            "policy": str(Path(stage.policy).resolve()),
            "reward": str(Path(stage.reward).resolve()),
            "settings": settings,
            "prompts": training_prompts(stage.policy, stage.max_prompt_tokens),
        },
        name=f"PPO, {STEPS} steps of {stage.rollout_batch} answers",
        samples=STEPS * stage.rollout_batch,
        notes={"updates": STEPS * stage.epochs * stage.rollout_batch // stage.minibatch},
    )


def training_prompts(policy: str, longest: int) -> list[prompting.Prompt]:
    """Those of data/queries.parquet that a policy is trained on."""
    queries = [(row["query_id"], row["text"]) for row in tables.stream("queries") if row["split"] == "train"]
    return prompting.make_prompts(queries, models.load_tokenizer(policy), longest=longest)
