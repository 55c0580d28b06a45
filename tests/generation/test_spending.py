"""What an endpoint was paid, where two runs write it down at once and where the power goes."""

import os
from pathlib import Path

import pytest

from synthalign.generation import spending
from synthalign.generation.endpoint import Endpoint
from synthalign.generation.spending import Spending, Tokens

ENDPOINT = Endpoint(
    url="http://127.0.0.1:9/v1", model="m", api_key_env=None, concurrency=1, timeout=1.0, max_attempts=1,
    max_tokens=None, max_cost=None, prompt_price=0.0, completion_price=0.0,
)  # fmt: skip


def test_what_two_runs_of_one_shard_pay_at_once_counts_twice(tmp_path: Path) -> None:
    one, other = (Spending.open(tmp_path, "m.yaml", ENDPOINT) for _ in range(2))

    for run in (one, other):
        run.settle(run.reserve(Tokens(10, 8)), Tokens(10, 5))
        run.close()

    assert spending.paid(tmp_path, "m.yaml") == Tokens(20, 10)


def test_what_a_request_can_cost_is_on_the_disk_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Spending.open(tmp_path, "m.yaml", ENDPOINT)
    synced: list[Tokens] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(spending.paid(tmp_path, "m.yaml")))

    run.reserve(Tokens(10, 8))

    assert synced == [Tokens(10, 8)]
