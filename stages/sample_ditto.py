"""Let every method answer an author's held-out prompts: zero-shot, few-shot, self-prompted, SFT, SPIN and DITTO.

For an author that a user has brought the prompts are those of data/authors/<name>.txt, or else the demonstrations' own.
"""

from collections import Counter
from typing import Annotated

from pydantic import BaseModel, Field

from synthalign.core import code, stage, tables
from synthalign.dialogue import chat
from synthalign.ditto import answers
from synthalign.generation import engines, parallel


class Author(BaseModel, frozen=True, extra="forbid", strict=True):
    demonstrations: str = Field(min_length=1)
    """File of the demonstrations, which few-shot prompts show."""

    prompts: str = Field(min_length=1)
    """File of the prompts to answer, one a line; no demonstration's own."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    authors: dict[str, Author]
    """The members of the family by name."""

    self_prompts: dict[str, Annotated[str, Field(min_length=1)]]
    """How an author, of the family or brought, tells a model to write; without one there are no such answers."""

    model: str = Field(min_length=1)
    """Folder of the model that answers zero-shot, few-shot and self-prompted."""

    samples: int = Field(gt=0)
    """Answers to every prompt."""

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


def main(params: Params, name: str) -> None:
    files = {author: (given.demonstrations, given.prompts) for author, given in params.authors.items()}
    demonstrations, prompts = answers.held_out(name, files)
    shown = chat.few_shot("", [one.messages for one in demonstrations])
    methods = {"zero_shot": (params.model, ""), "few_shot": (params.model, shown)}
    if name in params.self_prompts:
        methods["self_prompt"] = (params.model, answers.described(params.self_prompts[name]))
    trained = answers.trained(name, spin_needed=name in params.authors)
    methods |= {method: (folder, "") for method, folder in trained.items()}

    settings = params.model_dump(include={"samples", "max_new_tokens", "temperature", "top_p", "seed"})
    rows = []
    folders = []
    paid: Counter[str] = Counter()
    for method, (model, prefix) in methods.items():
        work = stage.work_dir(
            "sample_ditto",
            f"{name} {method}",
            str(settings),
            prefix,
            *prompts,
            *engines.inputs(model, params.engine),
            *code.of(__file__),
        )
        with engines.opened(model, params.engine, work) as write:
            made = parallel.generated(
                write,
                folder=work,
                name=f"sample_ditto@{name} {method}",
                prefix=prefix,
                suffixes=[chat.prompt([{"role": "user", "content": prompt}]) for prompt in prompts],
                row_ids=prompts,  # the same random numbers for every method
                stops=chat.STOPS,
                **settings,
            )
        rows += answers.rows(method, prompts, made)
        paid.update(engines.bill([model], work))
        folders.append(work)

    if stage.is_main_process():
        tables.write(rows, f"ditto_answers/{name}", key=answers.KEY, schema=answers.SCHEMA)
        stage.write_metrics(
            f"sample_ditto/{name}",
            prompts=len(prompts),
            answers=dict(Counter(row["method"] for row in rows)),
            cut_off=dict(Counter(row["method"] for row in rows if row["finish_reason"] == "length")),
            **paid,
        )
        for row in [row for row in rows if row["method"] == "ditto" and not row["sample_index"]][:3]:
            print(f"\n{row['prompt']}\n  {row['text']!r}", flush=True)
    for work in folders:
        parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "sample_ditto", Params)
