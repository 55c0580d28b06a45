"""Endpoints, asked over real connections: a server that misbehaves as it is told, and one that serves a model."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import mine_queries, sample_responses, simulate_demonstrations
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.generation import endpoint, engines, openai_engine, parallel
from synthalign.generation.generate import Generation
from synthalign.generation.spending import Spending
from synthalign.queries.mining import QUERIES, query_rows
from tests import tiny

SETTINGS: dict[str, Any] = dict(
    model="writer", api_key_env=None, concurrency=4, timeout=2, max_attempts=3, max_tokens=None, max_cost=None,
    prompt_price=0, completion_price=0,
)  # fmt: skip
PROMPT_TOKENS, COMPLETION_TOKENS = 10, 3
"""What the server counts for a request, and for each of its samples."""


class Server(ThreadingHTTPServer):
    """Answers every prompt with " <prompt>!", unless it was told what to do with the prompt's next requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.misbehave: dict[str, list[Callable[[Handler], None]]] = {}
        self.models: str | list[str] = ["writer"]
        self.listed = 0
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()

    def prompts(self) -> Counter[str]:
        return Counter(request["prompt"] for request in self.requests)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error here."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.server.listed += 1
        models = self.server.models
        self.send(200, models if isinstance(models, str) else json.dumps({"data": [{"id": name} for name in models]}))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.keys.add(self.headers.get("Authorization"))
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
            trouble = self.server.misbehave.get(request["prompt"], [])
            act = trouble.pop(0) if trouble else Handler.answer
        self.request_body = request
        act(self)
        with self.server.lock:
            self.server.under_way -= 1

    def answer(self, samples: int | None = None, *texts: str) -> None:
        """So many samples, or as many as were asked for; the texts in turn."""
        made = range(samples or self.request_body["n"])
        texts = texts or (f" {self.request_body['prompt']}!",)
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS * len(made)}
        choices = [{"index": at, "text": texts[at % len(texts)], "finish_reason": "stop"} for at in made]
        self.send(200, json.dumps({"choices": choices[::-1], "usage": usage}))

    def send_bytes(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send(self, status: int, body: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body.encode()) if length is None else length))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def sends(status: int, body: str = "", **headers: Any) -> Callable[[Handler], None]:
    return lambda handler: handler.send(status, body, **headers)


def hangs(handler: Handler) -> None:
    time.sleep(0.6)


def hangs_up(handler: Handler) -> None:
    handler.connection.close()


@contextmanager
def started() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with started() as server:
        yield server


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def write_endpoint(folder: Path, url: str | None, /, **changes: Any) -> str:
    file = folder / "endpoint.yaml"
    file.write_text(yaml.safe_dump(SETTINGS | {"url": url} | changes))
    return str(file)


def ask(
    folder: Path,
    server: Server | None,
    rows: int = 6,
    samples: int = 1,
    temperature: float = 1.0,
    backoff: float = 0.001,
    **changes: Any,
) -> dict[str, list[Generation]]:
    """What a stage does: rows 0, 1, ... through the journal of a work folder.

    server  the one at `url`; None where `changes` say who is asked
    """
    file = write_endpoint(folder, server and address(server), **changes)
    spending = Spending.open(folder / "work", file, endpoint.read(file))
    try:
        return parallel.generated(
            partial(openai_engine.generate, spending, backoff=backoff),
            folder=folder / "work",
            name="rows",
            prefix="row ",
            suffixes=[str(row) for row in range(rows)],
            row_ids=[str(row) for row in range(rows)],
            samples=samples,
            seed=0,
            max_new_tokens=5,
            temperature=temperature,
            top_p=0.9,
            stops=["\n\n"],
        )
    finally:
        spending.close()


def journaled(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (folder / "work" / "rows.0.jsonl").read_text().splitlines()]


def spent(folder: Path) -> tuple[int, int]:
    file = str(folder / "endpoint.yaml")
    spending = Spending.open(folder / "work", file, endpoint.read(file))
    spending.close()
    return spending.before.prompt, spending.before.completion


WORST = len("row 0") + openai_engine.SPECIAL_TOKENS + 5
"""The most tokens that a request for one sample may take: a byte of the prompt is a token or less."""


# ------------------------------------------------------------------------------------------------ answers


