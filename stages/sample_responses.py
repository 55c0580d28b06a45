"""Answer the queries with one vanilla configuration: a model size, demonstrations and a number of shots."""

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, Field

from synthalign.core import code, stage, tables
from synthalign.core.ids import content_id
from synthalign.dialogue import chat, demonstrations
from synthalign.generation import engines, parallel

RESPONSES = pa.schema(
    [
        ("response_id", pa.string()),
        ("query_id", pa.string()),
        ("config", pa.string()),
        ("model", pa.string()),
        ("demonstrations", pa.string()),
        ("shots", pa.int64()),
        ("sample_index", pa.int64()),
        ("text", pa.string()),
        ("tokens", pa.int64()),
        ("finish_reason", pa.string()),
    ]
)


class Configuration(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the vanilla model, or file of an endpoint."""

    demonstrations: str = Field(min_length=1)
    """File of the dialogues that it is shown."""

    shots: int = Field(ge=0)
    """How many of them, always the first ones."""

    max_new_tokens: int = Field(gt=0)
    """Longest response."""

    splits: list[Literal["train", "eval"]] = Field(min_length=1)
    """Which queries it answers."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    configurations: dict[str, Configuration]
    """The members of the family by name; how they rank is said in `build_comparisons`."""

    temperature: float = Field(ge=0)
    """Of the sampling; 0 is greedy."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    engine: engines.Engine
    """What continues texts with a model folder."""

    seed: int = Field(ge=0)
    """Draws the tokens."""


def main(params: Params, config: str) -> None:
    chosen = stage.member("sample_responses", "configuration", params.configurations, config)
    queries = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] in chosen.splits}
    prefix = demonstrations.prefix(chosen.demonstrations, chosen.shots)

    settings = params.model_dump(include={"temperature", "top_p", "seed"})
    work = stage.work_dir(
        "sample_responses",
        config,
        chosen,
        str(settings),
        *engines.inputs(chosen.model, params.engine),
        tables.path("queries"),
        Path(chosen.demonstrations),
        *code.of(__file__),
    )
    with engines.opened(chosen.model, params.engine, work) as write:
        made = parallel.generated(
            write,
            folder=work,
            name=f"sample_responses@{config}",
            prefix=prefix,
            suffixes=[chat.prompt([{"role": "user", "content": text}]) for text in queries.values()],
            row_ids=[f"{config}:{query}" for query in queries],
            max_new_tokens=chosen.max_new_tokens,
            stops=chat.STOPS,
            **settings,
        )
    rows = [
        {
            "response_id": content_id("response", config, query, index, text),
            "query_id": query,
            "config": config,
            "model": chosen.model,
            "demonstrations": chosen.demonstrations,
            "shots": chosen.shots,
            "sample_index": index,
            "text": text,
            "tokens": len(one.token_ids),
            "finish_reason": finish_reason,
        }
        for query in queries
        for index, one in enumerate(made[f"{config}:{query}"])
        for text, finish_reason in [chat.ended(one.text, one.finish_reason)]
    ]

    if stage.is_main_process():
        tables.write(rows, f"responses/{config}", key="response_id", schema=RESPONSES)
        stage.write_metrics(
            f"sample_responses/{config}",
            responses=len(rows),
            characters=round(fmean(len(row["text"]) for row in rows), 3),
            tokens=round(fmean(row["tokens"] for row in rows), 3),
            finish_reasons=dict(Counter(row["finish_reason"] for row in rows)),
            **engines.bill([chosen.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "sample_responses", Params, in_shards=True)
