"""Put what the graph has measured and written into one page, report/index.html, that needs no network.

It reads the files that dvc.yaml declares as its deps and no other, so a file that is to be shown is a line there.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from synthalign.core import stage, tables, yaml_file
from synthalign.core.errors import UserError
from synthalign.reporting import claims, recorded
from synthalign.reporting.report import answered, page, sections
from synthalign.reporting.report.run import Input, Run

OUT = Path("report/index.html")


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    answer_megabytes: float = Field(gt=0)
    """How much text of questions and answers the page may hold; questions are taken in the order of a hash of their
    ids until it is full."""


def declared() -> list[Path]:
    """The files and folders that dvc.yaml names as this stage's deps, in its order."""
    graph = yaml_file.load(Path("dvc.yaml").read_text(encoding="utf-8"))
    return [Path(dep) for dep in graph["stages"]["report"]["deps"]]


def hashed(file: Path) -> Input:
    """The file with its size and the hash that dvc.lock has for it; UserError when it is not there."""
    if not file.is_file():
        raise UserError(f"{file} does not exist; `dvc repro report` makes it and what comes before it")
    with file.open("rb") as stream:
        return Input(file.as_posix(), hashlib.file_digest(stream, "md5").hexdigest(), file.stat().st_size)


def json_of(file: Path) -> Any:
    """The content of a metrics file."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error}); run its stage again") from error


def below(folder: str, files: Sequence[Path]) -> dict[str, Path]:
    """Those of the files that lie below the folder, by their path there without its ending."""
    found = [file for file in files if file.is_relative_to(folder)]
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in found}


def main(params: Params) -> None:
    files = declared()
    inputs = [hashed(file) for file in files if file.parts[0] not in ("stages", "synthalign")]
    metrics = {name: json_of(file) for name, file in below("metrics", files).items()}
    known, of, methods = metrics.pop("claims", []), metrics.pop("recorded", {}), metrics.pop("methods", {})
    points = {name.removeprefix("plots/"): metrics.pop(name) for name in list(metrics) if name.startswith("plots/")}
    here = claims.claims([metrics])
    measured, stands = {claim["id"] for claim in here if claim["value"] is not None}, recorded.stands(known, of, here)
    answers = {policy: tables.rows(f"answers/{policy}") for policy in below("data/answers", files)}
    judged = ["question_id", "sample_index", "policy_a", "policy_b", "judge", "score_a", "score_b"]
    scores = answered.scores_of(list(tables.stream("judgements", judged)))
    questions = answered.questions_of(answers, scores)
    snapshot = ["step", "question_id", "reward", "kl", "tokens"]

    run = Run(
        settings=yaml_file.load(Path("params.yaml").read_text(encoding="utf-8")),
        metrics=metrics,
        points=points,
        claims=recorded.of_this_run(known, of, here),
        elsewhere=[claim for claim in known if claim["id"] not in measured] if stands else [],
        methods=methods if stands else {},
        recorded=recorded.said(of),
        snapshots=list(tables.stream("ppo_curve/almost", snapshot)),
        inputs=inputs,
        questions=answered.first_of(questions, params.answer_megabytes),
        questions_in_all=len(questions),
    )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(page.render(sections.sections(run), run), encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.2f} MB, {len(run.questions)} of {len(questions)} questions")


if __name__ == "__main__":
    stage.run(main, "report", Params)
