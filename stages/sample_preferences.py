"""Let a fine-tuned policy answer every training query several times; its best and worst answer become a comparison."""

from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, Field

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import chat
from synthalign.feedback import comparisons
from synthalign.feedback.comparisons import Pair, Response
from synthalign.generation import engines, models, parallel
from synthalign.reward import scoring


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the fine-tuned policy, or file of an endpoint that serves it."""

    reward: str = Field(min_length=1)
    """Folder of the reward model that tells best from worst."""

    samples: int = Field(ge=2)
    """Answers to every query."""

    min_margin: float = Field(ge=0)
    """The reward of the best must be more than this above that of the worst, or the two say too little."""

    max_new_tokens: int = Field(gt=0)
    """Longest answer."""

    temperature: float = Field(gt=0)
    """Of the sampling; greedy answers would all be the same."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    engine: engines.Engine
    """What continues texts with a model folder."""

    seed: int = Field(ge=0)
    """Draws the tokens."""


def main(params: Params) -> None:
    queries = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}
    judge, judge_tokenizer = models.load_reward(params.reward), models.load_tokenizer(params.reward)

    settings = params.model_dump(include={"samples", "max_new_tokens", "temperature", "top_p", "seed"})
    work = stage.work_dir(
        "sample_preferences",
        str(settings),
        *engines.inputs(params.model, params.engine),
        tables.path("queries"),
        *map(Path, (__file__, chat.__file__)),
    )
    with engines.opened(params.model, params.engine, work) as write:
        made = parallel.generated(
            write,
            folder=work,
            name="sample_preferences",
            prefix="",
            suffixes=[chat.prompt([{"role": "user", "content": text}]) for text in queries.values()],
            row_ids=list(queries),
            stops=chat.STOPS,
            **settings,
        )
    answers = {query: [chat.clean(one.text) for one in made[query]] for query in queries}
    dialogues = [
        [{"role": "user", "content": queries[query]}, {"role": "assistant", "content": answer}]
        for query in queries
        for answer in answers[query]
    ]
    scores = iter(scoring.score(judge.to(parallel.device()), judge_tokenizer, dialogues))

    pairs, margins = [], []
    for query, texts in answers.items():
        scored = [
            (round(next(scores), 6), Response(content_id("response", "sft", query, index, text), "sft", index, text))
            for index, text in enumerate(texts)
        ]
        spoken = sorted((one for one in scored if one[1].text), key=lambda one: (-one[0], one[1].rank))
        if len(spoken) < 2:
            continue
        (high, best), (low, worst) = spoken[0], spoken[-1]
        margins.append(high - low)
        if high - low > params.min_margin and best.text != worst.text:
            pair = Pair(best, worst)
            pairs.append(comparisons.row(pair, query_id=query, question=queries[query], feedback="sft"))
    if not pairs:
        raise UserError(
            f"in none of {len(queries)} queries is the best answer more than min_margin = {params.min_margin} above "
            f"the worst (greatest margin: {max(margins, default=0):.3g}); lower min_margin, or raise samples"
        )

    if stage.is_main_process():
        tables.write(pairs, "comparisons/sft", key="comparison_id", schema=comparisons.SCHEMA)
        stage.write_metrics(
            "sample_preferences",
            queries_sampled=len(queries),
            mean_margin=round(fmean(margins), 6),
            **comparisons.summary(pairs),
            **engines.bill([params.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "sample_preferences", Params)
