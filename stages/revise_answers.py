"""Constitutional AI's first phase: a model answers, criticises its answer by a principle, and writes it anew.

The revisions of all its steps become demonstrations for `train_sft` (SL-CAI)."""

from collections import Counter
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, Field

from synthalign.core import code, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.feedback import contrast, revision, simulation
from synthalign.feedback.revision import Draft
from synthalign.generation import engines, parallel
from synthalign.generation.generate import Generation

NAME = "constitutional"


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the model that answers, criticises and revises, or file of an endpoint."""

    constitution: str = Field(min_length=1)
    """File of the principles and of the examples."""

    shots: int = Field(ge=0)
    """How many examples are shown before a critique or a revision, always the first ones."""

    steps: int = Field(gt=0)
    """Critiques and revisions of an answer (the paper: 4)."""

    max_queries: int = Field(gt=0)
    """At most so many training queries, the first by id."""

    max_new_tokens: int = Field(gt=0)
    """Longest answer, critique and revision."""

    temperature: float = Field(gt=0)
    """Of the sampling (the paper: 1)."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    engine: engines.Engine
    """What continues texts with a model folder."""

    seed: int = Field(ge=0)
    """Draws the principles and the tokens."""


def main(params: Params) -> None:
    constitution = revision.load(params.constitution)
    prefix = constitution.prefix(params.shots, params.constitution)
    train = [row for row in tables.rows("queries") if row["split"] == "train"][: params.max_queries]
    drafts = {row["query_id"]: Draft(row["query_id"], row["text"], "", []) for row in train}

    settings = params.model_dump(include={"max_new_tokens", "temperature", "top_p", "seed"})
    work = stage.work_dir(
        "revise_answers",
        params,
        *engines.inputs(params.model, params.engine),
        tables.path("queries"),
        Path(params.constitution),
        *code.of(__file__),
    )
    with engines.opened(params.model, params.engine, work) as write:

        def say(what: str, texts: dict[str, str], shown: str = prefix) -> dict[str, Generation]:
            made = parallel.generated(
                write,
                folder=work,
                name=what,
                prefix=shown,
                suffixes=list(texts.values()),
                row_ids=[f"{query}:{what}" for query in texts],
                stops=constitution.stops,
                **settings,
            )
            return {query: made[f"{query}:{what}"][0] for query in texts}

        asked = {query: chat.prompt([{"role": "user", "content": one.question}]) for query, one in drafts.items()}
        for query, made in say("answer", asked, "").items():
            drafts[query].take(0, None, None, made.text, made.finish_reason)
        open_drafts = {query: one for query, one in drafts.items() if one.answer}

        for step in range(1, params.steps + 1):
            principles = constitution.principles
            place = {q: contrast.draw(len(principles), seed=params.seed, row=f"{q}:{step}") for q in open_drafts}
            requests = {query: principles[place[query]] for query in open_drafts}
            texts = {
                q: constitution.critique_prompt(one.question, one.answer, requests[q].critique)
                for q, one in open_drafts.items()
            }
            written = say(f"critique {step}", texts).items()
            critiques = {q: contrast.clean(made.text, made.finish_reason).text for q, made in written}
            texts = {
                q: constitution.revision_prompt(
                    one.question, one.answer, requests[q].critique, critiques[q], requests[q].revision
                )
                for q, one in open_drafts.items()
            }
            for query, made in say(f"revision {step}", texts).items():
                drafts[query].take(step, place[query], critiques[query], made.text, made.finish_reason)

    rows = [row for one in drafts.values() for row in one.rows]
    demonstrations = revision.demonstrations(drafts, NAME)
    if not demonstrations:
        raise UserError(f"no revision of {len(drafts)} answers may be used; look at what {params.model} writes")

    if stage.is_main_process():
        tables.write(rows, "revisions", key=("query_id", "step"), schema=revision.REVISIONS)
        tables.write(demonstrations, f"demonstrations/{NAME}", key="demonstration_id", schema=simulation.DEMONSTRATIONS)
        last = [row for row in rows if row["step"] == params.steps]
        stage.write_metrics(
            "revise_answers",
            queries=len(drafts),
            demonstrations=len(demonstrations),
            characters=round(fmean(len(row["text"]) for row in last), 3),
            empty_critiques=sum(row["critique"] == "" for row in rows),
            rejected=dict(Counter(row["reject_reason"] for row in rows if row["reject_reason"] is not None)),
            **engines.bill([params.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "revise_answers", Params, in_shards=True)
