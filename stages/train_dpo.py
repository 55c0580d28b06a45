"""Fine-tune a policy on comparisons directly, without a reward model between (DPO)."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from synthalign.core import code, launcher, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import endings
from synthalign.feedback import comparisons
from synthalign.generation import adapters, models
from synthalign.policies import dpo_training
from synthalign.reward import training
from synthalign.reward.training_settings import Settings


class Params(Settings, frozen=True, extra="forbid", strict=True):
    comparisons: str = Field(min_length=1)
    """Which comparisons to learn from, as in data/comparisons/."""

    model: str = Field(min_length=1)
    """Folder of the fine-tuned policy to start from, which is the reference as well."""

    max_pairs: int = Field(gt=0)
    """At most so many comparisons, drawn by a hash of their ids."""

    beta: float = Field(gt=0)
    """The price of a nat of distance from the reference: the coefficient of the KL penalty that DPO solves for."""

    loss: dpo_training.Loss
    """sigmoid is DPO's; ipo holds the margin at 1 / (2 beta), per token."""

    label_smoothing: float = Field(ge=0, lt=0.5)
    """The share of labels that are taken to be wrong (conservative DPO); 0 is DPO."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule; too high a rate wins on the training pairs and breaks the text."""

    @model_validator(mode="after")
    def _smooths_what_has_a_label(self) -> Self:
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError(
                f"label_smoothing = {self.label_smoothing} is of the loss sigmoid, and loss is ipo; set it to 0"
            )
        return self


def main(params: Params) -> None:
    dpo_training.check(params.lora)
    adapters.check(params.model, params.lora, "CAUSAL_LM")
    models.check_length(params.model, "train_dpo.max_length", params.max_length)
    table = tables.path(f"comparisons/{params.comparisons}")
    pairs = tables.rows(f"comparisons/{params.comparisons}")
    launched = launcher.of_results(draws=params.drops)
    work = stage.work_dir("train_dpo", params, table, Path(params.model), launched, *code.of(__file__))
    try:
        comparisons.check_labels(pairs, hard=True)
        whole = [pair for pair in pairs if endings.is_whole(pair["chosen_finish_reason"])]
        if not whole:
            raise UserError(
                f"the chosen answers of all {len(pairs)} comparisons were cut off at the limit of tokens, and such a "
                "text is not taught; raise max_new_tokens of the stage that sampled them"
            )
        drawn = training.draw(whole, params.max_pairs, seed=params.seed)
        curve, used = dpo_training.train(
            drawn,
            base_model=params.model,
            folder="models/dpo",
            work=work,
            beta=params.beta,
            loss=params.loss,
            label_smoothing=params.label_smoothing,
            learning_rate=params.learning_rate,
            settings=params,
        )
    except UserError as error:
        raise UserError(f"{table}: {error}") from error

    if stage.is_main_process():
        stage.write_metrics(
            "train_dpo",
            pairs=used,
            pairs_available=len(pairs),
            chosen_cut_off=len(pairs) - len(whole),
            too_long=len(drawn) - used,
            steps=int(curve[-1]["step"]),
            first_loss=curve[0]["loss"],
            last_loss=curve[-1]["loss"],
            last_accuracy=curve[-1]["rewards/accuracies"],
            last_margin=curve[-1]["rewards/margins"],
        )
        training.write_curve(curve, "train_dpo", "dpo")


if __name__ == "__main__":
    stage.run(main, "train_dpo", Params)
