"""Answers of a policy that is being trained: sampled, scored by a reward model, and read by policy and reference.

What PPO, RRHF, RLOO, GRPO and DPO share, to train on and as the answers to the evaluation questions by which all of
them are told how far they came.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.dialogue import chat, endings
from synthalign.generation import models
from synthalign.generation.generate import Generation, generate
from synthalign.policies import batching, ppo
from synthalign.policies.prompting import Prompt
from synthalign.reward import scoring

Row = dict[str, Any]

CURVE = pa.schema(
    [
        ("step", pa.int32()),
        ("question_id", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("kl", pa.float64()),
    ]
)
"""Answers of the policy to the evaluation questions while it was trained; kl in nats, of one answer."""


@dataclass(frozen=True)
class Answer:
    """One answer of a policy, and what reward model and reference make of it."""

    prompt: Prompt
    text: str
    token_ids: list[int]
    """The end-of-sequence token included where it was reached."""
    finish_reason: str
    reward: float
    """Of the reward model, whatever the finish reason."""
    kl: float
    """log pi(answer) - log pi_ref(answer), in nats."""

    @property
    def is_complete(self) -> bool:
        """Whether it ends by itself and says something."""
        return endings.is_complete(self.finish_reason, self.text)


def my_share(accelerator: Accelerator, count: int) -> slice:
    """The contiguous places of range(count) that are this process's; none where there are more processes than rows."""
    size = math.ceil(count / accelerator.num_processes)
    return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)


def written(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    row_ids: Sequence[str],
    *,
    seed: int,
    temperature: float | Sequence[float],
    max_new_tokens: int,
    device_batch_size: int,
) -> list[Generation]:
    """One answer of the policy to each prompt, at one temperature or each at its own."""
    made = generate(
        policy,
        tokenizer,
        prefix="",
        suffixes=[chat.prompt([{"role": "user", "content": prompt.question}]) for prompt in prompts],
        row_ids=row_ids,
        samples=1,
        seed=seed,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=1.0,
        stops=chat.STOPS,
        batch_size=4 * device_batch_size,  # one token of each at a time, and nothing kept for a gradient
    )
    return [cut(one) for [one] in made]


def cut(made: Generation) -> Generation:
    """What was written up to another turn, by every sign of one (`chat.ended`): no dialogue with itself is paid for.

    The tokens stay as they were sampled.  RRHF and RLCD cut at the first marker before they score (RRHF section 3.1;
    RLCD's code), since a reward model likes to be thanked.
    """
    text, finish_reason = chat.ended(made.text, made.finish_reason)
    return replace(made, text=text, finish_reason=finish_reason)


def scored(
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    generations: Sequence[Generation],
    *,
    device_batch_size: int,
) -> list[float]:
    """The rewards of answers to the prompts. UserError when one is not finite."""
    if not prompts:
        return []
    dialogues = [
        [{"role": "user", "content": prompt.question}, {"role": "assistant", "content": one.text}]
        for prompt, one in zip(prompts, generations, strict=True)
    ]
    return scoring.score(reward_model, tokenizer, dialogues, batch_size=device_batch_size)


def answers(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    row_ids: Sequence[Sequence[str]],
    *,
    seed: int,
    temperatures: Sequence[float],
    max_new_tokens: int,
    device_batch_size: int,
) -> list[list[Answer]]:
    """For each temperature one answer of the policy to each prompt; on every process, in the order of the prompts.

    row_ids  for each temperature those of the prompts

    KL is under temperature 1. Each process answers a contiguous share of the prompts, at all temperatures together.
    UserError when the reward model gives no finite score.
    """
    mine = my_share(accelerator, len(prompts))
    prompts = prompts[mine]
    names = [name for of_one in row_ids for name in of_one[mine]]
    heat = [temperature for temperature in temperatures for _ in prompts]
    made = written(
        policy,
        tokenizer,
        [*prompts] * len(temperatures),
        names,
        seed=seed,
        temperature=heat if len(temperatures) > 1 else temperatures[0],
        max_new_tokens=max_new_tokens,
        device_batch_size=device_batch_size,
    )
    found = judged(
        accelerator,
        policy,
        reference,
        reward_model,
        tokenizer,
        [*prompts] * len(temperatures),
        made,
        device_batch_size=device_batch_size,
    )
    return by_turn(found, len(temperatures))


