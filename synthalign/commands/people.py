"""People's files for the stages: `python -m synthalign people`.

Reads the raw files in data/people/raw/ and writes what is made of them beside that folder; the same files give the same
bytes, whatever was there.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.feedback import people

FOLDER = Path("data/people")

HH = "hh_harmless_test.jsonl.gz"
PANDALM = "pandalm_testset.json"
VICUNA = "vicuna_80.jsonl"
USER_ORIENTED = "self_instruct_user_oriented.jsonl"
HHH = "hhh_alignment_221.json"
TRUTHFULQA = "truthfulqa_mc.json"

UNWATCHED = {
    "people_train.jsonl": ("label_gold",),
    "hh_heldout.jsonl": ("score_rewards", "score_scorers"),
    "pandalm_heldout.jsonl": ("score_rewards", "score_scorers"),
    "heldout_text.jsonl": ("score_benchmarks",),
    "hhh.jsonl": ("score_benchmarks",),
    "truthfulqa.jsonl": ("score_benchmarks",),
}
"""What is made, and the stages that read it without it in their deps: DVC has no dependency that may be null."""


def make(folder: Path = FOLDER, *, heldout: float = people.HELDOUT, limits: people.Limits | None = None) -> None:
    """Write the nine files and print how many rows each has, and how many were left out and why.

    folder   holds the raw files in raw/
    heldout  the share of prompts and of instructions that is held out

    UserError before anything is written: a raw file is missing or malformed, the share is not between 0 and 1, or a
    file would be empty.
    """
    limits = limits or people.Limits()
    if not 0 < heldout < 1:
        raise UserError(f"--heldout {heldout}: a share between 0 and 1 is held out, for instance .5")
    raw = {name: folder / "raw" / name for name in (HH, PANDALM, VICUNA, USER_ORIENTED, HHH, TRUTHFULQA)}
    if missing := [str(file) for file in raw.values() if not file.is_file()]:
        raise UserError(f"there is no {', '.join(missing)}; {people.STEP}")

    pairs, unusable_pairs = people.hh_pairs(raw[HH], heldout)
    judged, unusable_judged = people.pandalm(raw[PANDALM], heldout)
    seeds, other_seeds = people.seed_queries(raw[VICUNA], limits)
    to_as_is, to_judge = people.as_is_and_judge(judged["train"])
    preferred = people.preferences(judged["train"])
    trained = [pair["question"] for pair in judged["train"]]
    questions, other_questions = people.eval_questions(raw[USER_ORIENTED], heldout, seeds, limits, trained=trained)
    heldout_texts, short = people.heldout_texts(raw[USER_ORIENTED], heldout)

    texts = {
        "people_train.jsonl": _lines(preferred),
        "hh_heldout.jsonl": _lines(pairs["heldout"]),
        "pandalm_community.jsonl": _lines([people.community(pair) for pair in to_as_is]),
        "pandalm_heldout.jsonl": _lines(judged["heldout"]),
        "seed_queries.txt": seeds,
        "eval_questions.txt": questions,
        "heldout_text.jsonl": _lines(heldout_texts),
        "hhh.jsonl": _lines(people.items(raw[HHH])),
        "truthfulqa.jsonl": _lines(people.items(raw[TRUTHFULQA])),
    }
    if empty := [name for name, lines in texts.items() if not lines]:
        raise UserError(f"nothing is left for {', '.join(empty)}; look at the limits, --heldout and the raw files")
    changed = [name for name, lines in texts.items() if _write(folder / name, lines)]
    for name, lines in texts.items():
        print(f"{folder / name}: {len(lines):,} rows")
    if unseen := [name for name in changed if name in UNWATCHED]:
        stages = sorted({stage for name in unseen for stage in UNWATCHED[name]})
        print(
            f"{', '.join(unseen)}: not as before, and DVC does not watch a file that a profile may leave out; where "
            f"one was read already: dvc repro -f -s {' '.join(stages)}"
        )
    unusable_pairs["on the side that is trained on, which no model learns"] = len(pairs["train"])
    unusable_judged["as many annotators for each answer, which teaches the judge nothing"] = len(to_judge) - len(
        preferred
    )
    other_questions[f"an answer of under {people.SHORTEST_TEXT} characters, for heldout_text.jsonl"] = short
    reasons = {HH: unusable_pairs, PANDALM: unusable_judged, VICUNA: other_seeds, USER_ORIENTED: other_questions}
    for name, counts in reasons.items():
        _tell(name, counts)


def _lines(rows: Sequence[Row]) -> list[str]:
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def _write(file: Path, lines: Sequence[str]) -> bool:
    """In one step, so that a file is whole or as it was; returns whether it was there with other lines."""
    before = file.read_bytes() if file.is_file() else None
    partial = file.with_name(f"{file.name}.part")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    partial.replace(file)
    return before is not None and before != file.read_bytes()


def _tell(name: str, counts: Counter[str]) -> None:
    for reason, count in sorted((+counts).items()):
        print(f"{name}: {count:,} left out, {reason}")
