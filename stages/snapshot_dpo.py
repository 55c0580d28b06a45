"""Answer the evaluation questions before and after DPO as trainers by reward do, so that all stand in one table, and
say what its reward and its KL have become."""

import json
from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.generation import models, parallel
from synthalign.policies import answering, prompting


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    policy: str = Field(min_length=1)
    """Folder of the model after DPO."""

    start: str = Field(min_length=1)
    """Folder of the model before; the KL is measured against it."""

    reward: str = Field(min_length=1)
    """Folder of the reward model that labelled the pairs."""

    seed: int = Field(ge=0)
    """Draws the answers, and those of the bootstrap."""

    temperature: float = Field(gt=0)
    """Of the answers; 1 for the KL of the policy itself."""

    max_new_tokens: int = Field(gt=0)
    """Where an answer is cut off."""

    max_prompt_tokens: int = Field(ge=1)
    """Questions with longer prompts are left out."""


def main(params: Params) -> None:
    tokenizer = prompting.tokenizer_of(params.start, params.reward)
    queries = tables.rows("queries")
    longest = params.max_prompt_tokens
    _, questions = prompting.prompts_of(queries, tokenizer, longest=longest, stage="snapshot_dpo")
    accelerator = parallel.accelerator()
    steps = json.loads(Path("metrics/train_dpo.json").read_text(encoding="utf-8"))["steps"]
    curve = answering.before_and_after(
        accelerator,
        models.load_causal(params.start),
        models.load_causal(params.policy),
        models.load_reward(params.reward),
        tokenizer,
        questions,
        steps=steps,
        seed=params.seed,
        temperature=params.temperature,
        max_new_tokens=params.max_new_tokens,
    )
    if accelerator.is_main_process:
        tables.write(curve, "dpo_curve/dpo", key=("step", "question_id"), schema=answering.CURVE)
        figures = {
            name: [
                measures.by_question([(row["question_id"], row[name]) for row in curve if row["step"] == step])
                for step in (0, steps)
            ]
            for name in ("kl", "reward")
        }
        stage.write_metrics(
            "snapshot_dpo",
            kl=measures.mean(figures["kl"][1], seed=params.seed).metrics(),
            reward_gain=measures.difference(*figures["reward"][::-1], seed=params.seed).metrics(),
        )


if __name__ == "__main__":
    stage.run(main, "snapshot_dpo", Params)
