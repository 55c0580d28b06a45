"""Continue texts at an OpenAI-compatible endpoint: `/v1/completions`, which takes a prompt as it is.

The call is that of `generate`.  A row is one request for all its samples, and several requests are under way at a time
(`endpoint_requests`).  When one row fails for good, when the endpoint does not do what it is asked, or a cap is
reached, nothing new is sent, and what is under way is waited for, because it is paid for.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import httpx2

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.generation.endpoint_requests import NO_LIMITS, Answer, Requests, shortened
from synthalign.generation.generate import Generation
from synthalign.generation.spending import Spending, Tokens

UNKNOWN = -1
"""A token that an endpoint counted and did not name."""

EQUAL_PROMPTS = 8, 4
"""After so many prompts with equal samples an endpoint is taken not to sample; of 4 to 7 rows, after all of them."""

TELLING = 20
"""Characters of a text from which on it says something that its samples are the same: a "Yes." may well be."""

SPECIAL_TOKENS = 8
"""More than a tokenizer puts around a prompt; within it no token is shorter than a byte."""


ENDED = {
    **dict.fromkeys(("eos", "eos_token", "end_turn"), "eos"),
    **dict.fromkeys(("stop_sequence", "stop_str"), "stop"),
    **dict.fromkeys(("stop", "complete", "completed"), None),
}
"""How a text ended, by the reasons that servers have for it; None where they do not tell eos and stop apart."""

CUT_OFF = {
    *("length", "max_tokens", "max_new_tokens", "model_length", "limit"),
    *("content_filter", "safety", "recitation"),
    *("abort", "aborted", "cancelled", "error", "insufficient_system_resource"),
}
"""The reasons for which a text is not whole: a limit, a filter, or a server that broke off."""


def told(finish_reason: str | None) -> str:
    """The reason of a server in small letters."""
    return (finish_reason or "").strip().lower()


def generate(
    spending: Spending,
    *,
    prefix: str,
    suffixes: Sequence[str],
    row_ids: Sequence[str],
    samples: int = 1,
    seed: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    stops: Sequence[str] = (),
    backoff: float = 1.0,
    progress: Callable[[int], None] | None = None,
    on_finished: Callable[[int, list[Generation]], None] | None = None,
) -> list[list[Generation]]:
    """`samples` continuations of prefix + suffix for every suffix, as `generate.generate`.

    spending  the endpoint, and what it was paid so far
    backoff   seconds before the second attempt; they double, up to `LONGEST_WAIT`, with jitter
    returns   a list for every row; of tokens the number is known and not the ids, and how the tokens of a
              row spread over its samples goes by the length of their texts

    Raises UserError when the endpoint refuses a request, when it sends fewer samples than a request asks for, when it
    does not sample (`Repeats`), when a row fails `max_attempts` times, and before a request that could pass a cap; and
    before the first row when one of several replicas does not serve the model.
    """
    endpoint, key = spending.endpoint, spending.endpoint.key(spending.file)
    settings: dict[str, Any] = {"model": endpoint.model, "max_tokens": max_new_tokens, "temperature": temperature}
    settings |= {"top_p": top_p} | ({"stop": list(stops)} if stops else {})
    results: list[list[Generation]] = [[] for _ in suffixes]
    urls = endpoint.addresses(spending.file)
    is_told_apart = samples > 1 and temperature > 0 and not endpoint.allow_equal_samples
    repeats = Repeats(spending.file, temperature, min(EQUAL_PROMPTS[0], max(EQUAL_PROMPTS[1], len(suffixes))))

    def finish(at: int) -> None:
        if on_finished:
            on_finished(at, results[at])
        if progress:
            progress(1)

    async def make(requests: Requests, at: int) -> None:
        prompt, row, made = prefix + suffixes[at], row_ids[at], results[at]
        while len(made) < samples:
            wanted = min(samples - len(made), endpoint.samples_per_request or samples)
            body = settings | {"prompt": prompt, "n": wanted, "seed": seed_of(seed, row, len(made))}
            worst = Tokens(len(prompt.encode()) + SPECIAL_TOKENS, max_new_tokens * wanted)
            found = generations(await requests.answer(row, body, worst), wanted, max_new_tokens, stops)
            if len(found) < wanted:
                raise UserError(
                    f"{spending.file}: asked for {wanted} samples of row {row}, n = {wanted}, {' or '.join(urls)} sent "
                    f"{len(found)}; set samples_per_request: {len(found)} in this file, so that no request asks for "
                    "more; each then pays for its prompt"
                )
            made += found
        for place in repeats.settled(at, [one.text for one in made]) if is_told_apart else [at]:
            finish(place)

    async def work(requests: Requests, places: Iterator[int]) -> None:
        for at in places:
            try:
                await make(requests, at)
            except UserError as error:
                requests.failures.append(error)
            if requests.failures:
                requests.stopped.set()
                return

    async def run() -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx2.AsyncClient(headers=headers, timeout=None, limits=NO_LIMITS) as client:
            requests = Requests(client, spending, key or "", backoff)
            await requests.meet()
            places = iter(range(len(suffixes)))
            await asyncio.gather(*(work(requests, places) for _ in range(min(requests.workers, len(suffixes)))))
        requests.report()
        if requests.failures:
            raise requests.failures[0]
        for at in repeats.kept_back:
            finish(at)

    asyncio.run(run())
    return results


@dataclass
class Repeats:
    """Whether an endpoint samples: one that ignores the temperature sends the same text however often it is asked.

    Until the samples of one prompt differ, rows whose samples are all the same are kept back, so that no journal has
    copies. They are few, and a run that ends before that asks for them again.
    """

    file: str
    temperature: float
    enough: int
    """Prompts with equal samples after which nothing more is asked."""

    kept_back: list[int] = field(default_factory=list)
    it_samples: bool = False

    def settled(self, at: int, texts: Sequence[str]) -> list[int]:
        """The rows that are finished, now that this one is; UserError when the endpoint does not sample."""
        if len(set(texts)) == 1 and len(texts[0]) >= TELLING and not self.it_samples:
            self.kept_back.append(at)
            if len(self.kept_back) < self.enough:
                return []
            raise UserError(
                f"{self.file}: at temperature {self.temperature:g} the {len(texts)} samples of a prompt are the same, "
                f"for each of {len(self.kept_back)} prompts, at last {shortened(texts[0], 60)!r}: the server does not "
                'sample. For `transformers serve` write "do_sample": true into the model\'s generation_config.json and '
                "start the server anew; docs/engines.md has others. These rows are not kept. If the model is that "
                "sure, set allow_equal_samples: true in this file"
            )
        self.it_samples |= len(set(texts)) > 1 and len(self.kept_back) < self.enough
        if not self.it_samples:
            return [at]
        settled, self.kept_back = [*self.kept_back, at], []
        return settled


def generations(answer: Answer, wanted: int, max_new_tokens: int, stops: Sequence[str]) -> list[Generation]:
    """The samples of an answer; some servers leave the stop string in the text, and some tell no reason.

    Without a reason that is known, texts were cut off where all of the answer took the tokens that they might.
    """
    made = []
    total = answer.usage.completion_tokens if answer.usage else 0
    choices = sorted(answer.choices, key=lambda choice: choice.index)[:wanted]
    counts = spread(total, [len(one.text) + 1 for one in choices])
    for choice, count in zip(choices, counts, strict=True):
        ends = [choice.text.find(stop) for stop in stops if stop in choice.text]
        text = choice.text[: min(ends, default=len(choice.text))]
        theirs = told(choice.finish_reason)
        is_cut_off = theirs in CUT_OFF or theirs not in ENDED and total >= max_new_tokens * len(answer.choices)
        ended = None if ends else ENDED.get(theirs)
        reason = "length" if is_cut_off and not ends else ended or ("stop" if stops else "eos")
        made.append(Generation(text, [UNKNOWN] * count, reason, None))
    return made


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """The total in whole parts about proportional to the weights."""
    ends = [total * so_far // sum(weights) for so_far in accumulate(weights, initial=0)]
    return [end - start for start, end in pairwise(ends)]


def seed_of(seed: int, row: str, sample: int) -> int:
    """The seed of the request that begins with this sample of the row; some servers take no more than 31 bits."""
    return int(content_id("seed", seed, row, sample), 16) >> 33