def by_turn(found: Sequence[Sequence[Answer]], turns: int) -> list[list[Answer]]:
    """For each turn its answers to all prompts, given those of each process: all prompts of its share, turn by turn."""
    return [
        [one for of_one in found for one in of_one[turn * len(of_one) // turns : (turn + 1) * len(of_one) // turns]]
        for turn in range(turns)
    ]


def judged(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    generations: Sequence[Generation],
    *,
    device_batch_size: int,
) -> list[list[Answer]]:
    """What each process's policy answered to its prompts, scored and read; several answers to a prompt are read
    together where the reward model can.

    UserError when the reward model gives no finite score.
    """
    rewards = scored(reward_model, tokenizer, prompts, generations, device_batch_size=device_batch_size)
    kls = log_ratios(
        accelerator,
        policy,
        reference,
        [prompt.token_ids for prompt in prompts],
        [one.token_ids for one in generations],
        pad=tokenizer.pad_token_id,
        device_batch_size=device_batch_size,
    )
    gathered: list[list[Answer]] = gather_object(
        [
            [
                Answer(prompt, one.text, one.token_ids, one.finish_reason, score, kl)
                for prompt, one, score, kl in zip(prompts, generations, rewards, kls, strict=True)
            ]
        ]
    )
    return gathered


@torch.no_grad()
def log_ratios(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    given: Sequence[list[int]],
    chosen: Sequence[list[int]],
    *,
    pad: int,
    device_batch_size: int,
) -> list[float]:
    """`ppo.answer_kl` of each text `given[b] + chosen[b]`, under temperature 1; 0 where both are one model.

    device_batch_size  texts that are read at once; fewer where their logits would be more than hardware.LOGITS
    """
    if policy is reference:
        return [0.0] * len(given)
    found: dict[int, float] = {}

    def read(group: list[int]) -> None:
        batch = batching.collate(
            [given[p] for p in group], [chosen[p] for p in group], pad=pad, device=accelerator.device
        )
        with torch.no_grad(), accelerator.autocast():
            ours, theirs = (
                batching.by_answer(ppo.token_logprobs(batching.state_logits(model, batch), batch.chosen), batch.mask)
                for model in (policy, reference)
            )
        found.update(zip(group, ppo.answer_kl(ours, theirs, batch.mask).tolist(), strict=True))

    groups = batching.read_together(given, chosen, rows=device_batch_size, vocabulary=models.vocabulary_of(policy))
    with models.beside(models.free_cores(accelerator.device)) as threads:
        list(threads.map(read, reversed(groups)))  # the longest first: all end together
    return [found[place] for place in range(len(given))]


def snapshot(step: int, found: Sequence[Answer]) -> list[Row]:
    """Answers to the evaluation questions as rows of `CURVE`."""
    return [
        {
            "step": step,
            "question_id": one.prompt.query_id,
            "text": one.text,
            "tokens": len(one.token_ids),
            "finish_reason": one.finish_reason,
            "reward": one.reward,
            "kl": one.kl,
        }
        for one in found
    ]


DEVICE_BATCH = 32
"""Answers to the evaluation questions that go through a model at once in `before_and_after`."""


def before_and_after(
    accelerator: Accelerator,
    start: PreTrainedModel,
    policy: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Prompt],
    *,
    steps: int,
    seed: int,
    temperature: float,
    max_new_tokens: int,
) -> list[Row]:
    """Rows of `CURVE`: the answers of the policy that training began with, and after so many steps, KL against it."""
    for model in (start, policy, reward_model):
        model.to(accelerator.device)  # type: ignore[arg-type]
    names = [f"question/{place}" for place in range(len(questions))]
    rows = []
    for step, model in ((0, start), (steps, policy)):
        [found] = answers(
            accelerator,
            model,
            start,
            reward_model,
            tokenizer,
            questions,
            [names],
            seed=seed,
            temperatures=[temperature],
            max_new_tokens=max_new_tokens,
            device_batch_size=DEVICE_BATCH,
        )
        rows += snapshot(step, found)
    return rows


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def average(rows: Sequence[Row]) -> Row:
    """What the rows of a snapshot say on average."""
    return {
        "reward": mean([row["reward"] for row in rows]),
        "kl": mean([row["kl"] for row in rows]),
        "tokens": mean([row["tokens"] for row in rows]),
        "missing_stop_share": mean([not endings.is_complete(row["finish_reason"], row["text"]) for row in rows]),
    }
