"""People as judges: the page in a real browser, their files, and what is refused."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from stages import judge_answers, sample_answers
from synthalign.commands import cli
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.judging import annotation, verdicts
from synthalign.judging.annotation import Item

CHROMIUM = next(
    (found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name))), None
)
ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{{data}}\u202e\u2028&lt;b&gt;"
QUESTIONS = 8


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which ppo and base answered eight questions, the last one equally, and a judge compared them."""
    monkeypatch.chdir(tmp_path)
    schema = pa.schema([("query_id", pa.string()), ("text", pa.string()), ("split", pa.string())])
    ids = [f"q{number}" for number in range(QUESTIONS)]
    queries = [{"query_id": id, "text": f"What is {id}? {HOSTILE}", "split": "eval"} for id in ids]
    tables.write(queries, "queries", key="query_id", schema=schema)
    answer("ppo", {id: f"ppo says {id} {HOSTILE}" for id in ids} | {"q7": "the same"})
    answer("base", {id: f"base says {id} {HOSTILE}" for id in ids} | {"q7": "the same"})
    rows = verdicts.judgements(duels(), "oracle", lambda shown: [verdicts.Opinion("first") for _ in shown])
    tables.write(rows, "judgements", key=verdicts.KEY, schema=verdicts.SCHEMA)
    return tmp_path


def answer(policy: str, texts: dict[str, str]) -> None:
    rows = [
        {"question_id": id, "policy": policy, "sample_index": 0, "text": text, "tokens": 3, "finish_reason": "eos"}
        for id, text in texts.items()
    ]
    tables.write(rows, f"answers/{policy}", key=("question_id", "sample_index"), schema=sample_answers.ANSWERS)


def duels() -> list[verdicts.Duel]:
    questions = verdicts.eval_questions()
    answers = {policy: verdicts.answers_of(policy, questions) for policy in ("ppo", "base")}
    return verdicts.duels(answers, [["ppo", "base"]], questions)


def judge() -> dict[str, Any]:
    """The stage, with an oracle that knows none of the questions beside the people; its metrics of ppo and base."""
    params = judge_answers.Params(
        seed=0, pairs=[["ppo", "base"]], oracle=str(ROOT / "data/embedded"), reward=None, people=None, batch_size=4,
        endpoint=None, prompt="scores", max_new_tokens=9,
    )  # fmt: skip
    judge_answers.main(params)
    figures: dict[str, Any] = json.loads(Path("metrics/judge_answers.json").read_text())["ppo_vs_base"]
    return figures


def results(choices: dict[str, Any], **changes: Any) -> str:
    """A file as the page would write it; an item is named by question and order."""
    items = {f"{duel.a.question_id}{order}": Item(duel, order).id for duel in duels() for order in verdicts.ORDERS}
    rows = [{"item": items.get(name, name), "choice": choice} for name, choice in choices.items()]
    given = {"format": annotation.FORMAT, "page": "0", "annotator": "kim", "scale": "verdict", "choices": rows}
    Path("downloaded.json").write_text(json.dumps(given | changes))
    return "downloaded.json"


def recorded() -> dict[tuple[str, str], str]:
    return {(row["question_id"], row["order"]): row["verdict"] for row in annotation.recorded(duels())}


# ------------------------------------------------------------------------------------------------ the draw


def test_items_and_orders_are_drawn_by_the_seed_and_equal_answers_never(here: Path) -> None:
    def drawn(count: int, seed: int) -> list[tuple[str, str]]:
        items = annotation.sampled(duels(), count=count, seed=seed)
        return [(item.duel.a.question_id, item.order) for item in items]

    assert drawn(7, seed=0) == drawn(7, seed=0) != drawn(7, seed=1)
    assert drawn(3, seed=0) == drawn(7, seed=0)[:3]
    assert {id for id, _ in drawn(7, seed=0)} == {f"q{number}" for number in range(7)}
    assert {order for seed in range(5) for _, order in drawn(7, seed)} == {"ab", "ba"}
    with pytest.raises(UserError, match="7 pairs of answers differ, 8 are wanted; ask for 1 to 7"):
        drawn(8, seed=0)
    with pytest.raises(UserError, match="0 are wanted"):
        drawn(0, seed=0)
    with pytest.raises(UserError, match="--out no/where.html: cannot be written"):
        annotation.export("no/where.html", count=7, seed=0, scale="verdict", policies=None)


