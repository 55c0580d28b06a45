"""DPO on pairs that an author labels, as many as asked for: what demonstrations save (Shaikh et al. 2024, Figure 3).

    the policy, base or fine-tuned on the demonstrations, answers their prompts
    the author says of two answers to one prompt which is more in the style; of equal ones, nothing
    DPO on the first n of these pairs, from that policy and against it

The style oracle stands for the author.  A step has as many pairs as one of DITTO's and there are as many steps, or as
many as it takes to see every pair once: what is compared is what is known of the author.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.ids import content_id
from synthalign.dialogue import chat
from synthalign.ditto import draws, steps, training
from synthalign.ditto.draws import Pair, Text
from synthalign.generation.generate import generate

POINTS = (50, 100, 150, 200, 250, 300, 350, 400, 450, 500)
"""Labelled pairs; 0 is the policy as it comes in."""

ANSWERS = 125
"""To each prompt; of all pairs of two of them those that the author is asked about are drawn."""


def labelled(texts: Sequence[Text], style: Callable[[str], float], count: int, *, seed: int) -> list[Pair]:
    """The first `count` pairs of different style to one prompt, in the order of a hash; fewer where there are no more.

    texts  (N,)  of any prompts; the better of a pair is that with more style

    Of one seed fewer are the beginning of more.
    """
    styles = {text.text_id: style(text.text) for text in texts}
    found = []
    for one, other in combinations(texts, 2):
        if one.demonstration_id == other.demonstration_id and styles[one.text_id] != styles[other.text_id]:
            better, worse = sorted((one, other), key=lambda text: styles[text.text_id], reverse=True)
            found.append(Pair("online", better, worse))
    return sorted(found, key=lambda pair: content_id("labelled", seed, pair.pair_id))[:count]


def batches(pairs: Sequence[Pair], size: int, count: int, *, seed: int) -> list[list[Pair]]:
    """`count` batches of `size` from passes over all pairs, each in an order of its own; more where that is not one
    pass, and none without pairs."""
    if not pairs:
        return []
    count = max(count, -(-len(pairs) // size))
    line: list[Pair] = []
    turn = 0
    while len(line) < count * size:
        line += sorted(pairs, key=lambda pair: content_id("label batches", seed, turn, pair.pair_id))
        turn += 1
    return [line[start : start + size] for start in range(0, count * size, size)]


def learn(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    style: Callable[[str], float],
    settings: dict[str, Any],
    *,
    seed: int,
    on_point: Callable[[], None],
    points: Sequence[int] = POINTS,
    samples: int = ANSWERS,
) -> list[int]:
    """Train `policy` in place on so many labelled pairs, at every point from the start again; how many there were.

    prompts   those of the demonstrations
    settings  of train_ditto
    on_point  told when the policy has learned from the pairs of a point

    UserError when a loss is not finite.
    """
    made = generate(
        policy,
        tokenizer,
        prefix="",
        suffixes=[chat.prompt([{"role": "user", "content": prompt}]) for prompt in prompts],
        row_ids=[f"to label/{prompt}" for prompt in prompts],
        stops=chat.STOPS,
        samples=samples,
        seed=seed,
        **{name: settings[name] for name in ("max_new_tokens", "temperature", "top_p")},
    )
    texts = [
        draws.sampled(prompt, 0, index, chat.clean(one.text), finish_reason=one.finish_reason)
        for prompt, row in zip(prompts, made, strict=True)
        for index, one in enumerate(row)
    ]
    pairs = labelled(texts, style, max(points), seed=seed)
    in_pairs = {text.text_id: text for pair in pairs for text in (pair.chosen, pair.rejected)}
    encoded = steps.tokenized(tokenizer, [text.demonstration_id for text in in_pairs.values()], [*in_pairs.values()])
    rows = dict(zip(in_pairs, encoded, strict=True))
    shared = {"pad": tokenizer.pad_token_id, "device_batch_size": settings["device_batch_size"]}
    start = {name: value.detach().clone() for name, value in policy.state_dict().items()}
    reference = training.read(accelerator, policy, rows, **shared)
    size = settings["pairs_per_demonstration"] * len(prompts)
    least = settings["iterations"] * settings["steps_per_iteration"]
    rise = round(settings["warmup"] * least)
    for point in points:
        with torch.no_grad():
            policy.load_state_dict(start)
        model, optimizer = steps.prepare(accelerator, policy, weight_decay=settings["weight_decay"])
        for step, batch in enumerate(batches(pairs[:point], size, least, seed=seed), start=1):
            done = training.improve(accelerator, model, batch, rows, reference, beta=settings["beta"], **shared)
            rate = settings["learning_rate"] * min(1.0, step / (rise + 1))
            steps.take_step(accelerator, model, optimizer, rate=rate, loss=done["loss"])
        accelerator.free_memory()
        on_point()
    return [min(point, len(pairs)) for point in points]
