"""An endpoint in a model's place: a small YAML file that says who writes, how often to ask, and what it may cost.

model: data/endpoints/example.yaml        where a setting names a folder otherwise
"""

import os
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from synthalign.core import yaml_file
from synthalign.core.errors import UserError, wrong_keys


class Endpoint(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    url: str
    """Base address, up to the part before `/completions`: https://api.example.com/v1."""

    model: str = Field(min_length=1)
    """The model's name there."""

    api_key_env: str | None = Field(pattern="^[A-Z][A-Z0-9_]*$")
    """The environment variable that holds the key, in capitals; null for an endpoint that asks for none."""

    concurrency: int = Field(gt=0)
    """Requests under way at the same time, over all processes."""

    timeout: float = Field(gt=0)
    """Seconds that a request may take, from connecting to the last byte."""

    max_attempts: int = Field(gt=0)
    """How often a request is sent before its row is given up."""

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

    @field_validator("url")
    @classmethod
    def _is_a_base_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("allowed: an address that begins with http:// or https://")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("no user, password or query belongs in it; a key goes into the variable of api_key_env")
        if parts.path.rstrip("/").endswith("/completions"):
            raise ValueError("leave /completions out, it is added; allowed: https://host/v1")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _can_reach_its_cap(self) -> "Endpoint":
        if self.max_cost is not None and not self.prompt_price + self.completion_price:
            raise ValueError("max_cost can never be reached with prices of 0; give the prices, or set max_cost: null")
        return self

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """In the currency of the prices."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6

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
