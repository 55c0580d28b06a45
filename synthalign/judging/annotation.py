"""People as judges: a page to give them, and their verdicts back into the project.

synthalign annotate export                a page of 200 pairs of answers, which works from disk in any browser
synthalign annotate import FILE           what an annotator downloaded from it, into data/annotations/<annotator>.jsonl
synthalign annotate agreement             how far every two judges agree, and people among themselves (agreement.py)

The page shows no policy.  It knows a pair by a hash of its texts and places, so that a verdict counts for the very
answers that were read: once a policy answers otherwise, what people said of its old answers is left out (`recorded`).
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from synthalign.core import json_lines, tables, text_file
from synthalign.core.errors import UserError, together, wrong_keys
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.judging import verdicts
from synthalign.judging.verdicts import KEY, ORDERS, Duel, Opinion, Order

FOLDER = Path("data/annotations")
TEMPLATE = Path(__file__).with_suffix(".html")
FORMAT = "synthalign annotation 1"

Scale = Literal["verdict", "1-8"]
CHOICES: dict[Scale, tuple[str | int, ...]] = {"verdict": ("A", "B", "tie"), "1-8": (1, 2, 3, 4, 5, 6, 7, 8)}
"""verdict is A, B or tie; 1-8 is RLCD's (Yang et al. 2023, section 4): 1 to 4 favour A, 5 to 8 favour B, nothing is
neutral.  A is what stands first."""

ANNOTATOR = r"[a-z0-9][a-z0-9_-]{0,31}"
"""An annotator's id becomes a file's name."""


@dataclass(frozen=True)
class Item:
    """Two answers as a person is shown them."""

    duel: Duel
    order: Order

    @property
    def id(self) -> str:
        """Of policies, question and both texts in their places."""
        duel, shown = self.duel, self.duel.shown(self.order)
        policies, answers = (duel.policy_a, duel.policy_b, self.order), (duel.a.question_id, duel.a.sample_index)
        return content_id("annotation", *policies, *answers, shown.question, shown.first, shown.second)


def current_duels() -> list[Duel]:
    """The pairs of answers that `judge_answers` compared, as the answers are now."""
    pairs = sorted(
        {(row["policy_a"], row["policy_b"]) for row in tables.stream("judgements", ["policy_a", "policy_b"])}
    )
    questions = verdicts.eval_questions()
    answers = {policy: verdicts.answers_of(policy, questions) for policy in {name for pair in pairs for name in pair}}
    return verdicts.duels(answers, pairs, questions)


# -- out --------------------------------------------------------------------------------------------------------------


def sampled(duels: Sequence[Duel], *, count: int, seed: int) -> list[Item]:
    """`count` of the duels in which the two answers differ, and which answer stands first, both drawn by the seed.

    The draw goes by a hash of the texts, so another pair of policies changes nothing in it.  Two equal answers are no
    question for a person.  UserError when fewer are there, or none are wanted.
    """
    differing = [duel for duel in duels if duel.a.text != duel.b.text]
    if not 0 < count <= len(differing):
        raise UserError(f"{len(differing)} pairs of answers differ, {count} are wanted; ask for 1 to {len(differing)}")
    drawn = sorted(differing, key=lambda duel: content_id("draw", seed, Item(duel, "ab").id))[:count]
    return [Item(duel, ORDERS[int(content_id("order", seed, Item(duel, "ab").id), 16) % 2]) for duel in drawn]


def page(items: Sequence[Item], scale: Scale) -> str:
    """The page as HTML, one file that asks for no other.

    Texts go in as JSON that can end no element, and come out as text and not as markup.  The page's own policy lets in
    the one script and the one style that stand in it, by their hash, and no address at all.
    """
    shown = [(item.id, item.duel.shown(item.order)) for item in items]
    content = {
        "id": content_id(FORMAT, scale, *(id for id, _ in shown)),
        "format": FORMAT,
        "scale": scale,
        "choices": CHOICES[scale],
        "items": [
            {"id": id, "question": pair.question, "first": pair.first, "second": pair.second} for id, pair in shown
        ],
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    allowed = []
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed.append(f"{kind} 'sha256-{digest}'")
    policy = f"default-src 'none'; {'; '.join(allowed)}; base-uri 'none'; form-action 'none'"
    data = json.dumps(content).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return template.replace("{{policy}}", policy).replace("{{data}}", data)


def export(out: str, *, count: int, seed: int, scale: Scale, policies: Sequence[str] | None) -> None:
    """Write the page; of two policies alone where they are named."""
    every = current_duels()
    duels = [duel for duel in every if policies is None or {duel.policy_a, duel.policy_b} == set(policies)]
    if policies and not duels:
        known = ", ".join(sorted({f"{duel.policy_a} {duel.policy_b}" for duel in every}))
        raise UserError(f"--policies {' '.join(policies)}: nobody compared these two; allowed: {known}")
    items = sampled(duels, count=count, seed=seed)
    try:
        Path(out).write_text(page(items, scale), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error}") from error
    equal = sum(duel.a.text == duel.b.text for duel in duels)
    print(
        f"{out}: {len(items)} of {len(duels):,} pairs of answers ({equal:,} are equal and never drawn); open it in a "
        "browser, or send it to an annotator"
    )


# -- in ---------------------------------------------------------------------------------------------------------------


class Choice(BaseModel, extra="forbid", strict=True):
    item: str
    choice: str | int


class Results(BaseModel, extra="forbid", strict=True):
    """What an annotator downloads; another format's name means another version of the page."""

    format: Literal["synthalign annotation 1"]
    page: str
    annotator: str = Field(pattern=f"^{ANNOTATOR}$")
    scale: Scale
    choices: list[Choice] = Field(min_length=1)


