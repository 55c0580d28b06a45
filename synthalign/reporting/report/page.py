"""The report as one HTML file that needs no network: style, script and data are inside, and nothing else may run.

Model output is untrusted.  Jinja escapes all text, the answers are JSON inside a script element that is data, and the
script writes them as text.  Should markup slip through all the same, the page's Content-Security-Policy lets no script
run but its own, by hash, and nothing be fetched.
"""

import base64
import hashlib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from synthalign.reporting.report import charts
from synthalign.reporting.report.parts import Answers, Figure, Folded, Section, Table
from synthalign.reporting.report.run import Run

FOLDER = Path(__file__).parent


def prose(text: str) -> Markup:
    """A paragraph, escaped, with what stands between `backticks` as code."""
    pieces = [escape(piece) for piece in text.split("`")]
    return Markup("").join(
        Markup("<code>%s</code>") % piece if place % 2 else piece for place, piece in enumerate(pieces)
    )


def kind(block: Any) -> str:
    """What a block is, for the template."""
    names = {str: "text", Table: "table", Figure: "figure", Folded: "folded", Answers: "answers"}
    return names[type(block)]


def browsed(run: Run) -> dict[str, Any]:
    """The data of the browser of answers, short keys and lists to keep it small: question, policy, sample, score."""
    policies = list(dict.fromkeys(policy for question in run.questions for policy in question.answers))
    judges = sorted({judge for question in run.questions for answers in question.answers.values()
                     for answer in answers for judge in answer.scores})  # fmt: skip
    asked = []
    for question in run.questions:
        given = [
            [[one.text, one.tokens, one.finish_reason, *map(one.scores.get, judges)] for one in answers]
            for answers in (question.answers.get(policy, ()) for policy in policies)
        ]
        asked.append({"id": question.question_id, "text": question.text, "answers": given})
    return {"policies": policies, "judges": judges, "questions": asked}


def digest(run: Run) -> str:
    """One hash over all inputs, to tell two reports apart."""
    lines = [f"{one.path} {one.md5}\n" for one in sorted(run.inputs)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


def render(sections: Sequence[Section], run: Run) -> str:
    """The page. Equal arguments give equal text."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"prose": prose, "kind": kind}
    numbers = count(1)

    def svg(chart: str) -> Markup:
        """A chart of ours, in which matplotlib has escaped all text, with ids of its own."""
        return Markup(chart.replace(charts.IDS, f"c{next(numbers)}-"))

    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        sections=sections,
        digest=digest(run),
        styles=charts.STYLES,
        data=browsed(run),
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{allowed}",
        svg=svg,
    )
