"""Questions as a policy that is trained reads them, which a step has, and whether its reward model reads the same."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import chat, encoding
from synthalign.generation.models import context_of, load_tokenizer

Row = dict[str, Any]


class Prompt(NamedTuple):
    """A question as the policy reads it."""

    query_id: str
    question: str
    token_ids: list[int]
    """Of `chat.prompt`: what the answer's tokens follow."""


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


def check_context(model: PreTrainedModel, prompts: Sequence[Prompt], max_new_tokens: int, *, stage: str) -> None:
    """UserError when a prompt and its answer are longer than what a policy or reward model was made to read at once."""
    context, longest = context_of(model), max(len(prompt.token_ids) for prompt in prompts)
    if context is not None and longest + max_new_tokens > context:
        raise UserError(
            f"a prompt of {longest} tokens and {stage}.max_new_tokens = {max_new_tokens} make "
            f"{longest + max_new_tokens} tokens, but {model.name_or_path or 'the model'} has a context "
            f"of {context}; lower one of {stage}.max_prompt_tokens and max_new_tokens, or take another model"
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
