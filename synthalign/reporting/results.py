"""Print what the last run measured, and keep the numbers of README.md and docs/results.md those of metrics/.

python -m synthalign.reporting.results             this run, and whether it lies within the recorded results
python -m synthalign.reporting.results --readme    write the tables of README.md, docs/results.md and docs/pocket.md
python -m synthalign.reporting.results --check     exit 1 when one of them says other numbers than metrics/
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core import stage
from synthalign.core.errors import UserError
from synthalign.reporting import claims, generated_part, recorded, result_tables, run_record, seeds
from synthalign.reporting.text_tables import Rows, markdown, plain

BEGIN, END = "<!-- results -->", "<!-- /results -->"
PRINTED, PRINTED_END = "<!-- printed -->", "<!-- /printed -->"

WHERE = "Tables are in data/, models in models/, all figures in metrics/; `make chat` talks to the policy."
COMMITTED = (
    "These are the figures that were committed with dvc.lock; its tables or models are not here, and `make repro` "
    "makes them."
)


def where(folder: Path, lock: recorded.Lock) -> str:
    """Where the rest of the run is: all of the tables, or all of the models, of a clone may never have been made."""
    outs = [str(out["path"]) for stage in lock.values() for out in stage.get("outs", [])]
    kinds = ([path for path in outs if path.startswith(top)] for top in ("data/", "models/"))
    return COMMITTED if any(kind and not any((folder / path).exists() for path in kind) for kind in kinds) else WHERE


def against_recorded(now: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]) -> Rows:
    """This run's figure for each claim that it measured, and whether it lies within the recorded interval.

    Of several figures it is the one that this run shows least, beside the recorded one of the same name: which comes
    first differs from run to run.
    """
    recorded_parts = {
        (claim["id"], part["of"]): part for claim in known for part in claim["parts"] if part["value"] is not None
    }
    rows: Rows = [("claim", "this run", "recorded interval", "within")]
    for claim in now:
        if claim["value"] is not None:
            of = claim["parts"][0]["of"]
            found, value = recorded_parts.get((claim["id"], of)), f"{claim['value']:.3f}"
            interval = result_tables.ends(found) if found else ""
            within = ""
            if found is not None and found["low"] is not None:
                within = "yes" if found["low"] <= claim["value"] <= found["high"] else "NO"
            rows.append((f"{claim['id']}: {of}" if of else claim["id"], value, interval, within))
    return rows


def terminal(
    metrics: Mapping[str, Any], known: Sequence[Mapping[str, Any]], of: Mapping[str, Any], *, others: int, end: str
) -> str:
    """Everything that `make repro` prints at its end.

    metrics  of the stages that are up to date, and of no others
    known    the claims of metrics/claims.json that were recorded of these
    of       metrics/recorded.json
    others   how many more metrics files there are: those of other settings, or of no run that dvc.lock knows
    end      the last line
    """
    tables = [(title, rows) for title, make in result_tables.SECTIONS if len(rows := make(metrics)) > 1]
    parts = [f"{title}\n\n{plain(rows)}" for title, rows in tables]
    rows = against_recorded(claims.claims([metrics]), known)
    if len(rows) > 1:
        which = recorded.said(of) if known else "none are recorded over several seeds of this run, `make claims` does"
        parts.append(f"Claims, this run's seed; {which}\n\n{plain(rows)}")
    if not parts and others:
        raise UserError(
            f"metrics/ holds {others} files of other settings than those in params.yaml, or of another run than "
            "that in dvc.lock; `make plan` says what is out of date, `make repro` runs it"
        )
    if not parts:
        raise UserError("metrics/ holds no results yet; run `make repro`")
    parts.append(end)
    return "\n\n\n".join(parts)


def readme(known: Sequence[Mapping[str, Any]], state: str) -> str:
    """The part of README.md between the markers: a few claims, how many hold of all, and of which run they are."""
    if not known:
        return "Nothing is recorded yet: run `make claims`."
    papers = len({result_tables.paper(claim) for claim in known})
    said = f"Of {len(known)} claims of {papers} papers, {seeds.outcome(known)}. {result_tables.RULE} {state}"
    return f"{said}\n\n{markdown(result_tables.chosen_rows(known))}"


def printed(metrics: Mapping[str, Any]) -> str:
    """A few lines of what `make repro` prints, as README shows them: the policies, and how it ends."""
    policies = plain(result_tables.policy_rows(metrics)).splitlines()
    return "\n".join(f"    {line}".rstrip() for line in ("…", "Policies", "", *policies, "…", WHERE))


def page(metrics: Mapping[str, Any], known: Sequence[Mapping[str, Any]], state: str) -> str:
    """The part of docs/results.md between the markers: every table."""
    tables = [(f"Claims\n\n{state}", result_tables.claim_rows(known))] if known else []
    tables += [(title, rows) for title, make in result_tables.SECTIONS if len(rows := make(metrics)) > 1]
    return "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in tables)


def real(written: Mapping[str, Any]) -> str:
    """The part of docs/pocket.md between the markers: what real models and people's data showed."""
    if not written:
        return "Nothing is recorded yet: run `make pocket`."
    rows = written["claims"]
    counts = Counter(row["decision"] for row in rows)
    said = ", ".join(f"{counts[decision]} {decision}" for decision in sorted(counts))
    return f"Of {len(rows)} rows: {said}.\n\n{markdown(result_tables.real_rows(rows))}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m synthalign.reporting.results", description=__doc__.splitlines()[0])
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument(
        "--readme", action="store_true", help="write the tables into README.md, docs/results.md and docs/pocket.md"
    )
    todo.add_argument("--check", action="store_true", help="exit 1 when one of them is not up to date")
    given = parser.parse_args(arguments)

    folder = Path("metrics")
    metrics = run_record.metrics_in(folder)
    known, methods, of, real_text = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        for file in (folder / f"{name}.json" for name in recorded.NO_METRICS)
    )
    if not given.readme and not given.check:
        lock = recorded.read_lock(Path())
        current = recorded.current(folder, lock, stage.read("params.yaml"))
        shown = {name: found for name, found in metrics.items() if name in current}
        ours = recorded.of_this_run(known or [], of, claims.claims([shown]))
        print(terminal(shown, ours, of, others=len(metrics) - len(shown), end=where(Path(), lock)))
        return
    state = recorded.state(of, claims.claims([metrics]))
    parts = {
        "README.md": [(PRINTED, PRINTED_END, printed(metrics)), (BEGIN, END, readme(known, state))],
        "docs/results.md": [(BEGIN, END, page(metrics | {"methods": methods}, known, state))],
        "docs/pocket.md": [(BEGIN, END, real(real_text))],
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
