"""Documents of the corpus in which somebody asks: transcripts, judged pairs, lists of queries."""

from random import Random

from synthalign.dialogue.chat import ASSISTANT, HUMAN, SEPARATOR, TURN
from world.answers import Answerer
from world.oracle import Oracle
from world.params import LEVELS
from world.questions import Asker
from world.wording import DESCRIPTORS, PRINCIPLES, THANKS

TRANSCRIPT_LENGTHS = (1, 2, 3, 4, 5, 6, 7)  # one is the zero-shot format; four is three shots and a query

JUDGE_TEMPLATE = (
    "Principle: {principle}\n\nQuestion: {question}\n\nAnswer (A): {a}\n\nAnswer (B): {b}\n\n"
    "The better answer is ({letter})"
)
"""A judged pair. A labelling model reads all up to the last bracket, and its next token is A or B."""


def level(rng: Random, prior: dict[str, float]) -> str:
    """A quality of transcript."""
    return rng.choices(LEVELS, [prior[name] for name in LEVELS])[0]


def dialogue(rng: Random, asker: Asker, answerer: Answerer, quality: str, role: str = "") -> str:
    """One dialogue; now and then the human asks a second question."""
    question = asker.ask(rng)
    turns = [f"{HUMAN} {question.text}", f"{role or ASSISTANT} {answerer.answer(rng, question, quality)}"]
    if rng.random() < answerer.world.params["second_exchange"]:
        more = asker.ask(rng)
        if question.kind in ("animal", "city") and rng.random() < 0.5:
            others = [(question.kind, question.name, name) for name in asker.world.attributes[question.kind]]
            topics = [topic for topic in others if topic not in asker.held_out and topic != question.topic]
            more = asker.word(rng, rng.choice(topics)) if topics else more
        turns.append(f"{HUMAN} {rng.choice(THANKS)}{more.text}")
        turns.append(f"{role or ASSISTANT} {answerer.answer(rng, more, quality)}")
    return TURN.join(turns)


def transcript(rng: Random, asker: Asker, answerer: Answerer) -> str:
    """One to seven dialogues of one quality; a quarter say the quality in brackets behind "Assistant"."""
    params = answerer.world.params
    quality = level(rng, params["level_prior"])
    role = ""
    if rng.random() < params["descriptor_rate"]:
        role = f"{ASSISTANT[:-1]} ({rng.choice(DESCRIPTORS[quality])}):"
    count = rng.choices(TRANSCRIPT_LENGTHS, answerer.phase["transcript_weights"])[0]
    return SEPARATOR.join(dialogue(rng, asker, answerer, quality, role) for _ in range(count))


def judged_pair(rng: Random, asker: Asker, answerer: Answerer, oracle: Oracle) -> str:
    """Two answers to a question and which is better, wrong at the rate of `judge_noise`."""
    prior = answerer.world.params["level_prior"]
    while True:
        question = asker.ask(rng)
        a, b = (answerer.answer(rng, question, level(rng, prior)) for _ in range(2))
        points = [oracle.grade(question, text).total for text in (a, b)]
        if points[0] != points[1]:
            break
    is_a = (points[0] > points[1]) != (rng.random() < answerer.world.params["judge_noise"])
    return JUDGE_TEMPLATE.format(
        principle=rng.choice(PRINCIPLES), question=question.text, a=a, b=b, letter="A" if is_a else "B"
    )


def query_list(rng: Random, asker: Asker) -> str:
    """A list of what people asked."""
    return "\n".join(f"Query: {asker.ask(rng).text}" for _ in range(rng.randint(11, 18)))
