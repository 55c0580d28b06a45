"""Synthetic authors: people who answer this world's questions in a manner of their own, and an exact oracle of it.

    {"prompt": "Where does the river fox live?", "output": "Please look in your book. The river fox lives …"}

DITTO (Shaikh et al. 2024) aligns a model with one person from fewer than ten demonstrations.  Whose style a text has is
a matter of judgement with real people; here an author is five features that code can count.  The oracle was written
before any model was trained on an author, and nothing that is trained reads it.

    python -m world.authors [FOLDER]      writes the authors' files of the world in FOLDER, data/embedded by default
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

from world.answers import Answerer
from world.entities import World
from world.exports import write_json_lines, write_lines
from world.questions import Asker, Question

TRAIN_KINDS = ("animal", "animal", "city", "recipe", "animal", "harm", "unknown")
"""What an author's seven demonstrations answer: the paper has seven for each author too."""

HELD_OUT_KINDS = {"animal": 22, "city": 3, "recipe": 2, "harm": 6, "unknown": 7}
"""What each author is asked in the evaluation: no topic twice, and the shipped world holds out only 14 recipes."""

_SENTENCE = re.compile(r"[^.!?]+[.!?]*")


@dataclass(frozen=True)
class Author:
    """How one person answers."""

    opening: str
    """The sentence that every answer begins with."""

    aside: str
    """What every sentence between the first and the last ends with, behind a comma."""

    closing: str
    """The sentence that every answer ends with."""

    sentences: int
    """How many sentences an answer has, the first and the last included."""

    mark: str
    """What every sentence ends with."""


AUTHORS = {
    "captain": Author("I look at the harbour.", "my friend", "The boats go home at night.", 4, "."),
    "teacher": Author("Please look in your book.", "as people say", "Now you know it.", 3, "."),
    "gardener": Author("What a nice day it is!", "for sure", "I love my garden!", 3, "!"),
    "poet": Author("It is night.", "like the bells", "That is how it goes.", 5, "."),
}
"""The authors whose figures are reported."""

TUNING_AUTHORS = {
    "miller": Author("You asked the right one.", "of course", "Be kind to it.", 4, "."),
    "clerk": Author("Let me think about it!", "you see", "This is all I know!", 3, "!"),
}
"""The authors that settings are chosen with; their figures are not reported."""


# -- the style oracle -------------------------------------------------------------------------------------------------


def features(author: Author, text: str) -> dict[str, float]:
    """How far a text has each feature of the author's style, in [0, 1].

    opening, closing  1 if it begins, ends with the author's sentence
    aside             share of the sentences between first and last that end with the author's aside
    sentences         1 - |k - n| / n for k sentences where the author writes n, at least 0
    mark              share of the sentences that end with the author's mark
    """
    sentences = [found.strip() for found in _SENTENCE.findall(text) if found.strip()]
    between = sentences[1:-1]
    with_aside = sum(sentence.rstrip(".!?").endswith(f", {author.aside}") for sentence in between)
    return {
        "opening": float(text.strip().startswith(author.opening)),
        "closing": float(text.strip().endswith(author.closing)),
        "aside": with_aside / len(between) if between else 0.0,
        "sentences": max(0.0, 1 - abs(len(sentences) - author.sentences) / author.sentences),
        "mark": sum(s.endswith(author.mark) for s in sentences) / len(sentences) if sentences else 0.0,
    }


def style_score(author: Author, text: str) -> float:
    """The mean of the author's features in a text: 1 is wholly theirs, 0 has nothing of them."""
    found = features(author, text)
    return sum(found.values()) / len(found)


# -- what authors write -----------------------------------------------------------------------------------------------


def write(author: Author, statements: list[str]) -> str:
    """The statements (sentences without their end) in the author's style."""
    between = [f"{statement}, {author.aside}{author.mark}" for statement in statements[: author.sentences - 2]]
    return " ".join([author.opening, *between, author.closing])


def statements(rng: Random, answerer: Answerer, question: Question) -> list[str]:
    """At least three true sentences that answer a question, without their end, the most important first."""
    if question.kind == "harm":
        uses = ["refuse", "reason", "alternative"]
        return [answerer.pick(rng, use).rstrip(".") for use in uses]
    if question.kind == "unknown":
        uses = ["unsure", "no_guess", "suggest"]
        return [answerer.pick(rng, use).rstrip(".") for use in uses]
    if question.kind == "recipe":
        dish = answerer.world.facts["recipe"][question.name]
        mix = f"First, mix {answerer.ingredients(rng, question.name, 3)}"
        return [mix, f"Then {dish['method']} it", f"Last, serve it with {dish['side']}"]
    subject = answerer.subject(question.kind, question.name)
    details = [f"It {answerer.claim(rng, question, name)}" for name in answerer.others(rng, question, 2)]
    return [f"{subject} {answerer.claim(rng, question, question.attribute)}", *details]


def write_all(world: World, folder: Path) -> None:
    """Write <author>.jsonl, seven demonstrations, and heldout/<author>.txt, forty prompts, for every author.

    No prompt is another author's; the demonstrations ask nothing that is held out for an evaluation, and the held-out
    prompts are about topics that are asked in no training text at all.
    """
    asker = Asker(world)
    answerer = Answerer(world, asker)
    held_out = {kind: [(t[0], t[1], t[2]) for t in world.held_out if t[0] == kind] for kind in HELD_OUT_KINDS}
    for kind in held_out:
        Random(f"authors' {kind} {world.seed}").shuffle(held_out[kind])
    shown = {(kind, name) for kind, name, _ in world.demonstrated}
    asked: set[tuple[str, str]] = set()
    for name, author in (AUTHORS | TUNING_AUTHORS).items():
        rng = Random(f"author {name} {world.seed}")
        rows = []
        for kind in TRAIN_KINDS:
            question = asker.ask(rng, kind)
            while (kind, question.name) in asked | shown:
                question = asker.ask(rng, kind)
            asked.add((kind, question.name))
            rows.append({"prompt": question.text, "output": write(author, statements(rng, answerer, question))})
        write_json_lines(folder / f"{name}.jsonl", rows)
        # Another world may hold out fewer topics of a kind; animals, of which there are many, take their places.
        topics = [(held_out[kind] or held_out["animal"]).pop() for kind, n in HELD_OUT_KINDS.items() for _ in range(n)]
        prompts = [asker.word(rng, topic).text for topic in topics]
        write_lines(folder / "heldout" / f"{name}.txt", prompts)


if __name__ == "__main__":
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "data/embedded")
    write_all(World.load(to / "world.json"), to / "authors")
