"""Play both sides of dialogues that begin with the training queries; a reward model may choose the assistant's turns.

Guided by a reward model this is RMSP, without one and with one candidate it is the Self-Play baseline (ALMoST 2.2).
"""

from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field

from synthalign import (
    chat,
    demonstrations,
    generate,
    measures,
    models,
    parallel,
    reward,
    sampling,
    simulation,
    stage,
    tables,
)
from synthalign.chat import Message
from synthalign.errors import UserError
from synthalign.generate import Generation
from synthalign.ids import content_id
from synthalign.tables import MESSAGES, Row

CANDIDATES = pa.schema(
    [
        ("query_id", pa.string()),
        ("turn", pa.int64()),
        ("sample_index", pa.int64()),
        ("text", pa.string()),
        ("reward", pa.float64()),
        ("is_best", pa.bool_()),
    ]
)
DEMONSTRATIONS = pa.schema(
    [("demonstration_id", pa.string()), ("query_id", pa.string()), ("messages", MESSAGES), ("reward", pa.float64())]
)


class Guide(BaseModel, frozen=True, extra="forbid", strict=True):
    reward: str | None = Field(min_length=1)
    """Folder of the reward model that chooses; null takes the first candidate."""

    candidates: int = Field(gt=0)
    """Answers to choose from at every turn of the assistant (the paper: 4)."""


class Speaker(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the vanilla model."""

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

    seed: int = Field(ge=0)
    """Draws the tokens; the first candidates of all guides are the same."""


class Play:
    """The models of a simulation, and the dialogues so far by query."""

    def __init__(self, params: Params, guide: str, work: Path, queries: dict[str, str]) -> None:
        self.params, self.guide, self.work = params, params.guides[guide], work
        self.dialogues: dict[str, list[Message]] = {
            query: [{"role": "user", "content": text}] for query, text in queries.items()
        }
        self.rewards: dict[str, float | None] = {}
        self.candidates: list[Row] = []
        self.open = list(queries)
        """The queries whose dialogues go on."""

    def say(self, speaker: Speaker, turn: int, prompts: list[str], samples: int) -> dict[str, list[Generation]]:
        made = parallel.generated(
            models.load_causal(speaker.model),
            models.load_tokenizer(speaker.model),
            folder=self.work,
            name=f"turn {turn}",
            prefix=demonstrations.prefix(speaker.demonstrations, speaker.shots),
            suffixes=prompts,
            row_ids=[f"{query}:{turn}" for query in self.open],
            samples=samples,
            stops=chat.STOPS,
            **self.params.model_dump(include={"seed", "max_new_tokens", "temperature", "top_p"}),
        )
        return {query: made[f"{query}:{turn}"] for query in self.open}

    def ask(self, turn: int) -> None:
        """The user asks on; a user who says nothing ends the dialogue."""
        prompts = [simulation.user_prompt(self.dialogues[query]) for query in self.open]
        made = self.say(self.params.user, turn, prompts, samples=1)
        for query, [one] in made.items():
            if chat.clean(one.text):
                self.dialogues[query].append({"role": "user", "content": chat.clean(one.text)})
        self.open = [query for query in self.open if self.dialogues[query][-1]["role"] == "user"]

    def answer(self, turn: int) -> None:
        """The assistant answers with the best candidate; when none says anything, the dialogue ends before it."""
        prompts = [chat.prompt(self.dialogues[query]) for query in self.open]
        made = self.say(self.params.assistant, turn, prompts, samples=self.guide.candidates)
        texts = {query: [chat.clean(one.text) for one in made[query]] for query in self.open}
        rewards = self.judged(texts)
        for query, options in texts.items():
            best = simulation.best(options, rewards.get(query))
            for index, text in enumerate(options):
                worth = rewards[query][index] if query in rewards else None
                row = {"query_id": query, "turn": turn, "sample_index": index, "text": text, "reward": worth}
                self.candidates.append(row | {"is_best": index == best})
            if options[best]:
                self.dialogues[query].append({"role": "assistant", "content": options[best]})
                self.rewards[query] = rewards[query][best] if query in rewards else None
        self.open = [query for query in self.open if self.dialogues[query][-1]["role"] == "assistant"]

    def judged(self, texts: dict[str, list[str]]) -> dict[str, list[float]]:
        """The reward of every candidate in its dialogue; empty for a guide without a reward model."""
        if self.guide.reward is None:
            return {}
        model, tokenizer = models.load_reward(self.guide.reward), models.load_tokenizer(self.guide.reward)
        dialogues = [
            [*self.dialogues[query], {"role": "assistant", "content": text}]
            for query, options in texts.items()
            for text in options
        ]
        scores = iter(reward.score(model.to(parallel.device()), tokenizer, dialogues))
        return {query: [round(next(scores), 6) for _ in options] for query, options in texts.items()}


def metrics(play: Play) -> dict[str, Any]:
    """How many dialogues, how long, and the mean reward of the best of 1, 2, ... candidates for the first answer."""
    kept = [messages for messages in play.dialogues.values() if len(messages) > 1]
    answers = [message["content"] for messages in kept for message in messages if message["role"] == "assistant"]
    values: dict[str, Any] = {
        "queries": len(play.dialogues),
        "demonstrations": len(kept),
        "utterances": round(fmean(map(len, kept)), 3),
        "characters": round(fmean(map(len, answers)), 3),
    }
    if play.guide.reward is not None:
        first: dict[str, list[float]] = {}
        for row in play.candidates:
            if row["turn"] == 1:
                first.setdefault(row["query_id"], []).append(row["reward"])
        values["reward_of_best_of"] = {
            str(n): round(fmean(measures.expected_best(rewards, rewards, n) for rewards in first.values()), 6)
            for n in range(1, play.guide.candidates + 1)
        }
    return values


def main(params: Params, guide: str) -> None:
    if guide not in params.guides:
        raise UserError(f"simulate_demonstrations has no guide {guide!r}; it has {', '.join(params.guides)}")
    queries = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}
    folders = {params.assistant.model, params.user.model, params.guides[guide].reward} - {None}
    files = {params.assistant.demonstrations, params.user.demonstrations}
    work = stage.work_dir(
        "simulate_demonstrations",
        guide,
        params,
        *(Path(str(path)) for path in sorted(map(str, folders | files))),
        tables.path("queries"),
        *map(Path, (__file__, generate.__file__, sampling.__file__, chat.__file__, reward.__file__)),
    )

    play = Play(params, guide, work, queries)
    for turn in range(1, params.max_turns):
        if play.open:
            (play.answer if turn % 2 else play.ask)(turn)
    rows = []
    for query, messages in play.dialogues.items():
        said = messages if messages[-1]["role"] == "assistant" else messages[:-1]
        if said:
            texts = [message["content"] for message in said]
            name = content_id("demonstration", guide, query, *texts)
            row = {"demonstration_id": name, "query_id": query, "messages": said}
            rows.append(row | {"reward": play.rewards[query]})
    if not rows:
        raise UserError(f"no answer to any of {len(queries)} queries; look at what {params.assistant.model} writes")

    if stage.is_main_process():
        key = ("query_id", "turn", "sample_index")
        tables.write(play.candidates, f"candidates/{guide}", key=key, schema=CANDIDATES)
        tables.write(rows, f"demonstrations/{guide}", key="demonstration_id", schema=DEMONSTRATIONS)
        stage.write_metrics(f"simulate_demonstrations/{guide}", **metrics(play))
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "simulate_demonstrations", Params)
