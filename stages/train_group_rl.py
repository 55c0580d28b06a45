"""Improve the fine-tuned policy against the reward model by RLOO or GRPO: answers judged against their siblings."""

from pathlib import Path

from pydantic import Field

from synthalign.core import code, launcher, stage, tables
from synthalign.generation import adapters, models, parallel
from synthalign.policies import answering, checkpoints, group_training, one_base, prompting
from synthalign.policies.group_training import Method, Settings


class Member(Method, frozen=True, extra="forbid", strict=True):
    policy: str = Field(min_length=1)
    """Folder of the fine-tuned model to start from; it is also the reference that the KL is measured against."""

    reward: str = Field(min_length=1)
    """Folder of the reward model."""


class Params(Settings, frozen=True, extra="forbid", strict=True):
    policies: dict[str, Member]
    """The members of the family by name."""

    max_prompt_tokens: int = Field(ge=1)
    """Longer prompts are left out; how many is in the metrics."""


def main(params: Params, name: str) -> None:
    member = stage.member("train_group_rl", "policy", params.policies, name)
    checkpoints.check(skips_steps=True)
    adapters.check(member.policy, params.lora, "CAUSAL_LM")
    tokenizer = prompting.tokenizer_of(member.policy, member.reward)
    start = models.load_causal(member.policy, "training")
    reward_model = one_base.reward_of(start, params.lora, folder=member.policy, reward=member.reward)
    queries = tables.rows("queries")
    longest = params.max_prompt_tokens
    prompts, questions = prompting.prompts_of(queries, tokenizer, longest=longest, stage="train_group_rl")
    for model in (start, reward_model):  # TRL would go on beyond it
        prompting.check_context(model, [*prompts, *questions], params.max_new_tokens, stage="train_group_rl")
    inputs = [Path(member.policy), Path(member.reward), tables.path("queries")]
    family, launched = params.model_dump_json(exclude={"policies"}), launcher.of_results(draws=True)
    work = stage.work_dir("train_group_rl", name, member, family, launched, *inputs, *code.of(__file__))
    folder = f"models/group_rl/{name}"
    log, counts = group_training.train(
        member.policy, start, reward_model, params, member, prompts=prompts, folder=folder, work=work
    )
    start = models.load_causal(member.policy, "reading")
    if params.lora:  # one base again, as it was
        reward_model = one_base.reward_of(start, params.lora, folder=member.policy, reward=member.reward, use="reading")

    accelerator = parallel.accelerator()
    curve = answering.before_and_after(
        accelerator,
        start,
        one_base.policy_on(start, folder) if params.lora else models.load_causal(folder),
        reward_model,
        tokenizer,
        questions,
        steps=params.steps,
        seed=params.seed,
        temperature=params.temperature,
        max_new_tokens=params.max_new_tokens,
    )
    if not accelerator.is_main_process:
        return
    tables.write(curve, f"group_rl_curve/{name}", key=("step", "question_id"), schema=answering.CURVE)
    stage.write_points(log, f"train_group_rl/{name}")
    before, after = (answering.average([row for row in curve if row["step"] == step]) for step in (0, params.steps))
    stage.write_metrics(
        f"train_group_rl/{name}",
        steps=params.steps,
        prompts=len(prompts),
        prompts_too_long=sum(row["split"] == "train" for row in queries) - len(prompts),
        questions=len(questions),
        before=before,
        after=after,
        **counts,
    )


if __name__ == "__main__":
    stage.run(main, "train_group_rl", Params)