class Annotation(BaseModel, extra="forbid", strict=True):
    """A line of data/annotations/<annotator>.jsonl: a row of `judgements`, and the item that was read."""

    item: str
    question_id: str
    sample_index: int
    policy_a: str
    policy_b: str
    order: Order
    judge: str
    verdict: Literal["a", "b", "tie"]
    score_a: float | None
    score_b: float | None
    raw: str
    characters_a: int
    characters_b: int
    tokens_a: int
    tokens_b: int


def verdict(scale: Scale, choice: str | int) -> Opinion:
    """A person's choice as a judge's opinion; r of 1 to 8 scores the first answer 9 - r and the second r."""
    if scale == "verdict":
        return Opinion({"A": "first", "B": "second"}.get(str(choice), "tie"), raw=str(choice))  # type: ignore[arg-type]
    rating = int(choice)
    return Opinion(verdicts.preferred(9 - rating, rating), 9.0 - rating, float(rating), str(choice))


def read_results(file: str, duels: Sequence[Duel]) -> tuple[str, list[Annotation]]:
    """The annotator of a downloaded file and what they say of these duels.

    UserError that names the file, the row and the value, for all wrong rows at once: an annotator's id or a choice that
    is not allowed, an item that comes twice or is none of the answers as they are now.
    """
    try:
        text = text_file.read(file, step="name the file that the page downloaded")
        json_lines.check_whole(text, file)
        results = Results.model_validate_json(text)
    except ValidationError as error:
        raise together(wrong_keys(error, file)) from error
    known = {item.id: item for duel in duels for order in ORDERS for item in (Item(duel, order),)}
    found: dict[str, Annotation] = {}
    wrong = []
    for place, row in enumerate(results.choices):
        at = f"{file}: choices[{place}]"
        if row.choice not in CHOICES[results.scale]:
            wrong.append(f"{at}.choice = {row.choice!r}; allowed: {', '.join(map(str, CHOICES[results.scale]))}")
        elif row.item in found:
            wrong.append(f"{at}.item = {row.item!r}: an earlier row has it already; leave one of them")
        elif row.item not in known:
            wrong.append(
                f"{at}.item = {row.item!r}: no two policies give these answers now; they have changed since the page "
                "was made, or the file is of another project; export a page and annotate it anew"
            )
        else:
            item = known[row.item]
            judged = item.duel.judgement(item.order, f"human:{results.annotator}", verdict(results.scale, row.choice))
            found[row.item] = Annotation(item=row.item, **judged)
    if wrong:
        raise together(wrong)
    return results.annotator, list(found.values())


def read_annotations(file: Path) -> list[Annotation]:
    """The lines of an annotator's file; UserError that names the first one that is none."""
    found = []
    for number, line in json_lines.lines(file, step="take it out of the folder, or put it back as it was"):
        try:
            json_lines.check_whole(line, file, line=number)
            found.append(Annotation.model_validate_json(line))
        except ValidationError as error:
            raise together(wrong_keys(error, f"{file}:{number}")) from error
        if found[-1].judge != f"human:{file.stem}":
            raise UserError(f"{file}:{number}: judge = {found[-1].judge!r}; in this file it is human:{file.stem}")
    return found


def _key(row: Annotation) -> tuple[Any, ...]:
    return tuple(getattr(row, column) for column in KEY)


def import_file(file: str) -> None:
    """Add a downloaded file to its annotator's; what is there already is not added again.

    UserError when the annotator said otherwise of the same pair before: which of the two counts is for a person to say.
    """
    annotator, rows = read_results(file, current_duels())
    out = FOLDER / f"{annotator}.jsonl"
    before = {_key(row): row for row in read_annotations(out)} if out.exists() else {}
    new = [row for row in rows if before.get(_key(row)) != row]
    for row in new:
        if (old := before.get(_key(row))) and old.item == row.item:
            raise UserError(
                f"{file}: item {row.item}: {annotator} says {row.raw!r} and said {old.raw!r} before; if the new one "
                f"counts, remove the line of this item from {out} and import again"
            )
    merged = before | {_key(row): row for row in new}
    FOLDER.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text("".join(merged[key].model_dump_json() + "\n" for key in sorted(merged)), encoding="utf-8")
    partial.replace(out)
    print(f"{out}: {len(merged):,} verdicts, {len(new):,} new; `dvc repro judge_answers` adds them to its table")


def recorded(duels: Sequence[Duel]) -> list[Row]:
    """The rows of `judgements` of all annotators about these duels.

    Verdicts about answers that are not among them stay in their file, are left out here, and are counted on stdout.
    """
    known = {Item(duel, order).id for duel in duels for order in ORDERS}
    rows: list[Row] = []
    for file in sorted(FOLDER.glob("*.jsonl")):
        given = read_annotations(file)
        kept = [row for row in given if row.item in known]
        if len(kept) < len(given):
            left = f"left out {len(given) - len(kept):,} of {len(given):,} verdicts"
            print(f"{file}: {left}: their answers changed, or their policies are not compared any more")
        rows += [row.model_dump(exclude={"item"}) for row in kept]
    return rows


def everybody() -> list[Row]:
    """The rows of `judgements`, those of people as they stand in their files now."""
    others = [row for row in tables.rows("judgements") if not row["judge"].startswith("human:")]
    return others + recorded(current_duels())