def test_the_order_of_two_hundred_items_is_fair() -> None:
    answers = [verdicts.Answer(f"q{number}", 0, f"x{number}", 1) for number in range(400)]
    others = [verdicts.Answer(f"q{number}", 0, f"y{number}", 1) for number in range(400)]
    every = verdicts.duels({"x": answers, "y": others}, [["x", "y"]], {one.question_id: "?" for one in answers})

    orders = [item.order for item in annotation.sampled(every, count=200, seed=0)]

    assert 200 / 2 - 3 * (200 / 4) ** 0.5 < orders.count("ab") < 200 / 2 + 3 * (200 / 4) ** 0.5


def test_the_page_is_the_same_bytes_names_no_policy_and_asks_for_no_other_file(here: Path) -> None:
    cli.main(["annotate", "export", "--items", "7", "--out", "one.html"])
    cli.main(["annotate", "export", "--items", "7", "--out", "two.html"])

    page = Path("one.html").read_text()
    assert page == Path("two.html").read_text()
    assert not re.search(r"https?:|\b(src|href)=\"|@import|url\(", page)
    assert "policy_a" not in page and "{{policy}}" not in page
    assert page.count("<script") == 2 and "<img" not in page


def test_one_pair_of_policies_can_be_asked_for_in_either_order_and_others_are_refused(here: Path) -> None:
    cli.main(["annotate", "export", "--items", "7", "--out", "one.html", "--policies", "base", "ppo"])
    assert Path("one.html").exists()

    with pytest.raises(UserError, match="--policies ppo sft: nobody compared these two; allowed: ppo base"):
        annotation.export("two.html", count=1, seed=0, scale="verdict", policies=["ppo", "sft"])


# ------------------------------------------------------------------------------------------------ their files


def test_the_order_is_undone_and_a_row_has_the_columns_of_judgements(here: Path) -> None:
    annotation.import_file(results({"q0ab": "A", "q1ba": "A", "q2ba": "B", "q3ab": "tie"}))

    assert recorded() == {("q0", "ab"): "a", ("q1", "ba"): "b", ("q2", "ba"): "a", ("q3", "ab"): "tie"}
    [line, *_] = [json.loads(line) for line in Path("data/annotations/kim.jsonl").read_text().splitlines()]
    assert list(line) == ["item", *verdicts.SCHEMA.names]
    assert (line["judge"], line["raw"], line["characters_a"]) == ("human:kim", "A", len(f"ppo says q0 {HOSTILE}"))


@pytest.mark.parametrize(
    "rating, order, verdict, score_a",
    [(1, "ab", "a", 8), (4, "ab", "a", 5), (5, "ab", "b", 4), (8, "ba", "a", 8), (4, "ba", "b", 4)],
)
def test_ratings_have_no_middle_and_the_two_scores_sum_to_9(
    here: Path, rating: int, order: str, verdict: str, score_a: int
) -> None:
    annotation.import_file(results({f"q0{order}": rating}, scale="1-8"))

    [row] = annotation.recorded(duels())
    assert (row["verdict"], row["score_a"], row["score_b"]) == (verdict, score_a, 9 - score_a)


