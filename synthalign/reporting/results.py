"""Print what the last run measured, and keep the numbers of README.md and docs/results.md those of metrics/.

python -m synthalign.reporting.results             this run, and whether it lies within the recorded results
python -m synthalign.reporting.results --readme    write the tables of README.md and docs/results.md
python -m synthalign.reporting.results --check     exit 1 when one of the two says other numbers than metrics/
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.reporting import claims, generated_part, result_tables
from synthalign.reporting.text_tables import Rows, markdown, plain

BEGIN, END = "<!-- results -->", "<!-- /results -->"
PRINTED, PRINTED_END = "<!-- printed -->", "<!-- /printed -->"

WHERE = "Tables are in data/, models in models/, all figures in metrics/; `make chat` talks to the policy."


def against_recorded(now: Sequence[Mapping[str, Any]], recorded: Sequence[Mapping[str, Any]]) -> Rows:
    """This run's figure for each claim, and whether it lies within the recorded interval."""
    intervals = {claim["id"]: claim for claim in recorded}
    rows: Rows = [("claim", "this run", "recorded interval", "within")]
    for claim in now:
        known = intervals.get(claim["id"])
        value = "not measured" if claim["value"] is None else f"{claim['value']:.3f}"
        if known is None or known["value"] is None or claim["value"] is None:
            rows.append((claim["id"], value, "", ""))
        else:
            within = known["low"] <= claim["value"] <= known["high"]
            rows.append((claim["id"], value, f"{known['low']:.3f} to {known['high']:.3f}", "yes" if within else "NO"))
    return rows


def terminal(metrics: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> str:
    """Everything that `make repro` prints at its end."""
    tables = [(title, rows) for title, make in result_tables.SECTIONS if len(rows := make(metrics)) > 1]
    parts = [f"{title}\n\n{plain(rows)}" for title, rows in tables]
    now = claims.claims([metrics])
    measured = sum(claim["value"] is not None for claim in now)
    if measured:
        title = "Claims, this run's seed" + (
            "" if recorded else " (metrics/claims.json is not there: run `make claims`)"
        )
        parts.append(f"{title}\n\n{plain(against_recorded(now, recorded))}")
    if not parts:
        raise UserError("metrics/ holds no results yet; run `make repro`")
    parts.append(WHERE)
    return "\n\n\n".join(parts)


def readme(recorded: Sequence[Mapping[str, Any]]) -> str:
    """The part of README.md between the markers: a few claims, and how many hold of all."""
    if not recorded:
        return "Nothing is recorded yet: run `make claims`."
    papers = len({result_tables.paper(claim) for claim in recorded})
    held = sum(claim["holds"] for claim in recorded)
    said = f"Of {len(recorded)} claims of {papers} papers, {held} hold. {result_tables.RULE}"
    return f"{said}\n\n{markdown(result_tables.chosen_rows(recorded))}"


def printed(metrics: Mapping[str, Any]) -> str:
    """A few lines of what `make repro` prints, as README shows them: the policies, and how it ends."""
    policies = plain(result_tables.policy_rows(metrics)).splitlines()
    return "\n".join(f"    {line}".rstrip() for line in ("…", "Policies", "", *policies, "…", WHERE))


def page(metrics: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> str:
    """The part of docs/results.md between the markers: every table."""
    tables = [("Claims", result_tables.claim_rows(recorded))] if recorded else []
    tables += [(title, rows) for title, make in result_tables.SECTIONS if len(rows := make(metrics)) > 1]
    return "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in tables)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m synthalign.reporting.results", description=__doc__.splitlines()[0])
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument("--readme", action="store_true", help="write the tables into README.md and docs/results.md")
    todo.add_argument("--check", action="store_true", help="exit 1 when one of the two is not up to date")
    given = parser.parse_args(arguments)

    metrics = claims.read(Path("metrics"))
    recorded, methods = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        for file in (Path("metrics/claims.json"), Path("metrics/methods.json"))
    )
    if not given.readme and not given.check:
        print(terminal(metrics, recorded))
        return
    parts = {
        "README.md": [(PRINTED, PRINTED_END, printed(metrics)), (BEGIN, END, readme(recorded))],
        "docs/results.md": [(BEGIN, END, page(metrics | {"methods": methods}, recorded))],
    }
    for name, generated in parts.items():
        old = new = Path(name).read_text(encoding="utf-8")
        for begin, end, part in generated:
            new = generated_part.replaced(new, begin, end, part, name=name)
        if given.readme:
            Path(name).write_text(new, encoding="utf-8")
        elif new != old:
            raise UserError(f"{name} says other numbers than metrics/; run `make readme`")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"results: {error}", file=sys.stderr)
        raise SystemExit(1) from error
