"""Answers of a policy that is being trained: sampled, scored by a reward model, and read by policy and reference.

What PPO, RRHF, RLOO and GRPO share: prompts and batches of answers as tensors, and the answers to the evaluation
questions by which all of them are told how far they came.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import chat, encoding, endings
from synthalign.generation.generate import Generation, generate
from synthalign.generation.models import beside, context_of, free_cores, load_tokenizer
from synthalign.policies import ppo
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


class Prompt(NamedTuple):
    """A question as the policy reads it."""

    query_id: str
    question: str
    token_ids: list[int]
    """Of `chat.prompt`: what the answer's tokens follow."""


class Batch(NamedTuple):
    """Texts of a given and a chosen part, padded on the right: S tokens in all, T chosen, N chosen over all rows."""

    input_ids: Tensor  # (B, S)
    states: Tensor  # (B, S) True at the position before each chosen token
    chosen: Tensor  # (N,) token ids, row after row
    mask: Tensor  # (B, T) True at chosen tokens


def collate(given: Sequence[list[int]], chosen: Sequence[list[int]], *, pad: int, device: torch.device) -> Batch:
    """Texts `given[b] + chosen[b]` as one batch; neither part may be empty."""
    assert all(given) and all(chosen), "a text has an empty part"
    rows = [[*before, *after] for before, after in zip(given, chosen, strict=True)]
    longest = max(map(len, rows))
    starts = torch.tensor([[len(before)] for before in given])
    lengths = torch.tensor([[len(after)] for after in chosen])
    positions = torch.arange(longest)
    return Batch(
        input_ids=torch.tensor([row + [pad] * (longest - len(row)) for row in rows]).to(device),
        states=((positions >= starts - 1) & (positions < starts + lengths - 1)).to(device),
        chosen=torch.tensor([token for after in chosen for token in after]).to(device),
        mask=(torch.arange(int(lengths.max())) < lengths).to(device),
    )


def by_answer(values: Tensor, mask: Tensor) -> Tensor:
    """Values (N,) of the chosen tokens, row after row, as (B, T) with 0 at padding."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def state_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(N, V) float32: what the model makes of each position before a chosen token.

    It is told of no padding: that stands on the right, where no token that counts looks.
    """
    return model(input_ids=batch.input_ids, logits_to_keep=batch.states, use_cache=False).logits.float()


def draw(count: int, start: int, size: int, *, seed: int, name: str) -> list[int]:
    """Places `start` to `start + size` of an endless sequence of shuffled passes over range(count)."""
    places: list[int] = []
    for place in range(start, start + size):
        turn, offset = divmod(place, count)
        if not places or offset == 0:
            generator = torch.Generator().manual_seed(int(content_id(name, seed, turn), 16) >> 1)
            order = torch.randperm(count, generator=generator).tolist()
        places.append(order[offset])
    return places


def make_prompts(
    queries: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, *, longest: int
) -> list[Prompt]:
    """The (query_id, question) pairs whose prompt has at most `longest` tokens, in their order."""
    texts = [chat.prompt([{"role": "user", "content": question}]) for _, question in queries]
    rows = zip(queries, encoding.tokenize(tokenizer, texts), strict=True)
    return [Prompt(*query, token_ids) for query, token_ids in rows if len(token_ids) <= longest]


PROBE = [
    {"role": "user", "content": "Where does the red fox live?  It's 12,345 km away..."},
    {
        "role": "assistant",
        "content": "In Zürich's forest (7°C):\n\n\t- \"I don't know\", she said; 東京 🙂 x=3\r\n",
    },
]
"""What two tokenizers of one vocabulary are told apart by: blanks, digits, marks, letters beyond ASCII."""


