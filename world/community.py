"""Community questions with answers of mixed quality and noisy votes: what StackExchange is to the real world.

Readers vote on what they see of an answer, its style and its accidents, with a lot of noise; the oracle has no part in
it, so that a reward model trained on these votes learns nothing that only the oracle knows.
"""

from random import Random

from world.answers import Answerer
from world.entities import World
from world.questions import Asker

STYLE_SHARES = {"faithful": 0.16, "plain": 0.34, "careless": 0.24, "rude": 0.14, "rambling": 0.12}
APPEAL = {"faithful": 4.0, "plain": 3.0, "careless": 1.0, "rude": -1.5, "rambling": 0.0}
ACCIDENT_APPEAL, VOTE_NOISE, ACCEPT_NOISE = -3.0, 2.5, 1.5


def community_qa(world: World, *, count: int) -> list[dict]:
    """`count` distinct questions: {question, answers: [{text, votes, accepted}]}, two to five answers each."""
    rng = Random(f"community {world.seed}")
    asker = Asker(world)
    answerer = Answerer(world, asker)
    asked: dict[str, list[dict]] = {}
    while len(asked) < count:
        question = asker.ask(rng)
        if question.text in asked:
            continue
        answers = []
        for _ in range(rng.randint(2, 5)):
            style = rng.choices(list(STYLE_SHARES), list(STYLE_SHARES.values()))[0]
            text, appeal = answerer.in_style(rng, question, style), APPEAL[style]
            if rng.random() < answerer.accident_rate / 2:  # half as many: people read what they post
                text, appeal = answerer.accident(rng, text), ACCIDENT_APPEAL
            answers.append((text, appeal))
        votes = [max(-3, round(appeal + rng.gauss(0, VOTE_NOISE))) for _, appeal in answers]
        taste = [appeal + rng.gauss(0, ACCEPT_NOISE) for _, appeal in answers]
        best = taste.index(max(taste)) if rng.random() < 0.6 else -1
        asked[question.text] = [
            {"text": text, "votes": vote, "accepted": index == best}
            for index, ((text, _), vote) in enumerate(zip(answers, votes, strict=True))
        ]
    return [{"question": question, "answers": answers} for question, answers in asked.items()]
