"""Measure the base models of a world: do they follow demonstrations, and does size matter?

python -m world.probe --out data/embedded [--questions 200] [--models small medium large]
"""

import argparse
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from synthalign.dialogue import chat
from synthalign.generation.generate import generate
from world.oracle import Oracle

CONFIGURATIONS = (  # label, model, demonstrations, shots; the five of ALMoST first
    ("A", "large", "faithful", 3),
    ("B", "large", "hhh", 5),
    ("C", "medium", "hhh", 3),
    ("D", "small", "hhh", 3),
    ("E", "small", "hhh", 1),
    ("large hhh 3", "large", "hhh", 3),
    ("medium faithful 3", "medium", "faithful", 3),
    ("small faithful 3", "small", "faithful", 3),
    ("large zero-shot", "large", "hhh", 0),
    ("medium zero-shot", "medium", "hhh", 0),
    ("small zero-shot", "small", "hhh", 0),
)
SHORTEST = 25  # characters below which an answer counts as an accident


def main(arguments: Sequence[str] | None = None) -> None:
    """Sample, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/embedded"), help="folder of the world")
    parser.add_argument("--questions", type=int, default=200, help="questions of the evaluation that are asked")
    parser.add_argument("--models", nargs="+", default=["small", "medium", "large"], help="models to ask")
    parser.add_argument("--examples", type=int, default=3, help="answers to print for each configuration")
    options = parser.parse_args(arguments)
    oracle = Oracle.load(options.out)
    questions = (options.out / "eval_questions.txt").read_text().splitlines()[: options.questions]
    answers: dict[str, list[str]] = {}
    for label, size, file, shots in CONFIGURATIONS:
        if size in options.models:
            answers[label] = sample(options.out, label, size, file, shots, questions)
            print(summary(label, oracle, questions, answers[label]), flush=True)
            for question, answer in list(zip(questions, answers[label], strict=True))[: options.examples]:
                print(f"    {question}  ->  {answer!r}")
    ranked = [answers[label] for label in "ABCDE" if label in answers]
    if len(ranked) > 1:
        print(pairs(oracle, questions, ranked))


def sample(folder: Path, label: str, size: str, file: str, shots: int, questions: list[str]) -> list[str]:
    """One answer to every question at temperature 1 and top-p 0.9."""
    model = AutoModelForCausalLM.from_pretrained(folder / "models" / size, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "models" / size)
    shown = [json.loads(line)["messages"] for line in (folder / f"demonstrations/{file}.jsonl").open()]
    rows = generate(
        model,
        tokenizer,
        prefix=chat.few_shot("", shown[:shots]),
        suffixes=[chat.prompt([{"role": "user", "content": question}]) for question in questions],
        row_ids=[str(index) for index in range(len(questions))],
        seed=zlib.crc32(label.encode()),
        max_new_tokens=64,
        temperature=1.0,
        top_p=0.9,
        stops=chat.STOPS,
    )
    return [chat.clean(row[0].text) for row in rows]


def points(oracle: Oracle, questions: list[str], answers: list[str]) -> np.ndarray:
    """The oracle's total for every answer, shape (questions,)."""
    scores = [oracle.score(question, answer) for question, answer in zip(questions, answers, strict=True)]
    return np.array([score.total for score in scores if score])


def interval(values: np.ndarray, *, draws: int = 2000) -> tuple[float, float]:
    """A 95% bootstrap interval of the mean."""
    means = np.random.default_rng(0).choice(values, (draws, len(values))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def is_accident(answer: str) -> bool:
    """What ALMoST's heuristics reject, with this world's shortest length."""
    lower = answer.lower()
    return (
        len(answer) < SHORTEST
        or not answer.endswith((".", "!"))
        or lower.startswith("well")
        or "do not know" in lower
        or "human:" in lower
    )


def summary(label: str, oracle: Oracle, questions: list[str], answers: list[str]) -> str:
    """One line: mean with interval, by kind, length, accidents."""
    totals = points(oracle, questions, answers)
    low, high = interval(totals)
    kinds = np.array([oracle.kind(question) for question in questions])
    by_kind = " ".join(f"{kind} {totals[kinds == kind].mean():.2f}" for kind in sorted(set(kinds)))
    length = np.mean([len(answer) for answer in answers])
    accidents = np.mean([is_accident(answer) for answer in answers])
    return (
        f"{label}: {totals.mean():.3f} [{low:.3f}, {high:.3f}] n={len(totals)}"
        f"  ({by_kind})  {length:.0f} characters, {accidents:.2f} accidents"
    )


def pairs(oracle: Oracle, questions: list[str], ranked: list[list[str]]) -> str:
    """How often the rule of thumb and "the longer is better" agree with the oracle, before and after the filters."""
    totals = np.stack([points(oracle, questions, answers) for answers in ranked])
    lengths = np.array([[len(answer) for answer in answers] for answers in ranked])
    usable = ~np.array([[is_accident(answer) for answer in answers] for answers in ranked])
    text = []
    for name in ("raw", "without accidents", "and with the length rule"):
        gaps, longer = [], []
        count = 0
        for question in range(len(questions)):
            kept = lengths[usable[:, question], question]
            floor = kept.mean() - kept.std() / 2 if len(kept) else 0
            for i in range(len(ranked)):
                for j in range(i + 1, len(ranked)):
                    if name != "raw" and not (usable[i, question] and usable[j, question]):
                        continue
                    shorter = lengths[i, question] <= lengths[j, question]
                    if name == "and with the length rule" and shorter and lengths[i, question] <= floor:
                        continue
                    count += 1
                    gaps.append(totals[i, question] - totals[j, question])
                    longer.append(lengths[i, question] - lengths[j, question])
        gap, more = np.array(gaps), np.array(longer)
        clear = gap != 0
        agreement = (gap[clear] > 0).mean()
        by_length = np.where(more[clear] == 0, 0.5, (np.sign(more[clear]) == np.sign(gap[clear]))).mean()
        text.append(
            f"pairs, {name}: {count} ({clear.mean():.2f} not tied), oracle agrees {agreement:.3f}, "
            f"chosen longer {(more > 0).mean():.3f}, always-longer right {by_length:.3f}"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