def test_a_row_is_one_request_with_all_its_samples_and_settings(server: Server, tmp_path: Path) -> None:
    made = ask(tmp_path, server, samples=3)

    assert [[one.text for one in made[str(row)]] for row in range(6)] == [[f" row {row}!"] * 3 for row in range(6)]
    assert {(one.finish_reason, len(one.token_ids)) for row in made.values() for one in row} == {("stop", 3)}
    assert server.prompts() == {f"row {row}": 1 for row in range(6)}
    asked = server.requests[0]
    assert {key: asked[key] for key in asked if key not in ("prompt", "seed")} == {
        "model": "writer", "n": 3, "max_tokens": 5, "temperature": 1.0, "top_p": 0.9, "stop": ["\n\n"],
    }  # fmt: skip


def test_the_seed_belongs_to_the_row(server: Server, tmp_path: Path) -> None:
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        ask(tmp_path / run, server)

    seeds = {(request["prompt"], request["seed"]) for request in server.requests}
    assert len(server.requests) == 12
    assert len(seeds) == len({seed for _, seed in seeds}) == 6
    assert all(0 <= seed < 2**31 for _, seed in seeds)


def test_a_server_that_ignores_n_is_told_of_after_its_first_answer(server: Server, tmp_path: Path) -> None:
    server.misbehave["row 0"] = [lambda handler: handler.answer(samples=1)]

    with pytest.raises(
        UserError, match=r"endpoint.yaml: asked for 3 samples of row 0, n = 3, http.* sent 1; set samp.*: 1"
    ):
        ask(tmp_path, server, samples=3, concurrency=1)

    assert len(server.requests) == 1
    assert journaled(tmp_path) == []


def test_samples_in_requests_of_their_own_have_seeds_of_their_own(server: Server, tmp_path: Path) -> None:
    made = ask(tmp_path, server, rows=1, samples=5, samples_per_request=2)

    assert len(made["0"]) == 5
    assert [request["n"] for request in server.requests] == [2, 2, 1]
    assert len({request["seed"] for request in server.requests}) == 3


SURE = "The red fox lives in the forest."


def greedy(*texts: str) -> list[Callable[[Handler], None]]:
    return [lambda handler: handler.answer(None, *(texts or (f"{SURE} {handler.request_body['prompt']}",)))]


def test_a_server_that_never_samples_is_told_of_after_eight_prompts_of_which_none_is_kept(
    server: Server, tmp_path: Path
) -> None:
    server.misbehave = {f"row {row}": greedy() for row in range(40)}

    with pytest.raises(
        UserError,
        match=r"endpoint.yaml: at temperature 1 the 3 samples .* for each of 8 prompts, at last 'The red.*do_sample",
    ):
        ask(tmp_path, server, rows=40, samples=3, concurrency=1)

    assert len(server.requests) == 8
    assert journaled(tmp_path) == []
    made = ask(tmp_path, server, rows=8, samples=3, allow_equal_samples=True)  # the person knows better
    assert len(made) == 8


def test_of_few_rows_all_tell_and_fewer_than_four_do_not(server: Server, tmp_path: Path) -> None:
    server.misbehave = {f"row {row}": [*greedy(), *greedy()] for row in range(5)}

    with pytest.raises(UserError, match="for each of 5 prompts"):
        ask(tmp_path, server, rows=5, samples=2, concurrency=1)
    assert len(ask(tmp_path, server, rows=3, samples=2)) == 3


def test_one_prompt_whose_samples_differ_shows_that_the_server_samples(server: Server, tmp_path: Path) -> None:
    server.misbehave = {f"row {row}": greedy() for row in range(20)}
    server.misbehave["row 6"] = greedy(SURE, SURE, "The red fox lives in the hills.")

    made = ask(tmp_path, server, rows=20, samples=3, concurrency=1)

    assert len(made) == 20
    assert journaled(tmp_path) == [str(row) for row in range(20)]


def test_equal_short_answers_and_equal_answers_at_temperature_0_say_nothing(server: Server, tmp_path: Path) -> None:
    server.misbehave = {f"row {row}": greedy("Yes.") for row in range(20)}
    assert len(ask(tmp_path, server, rows=20, samples=3)) == 20

    server.misbehave = {f"row {row}": greedy() for row in range(20)}
    (tmp_path / "cold").mkdir()
    assert len(ask(tmp_path / "cold", server, rows=20, samples=3, temperature=0.0)) == 20


