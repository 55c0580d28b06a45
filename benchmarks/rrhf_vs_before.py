"""RRHF on the policy's own answers as in `train_rrhf`, beside this repository at 8d51fce (`reinforcement`)."""

from pathlib import Path
from typing import Any

from benchmarks import reinforcement
from benchmarks.ppo_vs_before import training_prompts
from synthalign.core.stage import params
from synthalign.policies.rrhf_settings import Settings, Variant

ROUNDS = 2
MEMBER = "online"
"""Of train_rrhf: whose models and variant are taken."""


class Stage(Settings, frozen=True, extra="ignore"):
    """What this comparison needs of the section train_rrhf of params.yaml."""

    policies: dict[str, dict[str, Any]]
    max_prompt_tokens: int


def compare() -> Any:
    stage = params("train_rrhf", Stage)
    member = stage.policies[MEMBER]
    fields = {name: value for name, value in member.items() if name in Variant.model_fields}
    variant = Variant.model_validate(fields).model_copy(update={"rounds": ROUNDS})
    assert variant.queries is not None, f"{MEMBER} answers all queries in a round; take one that answers some"
    responses = variant.queries * len(stage.temperatures)
    return reinforcement.compared(
        {
            "method": "rrhf",
            "policy": str(Path(member["policy"]).resolve()),
            "reward": str(Path(member["reward"]).resolve()),
            "settings": stage.model_dump() | {"snapshot_every": 0},
            "variant": variant.model_dump(),
            "prompts": training_prompts(member["policy"], stage.max_prompt_tokens),
        },
        name=f"RRHF, {ROUNDS} rounds of {responses} own answers",
        samples=ROUNDS * responses,
        notes={"updates": ROUNDS * variant.epochs * variant.queries // stage.batch_size},
    )
