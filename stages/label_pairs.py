"""RLAIF: ask a language model which of two answers is better by a principle; its probabilities are the labels.

On pairs of two plain samples this is RLAIF, on RLCD's own pairs it is RLCD-Rescore."""

from collections.abc import Sequence

import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from synthalign.core import stage, tables
from synthalign.core.tables import Row
from synthalign.feedback import comparisons, contrast, labelling, option_tokens, principles
from synthalign.feedback.labelling import Verdict
from synthalign.generation import model_folder, models, parallel

ORIGIN = [("p_ab", pa.float64()), ("p_ba", pa.float64()), ("principle", pa.int64()), ("labeller", pa.string())]
"""The labeller's probability that `chosen` is better: p_ab where it was shown first, p_ba where it was shown second."""


class Labels(BaseModel, frozen=True, extra="forbid", strict=True):
    pairs: str = Field(min_length=1)
    """The table comparisons/<pairs> whose pairs are labelled; its own labels are not read."""

    labeller: str = Field(min_length=1)
    """Folder of the language model that labels (the paper: the one that wrote the answers)."""

    principles: str = Field(min_length=1)
    """File of the principles and of the question put to the labeller."""

    task: str = Field(min_length=1)
    """Which of the file's tasks."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    labels: dict[str, Labels]
    """The members of the family by name."""

    orders: labelling.Orders
    """both: every pair is shown in both orders and the mean is the label. first: in one, as in RLCD's released code."""

    clamp: list[float] | None
    """Bounds that labels are held within, such as [0.4, 0.6]; null for none."""

    batch_size: int = Field(gt=0)
    """Questions read at a time; does not change the result but for rounding."""

    seed: int = Field(ge=0)
    """Draws the principles and which answer is the first."""

    @model_validator(mode="after")
    def _bounds_hold_a_half(self) -> "Params":
        if self.clamp is not None and not (len(self.clamp) == 2 and 0 <= self.clamp[0] <= 0.5 <= self.clamp[1] <= 1):
            raise ValueError(f"clamp is {self.clamp}; allowed: null, or two bounds with 1/2 between them")
        return self


def first_options(
    questions: Sequence[tuple[str, str]], options: Sequence[str], params: Params, labeller: str
) -> list[float]:
    """The probability of the first option for every (id, question), computed by all processes together."""
    tokenizer = models.load_tokenizer(labeller)
    model = models.load_causal(labeller)
    model.to(parallel.device())  # type: ignore[arg-type]
    places = parallel.mine([row for row, _ in questions])
    found = option_tokens.probabilities(
        model, tokenizer, [questions[place][1] for place in places], options, batch_size=params.batch_size
    )
    mine = {questions[place][0]: round(one[0], 6) for place, one in zip(places, found, strict=True)}
    every = parallel.gathered(mine)
    return [every[row] for row, _ in questions]


def labelled(pair: Row, verdict: Verdict, *, turned: bool, name: str, clamp: Sequence[float] | None) -> Row:
    """The pair with the labeller's preference; `turned` when the table's `rejected` was the first answer."""
    base = {column: pair[column] for column in comparisons.SCHEMA.names} | {"feedback": name}
    first_wins = verdict.p_first >= 0.5  # of a tie the first, which was drawn
    row = base if first_wins != turned else comparisons.swapped(base)
    orders = [verdict.first_shown_first, verdict.first_shown_second]
    if not first_wins:  # the second is the chosen one, and was shown first where the first was shown second
        orders = [None if p is None else round(1 - p, 6) for p in reversed(orders)]
    p_chosen = labelling.clamped(max(verdict.p_first, 1 - verdict.p_first), clamp)
    return row | {"p_chosen": round(p_chosen, 6), "p_ab": orders[0], "p_ba": orders[1]}


def main(params: Params, name: str) -> None:
    chosen = stage.member("label_pairs", "labels", params.labels, name)
    asked = principles.load(chosen.principles)
    choices = asked.of(chosen.task, chosen.principles)
    model_folder.check(chosen.labeller)
    pairs = tables.rows(f"comparisons/{chosen.pairs}")

    questions: list[tuple[str, str]] = []
    turned: list[bool] = []
    drawn: list[int] = []
    for pair in pairs:
        affix = pair.get("affix")
        index = affix if affix is not None else contrast.draw(len(choices), seed=params.seed, row=pair["query_id"])
        sides = [comparisons.text_of(pair[side]) for side in contrast.SIDES]
        turned.append(contrast.draw(2, seed=params.seed, row=f"order of {pair['comparison_id']}") == 1)
        first, second = sides[::-1] if turned[-1] else sides
        drawn.append(index)
        for a, b in [(first, second), (second, first)][: 2 if params.orders == "both" else 1]:
            text = asked.prompt(principles.at(choices, index, chosen.principles), pair["prompt"], a, b)
            questions.append((f"{pair['comparison_id']}:{len(questions)}", text))
    p_a = first_options(questions, asked.options, params, chosen.labeller)

    rows, judged = [], []
    for place, pair in enumerate(pairs):
        if params.orders == "both":
            judged.append(Verdict(p_a[2 * place], round(1 - p_a[2 * place + 1], 6)))
        else:
            judged.append(Verdict(p_a[place], None))
        row = labelled(pair, judged[-1], turned=turned[place], name=name, clamp=params.clamp)
        rows.append(row | {"principle": drawn[place], "labeller": chosen.labeller})

    if stage.is_main_process():
        columns = [*comparisons.SCHEMA, *(pa.field(*column) for column in ORIGIN)]
        tables.write(rows, f"comparisons/{name}", key="comparison_id", schema=pa.schema(columns))
        stage.write_metrics(f"label_pairs/{name}", labeller=labelling.summary(judged), **comparisons.summary(rows))


if __name__ == "__main__":
    stage.run(main, "label_pairs", Params)
