"""Several replicas of a model behind one endpoint file: real servers, one of which is slow, dies, or is another's."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from synthalign.core.errors import UserError
from synthalign.generation import endpoint, engines
from synthalign.generation.generate import Generation
from synthalign.generation.replicas import Replica, Replicas
from tests.generation.test_openai_engine import (
    SETTINGS,
    Handler,
    Server,
    address,
    ask,
    hangs_up,
    journaled,
    sends,
    spent,
    started,
    write_endpoint,
)

ROWS = 18
NOBODY = "http://127.0.0.1:9/v1"
"""An address at which nothing listens."""

A, B = "http://a:8000/v1", "http://b:8000/v1"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as held:
        yield [held.enter_context(started()) for _ in range(3)]


def ask_all(folder: Path, servers: list[Server], rows: int = ROWS, **changes: Any) -> dict[str, list[Generation]]:
    return ask(folder, None, rows=rows, **{"urls": [address(one) for one in servers], "concurrency": 2} | changes)


def always(server: Server, act: Callable[[Handler], None]) -> None:
    """Let the server do this for every request."""
    server.misbehave = {f"row {row}": [act] * 9 for row in range(ROWS)}


def takes(seconds: float) -> Callable[[Handler], None]:
    return lambda handler: (time.sleep(seconds), handler.answer())[1]


# ------------------------------------------------------------------------------------------------ spread


def test_replicas_share_the_rows_and_none_has_more_under_way_than_it_may(servers: list[Server], tmp_path: Path) -> None:
    for one in servers:
        always(one, takes(0.03))

    ask_all(tmp_path, servers)

    assert [one.most_under_way for one in servers] == [2, 2, 2]
    assert sum((one.prompts() for one in servers), Counter()) == {f"row {row}": 1 for row in range(ROWS)}
    assert all(len(one.requests) >= 4 for one in servers)


def test_who_answers_changes_neither_a_row_nor_its_seed_nor_the_order_nor_the_bill(
    servers: list[Server], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "three")]
    for folder in folders:
        folder.mkdir()

    alone = ask(folders[0], servers[0], rows=ROWS, samples=2)
    first, servers[0].requests = servers[0].requests, []
    together = ask_all(folders[1], servers, samples=2)

    assert list(together.items()) == list(alone.items())
    asked = [request for one in servers for request in one.requests]
    assert sorted(map(repr, asked)) == sorted(map(repr, first))
    assert spent(folders[1]) == spent(folders[0])


def test_a_slow_replica_has_its_share_and_the_others_the_rest(servers: list[Server], tmp_path: Path) -> None:
    slow, *others = servers

    def waits_for_the_others(handler: Handler) -> None:
        while sum(len(one.requests) for one in others) < ROWS - 3:
            time.sleep(0.005)
        handler.answer()

    always(slow, waits_for_the_others)

    made = ask_all(tmp_path, servers, timeout=20)

    assert len(made) == ROWS
    assert 2 <= len(slow.requests) <= 3


def test_a_cap_counts_what_all_replicas_were_paid_once(servers: list[Server], tmp_path: Path) -> None:
    # a row takes 13 tokens and could take 18: after 3 rows 39 are spent, and 39 + 18 > 56
    with pytest.raises(UserError, match=r"endpoint.yaml: max_tokens = 56: 39 are spent .* may take 18; raise"):
        ask_all(tmp_path, servers, rows=6, max_tokens=56)

    assert sum(len(one.requests) for one in servers) == 3
    assert spent(tmp_path) == (30, 9)


# ------------------------------------------------------------------------------------------------ trouble


def test_a_replica_that_dies_is_set_aside_and_its_rows_go_to_the_others(servers: list[Server], tmp_path: Path) -> None:
    dying = servers[1]

    def dies_at_its_third(handler: Handler) -> None:
        if len(dying.requests) < 3:
            return handler.answer()
        threading.Thread(target=lambda: (dying.shutdown(), dying.server_close())).start()
        hangs_up(handler)

    always(dying, dies_at_its_third)

    made = ask_all(tmp_path, servers, max_attempts=1)

    assert {row: one.text for row, [one] in made.items()} == {str(row): f" row {row}!" for row in range(ROWS)}
    assert sorted(journaled(tmp_path)) == sorted(map(str, range(ROWS)))
    assert 3 <= len(dying.requests) <= 4  # a second one may have been under way


@pytest.mark.parametrize(
    "trouble", [sends(503), sends(429), sends(500, "engine is dead"), sends(200, "<html>hello</html>"), hangs_up]
)
def test_one_that_fails_at_once_does_not_draw_the_rows_to_itself(
    servers: list[Server], tmp_path: Path, trouble: Callable[[Handler], None]
) -> None:
    """It has the fewest under way, always; the first two rows are sent to it together."""
    always(servers[2], trouble)
    for one in servers[:2]:
        always(one, takes(0.005))

    made = ask_all(tmp_path, servers, max_attempts=1, backoff=60)

    assert len(made) == ROWS
    assert 1 <= len(servers[2].requests) <= 2


def test_one_that_comes_back_is_asked_again_after_it_said_what_it_serves(servers: list[Server], tmp_path: Path) -> None:
    for one in servers:
        always(one, takes(0.02))
    troubles = [sends(503)] * 2
    servers[0].misbehave = {
        prompt: [lambda handler: troubles.pop()(handler) if troubles else takes(0.02)(handler)] * 9
        for prompt in servers[0].misbehave
    }

    made = ask_all(tmp_path, servers)

    assert len(made) == ROWS
    assert len(servers[0].requests) > 2 + 2
    assert servers[0].listed >= 2
    assert [one.listed for one in servers[1:]] == [1, 1]


def test_one_that_is_not_there_costs_no_attempt(servers: list[Server], tmp_path: Path) -> None:
    made = ask_all(tmp_path, servers, urls=[NOBODY, address(servers[0])], max_attempts=1)

    assert len(made) == ROWS
    assert len(servers[0].requests) == ROWS


def test_where_all_are_down_one_error_names_them_all(tmp_path: Path) -> None:
    others = ["http://127.0.0.1:10/v1", "http://127.0.0.1:11/v1"]

    with pytest.raises(UserError) as caught:
        ask_all(tmp_path, [], urls=[NOBODY, *others])

    told = str(caught.value)
    assert "endpoint.yaml: row " in told and "failed 3 times" in told and "no connection" in told
    assert f"see whether {NOBODY}, {others[0]}, {others[1]} are up, and run the stage again" in told
    assert told.count("failed 3 times") == 1


def test_a_refusal_names_the_replica(servers: list[Server], tmp_path: Path) -> None:
    always(servers[1], sends(401, '{"detail": "who are you?"}'))

    with pytest.raises(UserError, match=rf"{address(servers[1])} answered 401: who are you\?; name the key's variable"):
        ask_all(tmp_path, servers)


def test_after_its_pause_a_single_request_finds_out_whether_a_replica_is_back() -> None:
    async def taken() -> list[Replica | None]:
        every = Replicas([a, b], limit=3, first_pause=0, longest_pause=60)
        every.set_aside(a, 0)
        before = [await every.take([]) for _ in range(4)]
        every.has_answered(a)
        return [*before, await every.take([]), await every.take([]), await every.take([a, b])]

    a, b = Replica(A), Replica(B)

    assert asyncio.run(taken()) == [a, b, b, b, a, a, None]


def test_pauses_double_for_failures_in_a_row_and_those_that_fail_together_are_one() -> None:
    def pause(wait: float = 0) -> float:
        every.set_aside(a, wait)
        return round(a.back_at - time.monotonic(), -1)

    a = Replica(A)
    every = Replicas([a, Replica(B)], limit=3, first_pause=20, longest_pause=60)

    assert [pause(), pause()] == [20, 20]
    for seconds in (40, 60, 60):
        a.back_at = 0
        assert pause() == seconds
    a.failures, a.back_at = 5_000, 0  # a month away
    assert pause() == 60
    assert pause(wait=300) == 300  # it asks for that
    every.has_answered(a)
    assert pause() == 20


def test_where_all_are_set_aside_the_one_whose_time_is_up_first_is_asked_and_then_no_other() -> None:
    async def taken() -> list[Replica | None]:
        every = Replicas([a, b], limit=3, first_pause=60, longest_pause=60)
        every.set_aside(a, 300)
        every.set_aside(b, 0)
        return [await every.take([]), await every.take([b])]

    a, b = Replica(A), Replica(B)

    assert asyncio.run(taken()) == [b, None]


# ------------------------------------------------------------------------------------------------ the model


def test_a_replica_of_another_model_is_named_before_any_row_is_asked(servers: list[Server], tmp_path: Path) -> None:
    servers[2].models = ["other", "writer-2"]

    with pytest.raises(
        UserError,
        match=rf"endpoint.yaml: model = 'writer': {address(servers[2])} does not serve it, but 'other, writer-2'; sta",
    ):
        ask_all(tmp_path, servers)

    assert [one.requests for one in servers] == [[], [], []]


def test_every_replica_of_another_model_is_named_at_once(servers: list[Server], tmp_path: Path) -> None:
    servers[0].models = servers[2].models = []

    with pytest.raises(UserError) as caught:
        ask_all(tmp_path, servers)

    assert [address(one) in str(caught.value) for one in servers] == [True, False, True]


def test_one_that_comes_back_with_another_model_ends_the_run(servers: list[Server], tmp_path: Path) -> None:
    def is_started_anew(handler: Handler) -> None:
        handler.server.models = ["other"]
        hangs_up(handler)

    always(servers[0], is_started_anew)
    for one in servers[1:]:
        always(one, takes(0.02))

    with pytest.raises(UserError, match=f"{address(servers[0])} does not serve it, but 'other'"):
        ask_all(tmp_path, servers)


def test_a_single_address_need_not_list_models(servers: list[Server], tmp_path: Path) -> None:
    servers[0].models = "none of your business"

    assert len(ask(tmp_path, servers[0])) == 6
    assert servers[0].listed == 0


def test_one_whose_list_cannot_be_read_is_set_aside(servers: list[Server], tmp_path: Path) -> None:
    servers[0].models = "<html>welcome</html>"

    assert len(ask_all(tmp_path, servers)) == ROWS
    assert servers[0].requests == []


def test_the_key_goes_to_all_and_into_no_message(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "hunter2")
    servers[0].models = ["a model of hunter2"]

    with pytest.raises(UserError, match="serve it, but 'a model of …'") as caught:
        ask_all(tmp_path, servers, api_key_env="SERVER_KEY")
    assert "hunter2" not in str(caught.value)

    servers[0].models = ["writer"]
    for one in servers:
        always(one, takes(0.02))
    ask_all(tmp_path, servers, api_key_env="SERVER_KEY")
    assert [one.keys for one in servers] == [{"Bearer hunter2"}] * 3


# ------------------------------------------------------------------------------------------------ the file


def test_a_further_replica_loses_nothing_that_was_paid_for(servers: list[Server], tmp_path: Path) -> None:
    first, *others = map(address, servers)
    made = ask(tmp_path, servers[0], rows=4)
    inputs = engines.inputs(str(tmp_path / "endpoint.yaml"), "transformers")
    servers[0].requests.clear()

    assert made.items() < ask_all(tmp_path, servers, rows=8).items()

    assert sum(len(one.requests) for one in servers) == 4
    for urls in ([first], [first, *others], [first, others[1]]):
        assert engines.inputs(write_endpoint(tmp_path, None, urls=urls), "transformers") == inputs
    assert engines.inputs(write_endpoint(tmp_path, None, urls=others), "transformers") != inputs


def test_addresses_in_the_environment_change_neither_the_file_nor_what_was_paid_for(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: dict[str, Any] = {"urls": None, "urls_env": "LARGE_REPLICAS"}
    file, found = tmp_path / "endpoint.yaml", []
    for some, rows in ((servers[:1], 4), (servers[1:], 8)):
        monkeypatch.setenv("LARGE_REPLICAS", " ".join(map(address, some)) + "\n")
        ask_all(tmp_path, [], rows=rows, **where)
        found.append((file.read_bytes(), engines.inputs(str(file), "transformers")))

    assert found[0] == found[1]
    assert [sum(len(one.requests) for one in some) for some in (servers[:1], servers[1:])] == [4, 4]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"urls": []}, "urls = []: Value error, no address; name those of the replicas"),
        ({"urls": [A, B, A + "/"]}, f"{A} is there 2 times; name each replica once"),
        ({"urls": ["https://a/v1", "https://A:443/v1"]}, "https://a:443/v1 is there 2 times"),
        ({"url": A, "urls": [B]}, f"url = '{A}', urls = ['{B}']; keep one of url (an address), urls (a list"),
        ({"url": A, "urls_env": "LARGE"}, f"url = '{A}', urls_env = 'LARGE'; keep one of"),
        ({}, "no address; keep one of url (an address), urls (a list"),
        ({"urls": A}, f"urls = '{A}': Input should be a valid list"),
        ({"urls": [A, "b:8000"]}, "urls.1 = 'b:8000': Value error, allowed: an address that begins with http://"),
        ({"urls": [A, "http://b:80000/v1"]}, "urls.1 = 'http://b:80000/v1': Value error, Port out of range"),
        ({"urls": [A, "http://me:hunter2@b/v1"]}, "urls.1: Value error, no user, password or query belongs in it"),
        ({"urls_env": "http://a/v1"}, "urls_env = 'http://a/v1': String should match pattern"),
    ],
)
def test_addresses_that_cannot_be_are_told_with_file_and_key(tmp_path: Path, changes: Any, told: str) -> None:
    file = write_endpoint(tmp_path, None, **changes)

    with pytest.raises(UserError) as caught:
        endpoint.read(file)

    assert f"{file}: " in str(caught.value) and told in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "value, told",
    [
        (None, "urls_env: LARGE = []: Value error, no address; name those of the replicas"),
        (f"{A} b:8000", "urls_env: LARGE.1 = 'b:8000': Value error, allowed: an address"),
        (f"{A} {A}", f"{A} is there 2 times"),
        (f"{A} http://me:hunter2@b/v1", "urls_env: LARGE.1: Value error, no user, password or query"),
    ],
)
def test_a_variable_that_holds_no_addresses_is_told_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, told: str
) -> None:
    if value is not None:
        monkeypatch.setenv("LARGE", value)
    file = write_endpoint(tmp_path, None, urls_env="LARGE")

    with pytest.raises(UserError) as caught:
        endpoint.read(file).addresses(file)

    assert f"{file}: " in str(caught.value) and told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_endpoint_without_the_new_keys_is_what_it_was() -> None:
    one = endpoint.Endpoint.model_validate(SETTINGS | {"url": "https://host/v1/"})

    assert (one.identity, one.addresses("file")) == ("https://host/v1", ["https://host/v1"])