def test_a_single_sample_of_each_prompt_is_compared_with_nothing(server: Server, tmp_path: Path) -> None:
    server.misbehave = {f"row {row}": greedy(SURE) for row in range(20)}

    assert len(ask(tmp_path, server, rows=20)) == 20


def test_no_more_requests_are_under_way_than_allowed(server: Server, tmp_path: Path) -> None:
    slow = [lambda handler: (time.sleep(0.02), handler.answer())[1]]
    server.misbehave = {f"row {row}": list(slow) for row in range(12)}

    ask(tmp_path, server, rows=12, concurrency=3)

    assert server.most_under_way == 3


def test_text_ends_before_the_stop_string_and_says_why(server: Server, tmp_path: Path) -> None:
    def answer(text: str, reason: str | None) -> Callable[[Handler], None]:
        return sends(200, json.dumps({"choices": [{"text": text, "finish_reason": reason}]}))

    server.misbehave = {
        "row 0": [answer(" a\n\nHuman: b", "length")],  # a server that leaves the stop string in, at the last token
        "row 1": [answer(" a", "stop")],
        "row 2": [answer(" a", "length")],
        "row 3": [answer(" a", "content_filter")],
    }

    made = ask(tmp_path, server, rows=4)

    assert {one.text for [one] in made.values()} == {" a"}
    assert [made[str(row)][0].finish_reason for row in range(4)] == ["stop", "stop", "length", "length"]


