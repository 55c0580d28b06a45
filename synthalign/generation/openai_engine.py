"""Continue texts at an OpenAI-compatible endpoint: `/v1/completions`, which takes a prompt as it is.

The call is that of `generate`.  A row is one request for all its samples, several requests are under way at a time,
and what passes by itself is tried again: a full server, a lost connection, half an answer.  When one row fails for
good, when the endpoint does not do what it is asked, or a cap is reached, nothing new is sent, and what is under way is
waited for, because it is paid for.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import accumulate, pairwise
from typing import Any

import httpx2
from pydantic import BaseModel, Field

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.generation.generate import Generation
from synthalign.generation.spending import Spending, Tokens

RETRIED = {408, 409, 429}
"""And all from 500 on: what another attempt may change."""

FREE = {409, 429, 500, 503}
"""The server did nothing; behind another status, a gateway's for one, the work may have been done and lost."""

LONGEST_WAIT = 60.0
"""Seconds between two attempts, unless the endpoint asks for more."""

UNKNOWN = -1
"""A token that an endpoint counted and did not name."""

REPLACEMENT = "\ufffd"
"""What stands for a character that an endpoint sent half of."""

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

CUT_OFF = {"length", "max_tokens", "max_new_tokens", "model_length", "limit", "content_filter", "abort"}
"""The reasons for which a text is not whole."""


class Choice(BaseModel):
    text: str
    index: int = 0
    finish_reason: str | None = None


class Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class Answer(BaseModel):
    """What of an endpoint's answer is read."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None


class Again(Exception):
    """No answer, and another attempt may bring one."""

    def __init__(self, message: str, *, is_free: bool, wait: float = 0.0) -> None:
        super().__init__(message)
        self.is_free = is_free
        self.wait = wait
        """Seconds that the endpoint asks for."""


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
    does not sample (`Repeats`), when a row fails `max_attempts` times, and before a request that could pass a cap.
    """
    endpoint, key = spending.endpoint, spending.endpoint.key(spending.file)
    settings: dict[str, Any] = {"model": endpoint.model, "max_tokens": max_new_tokens, "temperature": temperature}
    settings |= {"top_p": top_p} | ({"stop": list(stops)} if stops else {})
    results: list[list[Generation]] = [[] for _ in suffixes]
    workers = max(1, endpoint.concurrency // spending.processes)
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
                    f"{spending.file}: asked for {wanted} samples of row {row}, n = {wanted}, {endpoint.url} sent "
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
        limits = httpx2.Limits(max_connections=workers)
        async with httpx2.AsyncClient(headers=headers, timeout=None, limits=limits) as client:
            requests = Requests(client, spending, key or "", backoff)
            places = iter(range(len(suffixes)))
            await asyncio.gather(*(work(requests, places) for _ in range(min(workers, len(suffixes)))))
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


@dataclass
class Requests:
    """Requests to one endpoint, until one of them fails for good."""

    client: httpx2.AsyncClient
    spending: Spending
    key: str
    backoff: float
    failures: list[UserError] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Something was settled, so that more may fit under a cap."""

    broken: int = 0
    """Texts with a character that came as half of one."""

    async def answer(self, row: str, body: dict[str, Any], worst: Tokens) -> Answer:
        """As many attempts as it takes."""
        attempts = self.spending.endpoint.max_attempts
        for attempt in range(1, attempts + 1):
            try:
                return await self.paid(body, worst)
            except Again as error:
                last = error
            wait = min(self.backoff * 2 ** (attempt - 1), LONGEST_WAIT) * random.uniform(0.5, 1)
            if attempt < attempts:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopped.wait(), max(wait, last.wait))
        raise UserError(
            f"{self.spending.file}: row {row} failed {attempts} times, at last with: {last}; see whether "
            f"{self.spending.endpoint.url} is up, and run the stage again: what is finished is kept"
        )

    async def paid(self, body: dict[str, Any], worst: Tokens) -> Answer:
        """One attempt; what it may cost is written down before it, what it did cost after."""
        async with self.changed:  # what is under way mostly turns out cheaper than it could be
            await self.changed.wait_for(lambda: not self.spending.under_way or not self.spending.exceeded(worst))
            if told := self.spending.exceeded(worst):
                raise UserError(told)
            if self.failures:
                raise self.failures[0]
            name = self.spending.reserve(worst)
        try:
            answer = await self.sent(body)
            used = answer.usage
            self.spending.settle(name, Tokens(used.prompt_tokens, used.completion_tokens) if used else worst)
            return answer
        except (Again, UserError) as error:
            self.spending.settle(name, Tokens() if isinstance(error, UserError) or error.is_free else worst)
            raise
        finally:
            async with self.changed:
                self.changed.notify_all()

    async def sent(self, body: dict[str, Any]) -> Answer:
        """One attempt at an answer: Again where another may help, UserError where none will."""
        endpoint = self.spending.endpoint
        try:
            async with asyncio.timeout(endpoint.timeout):
                response = await self.client.post(f"{endpoint.url}/completions", json=body)
        except httpx2.ConnectError as error:
            raise Again(f"no connection ({error})", is_free=True) from error
        except TimeoutError as error:
            raise Again(f"no answer in {endpoint.timeout:g} seconds (timeout)", is_free=False) from error
        except httpx2.RequestError as error:
            raise Again(f"the connection broke ({error})", is_free=False) from error
        if response.is_success:
            try:
                answer = Answer.model_validate(read(response.content))
            except ValueError as error:  # pydantic's ValidationError is one too
                raise Again(f"an answer that is none: {self.shown(response.text)!r}", is_free=False) from error
            self.broken += sum(REPLACEMENT in choice.text for choice in answer.choices)
            return answer
        status, told = response.status_code, self.told(response)
        if status in RETRIED or status >= 500:
            raise Again(f"{status} {told}", is_free=status in FREE, wait=retry_after(response))
        if status in (401, 403):
            step = f"check the key in {endpoint.api_key_env}" if self.key else "name the key's variable in api_key_env"
        elif status == 400:
            step = "check model, and whether the prompt fits it: fewer shots or fewer new tokens make it shorter"
            if body["n"] > 1:
                step += f"; a server that does not take n = {body['n']} needs a smaller samples_per_request"
        else:
            step = "check url and model"
        raise UserError(f"{self.spending.file}: {endpoint.url} answered {status}: {told}; {step}")

    def report(self) -> None:
        """Say how many texts came with half a character."""
        if self.broken:
            print(f"{self.spending.file}: {self.broken:,} texts hold half a character, which is U+FFFD now", flush=True)

    def told(self, response: httpx2.Response) -> str:
        """The endpoint's own words in a refusal."""
        try:
            words = json.loads(response.content)
        except ValueError:
            words = response.text
        if isinstance(words, dict):
            words = words.get("error", words)
        if isinstance(words, dict):
            words = words.get("message") or words.get("detail") or words
        return self.shown(words if isinstance(words, str) else json.dumps(words)) or response.reason_phrase

    def shown(self, text: str) -> str:
        """What an endpoint says, for a message: one short printable line, without the key should it repeat it."""
        return shortened(text.replace(self.key, "…") if self.key else text)


def read(content: bytes) -> Any:
    """What an endpoint's JSON says; ValueError when it is none.

    Half a surrogate pair, which JSON allows and no table can hold, and bytes that are not UTF-8 become U+FFFD: the
    answer is paid, and asking again would pay for the same.
    """
    try:
        return whole(json.loads(content.decode("utf-8-sig", "replace")))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def whole(value: Any) -> Any:
    """A value of dicts, lists and texts with U+FFFD in the place of each half of a surrogate pair."""
    if isinstance(value, dict):
        return {whole(key): whole(within) for key, within in value.items()}
    if isinstance(value, list):
        return [whole(within) for within in value]
    return re.sub("[\ud800-\udfff]", REPLACEMENT, value) if isinstance(value, str) else value


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
        told = (choice.finish_reason or "").strip().lower()
        is_cut_off = told in CUT_OFF or told not in ENDED and total >= max_new_tokens * len(answer.choices)
        ended = None if ends else ENDED.get(told)
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


def retry_after(response: httpx2.Response) -> float:
    """The seconds that the endpoint asks to wait, which it may give as a number or as a date; 0 without any."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time())


def shortened(text: str, limit: int = 200) -> str:
    """One printable line of it."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
