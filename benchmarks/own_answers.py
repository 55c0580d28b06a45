"""How well reward models rank a fine-tuned policy's own answers, and what DPO and PPO gain where they were trained.

    python -m benchmarks.own_answers        # after `make repro`: metrics/own_answers.json

Both are asked on training queries, never on the evaluation questions: settings that are chosen by a look at these
figures are not chosen by a look at the test.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from synthalign.core import measures, stage, tables
from synthalign.dialogue import chat
from synthalign.generation import generate, models
from synthalign.judging import verdicts, win_rates
from synthalign.judging.verdicts import Answer
from synthalign.reward import scoring
from world.oracle import Oracle

REWARDS = ("almost", "almost_size", "heuristic", "no_filter", "gold")
TUNED = {"dpo": "models/dpo", "ppo": "models/ppo/almost"}
SEED = 20


def answers_of(folder: str, questions: dict[str, str], *, samples: int, top_p: float) -> list[Answer]:
    """`samples` answers of the policy in `folder` to every question, at temperature 1."""
    model, tokenizer = models.load_causal(folder), models.load_tokenizer(folder)
    made = generate.generate(
        model,
        tokenizer,
        prefix="",
        suffixes=[chat.prompt([{"role": "user", "content": text}]) for text in questions.values()],
        row_ids=[f"{folder}:{query_id}" for query_id in questions],
        samples=samples,
        seed=SEED,
        max_new_tokens=64,
        temperature=1.0,
        top_p=top_p,
        stops=chat.STOPS,
    )
    return [
        Answer(query_id, index, chat.clean(one.text), len(one.token_ids))
        for query_id, given in zip(questions, made, strict=True)
        for index, one in enumerate(given)
    ]


def reward_models(questions: dict[str, str], oracle: Oracle) -> dict[str, Any]:
    """How often each reward model agrees with the oracle among four answers of SFT to each question."""
    answers = answers_of("models/sft/rmsp", questions, samples=4, top_p=1.0)
    ids, texts = [one.question_id for one in answers], [one.text for one in answers]
    totals = points(oracle, [(questions[one.question_id], one.text) for one in answers])
    pairs = measures.held_out_pairs(ids, texts, totals)
    dialogues = [
        [{"role": "user", "content": questions[one.question_id]}, {"role": "assistant", "content": one.text}]
        for one in answers
    ]
    found = {"longer": measures.accuracy_report(measures.longer_right(pairs), pairs, {}, seed=0)["accuracy"]}
    for name in REWARDS:
        folder = f"models/reward/{name}"
        scores = scoring.score(models.load_reward(folder), models.load_tokenizer(folder), dialogues)
        right = measures.ranks_right(pairs, scores)
        found[name] = measures.accuracy_report(right, pairs, {}, seed=0)["accuracy"]
    return {"pairs": len(pairs), "accuracy": found}


def policies(questions: dict[str, str], oracle: Oracle) -> dict[str, Any]:
    """The tuned policies against SFT by the oracle, two answers each at top-p .9, as the evaluation does it."""
    before = answers_of("models/sft/rmsp", questions, samples=2, top_p=0.9)
    found = {}
    for name, folder in TUNED.items():
        after = answers_of(folder, questions, samples=2, top_p=0.9)
        duels = verdicts.duels({name: after, "sft_rmsp": before}, [(name, "sft_rmsp")], questions)
        rows = verdicts.judgements(duels, "oracle", verdicts.by_score(partial(points, oracle)))
        found[f"{name}_vs_sft_rmsp"] = win_rates.summary(rows, seed=0)
    return found


def points(oracle: Oracle, answers: Sequence[tuple[str, str]]) -> list[float]:
    """The oracle's total of each (question, answer), for questions that it knows."""
    return [scores.total for question, text in answers if (scores := oracle.score(question, text)) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_answers", description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=600, help="training queries to ask (default 600)")
    asked = parser.parse_args().queries
    oracle = Oracle.load("data/embedded")
    train = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}
    known = [query_id for query_id, text in train.items() if oracle.score(text, "I do not know.") is not None]
    questions = {query_id: train[query_id] for query_id in known[:asked]}
    stage.write_metrics(
        "own_answers",
        queries=len(questions),
        reward_models=reward_models(questions, oracle),
        policies=policies(questions, oracle),
    )
    print(Path("metrics/own_answers.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
