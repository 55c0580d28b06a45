"""An endpoint in a model's place: a small YAML file that says who writes, how often to ask, and what it may cost.

model: data/endpoints/example.yaml        where a setting names a folder otherwise
"""

import os
from collections import Counter
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator

from synthalign.core import yaml_file
from synthalign.core.errors import UserError, wrong_keys


def base_address(url: str) -> str:
    """The address without a slash at its end; ValueError when it is none, or holds what belongs elsewhere."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("allowed: an address that begins with http:// or https://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("no user, password or query belongs in it; a key goes into the variable of api_key_env")
    if parts.path.rstrip("/").endswith("/completions"):
        raise ValueError("leave /completions out, it is added; allowed: https://host/v1")
    return url.rstrip("/")


def each_once(urls: list[str]) -> list[str]:
    """The addresses; ValueError when there is none, or one stands there twice, however it is written."""
    if not urls:
        raise ValueError("no address; name those of the replicas")
    parts = map(urlsplit, urls)
    places = Counter((one.scheme, one.hostname, one.port or PORTS[one.scheme], one.path) for one in parts)
    [(place, times)] = places.most_common(1)
    if times > 1:
        raise ValueError(f"{place[0]}://{place[1]}:{place[2]}{place[3]} is there {times} times; name each replica once")
    return urls


PORTS = {"http": 80, "https": 443}
Address = Annotated[str, AfterValidator(base_address)]
Addresses = Annotated[list[Address], AfterValidator(each_once)]


class Endpoint(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    url: Address | None = None
    """Base address, up to the part before `/completions`: https://api.example.com/v1."""

    urls: Addresses | None = None
    """Or those of several replicas of the model."""

    urls_env: str | None = Field(default=None, pattern="^[A-Z][A-Z0-9_]*$")
    """Or the environment variable that holds the replicas' addresses, with blanks between them: neither git nor DVC
    sees when they change."""

    model: str = Field(min_length=1)
    """The model's name there."""

    api_key_env: str | None = Field(pattern="^[A-Z][A-Z0-9_]*$")
    """The environment variable that holds the key, in capitals; null for an endpoint that asks for none."""

    concurrency: int = Field(gt=0)
    """Requests under way at the same time, at each address, over all processes."""

    timeout: float = Field(gt=0)
    """Seconds that a request may take, from connecting to the last byte."""

    max_attempts: int = Field(gt=0)
    """How often a request is sent before its row is given up; each time to every replica, until one answers."""

    max_tokens: int | None = Field(gt=0)
    """Tokens of prompts and completions that a stage may use; null for no limit."""

    max_cost: float | None = Field(gt=0)
    """What a stage may cost, in the currency of the prices; null for no limit."""

    prompt_price: float = Field(ge=0)
    """Of a million prompt tokens."""

    completion_price: float = Field(ge=0)
    """Of a million completion tokens."""

    samples_per_request: int | None = Field(default=None, gt=0)
    """At most so many samples of a prompt are asked for in one request (`n`); null for all of them. 1 is for a server
    that ignores `n`. Each request pays for its prompt."""

    allow_equal_samples: bool = False
    """Whether samples of a prompt that are all the same are taken, prompt after prompt, at a temperature above 0."""

    @model_validator(mode="after")
    def _says_once_where(self) -> "Endpoint":
        given = {key: value for key in ("url", "urls", "urls_env") if (value := getattr(self, key)) is not None}
        if len(given) != 1:
            told = ", ".join(f"{key} = {value!r}" for key, value in given.items()) or "no address"
            raise ValueError(
                f"{told}; keep one of url (an address), urls (a list of replicas' addresses) and urls_env (a variable "
                "that holds them)"
            )
        return self

    @model_validator(mode="after")
    def _can_reach_its_cap(self) -> "Endpoint":
        if self.max_cost is not None and not self.prompt_price + self.completion_price:
            raise ValueError("max_cost can never be reached with prices of 0; give the prices, or set max_cost: null")
        return self

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """In the currency of the prices."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6

    @property
    def identity(self) -> str:
        """What stands for the addresses where answers are kept: the first or the variable, however many there are."""
        return self.url or (self.urls or [f"${self.urls_env}"])[0]

    def addresses(self, file: str) -> list[str]:
        """All of them; UserError when the environment does not hold what it should.

        file  the endpoint's, for messages
        """
        if self.urls_env is None:
            return [self.url] if self.url else list(self.urls or ())
        try:
            return TypeAdapter(Addresses).validate_python(os.environ.get(self.urls_env, "").split())
        except ValidationError as error:
            lines = wrong_keys(error, f"{file}: urls_env", within=self.urls_env, is_secret=may_be_secret)
            raise UserError("\n".join(lines)) from None

    def key(self, file: str) -> str | None:
        """The key out of the environment; UserError when it is not there. Nothing may write it anywhere.

        file  the endpoint's, for messages
        """
        if self.api_key_env is None:
            return None
        key, place = os.environ.get(self.api_key_env, "").strip(), f"{file}: api_key_env = {self.api_key_env!r}"
        if not key:
            raise UserError(f"{place}: this environment variable is not set; export it first")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UserError(f"{place}: the variable's value is no key, it has spaces or odd characters in it")
        return key


def is_endpoint(model: str) -> bool:
    """Whether a setting `model` names an endpoint and not a folder."""
    return model.endswith((".yaml", ".yml"))


def read(file: str) -> Endpoint:
    """The endpoint of a file; UserError with every wrong key at once."""
    settings = yaml_file.keys(file, example="data/endpoints/example.yaml")
    try:
        return Endpoint.model_validate(settings)
    except ValidationError as error:
        lines = wrong_keys(error, file, is_secret=may_be_secret)
        raise UserError("\n".join(lines)) from None  # the chain would show what is hidden here


def may_be_secret(key: str, value: Any) -> bool:
    """Whether a value may be a key or hold a password."""
    return "key" in key.lower() or "@" in str(value)
