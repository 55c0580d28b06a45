"""Play both sides of dialogues that begin with the training queries, a reward model choosing the assistant's turns."""

from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import code, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import chat, demonstrations
from synthalign.dialogue.chat import Message
from synthalign.feedback import simulation
from synthalign.feedback.simulation import Said
from synthalign.generation import engines, models, parallel
from synthalign.reward import scoring


class Guide(BaseModel, frozen=True, extra="forbid", strict=True):
    reward: str | None = Field(min_length=1)
    """Folder of the reward model that chooses; null takes the first candidate."""

    candidates: int = Field(gt=0)
    """Answers to choose from at every turn of the assistant (the paper: 4)."""


class Speaker(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the vanilla model, or file of an endpoint."""

    demonstrations: str = Field(min_length=1)
    """File of the dialogues that it is shown."""

    shots: int = Field(ge=0)
    """How many of them, always the first ones."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    guides: dict[str, Guide]
    """The members of the family by name."""

    assistant: Speaker
    """Who answers."""

    user: Speaker
    """Who asks on, where max_turns is 4 or more."""

    max_turns: int = Field(ge=2, multiple_of=2)
    """Utterances in a dialogue: 2 are the query and its answer, 4 a further question and its answer too."""

    max_new_tokens: int = Field(gt=0)
    """Longest utterance."""

    temperature: float = Field(gt=0)
    """Of the sampling."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    engine: engines.Engine
    """What continues texts with a model folder."""

    seed: int = Field(ge=0)
    """Draws the tokens; the first candidates of all guides are the same."""


def main(params: Params, guide: str) -> None:
    chosen = stage.member("simulate_demonstrations", "guide", params.guides, guide)
    queries = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}
    judge, samples = chosen.reward, chosen.candidates
    if judge is not None:
        models.check_reward(judge)  # which is loaded when all candidates are there
    speakers = params.assistant, params.user
    files = [tables.path("queries"), *(speaker.demonstrations for speaker in speakers), *([judge] if judge else [])]
    work = stage.work_dir(
        "simulate_demonstrations",
        guide,
        params,
        *(given for speaker in speakers for given in engines.inputs(speaker.model, params.engine)),
        *map(Path, files),
        *code.of(__file__),
    )
    play = simulation.Play(queries)

    def say(speaker: Speaker, turn: int, samples: int) -> dict[str, list[Said]]:
        with engines.opened(speaker.model, params.engine, work) as write:
            made = parallel.generated(
                write,
                folder=work,
                name=f"turn {turn}",
                prefix=demonstrations.prefix(speaker.demonstrations, speaker.shots),
                suffixes=play.prompts(turn),
                row_ids=[f"{query}:{turn}" for query in play.open],
                samples=samples,
                stops=chat.STOPS,
                **params.model_dump(include={"seed", "max_new_tokens", "temperature", "top_p"}),
            )
        return {
            query: [Said(*chat.ended(one.text, one.finish_reason)) for one in made[f"{query}:{turn}"]]
            for query in play.open
        }

    def rewards(dialogues: list[list[Message]]) -> list[float] | None:
        if judge is None:
            return None
        model = models.load_reward(judge).to(parallel.device())
        return scoring.score(model, models.load_tokenizer(judge), dialogues)

    for turn in range(1, params.max_turns):
        if not play.open:
            break
        if turn % 2:
            said = say(params.assistant, turn, samples)
            play.answer(turn, said, rewards(play.options(said)))
        else:
            play.ask({query: one for query, [one] in say(params.user, turn, 1).items()})
    rows = play.demonstrations(guide)
    if not rows:
        raise UserError(f"no answer to any of {len(queries)} queries; look at what {params.assistant.model} writes")

    if stage.is_main_process():
        key = ("query_id", "turn", "sample_index")
        tables.write(play.candidates, f"candidates/{guide}", key=key, schema=simulation.CANDIDATES)
        tables.write(rows, f"demonstrations/{guide}", key="demonstration_id", schema=simulation.DEMONSTRATIONS)
        bill = engines.bill((speaker.model for speaker in speakers), work)
        stage.write_metrics(f"simulate_demonstrations/{guide}", **simulation.summary(play), **bill)
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "simulate_demonstrations", Params, in_shards=True)
