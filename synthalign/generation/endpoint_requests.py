"""Requests to an OpenAI-compatible endpoint, at one address or at those of several replicas of a model.

What passes by itself is tried again: a full server, a lost connection, half an answer.  What one replica cannot answer
is asked of another, word for word, so that an answer says nothing about who gave it.
"""

import asyncio
import json
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from pydantic import BaseModel, Field, field_validator

from synthalign.core.errors import UserError
from synthalign.generation.replicas import Replica, Replicas
from synthalign.generation.spending import Spending, Tokens

RETRIED = {408, 409, 429}
"""And all from 500 on: what another attempt may change."""

FREE = {409, 429, 500, 503}
"""The server did nothing; behind another status, a gateway's for one, the work may have been done and lost."""

LISTING = 10.0
"""Seconds that a replica may take to tell which models it serves."""

LONGEST_WAIT = 60.0
"""Seconds between two attempts, unless the endpoint asks for more."""

NO_LIMITS = httpx2.Limits()
"""Of the client: `Replicas` keeps them, address by address."""

REPLACEMENT = "\ufffd"
"""What stands for a character that an endpoint sent half of."""


class Choice(BaseModel):
    text: str
    index: int = 0
    finish_reason: str | None = None


class Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Answer(BaseModel):
    """What of an endpoint's answer is read."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None

    @field_validator("usage", mode="before")
    @classmethod
    def is_counted(cls, usage: Any) -> Any:
        """Some servers count one of the two or neither: that is no count, and no reason to pay for the text again."""
        counts = ("prompt_tokens", "completion_tokens")
        return None if isinstance(usage, dict) and any(usage.get(name) is None for name in counts) else usage


class Model(BaseModel):
    id: str


class Models(BaseModel):
    """What of an answer of `/models` is read."""

    data: list[Model]


class Again(Exception):
    """No answer, and another attempt may bring one."""

    def __init__(self, message: str, *, is_free: bool, wait: float = 0.0) -> None:
        super().__init__(message)
        self.is_free = is_free
        self.wait = wait
        """Seconds that the endpoint asks for."""


@dataclass
class Requests:
    """Requests to one endpoint, at one address or several, until one of them fails for good."""

    client: httpx2.AsyncClient
    spending: Spending
    key: str
    backoff: float
    path: str = "completions"
    failures: list[UserError] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Something was settled, so that more may fit under a cap."""

    broken: int = 0
    """Texts with a character that came as half of one."""

    def __post_init__(self) -> None:
        endpoint = self.spending.endpoint
        every = [Replica(url) for url in endpoint.addresses(self.spending.file)]
        limit = max(1, endpoint.concurrency // self.spending.processes)
        self.replicas = Replicas(every, limit, self.backoff, LONGEST_WAIT)
        self.workers = limit * len(every)

    async def meet(self) -> None:
        """Ask each of several replicas for its models; one that cannot be asked is set aside, and asked later."""

        async def met(replica: Replica) -> None:
            try:
                await self.check(replica)
            except Again as error:
                self.replicas.set_aside(replica, error.wait)

        if self.replicas.are_several:
            found = await asyncio.gather(*map(met, self.replicas.all), return_exceptions=True)
            if wrong := [one for one in found if one]:
                others = [one for one in wrong if not isinstance(one, UserError)]
                raise others[0] if others else UserError("\n".join(map(str, wrong)))

    async def check(self, replica: Replica) -> None:
        """Again when it cannot be told whether a replica serves the model; UserError when it does not."""
        file, model = self.spending.file, self.spending.endpoint.model
        response = await self.reached(replica, "GET", "models", min(LISTING, self.spending.endpoint.timeout))
        try:
            served = [one.id for one in Models.model_validate(read(response.content)).data]
        except ValueError as error:
            told = f"a list of models that is none: {self.shown(response.text)!r}"
            raise Again(told, is_free=True) from error
        if model not in served:
            raise UserError(
                f"{file}: model = {model!r}: {replica.url} does not serve it, but {self.shown(', '.join(served))!r}; "
                "start it with that model and under that name, or take its address out"
            )
        replica.serves = True

    async def answer(self, row: str, body: dict[str, Any], worst: Tokens) -> Answer:
        """As many attempts as it takes, each at one replica after the other."""
        attempts = self.spending.endpoint.max_attempts
        for attempt in range(1, attempts + 1):
            if self.failures:
                raise self.failures[0]
            tried: dict[Replica, Again] = {}
            while replica := await self.replicas.take(tried):
                try:
                    if self.replicas.are_several and not replica.serves:
                        await self.check(replica)
                    answer = await self.paid(replica, body, worst)
                    self.replicas.has_answered(replica)
                    return answer
                except Again as error:
                    tried[replica] = error
                    self.replicas.set_aside(replica, error.wait)
                finally:
                    await self.replicas.give_back(replica)
            wait = min(self.backoff * 2.0 ** min(attempt - 1, 60), LONGEST_WAIT) * random.uniform(0.5, 1)
            if attempt < attempts:
                with suppress(TimeoutError):
                    asked = min(error.wait for error in tried.values())
                    await asyncio.wait_for(self.stopped.wait(), max(wait, asked))
        told = [f"{one.url}: {error}" if self.replicas.are_several else str(error) for one, error in tried.items()]
        up = "is up" if len(self.replicas.all) == 1 else "are up"
        raise UserError(
            f"{self.spending.file}: row {row} failed {attempts} times, at last with: {'; '.join(told)}; see whether "
            f"{', '.join(one.url for one in self.replicas.all)} {up}, and run the stage again: what is finished is kept"
        )

    async def paid(self, replica: Replica, body: dict[str, Any], worst: Tokens) -> Answer:
        """One attempt; what it may cost is written down before it, what it did cost after."""
        async with self.changed:  # what is under way mostly turns out cheaper than it could be
            await self.changed.wait_for(lambda: not self.spending.under_way or not self.spending.exceeded(worst))
            if told := self.spending.exceeded(worst):
                raise UserError(told)
            if self.failures:
                raise self.failures[0]
            name = self.spending.reserve(worst)
        try:
            answer = await self.sent(replica, body)
            used = answer.usage
            self.spending.settle(name, Tokens(used.prompt_tokens, used.completion_tokens) if used else worst)
            return answer
        except (Again, UserError) as error:
            self.spending.settle(name, Tokens() if isinstance(error, UserError) or error.is_free else worst)
            raise
        finally:
            async with self.changed:
                self.changed.notify_all()

    async def sent(self, replica: Replica, body: dict[str, Any]) -> Answer:
        """One attempt at an answer: Again where another may help, UserError where none will."""
        response = await self.reached(replica, "POST", self.path, self.spending.endpoint.timeout, body)
        try:
            answer = Answer.model_validate(read(response.content))
        except ValueError as error:  # pydantic's ValidationError is one too
            raise Again(f"an answer that is none: {self.shown(response.text)!r}", is_free=False) from error
        self.broken += sum(REPLACEMENT in choice.text for choice in answer.choices)
        return answer

    async def reached(
        self, replica: Replica, method: str, path: str, timeout: float, body: dict[str, Any] | None = None
    ) -> httpx2.Response:
        """What came back, if that is no refusal: Again where another attempt may help, UserError where none will."""
        endpoint = self.spending.endpoint
        try:
            async with asyncio.timeout(timeout):
                response = await self.client.request(method, f"{replica.url}/{path}", json=body)
        except httpx2.ConnectError as error:
            raise Again(f"no connection ({error})", is_free=True) from error
        except TimeoutError as error:
            raise Again(f"no answer in {timeout:g} seconds (timeout)", is_free=False) from error
        except httpx2.RequestError as error:
            raise Again(f"the connection broke ({error})", is_free=False) from error
        if response.is_success:
            return response
        status, told = response.status_code, self.told(response)
        if status in RETRIED or status >= 500:
            raise Again(f"{status} {told}", is_free=status in FREE, wait=retry_after(response))
        if status in (401, 403):
            step = f"check the key in {endpoint.api_key_env}" if self.key else "name the key's variable in api_key_env"
        elif status == 400 and body:
            step = "check model, and whether the prompt fits it: fewer shots or fewer new tokens make it shorter"
            if body.get("n", 1) > 1:
                step += f"; a server that does not take n = {body['n']} needs a smaller samples_per_request"
        else:
            step = "check url and model"
        raise UserError(f"{self.spending.file}: {replica.url} answered {status}: {told}; {step}")

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
