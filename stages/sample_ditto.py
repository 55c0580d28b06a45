"""Let every method answer an author's held-out prompts: zero-shot, few-shot, SFT, SPIN and DITTO.

For an author that a user has brought the prompts are those of data/authors/<name>.txt, or else the demonstrations' own.
"""

from collections import Counter
from pathlib import Path

from pydantic import BaseModel, Field

from synthalign import authors, chat, ditto, engines, parallel, stage, tables
from synthalign.errors import UserError

TRAINED = {"sft": "models/ditto_sft", "spin": "models/spin", "ditto": "models/ditto"}
"""Where a method's models are, one for each author."""


class Author(BaseModel, frozen=True, extra="forbid", strict=True):
    demonstrations: str = Field(min_length=1)
    """File of the demonstrations, which few-shot prompts show."""

    prompts: str = Field(min_length=1)
    """File of the prompts to answer, one a line; no demonstration's own."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    authors: dict[str, Author]
    """The members of the family by name."""

    model: str = Field(min_length=1)
    """Folder of the model that answers zero-shot and few-shot."""

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


def files_of(params: Params, name: str) -> tuple[list[authors.Demonstration], list[str]]:
    """The demonstrations and the prompts of an author; UserError for an unknown one."""
    known = params.authors.get(name)
    given = {author: one.demonstrations for author, one in params.authors.items()}
    brought = authors.file_of(name, given, stage="sample_ditto")
    demonstrations = authors.load(brought)
    file = Path(known.prompts) if known else brought.with_suffix(".txt")
    if known is None and not file.exists():
        return demonstrations, list(dict.fromkeys(one.prompt for one in demonstrations))
    prompts = authors.prompts(file)
    authors.check_held_out(prompts, demonstrations, file)
    return demonstrations, prompts


def trained(params: Params, name: str) -> dict[str, str]:
    """The folders of an author's models by method, SPIN's for one of a user's own only where it is there.

    UserError when another was not trained.
    """
    found = {}
    for method, folder in TRAINED.items():
        model = Path(folder, name)
        if model.exists():
            found[method] = str(model)
        elif method != "spin" or name in params.authors:
            maker = "train_spin" if method == "spin" else "train_ditto"
            raise UserError(f"{model} does not exist; run {maker} for it first")
    return found


def main(params: Params, name: str) -> None:
    demonstrations, prompts = files_of(params, name)
    shown = chat.few_shot("", [one.messages for one in demonstrations])
    methods = {"zero_shot": (params.model, ""), "few_shot": (params.model, shown)}
    methods |= {method: (folder, "") for method, folder in trained(params, name).items()}

    settings = params.model_dump(include={"samples", "max_new_tokens", "temperature", "top_p", "seed"})
    rows = []
    for method, (model, prefix) in methods.items():
        work = stage.work_dir(
            "sample_ditto",
            f"{name} {method}",
            str(settings),
            prefix,
            *prompts,
            *engines.inputs(model, params.engine),
            *map(Path, (__file__, chat.__file__)),
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
        rows += [
            {
                "prompt_id": authors.prompt_id(prompt),
                "method": method,
                "sample_index": index,
                "prompt": prompt,
                "text": chat.clean(one.text),
                "tokens": len(one.token_ids),
                "finish_reason": one.finish_reason,
            }
            for prompt in prompts
            for index, one in enumerate(made[prompt])
        ]
        parallel.finish(work)

    if stage.is_main_process():
        tables.write(rows, f"ditto_answers/{name}", key=("prompt_id", "method", "sample_index"), schema=ditto.ANSWERS)
        stage.write_metrics(
            f"sample_ditto/{name}",
            prompts=len(prompts),
            answers=dict(Counter(row["method"] for row in rows)),
            cut_off=dict(Counter(row["method"] for row in rows if row["finish_reason"] == "length")),
        )
        for row in [row for row in rows if row["method"] == "ditto" and not row["sample_index"]][:3]:
            print(f"\n{row['prompt']}\n  {row['text']!r}", flush=True)


if __name__ == "__main__":
    stage.run(main, "sample_ditto", Params)