@pytest.mark.parametrize(
    ("told", "tokens", "reason"),
    [
        ("eos", 5, "eos"),
        ("eos_token", None, "eos"),
        ("end_turn", None, "eos"),
        ("stop_sequence", None, "stop"),
        ("STOP", 5, "stop"),  # does not tell whether the text ended by itself
        ("MAX_TOKENS", 1, "length"),
        (None, 4, "stop"),
        (None, 5, "length"),  # all 5 tokens that were asked for
        (None, None, "stop"),  # nothing tells
        ("", 5, "length"),
        ("bored", 4, "stop"),
        ("bored", 5, "length"),
        ("insufficient_system_resource", 4, "length"),  # DeepSeek's: it broke off
        ("error", 4, "length"),
    ],
)
def test_a_reason_in_a_servers_own_words_or_none_is_cut_off_only_at_the_last_token(
    server: Server, tmp_path: Path, told: str | None, tokens: int | None, reason: str
) -> None:
    usage = None if tokens is None else {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
    given = {"choices": [{"text": " a", "finish_reason": told}], "usage": usage}
    server.misbehave = {"row 0": [sends(200, json.dumps(given))]}

    assert ask(tmp_path, server, rows=1)["0"][0].finish_reason == reason


@pytest.mark.parametrize("usage", [{}, {"total_tokens": 10}, {"prompt_tokens": 5, "completion_tokens": None}])
def test_a_text_whose_tokens_a_server_does_not_count_is_taken(
    server: Server, tmp_path: Path, usage: dict[str, Any]
) -> None:
    server.misbehave = {"row 0": [sends(200, json.dumps({"choices": [{"text": " a"}], "usage": usage}))]}

    [one] = ask(tmp_path, server, rows=1)["0"]

    assert one.text == " a" and len(server.requests) == 1


@pytest.mark.parametrize(("tokens", "reason"), [(9, "stop"), (10, "length")])
def test_without_reasons_two_samples_are_cut_off_where_both_took_all_their_tokens(
    server: Server, tmp_path: Path, tokens: int, reason: str
) -> None:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
    given = {"choices": [{"index": at, "text": text} for at, text in enumerate((" a", " a long one"))], "usage": usage}
    server.misbehave = {"row 0": [sends(200, json.dumps(given))]}

    made = ask(tmp_path, server, rows=1, samples=2)

    assert [one.finish_reason for one in made["0"]] == [reason] * 2


def test_half_a_character_is_paid_once_replaced_and_counted(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a surrogate pair is JSON, half a UTF-8 sequence is not; neither gets better by asking again."""
    server.misbehave = {
        "row 0": [lambda handler: handler.answer(1, " fox \ud83e!")],
        "row 1": [lambda handler: handler.answer(1, " fox \ud83e\udd8a!")],
        "row 2": [lambda handler: handler.send_bytes(b'{"choices": [{"text": " fox \xf0\x9f!"}]}')],
        "row 3": [lambda handler: handler.send_bytes(b'\xef\xbb\xbf{"choices": [{"text": " fox!"}]}')],
    }

    made = ask(tmp_path, server, rows=4)

    assert [made[str(row)][0].text for row in range(4)] == [" fox \ufffd!", " fox 🦊!", " fox \ufffd!", " fox!"]
    assert server.prompts() == {f"row {row}": 1 for row in range(4)}
    assert "endpoint.yaml: 2 texts hold half a character, which is U+FFFD now" in capsys.readouterr().out


def test_the_tokens_of_a_row_are_shared_out_by_the_length_of_its_texts() -> None:
    assert openai_engine.spread(10, [1, 1, 3]) == [2, 2, 6]
    assert openai_engine.spread(2, [1, 1, 1]) == [0, 1, 1]
    assert openai_engine.spread(0, [5]) == [0]


# ------------------------------------------------------------------------------------------------ trouble


def test_what_passes_by_itself_is_tried_again_and_every_row_is_kept_once(server: Server, tmp_path: Path) -> None:
    server.misbehave = {
        "row 0": [sends(429, '{"error": {"message": "slow down"}}', Retry_After="0"), sends(503)],
        "row 1": [sends(500, "oh no")],
        "row 2": [sends(200, "<html>welcome</html>")],
        "row 3": [sends(200, '{"choices": [{"text": "ha', length=400)],
        "row 4": [hangs],
        "row 5": [hangs_up, sends(408)],
        "row 6": [sends(200, '{"choices": []}')],
        "row 7": [sends(409)],
    }

    made = ask(tmp_path, server, rows=10, timeout=0.4, concurrency=10)

    assert {row: one.text for row, [one] in made.items()} == {str(row): f" row {row}!" for row in range(10)}
    assert sorted(journaled(tmp_path)) == sorted(map(str, range(10)))
    sent = server.prompts()
    assert [sent[f"row {row}"] for row in range(10)] == [3, 2, 2, 2, 2, 3, 2, 2, 1, 1]


def in_a_moment() -> str:
    """A date at least 0.3 seconds from now; it has whole seconds."""
    return formatdate(math.ceil(time.time() + 0.3), usegmt=True)


@pytest.mark.parametrize("header", [lambda: "0.3", in_a_moment], ids=["seconds", "date"])
def test_the_wait_that_the_endpoint_asks_for_is_kept(server: Server, tmp_path: Path, header: Callable[[], str]) -> None:
    server.misbehave["row 0"] = [lambda handler: handler.send(429, "", Retry_After=header())]
    begin = time.monotonic()

    ask(tmp_path, server, rows=1)

    assert 0.3 <= time.monotonic() - begin < 3


def test_a_wait_in_no_known_form_is_the_usual_one(server: Server, tmp_path: Path) -> None:
    server.misbehave["row 0"] = [sends(429, Retry_After="soon")]
    begin = time.monotonic()

    ask(tmp_path, server, rows=1)

    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    "status, key, step",
    [
        (400, None, "check model, and whether the prompt fits it"),
        (401, None, "name the key's variable in api_key_env"),
        (401, "s3cret-k3y", "check the key in ENDPOINT_KEY"),
        (403, "s3cret-k3y", "check the key in ENDPOINT_KEY"),
        (404, None, "check url and model"),
        (307, None, "check url and model"),
    ],
)
def test_a_refusal_is_told_at_once_with_the_next_step_and_never_the_key(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, key: str | None, step: str
) -> None:
    if key:
        monkeypatch.setenv("ENDPOINT_KEY", key)
    words = json.dumps({"error": {"message": f"no such thing {key} \x1b[31m" + "as this " * 100}})
    server.misbehave["row 0"] = [sends(status, words, Location="http://127.0.0.1:9/elsewhere")]

    with pytest.raises(UserError) as caught:
        ask(tmp_path, server, rows=1, api_key_env="ENDPOINT_KEY" if key else None)

    told = str(caught.value)
    assert f"answered {status}: no such thing" in told and step in told and "endpoint.yaml" in told
    assert len(told) < 500 and "\x1b" not in told
    assert len(server.requests) == 1
    if key:
        assert server.keys == {f"Bearer {key}"}
        assert key not in told
        assert [file for file in tmp_path.rglob("*") if file.is_file() and key in file.read_text()] == []


@pytest.mark.parametrize(
    "body, told",
    [
        ('{"error": {"message": "no model", "code": 7}}', "no model"),
        ('{"error": "Unauthorized"}', "Unauthorized"),
        ('{"detail": "no model"}', "no model"),
        ('["no", "model"]', r'\["no", "model"\]'),
        ("no\n  model", "no model"),
        ("", "Not Found"),
    ],
)
def test_the_endpoints_own_words_are_found(server: Server, tmp_path: Path, body: str, told: str) -> None:
    server.misbehave["row 0"] = [sends(404, body)]

    with pytest.raises(UserError, match=f"answered 404: {told}; check url"):
        ask(tmp_path, server, rows=1)


def test_a_row_that_keeps_failing_ends_the_run_with_the_last_trouble_and_keeps_the_rest(
    server: Server, tmp_path: Path
) -> None:
    server.misbehave["row 5"] = [sends(500, '{"detail": "out of memory"}')] * 3

    with pytest.raises(UserError, match=r"row 5 failed 3 times, at last with: 500 out of memory; .* is kept"):
        ask(tmp_path, server, concurrency=1)

    assert journaled(tmp_path) == list("01234")


def test_what_is_under_way_when_a_row_is_refused_is_waited_for_and_kept(server: Server, tmp_path: Path) -> None:
    server.misbehave["row 0"] = [lambda handler: (time.sleep(0.2), handler.answer())[1]]
    server.misbehave["row 1"] = [sends(401)]

    with pytest.raises(UserError, match="answered 401"):
        ask(tmp_path, server, rows=50, concurrency=2)

    assert "0" in journaled(tmp_path)
    assert len(server.requests) < 50


def test_an_endpoint_that_is_not_there_is_named(server: Server, tmp_path: Path) -> None:
    file = write_endpoint(tmp_path, "http://127.0.0.1:9/v1", timeout=1)
    spending = Spending.open(tmp_path, file, endpoint.read(file))

    with pytest.raises(UserError, match=r"failed 3 times, at last with: no connection.*http://127.0.0.1:9/v1 is up"):
        openai_engine.generate(
            spending, prefix="", suffixes=["a"], row_ids=["0"], seed=0, max_new_tokens=5, temperature=1.0, top_p=1.0,
            backoff=0.001,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------ costs


def test_a_killed_run_pays_for_nothing_twice(server: Server, tmp_path: Path) -> None:
    server.misbehave["row 3"] = [sends(401)]
    with pytest.raises(UserError, match="answered 401"):
        ask(tmp_path, server, concurrency=1)
    journal = tmp_path / "work" / "rows.0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:20])  # killed while it wrote its third row
    server.requests.clear()

    made = ask(tmp_path, server)

    assert len(made) == 6
    assert server.prompts() == {"row 2": 1, "row 3": 1, "row 4": 1, "row 5": 1}


def test_the_cap_on_tokens_stops_before_the_request_that_could_pass_it(server: Server, tmp_path: Path) -> None:
    # a row takes 13 tokens and could take 18: after 3 rows 39 are spent, and 39 + 18 > 56
    assert WORST == 18
    with pytest.raises(UserError, match=r"endpoint.yaml: max_tokens = 56: 39 are spent .* may take 18; raise"):
        ask(tmp_path, server, max_tokens=56)

    assert len(server.requests) == 3
    assert len(journaled(tmp_path)) == 3
    assert spent(tmp_path) == (30, 9)


def test_the_cap_on_money_counts_both_prices(server: Server, tmp_path: Path) -> None:
    # a row costs 10 x 1 + 3 x 2 = 16 millionths and could cost 13 x 1 + 5 x 2 = 23
    with pytest.raises(UserError, match=r"max_cost = 6e-05: 4.8e-05 are spent .* may take 2.3e-05"):
        ask(tmp_path, server, max_cost=60e-6, prompt_price=1, completion_price=2)

    assert len(server.requests) == 3


def test_what_was_paid_before_a_restart_counts_and_a_higher_cap_goes_on_from_there(
    server: Server, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match="39 are spent"):
            ask(tmp_path, server, max_tokens=56)
    assert len(server.requests) == 3

    assert len(ask(tmp_path, server, max_tokens=96)) == 6
    assert len(server.requests) == 6


def test_an_answer_that_got_lost_counts_with_the_most_it_can_have_cost(server: Server, tmp_path: Path) -> None:
    server.misbehave["row 0"] = [sends(200, "half an ans", length=99), sends(429), sends(200, '{"choices": [{}]}')]

    ask(tmp_path, server, rows=1, max_attempts=4)

    assert sum(spent(tmp_path)) == 2 * WORST + 13  # two lost, one refused, one answered


def test_a_request_that_was_under_way_at_a_kill_counts_with_the_most_it_can_have_cost(tmp_path: Path) -> None:
    file = write_endpoint(tmp_path, "http://127.0.0.1:9/v1", max_tokens=20)
    killed = Spending.open(tmp_path / "work", file, endpoint.read(file))
    killed.reserve(openai_engine.Tokens(10, 8))

    again = Spending.open(tmp_path / "work", file, endpoint.read(file))

    assert again.exceeded(openai_engine.Tokens(1, 1)) is None
    assert again.exceeded(openai_engine.Tokens(2, 1)) is not None


def test_processes_share_what_a_cap_leaves(tmp_path: Path) -> None:
    file = write_endpoint(tmp_path, "http://127.0.0.1:9/v1", max_tokens=100)
    alone = Spending.open(tmp_path / "work", file, endpoint.read(file))
    alone.reserve(openai_engine.Tokens(40, 0))
    alone.close()

    both = [
        Spending.open(tmp_path / "work", file, endpoint.read(file), process=str(at), processes=2) for at in range(2)
    ]

    for one in both:
        assert one.exceeded(openai_engine.Tokens(30, 0)) is None
        assert one.exceeded(openai_engine.Tokens(31, 0)) is not None


# ------------------------------------------------------------------------------------------------ whole stages


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dialogue = '{"role": "user", "content": "Where is Riga?"}, {"role": "assistant", "content": "In Latvia."}'
    Path("shown.jsonl").write_text(f'{{"messages": [{dialogue}]}}\n')
    tables.write(
        query_rows(["Why is the sky blue?"], [], ["Who made this?"]), "queries", key="query_id", schema=QUERIES
    )


def sampling(model: str) -> sample_responses.Params:
    a = sample_responses.Configuration(
        model=model, demonstrations="shown.jsonl", shots=1, max_new_tokens=12, splits=["train", "eval"]
    )
    return sample_responses.Params(configurations={"a": a}, temperature=1.0, top_p=0.9, engine="transformers", seed=0)


def test_a_stage_asks_an_endpoint_where_its_setting_names_one(server: Server, world: None, tmp_path: Path) -> None:
    file = write_endpoint(tmp_path, f"http://127.0.0.1:{server.server_port}/v1")

    sample_responses.main(sampling(file), "a")

    rows = tables.rows("responses/a")
    assert [(row["model"], row["tokens"], row["finish_reason"]) for row in rows] == [(file, 3, "stop")] * 2
    assert all(prompt.startswith("Human: Where is Riga?") for prompt in server.prompts())
    paid = json.loads(Path("metrics/sample_responses/a.json").read_text())
    assert (paid["prompt_tokens"], paid["completion_tokens"]) == (2 * PROMPT_TOKENS, 2 * 3)


def test_a_stage_writes_the_same_bytes_whichever_replica_answers(server: Server, world: None, tmp_path: Path) -> None:
    written, metrics = [], []
    with started() as second:
        for changes in ({"url": address(server)}, {"urls": [address(server), address(second)], "concurrency": 1}):
            sample_responses.main(sampling(write_endpoint(tmp_path, None, **changes)), "a")
            written.append(tables.path("responses/a").read_bytes())
            metrics.append(Path("metrics/sample_responses/a.json").read_bytes())

        assert [len(one.requests) for one in (server, second)] == [2 + 1, 1]
    assert written[0] == written[1] and metrics[0] == metrics[1]


def test_mining_and_self_play_ask_one_too(server: Server, world: None, tmp_path: Path) -> None:
    file = write_endpoint(tmp_path, f"http://127.0.0.1:{server.server_port}/v1")
    Path("seeds.txt").write_text("Why is the sky blue?\n")
    Path("eval.txt").write_text("Who made this?\n")
    draw: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "engine": "transformers", "seed": 0}
    mining: dict[str, Any] = dict(
        model=file, seed_queries="seeds.txt", eval_questions="eval.txt", shots=1, target=1, max_rounds=1, round_size=1,
        completions=2, max_new_tokens=24, min_characters=1, max_characters=100, keywords=[], rouge_threshold=1.0,
    )  # fmt: skip
    speaker = simulate_demonstrations.Speaker(model=file, demonstrations="shown.jsonl", shots=1)
    alone = simulate_demonstrations.Guide(reward=None, candidates=1)

    prompt = "Query: Why is the sky blue?\nQuery:"
    server.misbehave[prompt] = [lambda handler: handler.answer(None, " Who paints the sky?\nQuery: And who not?")]

    mine_queries.main(mine_queries.Params(**mining, **draw))
    simulate_demonstrations.main(
        simulate_demonstrations.Params(
            guides={"selfplay": alone}, assistant=speaker, user=speaker, max_turns=4, max_new_tokens=24, **draw
        ),
        "selfplay",
    )

    assert "Who paints the sky?" in [row["text"] for row in tables.rows("queries")]
    # the server says the prompt again: what is said is the first turn of the dialogue shown
    [[_, answer, further, _], _] = [row["messages"] for row in tables.rows("demonstrations/selfplay")]
    assert answer["content"] == further["content"] == "Human: Where is Riga?"
    assert [request["n"] for request in server.requests] == [2, 1, 1, 1, 1, 1, 1]
    assert not list(Path(".work").glob("*/*"))


def test_caps_prices_and_patience_do_not_lose_what_was_paid_for(tmp_path: Path) -> None:
    cheap = write_endpoint(tmp_path, "http://127.0.0.1:9/v1")
    before = engines.inputs(cheap, "transformers")
    write_endpoint(tmp_path, "http://127.0.0.1:9/v1", max_tokens=9, prompt_price=1, timeout=9, concurrency=1)

    assert engines.inputs(cheap, "transformers") == before
    write_endpoint(tmp_path, "http://127.0.0.1:9/v1", model="other")
    assert engines.inputs(cheap, "transformers") != before


def serving(model: str | None) -> tuple[Any, str]:
    """transformers' own server, with one model or any, and its base address."""
    pytest.importorskip("uvicorn")
    from transformers.cli.serve import Serve

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as free:
        port = free.server_port
    served = Serve(model, host="127.0.0.1", port=port, device="cpu", non_blocking=True)
    while not served.server.started:
        time.sleep(0.01)
    return served, f"http://127.0.0.1:{port}/v1"


def test_transformers_own_server_answers(world: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model = str(tiny.save(tmp_path / "model", tiny.causal(), tiny.tokenizer()))
    served, url = serving(model)
    try:
        sample_responses.main(sampling(write_endpoint(tmp_path, url, model=model)), "a")
    finally:
        served.kill_server()

    rows = tables.rows("responses/a")
    assert len(rows) == 2
    assert all(0 < row["tokens"] <= 12 and row["text"] for row in rows)


def test_transformers_own_server_samples_only_where_the_models_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    greedy, sampling = (tiny.save(tmp_path / name, tiny.causal(), tiny.tokenizer()) for name in ("greedy", "sampling"))
    settings = json.loads((sampling / "generation_config.json").read_text())
    (sampling / "generation_config.json").write_text(json.dumps(settings | {"do_sample": True}))

    def written(model: Path, **changes: Any) -> list[list[Generation]]:
        file = write_endpoint(tmp_path, url, model=str(model), timeout=60, **changes)
        spending = Spending.open(tmp_path, file, endpoint.read(file))
        rows = [str(row) for row in range(4)]
        return openai_engine.generate(
            spending, prefix="Human: Where is ", suffixes=rows, row_ids=rows, samples=3, seed=0, max_new_tokens=48,
            temperature=1.0, top_p=0.9,
        )  # fmt: skip

    served, url = serving(None)
    try:
        with pytest.raises(UserError, match="asked for 3 samples .* sent 1"):
            written(greedy)
        with pytest.raises(UserError, match="the 3 samples of a prompt are the same, for each of 4 prompts"):
            written(greedy, samples_per_request=1)
        made = written(sampling, samples_per_request=1)
    finally:
        served.kill_server()

    assert all(len({one.text for one in row}) == 3 for row in made)
