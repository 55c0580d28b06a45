"""What a run shows: figures as people read them, and text of models that stays text."""

from html.parser import HTMLParser

from flows.artifacts import block, cell, change, number, rows, summary
from flows.gates import Verdict

HOSTILE = "<img src=x onerror=alert(1)> | **bold** [link](http://x) `code`\n\n</pre><script>alert(2)</script>\n# title"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)


def tags(text: str) -> list[str]:
    parser = Tags()
    parser.feed(text)
    return parser.found


def test_a_figure_is_shown_with_interval_n_and_change() -> None:
    now = {"value": 1.5, "low": 1.25, "high": 1.75, "n": 1485}

    assert number(now) == "1.5 (1.25 to 1.75), n = 1,485"
    assert number(None) == ""
    assert change(now, {"value": 1.0}) == "+0.5"
    assert change(now, now) == "±0"
    assert change(now, None) == ""


def test_a_row_says_what_moved_since_when() -> None:
    verdict = Verdict("score:a", "red", "worse by 1", {"value": 1.0}, {"value": 1.5}, {"value": 2.0})

    assert rows([verdict]) == [
        {
            "figure": "score:a",
            "now": "1",
            "since the last run": "-0.5",
            "since the baseline": "-1",
            "gate": "red",
            "why": "worse by 1",
        }
    ]


def test_what_a_model_wrote_is_no_markup() -> None:
    page = summary({"train": "failed"}, {"train": f"train ended\n{HOSTILE}"}, [], HOSTILE)

    assert tags(page) == ["pre"]
    assert tags(block(HOSTILE)) == ["pre"]
    assert "\n\n" not in block(HOSTILE)  # Markdown's HTML block would end there
    assert not set("|*[]`<>") & set(cell(HOSTILE).replace("&#", ""))


def test_the_summary_counts_how_the_stages_ended() -> None:
    ended = {"a": "unchanged", "b": "ran", "c": "failed", "d": "not started", "e": "unchanged"}

    page = summary(ended, {"c": "c ended with exit code 1\nlast line"}, [], "Nothing is published.")

    assert page.startswith("# 2 unchanged, 1 ran, 1 failed, 1 not started\n")
    assert "<pre>last line</pre>" in page
