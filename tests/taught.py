"""A tiny world for trainers: a policy that was taught a few answers, and a reward model that counts words it likes."""

import copy
from functools import cache

import torch
from torch import Tensor
from transformers import PreTrainedModel

from synthalign.dialogue import chat
from synthalign.policies import batching, ppo, prompting
from synthalign.policies.prompting import Prompt
from tests import tiny

TOKENIZER = tiny.tokenizer()

LESSONS = [
    (f"Where does the {animal} live?", f"The {animal} lives in {place}.")
    for animal in ("red fox", "grey owl", "glimmerfinch", "old finch")
    for place in ("the forest", "Riga", "a city", "the sky")
]
"""Each question has four answers, so that there is something to choose between."""

QUESTIONS = [(f"q{place}", question) for place, question in enumerate(dict.fromkeys(q for q, _ in LESSONS))]


def prompts() -> list[Prompt]:
    return prompting.make_prompts(QUESTIONS, TOKENIZER, longest=100)


def lesson(question: str, answer: str) -> list[int]:
    text = chat.prompt([{"role": "user", "content": question}]) + chat.completion(answer)
    return [*TOKENIZER(text).input_ids, TOKENIZER.eos_token_id]


def loss_on(model: PreTrainedModel, texts: list[list[int]]) -> Tensor:
    """Mean negative log-likelihood of a token."""
    batch = batching.collate(
        [text[:1] for text in texts], [text[1:] for text in texts], pad=TOKENIZER.pad_token_id, device=model.device
    )
    return -ppo.token_logprobs(batching.state_logits(model, batch), batch.chosen).mean()


@cache
def _taught(steps: int) -> PreTrainedModel:
    model = tiny.causal(seed=0, initializer_range=0.05)
    texts = [lesson(*pair) for pair in LESSONS]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_on(model, texts).backward()
        optimizer.step()
    return model


def taught() -> PreTrainedModel:
    """A policy that answers the questions and ends its answers: it was trained on LESSONS."""
    return copy.deepcopy(_taught(60))


def fond_of(text: str, scale: float = 20.0) -> PreTrainedModel:
    """A reward model whose score grows with the share of the tokens of `text` among all tokens.

    Its one layer attends to all tokens alike and carries over whether each is liked: with a share s the last hidden
    state is (1, s) before the norm, and the score is scale * s / sqrt(1 + s^2).
    """
    model = tiny.reward(seed=0, num_hidden_layers=1)
    size = model.config.hidden_size
    for parameter in model.parameters():
        parameter.data.zero_()
    for norm in (model.model.norm, model.model.layers[0].input_layernorm):
        norm.weight.data.fill_(1.0)
    model.model.layers[0].post_attention_layernorm.weight.data.fill_(1.0)
    embeddings = model.model.embed_tokens.weight.data
    embeddings[:, 0] = 1.0
    liked = TOKENIZER(text).input_ids
    embeddings[liked, 0], embeddings[liked, 1] = 0.0, 1.0
    attention = model.model.layers[0].self_attn
    attention.v_proj.weight.data[0, 1] = 1.0
    attention.o_proj.weight.data[2, 0] = size**-0.5
    model.score.weight.data[0, 2] = scale * size**-0.5
    return model
