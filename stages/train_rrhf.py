"""Teach a policy to rank its answers as a reward model does, and to write the best of them (RRHF)."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from synthalign.core import code, hardware, launcher, stage, tables, tracking
from synthalign.generation import adapters, models, parallel
from synthalign.policies import answering, checkpoints, one_base, prompting, rrhf_sources, rrhf_training
from synthalign.policies.rrhf_settings import Settings, Variant

HARDWARE = {"checkpoint_every", "device_batch_size"}
"""Settings that do not change the result, so that a run may go on with others than it began with."""


class Member(Variant, frozen=True, extra="forbid", strict=True):
    policy: str = Field(min_length=1)
    """Folder of the model to start from; it is also the reference that the KL is measured against."""

    reward: str = Field(min_length=1)
    """Folder of the reward model that ranks the policy's own answers, and scores those to the evaluation questions."""

    source: Literal["policy", "candidates", "mixed"]
    """Whose answers are ranked: the policy's own, the candidates of simulate_demonstrations with their rewards, or the
    policy's own and of the candidates the best and the worst, all by `reward`."""


class Params(Settings, frozen=True, extra="forbid", strict=True):
    policies: dict[str, Member]
    """The members of the family by name."""

    candidates: str = Field(min_length=1)
    """Whose candidates are ranked where the source is candidates or mixed, as in data/candidates/."""

    max_prompt_tokens: int = Field(ge=1)
    """Longer prompts are left out; how many is in the metrics."""


def main(params: Params, name: str) -> None:
    member = stage.member("train_rrhf", "policy", params.policies, name)
    checkpoints.check()
    adapters.check(member.policy, params.lora, "CAUSAL_LM")
    tokenizer = prompting.tokenizer_of(member.policy, member.reward)
    policy = models.load_causal(member.policy, "training")
    reward_model = one_base.reward_of(policy, params.lora, folder=member.policy, reward=member.reward)
    learner = one_base.learner(policy, params.lora, seed=params.seed)
    queries = tables.rows("queries")
    prompts, questions = prompting.prompts_of(queries, tokenizer, longest=params.max_prompt_tokens, stage="train_rrhf")
    inputs = [Path(member.policy), Path(member.reward), tables.path("queries")]
    ranked = rrhf_sources.Ranked()
    if member.source != "policy":
        candidates, after = f"candidates/{params.candidates}", params.own_answers
        inputs.append(tables.path(candidates))
        reward_model.to(parallel.device())  # type: ignore[arg-type]
        ranked = rrhf_sources.of_candidates(
            tables.rows(candidates), member.source, prompts, reward_model, tokenizer,
            after=after, file=str(tables.path(candidates)),
        )  # fmt: skip

    family = params.model_dump_json(exclude=HARDWARE | {"policies", "candidates"})
    launched = launcher.of_results()
    folder = stage.work_dir("train_rrhf", name, member, family, launched, *inputs, *code.of(__file__))
    accelerator = parallel.accelerator(**tracking.of_accelerator(folder))
    state = rrhf_training.train(
        accelerator,
        policy,
        reward_model,
        tokenizer,
        hardware.read().fitted(params),
        member,
        prompts=prompts,
        questions=questions,  # answered at snapshots, never trained on
        given=ranked.given,
        others=ranked.others,
        folder=folder,
        report=tracking.started(accelerator, folder),
    )
    tracking.finished(accelerator)

    if not accelerator.is_main_process:
        return
    samples = ranked.samples or state.samples
    own = [row for row in state.samples if row["kl"] is not None]
    one_base.save(learner, tokenizer, f"models/rrhf/{name}", lora=params.lora, base=member.policy)
    key = ("round", "query_id", "sample_index")
    tables.write(samples, f"rrhf_samples/{name}", key=key, schema=rrhf_sources.SAMPLES)
    tables.write(state.curve, f"rrhf_curve/{name}", key=("step", "question_id"), schema=answering.CURVE)
    stage.write_points(state.log, f"train_rrhf/{name}")
    stage.write_metrics(
        f"train_rrhf/{name}",
        steps=state.step,
        prompts=len(prompts),
        prompts_too_long=sum(row["split"] == "train" for row in queries) - len(prompts),
        questions=len(questions),
        answers=len(own),
        tokens_sampled=sum(row["tokens"] for row in own),
        responses=len(samples),
        dropped=ranked.dropped,
        queries_without_target=state.without_target,
        **rrhf_training.summary(state, samples),
    )
    stage.give_up(folder)


if __name__ == "__main__":
    stage.run(main, "train_rrhf", Params)
