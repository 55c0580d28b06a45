"""Let a vanilla model write the queries that everything else is about, out of a few seeds."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, Field

from synthalign import generate, mining, models, parallel, sampling, stage, tables
from synthalign.errors import UserError
from synthalign.ids import content_id
from synthalign.mining import Candidate
from synthalign.tables import Row

QUERIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("text", pa.string()),
        ("origin", pa.string()),
        ("split", pa.string()),
        ("nearest_id", pa.string()),
        ("nearest_rouge_l", pa.float64()),
    ]
)
REJECTED = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("round", pa.int64()),
        ("text", pa.string()),
        ("reject_reason", pa.string()),
        ("nearest_text", pa.string()),
        ("nearest_rouge_l", pa.float64()),
    ]
)


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the vanilla model that writes queries."""

    seed_queries: str = Field(min_length=1)
    """File of seed queries, one a line."""

    eval_questions: str = Field(min_length=1)
    """File of evaluation questions, one a line; nothing that resembles one becomes a training query."""

    shots: int = Field(gt=0)
    """Queries shown in a prompt, drawn from seeds and accepted queries alike."""

    target: int = Field(gt=0)
    """How many new queries are wanted."""

    max_rounds: int = Field(gt=0)
    """After so many rounds mining ends, target or not."""

    round_size: int = Field(gt=0)
    """Prompts in a round; what a round accepts is shown from the next round on."""

    completions: int = Field(gt=0)
    """Queries written after each prompt, which is read once for all of them."""

    max_new_tokens: int = Field(gt=0)
    """A query that has not ended by then is dropped."""

    temperature: float = Field(ge=0)
    """Of the sampling; 0 would write the same query for the same prompt."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    min_characters: int = Field(ge=0)
    """A shorter query is dropped."""

    max_characters: int = Field(gt=0)
    """A longer query is dropped."""

    keywords: list[str]
    """A query with one of these in it, in any case, is dropped; may be empty."""

    rouge_threshold: float = Field(gt=0, le=1)
    """ROUGE-L F1 with an older query or an evaluation question from which on a query is too similar."""

    seed: int = Field(ge=0)
    """Draws the shots and the tokens."""


def mined(
    params: Params, seeds: list[str], eval_questions: list[str], work: Path
) -> tuple[list[Candidate], list[tuple[int, Candidate]]]:
    """The accepted candidates and, with their rounds, the rejected ones."""
    model, tokenizer = models.load_causal(params.model), models.load_tokenizer(params.model)
    judge = mining.Filter(
        seeds,
        eval_questions,
        **params.model_dump(include={"min_characters", "max_characters", "keywords", "rouge_threshold"}),
    )
    accepted: list[Candidate] = []
    rejected: list[tuple[int, Candidate]] = []
    for round in range(params.max_rounds):
        pool = list(judge.accepted)
        names = [f"{round}:{place}" for place in range(params.round_size)]
        made = parallel.generated(
            model,
            tokenizer,
            folder=work,
            name=f"mine_queries {round + 1}",
            prefix="",
            suffixes=[mining.prompt(pool, params.shots, seed=params.seed, name=name) for name in names],
            row_ids=names,
            samples=params.completions,
            stops=mining.STOPS,
            **params.model_dump(include={"seed", "max_new_tokens", "temperature", "top_p"}),
        )
        for one in [one for name in names for one in made[name]]:
            if len(accepted) == params.target:
                break
            candidate = judge.judge(one.text.strip(), finished=one.finish_reason != "length")
            if candidate.reject_reason is None:
                accepted.append(candidate)
            else:
                rejected.append((round, candidate))
        if stage.is_main_process():
            print(f"round {round + 1}: {len(accepted)} of {params.target} queries, {len(rejected)} rejected")
        if len(accepted) == params.target:
            break
    return accepted, rejected


def query(text: str, origin: str, split: str, nearest: str | None = None, rouge_l: float | None = None) -> Row:
    return {
        "query_id": content_id("query", text),
        "text": text,
        "origin": origin,
        "split": split,
        "nearest_id": None if nearest is None else content_id("query", nearest),
        "nearest_rouge_l": rouge_l,
    }


def report(
    params: Params,
    seeds: list[str],
    eval_questions: list[str],
    accepted: list[Candidate],
    rejected: list[tuple[int, Candidate]],
) -> None:
    """Write the queries, the rejected candidates and the counts."""
    reasons = Counter(str(candidate.reject_reason) for _, candidate in rejected)
    if len(accepted) < params.target:
        print(
            f"mine_queries: warning: {len(accepted)} of {params.target} queries after max_rounds = "
            f"{params.max_rounds}; {dict(reasons.most_common())}"
        )
    rows = [query(text, "seed", "train") for text in seeds]
    rows += [query(one.text, "mined", "train", one.nearest, one.rouge_l) for one in accepted]
    rows += [query(text, "eval", "eval") for text in eval_questions]
    tables.write(rows, "queries", key="query_id", schema=QUERIES)
    dropped = [
        {
            "candidate_id": content_id("candidate", place),
            "round": round,
            "text": candidate.text,
            "reject_reason": candidate.reject_reason,
            "nearest_text": candidate.nearest,
            "nearest_rouge_l": candidate.rouge_l,
        }
        for place, (round, candidate) in enumerate(rejected)
    ]
    tables.write(dropped, "queries_rejected", key="candidate_id", schema=REJECTED)
    stage.write_metrics(
        "mine_queries",
        seeds=len(seeds),
        accepted=len(accepted),
        target=params.target,
        eval_questions=len(eval_questions),
        rejected=dict(reasons),
        acceptance_rate=round(len(accepted) / (len(accepted) + len(rejected)), 6),
    )


def main(params: Params) -> None:
    seeds = mining.read_queries(params.seed_queries)
    eval_questions = mining.read_queries(params.eval_questions)
    shared = sorted(set(seeds) & set(eval_questions))
    if shared:
        raise UserError(
            f"{params.seed_queries}: {shared[0]!r} is also in {params.eval_questions}; a question must not be "
            "trained on and judged by; remove it from one of the two"
        )

    work = stage.work_dir(
        "mine_queries",
        params,
        *map(Path, (params.model, params.seed_queries, params.eval_questions)),
        *map(Path, (__file__, generate.__file__, sampling.__file__, mining.__file__)),
    )
    accepted, rejected = mined(params, seeds, eval_questions, work)
    reasons = Counter(str(candidate.reject_reason) for _, candidate in rejected)
    if not accepted:
        raise UserError(
            f"none of {len(rejected)} candidates is a new query: {dict(reasons.most_common())}; look at the limits of "
            f"mine_queries in params.yaml, and at what {params.model} writes: {rejected[0][1].text!r}"
        )

    if stage.is_main_process():
        report(params, seeds, eval_questions, accepted, rejected)
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "mine_queries", Params)