def test_importing_twice_changes_nothing_and_more_of_the_same_page_is_added(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation.import_file(results({"q0ab": "A"}))
    before = Path("data/annotations/kim.jsonl").read_bytes()

    annotation.import_file(results({"q0ab": "A"}))
    assert Path("data/annotations/kim.jsonl").read_bytes() == before
    assert "1 verdicts, 0 new" in capsys.readouterr().out

    annotation.import_file(results({"q3ba": "B", "q0ab": "A"}))
    assert len(recorded()) == 2
    annotation.import_file(results({"q0ab": "B"}, annotator="lee"))
    assert sorted(row["judge"] for row in annotation.recorded(duels())) == ["human:kim", "human:kim", "human:lee"]


def test_who_says_otherwise_later_has_to_say_which_counts(here: Path) -> None:
    annotation.import_file(results({"q0ab": "A"}))

    with pytest.raises(UserError, match=r"downloaded.json: item \w+: kim says 'B' and said 'A' before; .*kim.jsonl"):
        annotation.import_file(results({"q0ab": "B", "q1ab": "A"}))
    assert recorded() == {("q0", "ab"): "a"}  # nothing of a file that is refused is taken


@pytest.mark.parametrize(
    "choices, changes, told",
    [
        ({"q0ab": "A"}, {"annotator": "../../etc/passwd"}, r"annotator = '../../etc/passwd': String should match"),
        ({"q0ab": "A"}, {"annotator": "kim\n"}, "annotator = "),
        ({"q0ab": "A"}, {"format": "synthalign annotation 0"}, "format = 'synthalign annotation 0'"),
        ({"q0ab": "A"}, {"scale": "1-9"}, "scale = '1-9'"),
        ({"q0ab": "A"}, {"extra": 1}, "extra = 1: Extra inputs"),
        ({}, {}, r"choices = \[\]: List should have at least 1 item"),
        ({"q0ab": "A", "q1ab": "C"}, {}, r"choices\[1\].choice = 'C'; allowed: A, B, tie"),
        ({"q0ab": 9}, {"scale": "1-8"}, r"choices\[0\].choice = 9; allowed: 1, 2, 3, 4, 5, 6, 7, 8"),
        ({"q0ab": "1"}, {"scale": "1-8"}, r"choices\[0\].choice = '1'; allowed"),
        ({"q0ab": True}, {"scale": "1-8"}, r"choices.0.choice"),
        ({"q0ab": "A", "feed": "B"}, {}, r"choices\[1\].item = 'feed': no two policies give these answers now"),
    ],
)
def test_a_wrong_file_is_refused_with_row_and_value(here: Path, choices: Any, changes: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)downloaded.json: .*{told}"):
        annotation.import_file(results(choices, **changes))
    assert not annotation.FOLDER.exists()


def test_a_row_that_comes_twice_a_file_that_is_none_and_a_missing_one_are_refused(here: Path) -> None:
    file = results({"q0ab": "A"})
    given = json.loads(Path(file).read_text())
    Path(file).write_text(json.dumps(given | {"choices": given["choices"] * 2}))
    with pytest.raises(UserError, match=r"choices\[1\].item = '\w+': an earlier row has it already"):
        annotation.import_file(file)
    Path(file).write_text("<html>")
    with pytest.raises(UserError, match="downloaded.json: Invalid JSON"):
        annotation.import_file(file)
    with pytest.raises(UserError, match="none.json: cannot be read"):
        annotation.import_file("none.json")


def test_files_may_begin_with_a_byte_order_mark_and_are_named_where_they_are_no_utf8(here: Path) -> None:
    file = Path(results({"q0ab": "A"}))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    annotation.import_file(str(file))
    [own] = annotation.FOLDER.glob("*.jsonl")
    own.write_bytes(b"\xef\xbb\xbf" + own.read_bytes())

    assert recorded() == {("q0", "ab"): "a"}
    own.write_bytes(own.read_bytes() + b"\xff")
    with pytest.raises(UserError, match=f"{own.name}, line 2, byte 1: 0xff is not UTF-8"):
        recorded()
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="downloaded.json, line 1, byte 1: 0xff is not UTF-8"):
        annotation.import_file(str(file))
    file.write_text('{"annotator": "\\ud83e"}')
    with pytest.raises(UserError, match=r"downloaded.json, line 1: \\ud83e is half a character"):
        annotation.import_file(str(file))


def test_the_command_says_what_is_wrong_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["annotate", "import", results({"q0ab": "C"})])

    assert capsys.readouterr().err.splitlines() == [
        "annotate: downloaded.json: choices[0].choice = 'C'; allowed: A, B, tie"
    ]


def test_verdicts_on_answers_that_changed_are_left_out_and_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation.import_file(results({"q0ab": "A", "q1ab": "B"}))
    file = results({"q0ab": "A"})
    answer("base", {f"q{number}": f"base says q{number} {HOSTILE}" for number in range(1, QUESTIONS)} | {"q0": "other"})

    assert recorded() == {("q1", "ab"): "b"}
    assert "kim.jsonl: left out 1 of 2 verdicts: their answers changed" in capsys.readouterr().out
    with pytest.raises(UserError, match="they have changed since the page was made"):
        annotation.import_file(file)
    annotation.import_file(results({"q0ab": "B"}))  # of the new answers, in the place of the old verdict
    assert recorded() == {("q0", "ab"): "b", ("q1", "ab"): "b"}


