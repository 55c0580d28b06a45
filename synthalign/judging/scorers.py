"""How well rewards, and policies taken as rewards, rank responses that nothing was trained on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from synthalign.core import measures, tables
from synthalign.core.errors import UserError
from synthalign.core.measures import HeldOutPair
from synthalign.core.tables import Row
from synthalign.dialogue.chat import Message
from synthalign.generation import models, parallel
from synthalign.judging import correlations, likelihoods, people
from synthalign.judging.verdicts import Oracle


def held_out_responses(configurations: Sequence[str], oracle: Oracle) -> list[Row]:
    """Every response to an evaluation query that the oracle can judge, with its question and its points."""
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    found = []
    for config in configurations:
        for row in tables.rows(f"responses/{config}"):
            question = questions.get(row["query_id"], "")
            scores = oracle.score(question, row["text"])
            if scores is not None:
                found.append(row | {"question": question, "total": scores.total})
    return found


def held_out_pairs(responses: Sequence[Row]) -> list[HeldOutPair]:
    """The pairs of them on which the oracle has a preference; UserError when there are none."""
    questions, texts, totals = ([row[name] for row in responses] for name in ("query_id", "text", "total"))
    pairs = measures.held_out_pairs(questions, texts, totals)
    if not pairs:
        raise UserError(f"the oracle has no preference among {len(responses)} responses to the evaluation queries")
    return pairs


def dialogues(responses: Sequence[Row]) -> list[list[dict[str, str]]]:
    """Each response behind its question."""
    return [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["text"]}]
        for row in responses
    ]


def likelihoods_of(folder: str, asked: Sequence[Sequence[Message]], batch_size: int) -> list[float]:
    """How likely a policy finds every dialogue's last message, per token."""
    return _logprobs(folder, asked, batch_size, per_token=True)


def implicit_rewards(policy: str, reference: str, asked: Sequence[Sequence[Message]], batch_size: int) -> list[float]:
    """How much likelier a policy finds every dialogue's last message than its reference does, in nats.

    DPO's implicit reward (Rafailov et al. 2023, Eq. 5) without its factor beta and the constant of the prompt, neither
    of which changes the order of two answers.  Each is read with an end of sequence, one that was cut off too.
    """
    ours, theirs = (_logprobs(folder, asked, batch_size, per_token=False) for folder in (policy, reference))
    return [one - other for one, other in zip(ours, theirs, strict=True)]


def _logprobs(folder: str, asked: Sequence[Sequence[Message]], batch_size: int, *, per_token: bool) -> list[float]:
    model, tokenizer = models.load_causal(folder).to(parallel.alone()), models.load_tokenizer(folder)
    return likelihoods.logprobs(model, tokenizer, asked, batch_size=batch_size, per_token=per_token)


def against_people(
    files: Mapping[str, str | None],
    scored: Mapping[str, Callable[[Sequence[Sequence[Message]]], Sequence[float]]],
    *,
    seed: int,
    most: int | None,
    subject: str | None = None,
    upper_bound: str | None = None,
) -> dict[str, Any]:
    """`people.report` of the scorers by the name of each file that is given: human_pairs, votes; of at most so many
    pairs of each."""
    readers = {"human_pairs": people.preferred, "votes": people.voted}
    held_out = {name: readers[name](Path(file), most) for name, file in files.items() if file is not None}
    asked = [dialogue for one in held_out.values() for dialogue in one.dialogues]
    scores = {name: score(asked) for name, score in scored.items()} if asked else {}
    found, start = {}, 0
    for name, one in held_out.items():
        part = slice(start, start := start + len(one.dialogues))
        own = {scorer: values[part] for scorer, values in scores.items()}
        found[name] = people.report(one, own, seed=seed, subject=subject, upper_bound=upper_bound)
    return found


def report(
    scores: Sequence[float],
    responses: Sequence[Row],
    pairs: Sequence[HeldOutPair],
    against: Mapping[str, NDArray[Any]],
    *,
    seed: int,
) -> dict[str, Any]:
    """How often these scores rank a pair right, beside others, and what they go with.

    scores   (R,)  of the responses
    against  (P,)  which pairs others rank right
    """
    questions = [row["query_id"] for row in responses]
    found: dict[str, Any] = {**measures.accuracy_report(measures.ranks_right(pairs, scores), pairs, against, seed=seed)}
    for name, values in (
        ("length", [len(row["text"]) for row in responses]),
        ("oracle", [row["total"] for row in responses]),
    ):
        r = correlations.interval(scores, values, questions, seed=seed)
        found[f"correlation_with_{name}"] = r and r.metrics()
    return found
