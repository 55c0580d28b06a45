"""Let a fine-tuned policy answer every training query several times; its best and worst answer become a comparison."""

from collections import Counter
from statistics import fmean

from pydantic import BaseModel, Field

from synthalign.core import code, stage, tables
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
        *code.of(__file__),
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
    answers = {query: [chat.ended(one.text, one.finish_reason) for one in made[query]] for query in queries}
    dialogues = [
        [{"role": "user", "content": queries[query]}, {"role": "assistant", "content": text}]
        for query in queries
        for text, _ in answers[query]
    ]
    scores = iter(scoring.score(judge.to(parallel.device()), judge_tokenizer, dialogues))

    pairs, margins, dropped = [], [], Counter[str]()
    for query, given in answers.items():
        scored = [
            (
                round(next(scores), 6),
                Response(content_id("response", "sft", query, index, text), "sft", index, text, finish_reason=reason),
            )
            for index, (text, reason) in enumerate(given)
        ]
        ends = comparisons.best_and_worst(scored)
        if isinstance(ends, str):
            dropped[ends] += 1
            continue
        (high, best), (low, worst) = ends
        margins.append(high - low)
        if not high - low > params.min_margin:
            dropped["min_margin"] += 1
        elif best.text == worst.text:
            dropped["identical"] += 1
        else:
            pair = Pair(best, worst)
            pairs.append(comparisons.row(pair, query_id=query, question=queries[query], feedback="sft"))
    if not pairs:
        raise UserError(
            f"in none of {len(queries)} queries is the best answer that ended more than min_margin = "
            f"{params.min_margin} above the worst ({dict(dropped)}, greatest margin: {max(margins, default=0):.3g}); "
            "lower min_margin, or raise samples or max_new_tokens"
        )

    if stage.is_main_process():
        tables.write(pairs, "comparisons/sft", key="comparison_id", schema=comparisons.SCHEMA)
        stage.write_metrics(
            "sample_preferences",
            queries_sampled=len(queries),
            mean_margin=round(fmean(margins), 6),
            dropped=dict(dropped),
            cut_off=sum(reason == "length" for given in answers.values() for _, reason in given),
            **comparisons.summary(pairs),
            **engines.bill([params.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "sample_preferences", Params, in_shards=True)