def tokenizer_of(policy: str, reward: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a policy's folder; UserError where the reward model's has another vocabulary, or makes other
    tokens of a dialogue, its opening and its end among them.

    The two models may be of any size: all that they share is what they read.
    """
    tokenizer, other = load_tokenizer(policy), load_tokenizer(reward)
    if other.get_vocab() != tokenizer.get_vocab():
        differ = "have different vocabularies"
    elif encoding.encode(other, [PROBE]) != encoding.encode(tokenizer, [PROBE]):
        differ = "make other tokens of the same text"
    else:
        return tokenizer
    raise UserError(
        f"{policy} and {reward} {differ}; the reward model, and PPO's value model with it, reads the policy's tokens; "
        "train the reward model from a model of the policy's family, of whatever size"
    )


def check_context(reward_model: PreTrainedModel, prompts: Sequence[Prompt], max_new_tokens: int, *, stage: str) -> None:
    """UserError when a prompt and its answer are longer than what the reward model was made to read at once."""
    context, longest = context_of(reward_model), max(len(prompt.token_ids) for prompt in prompts)
    if context is not None and longest + max_new_tokens > context:
        raise UserError(
            f"a prompt of {longest} tokens and {stage}.max_new_tokens = {max_new_tokens} make "
            f"{longest + max_new_tokens} tokens, but {reward_model.name_or_path or 'the reward model'} has a context "
            f"of {context}; lower one of {stage}.max_prompt_tokens and max_new_tokens, or take another reward model"
        )


def prompts_of(
    queries: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, longest: int, stage: str
) -> tuple[list[Prompt], list[Prompt]]:
    """The training and the evaluation queries whose prompts have at most `longest` tokens; UserError without any."""
    prompts, questions = (
        make_prompts(
            [(row["query_id"], row["text"]) for row in queries if row["split"] == split], tokenizer, longest=longest
        )
        for split in ("train", "eval")
    )
    if not prompts or not questions:
        raise UserError(
            f"data/queries.parquet: {len(prompts)} train and {len(questions)} eval queries have prompts of at most "
            f"{longest} tokens; raise {stage}.max_prompt_tokens or look at mine_queries"
        )
    return prompts, questions


def pieces(count: int, size: int) -> list[slice]:
    """range(count) in slices of at most `size`."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def alike(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The places of `lengths` in groups of at most `size` of like length, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda place: (lengths[place], place))
    return [order[piece] for piece in pieces(len(order), size)]


class Part(NamedTuple):
    """A part of a loss, for `add_gradients`."""

    parameters: Sequence[nn.Parameter]
    """All that it depends on and that learns."""

    loss: Callable[[], tuple[Tensor, Tensor]]
    """Computes it, and what is to be logged of it."""


def add_gradients(parts: Sequence[Part], *, threads: int) -> list[Tensor]:
    """Compute the parts beside each other, add their gradients to what the parameters have, and return their logs.

    Each part is computed in one thread, and gradients are added in the order of the parts: the sums are those of one
    `backward` after the other, to the bit. The last two parts change places in time: parts come in rising length, of
    one model after the other, so that two threads end together.
    """

    def gradients(part: Part) -> tuple[tuple[Tensor | None, ...], Tensor]:
        loss, log = part.loss()
        return torch.autograd.grad(loss, part.parameters, allow_unused=True), log

    logs = []
    with beside(min(threads, len(parts))) as pool:
        in_time = [*range(len(parts) - 2), len(parts) - 1, len(parts) - 2] if len(parts) > 2 else range(len(parts))
        running = {place: pool.submit(gradients, parts[place]) for place in in_time}
        for place, part in enumerate(parts):
            found, log = running.pop(place).result()
            for parameter, gradient in zip(part.parameters, found, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            logs.append(log)
    return logs


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
    return [one for [one] in made]


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
    return [
        judged(
            accelerator,
            policy,
            reference,
            reward_model,
            tokenizer,
            prompts,
            made[turn * len(prompts) : (turn + 1) * len(prompts)],
            device_batch_size=device_batch_size,
        )
        for turn in range(len(temperatures))
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
) -> list[Answer]:
    """What this process's policy answered, one answer to each of its prompts, scored and read; of all processes.

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
    gathered: list[Answer] = gather_object(
        [
            Answer(prompt, one.text, one.token_ids, one.finish_reason, score, kl)
            for prompt, one, score, kl in zip(prompts, generations, rewards, kls, strict=True)
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
    """`ppo.answer_kl` of each text `given[b] + chosen[b]`, under temperature 1."""
    found: dict[int, float] = {}

    def read(group: list[int]) -> None:
        batch = collate([given[p] for p in group], [chosen[p] for p in group], pad=pad, device=accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            ours, theirs = (
                by_answer(ppo.token_logprobs(state_logits(model, batch), batch.chosen), batch.mask)
                for model in (policy, reference)
            )
        found.update(zip(group, ppo.answer_kl(ours, theirs, batch.mask).tolist(), strict=True))

    lengths = [len(before) + len(after) for before, after in zip(given, chosen, strict=True)]
    with beside(free_cores(accelerator.device)) as threads:
        list(threads.map(read, reversed(alike(lengths, device_batch_size))))  # the longest first: all end together
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
