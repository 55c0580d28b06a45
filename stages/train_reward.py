"""Train a reward model on one kind of feedback; all share every setting but what a member has of its own."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import code, launcher, stage, statistics, tables
from synthalign.core.errors import UserError
from synthalign.feedback import comparisons
from synthalign.generation import adapters, models
from synthalign.reward import by_loss, pairwise, probe, training
from synthalign.reward.training_settings import Settings


class Feedback(BaseModel, frozen=True, extra="forbid", strict=True):
    max_pairs: int = Field(gt=0)
    """Comparisons used, held-out ones included; the same for all that are compared, so that none wins by its amount."""

    epochs: int | None = Field(default=None, gt=0)
    """Passes over them, in place of those that all others make."""

    loss: by_loss.Loss | None = None
    """What is learned of them, in place of what all others learn: a member of ratings beside those of pairs."""

    probe: float | None = Field(default=None, gt=0, le=1)
    """Share of the body's layers below a linear probe, which is fitted in place of training the body, with adapters or
    without; for a few hundred pairs."""

    @model_validator(mode="after")
    def _probes_learn_pairs(self) -> Self:
        if self.probe is not None and (self.epochs is not None or self.loss not in (None, "pairs")):
            raise ValueError("a probe is fitted to pairs, and in one go: leave out `epochs`, and `loss` if not pairs")
        return self


class Params(Settings, frozen=True, extra="forbid", strict=True):
    feedback: dict[str, Feedback] = Field(min_length=1)
    """The members of the family: a reward model for each table comparisons/<name>."""

    model: str = Field(min_length=1)
    """Folder of the base model whose body the reward model starts from."""

    held_out: float = Field(gt=0, lt=1)
    """Share of the queries whose comparisons are not trained on: they measure accuracy and set the scores' zero and
    unit."""

    loss: by_loss.Loss
    """What is learned: pairs, each comparison by itself; rankings, all comparisons of a query as one element of a batch
    with 1 / C(K, 2) (InstructGPT); ratings, likewise, each response's Elo rating in place of the comparisons."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule."""


def main(params: Params, feedback: str) -> None:
    own = stage.member("train_reward", "feedback", params.feedback, feedback)
    settings = params.model_copy(update=own.model_dump(include={"epochs", "loss"}, exclude_none=True))
    if own.probe is not None:
        settings = settings.model_copy(update={"loss": "pairs"})
    else:
        adapters.check(params.model, params.lora, "SEQ_CLS")
    models.check_length(params.model, "train_reward.max_length", params.max_length)
    pairs = tables.rows(f"comparisons/{feedback}")

    comparisons.check_labels(pairs)
    train, held_out = pairwise.choose(
        pairs,
        max_pairs=own.max_pairs,
        held_out=params.held_out,
        seed=params.seed,
        whole_queries=settings.loss != "pairs",
    )
    if all(pair["p_chosen"] == 0.5 for pair in held_out):
        raise UserError(
            f"{tables.path(f'comparisons/{feedback}')}: all {len(held_out)} held-out comparisons are labelled 0.5, so "
            "nothing can be measured; look at the stage that labels this table"
        )
    folder = f"models/reward/{feedback}"
    more = dict[str, int]()
    if own.probe is not None:
        length = params.max_length
        curve = probe.train(train, base_model=params.model, folder=folder, depth=own.probe, max_length=length)
    else:
        work = stage.work_dir(
            "train_reward",
            feedback,
            str(own.max_pairs),
            settings.model_dump_json(exclude={"feedback"}),
            tables.path(f"comparisons/{feedback}"),
            Path(params.model),
            launcher.of_results(draws=params.drops),
            *code.of(__file__),
        )
        curve, more = by_loss.train(
            settings.loss,
            train,
            base_model=params.model,
            folder=folder,
            work=work,
            learning_rate=params.learning_rate,
            settings=settings,
        )

    if stage.is_main_process():
        judged = pairwise.finish(folder, held_out, max_length=params.max_length)
        stage.write_metrics(
            f"train_reward/{feedback}",
            pairs=len(train),
            pairs_available=len(pairs),
            held_out_pairs=len(held_out),
            held_out_accuracy=statistics.mean_interval(judged.correct, judged.queries, seed=params.seed).metrics(),
            held_out_longer=statistics.mean_interval(judged.longer, judged.queries, seed=params.seed).metrics(),
            held_out_loss=round(judged.loss, 6),
            reward_mean=round(judged.reward_mean, 6),
            reward_std=round(judged.reward_std, 6),
            **more,
        )
        training.write_curve(curve, "train_reward", feedback)


if __name__ == "__main__":
    stage.run(main, "train_reward", Params)
