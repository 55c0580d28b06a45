"""Let one policy answer the evaluation questions."""

from collections import Counter
from statistics import fmean

import pyarrow as pa
from pydantic import BaseModel, Field

from synthalign.core import code, stage, tables
from synthalign.dialogue import chat, demonstrations
from synthalign.generation import engines, parallel

ANSWERS = pa.schema(
    [
        ("question_id", pa.string()),
        ("policy", pa.string()),
        ("sample_index", pa.int64()),
        ("text", pa.string()),
        ("tokens", pa.int64()),
        ("finish_reason", pa.string()),
    ]
)


class Policy(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the model, or file of an endpoint."""

    demonstrations: str | None = Field(min_length=1)
    """File of the dialogues that it is shown; null for a policy that needs none."""

    shots: int = Field(ge=0)
    """How many of them, always the first ones."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    policies: dict[str, Policy]
    """The members of the family by name."""

    samples: int = Field(gt=0)
    """Answers to every question."""

    max_new_tokens: int = Field(gt=0)
    """Longest answer."""

    temperature: float = Field(ge=0)
    """Of the sampling; 0 is greedy."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    engine: engines.Engine
    """What continues texts with a model folder."""

    seed: int = Field(ge=0)
    """Draws the tokens."""


def main(params: Params, policy: str) -> None:
    chosen = stage.member("sample_answers", "policy", params.policies, policy)
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    prefix = demonstrations.prefix(chosen.demonstrations, chosen.shots)

    settings = params.model_dump(exclude={"policies", "engine"})
    work = stage.work_dir(
        "sample_answers",
        policy,
        chosen,
        str(settings),
        prefix,
        *engines.inputs(chosen.model, params.engine),
        tables.path("queries"),
        *code.of(__file__),
    )
    with engines.opened(chosen.model, params.engine, work) as write:
        made = parallel.generated(
            write,
            folder=work,
            name=f"sample_answers@{policy}",
            prefix=prefix,
            suffixes=[chat.prompt([{"role": "user", "content": text}]) for text in questions.values()],
            row_ids=[f"{policy}:{question}" for question in questions],
            stops=chat.STOPS,
            **settings,
        )
    rows = [
        {
            "question_id": question,
            "policy": policy,
            "sample_index": index,
            "text": text,
            "tokens": len(one.token_ids),
            "finish_reason": finish_reason,
        }
        for question in questions
        for index, one in enumerate(made[f"{policy}:{question}"])
        for text, finish_reason in [chat.ended(one.text, one.finish_reason)]
    ]

    if stage.is_main_process():
        tables.write(rows, f"answers/{policy}", key=("question_id", "sample_index"), schema=ANSWERS)
        stage.write_metrics(
            f"sample_answers/{policy}",
            answers=len(rows),
            questions=len(questions),
            characters=round(fmean(len(row["text"]) for row in rows), 3),
            tokens=round(fmean(row["tokens"] for row in rows), 3),
            finish_reasons=dict(Counter(row["finish_reason"] for row in rows)),
            **engines.bill([chosen.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "sample_answers", Params, in_shards=True)