@pytest.mark.parametrize(
    "change, told",
    [
        (("human:kim", "human:lee"), r"kim.jsonl:2: judge = 'human:lee'; in this file it is human:kim"),
        (('"verdict":"b"', '"verdict":"c"'), r"kim.jsonl:2: verdict = 'c'"),
        (('"item"', '"itme"'), r"kim.jsonl:2: item: Field required"),
        (("{", "["), r"kim.jsonl:2: Invalid JSON"),
    ],
)
def test_a_line_that_was_edited_badly_is_named(here: Path, change: tuple[str, str], told: str) -> None:
    annotation.import_file(results({"q0ab": "A", "q1ab": "B"}))
    file = Path("data/annotations/kim.jsonl")
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{second.replace(*change)}\n")

    with pytest.raises(UserError, match=told):
        annotation.recorded(duels())


def test_people_are_in_the_table_and_the_metrics_with_the_other_judges(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation.import_file(results({"q0ab": "A", "q1ba": "A", "q2ab": "tie"}))
    annotation.import_file(results({"q0ab": "A", "q1ba": "B", "q2ab": "tie"}, annotator="lee"))

    figures = judge()

    assert (figures["human:kim"]["win_rate"]["value"], figures["human:kim"]["win_rate"]["n"]) == ((1 + 0 + 0.5) / 3, 3)
    assert figures["human:lee"]["agreement"]["human:kim"]["value"] == pytest.approx(2 / 3)
    judges = [row["judge"] for row in tables.rows("judgements") if row["verdict"] != "unjudged"]
    assert judges == ["human:kim", "human:lee"] * 3
    assert figures["oracle"]["unjudged"] == 2 * QUESTIONS
    capsys.readouterr()
    cli.main(["annotate", "agreement"])
    said = capsys.readouterr().out
    assert re.search(r"human:kim, human:lee +0\.667 ", said)
    assert re.search(r"all people, verdicts +0\.\d+ ", said)


# ------------------------------------------------------------------------------------------------ a real browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is found; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, here: Path) -> Iterator[Any]:
    """A page of the browser; at the end it must have asked for nothing but the file, and had nothing to complain of."""
    context = browser.new_context(accept_downloads=True, viewport={"width": 1200, "height": 800})
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert told == []
    assert {url.split(":")[0] for url in asked if url != f"file://{here}/page.html"} <= {"blob"}


def opened(page: Any, here: Path, *, scale: str = "verdict", annotator: str = "kim") -> list[Item]:
    items = annotation.sampled(duels(), count=7, seed=3)
    annotation.export("page.html", count=7, seed=3, scale=scale, policies=None)  # type: ignore[arg-type]
    page.goto(f"file://{here}/page.html")
    page.keyboard.type(annotator)
    page.keyboard.press("Enter")
    return items


def download(page: Any, here: Path) -> str:
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    file = here / "from-browser.json"
    waiting.value.save_as(file)
    return str(file)


def test_a_round_trip_with_the_keyboard_survives_a_reload_and_undoes_the_order(page: Any, here: Path) -> None:
    items = opened(page, here)
    assert page.text_content("#count") == "1 of 7"
    for key in ("a", "b", "t"):
        page.keyboard.press(key)

    page.reload()

    assert page.text_content("#count") == "4 of 7"
    assert page.text_content("#question") == items[3].duel.question
    page.keyboard.press("a")
    page.keyboard.press("u")  # no, it is the other
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    page.keyboard.press("Control+a")  # marks the text and chooses nothing
    page.keyboard.press("2")
    page.keyboard.press("x")
    page.keyboard.press("1")
    assert page.text_content("#told") == "6 pairs judged, 1 skipped."
    file = download(page, here)
    annotation.import_file(file)
    annotation.import_file(file)

    pressed = ["A", "B", "tie", "B", None, "B", "A"]
    first = {"ab": {"A": "a", "B": "b"}, "ba": {"A": "b", "B": "a"}}
    assert recorded() == {
        (item.duel.a.question_id, item.order): first[item.order].get(choice, "tie")
        for item, choice in zip(items, pressed, strict=True)
        if choice
    }
    assert {item.order for item in items} == {"ab", "ba"}
    judge()
    found = duckdb.sql(f"SELECT question_id, verdict FROM '{here}/data/judgements.parquet' WHERE judge = 'human:kim'")
    assert dict(found.fetchall()) == {question: verdict for (question, _), verdict in recorded().items()}


def test_a_round_trip_on_the_scale_of_8(page: Any, here: Path) -> None:
    items = opened(page, here, scale="1-8", annotator="lee")
    for key in "1483":
        page.keyboard.press(key)
    page.keyboard.press("9")
    page.keyboard.press("t")
    page.click("#choices button:nth-child(5)")  # with the mouse too
    page.keyboard.press("6")
    page.keyboard.press("7")
    annotation.import_file(download(page, here))

    rows = {row["question_id"]: row for row in annotation.recorded(duels())}
    for item, rating in zip(items, (1, 4, 8, 3, 5, 6, 7), strict=True):
        row = rows[item.duel.a.question_id]
        assert row["score_a" if item.order == "ab" else "score_b"] == 9 - rating
        assert row["verdict"] == (
            ("a" if item.order == "ab" else "b") if rating <= 4 else ("b" if item.order == "ab" else "a")
        )


def test_what_a_model_wrote_is_shown_as_text_in_every_field(page: Any, here: Path) -> None:
    items = opened(page, here)
    for item in items:
        shown = item.duel.shown(item.order)
        for field, text in (("question", shown.question), ("first", shown.first), ("second", shown.second)):
            assert page.text_content(f"#{field}") == text
            assert "<img src=x" in page.inner_text(f"#{field}")
        assert page.locator("img").count() == 0 and page.locator("script").count() == 2
        page.keyboard.press("t")
    page.wait_for_timeout(200)  # for an alert to come


def test_an_inline_handler_would_not_run_even_if_it_came_in(browser: Any, here: Path) -> None:
    opened(page := browser.new_page(), here)
    ran = page.evaluate("""() => new Promise((done) => {
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='document.title = 1'>");
        setTimeout(() => done(document.title), 300);
    })""")
    page.close()

    assert ran == "Which answer is better?"


def test_pages_do_not_share_their_progress_and_an_id_of_letters_alone_begins(page: Any, here: Path) -> None:
    opened(page, here)
    page.keyboard.press("a")

    annotation.export("page.html", count=7, seed=4, scale="verdict", policies=None)
    page.goto(f"file://{here}/page.html")
    page.keyboard.type("../Kim")
    page.keyboard.press("Enter")
    assert page.is_visible("#annotator")
    page.fill("#annotator", "kim")
    page.keyboard.press("Enter")

    assert page.text_content("#count") == "1 of 7"


def test_a_key_that_is_held_down_judges_once_and_undo_goes_back_over_the_end(page: Any, here: Path) -> None:
    opened(page, here)
    page.keyboard.down("a")
    page.keyboard.down("a")  # what a held key sends again
    page.keyboard.up("a")
    assert page.text_content("#count") == "2 of 7"
    for _ in range(6):
        page.keyboard.press("b")
    assert page.is_visible("#download")

    page.keyboard.press("u")

    assert page.text_content("#count") == "7 of 7"
    page.keyboard.press("Backspace")
    assert page.text_content("#count") == "6 of 7"


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window_and_the_choices_are_in_sight(browser: Any, here: Path, width: int) -> None:
    long = "word " * 400 + "w" * 400
    answer("base", {f"q{number}": long for number in range(QUESTIONS)})
    page = browser.new_page(viewport={"width": width, "height": 640})
    for scale in ("verdict", "1-8"):
        opened(page, here, scale=scale)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.getElementById('choices').getBoundingClientRect().bottom") <= 640
        boxes = [page.locator(f"#{name}").bounding_box() for name in ("first", "second")]
        assert (boxes[0]["y"] == boxes[1]["y"]) == (width == 1200)  # side by side where there is room
    page.close()
