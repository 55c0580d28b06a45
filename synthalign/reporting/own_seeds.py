"""Put the claims of experiments that have seeds of their own into metrics/claims.json; the others stay.

    python -m synthalign.reporting.own_seeds

`make ditto-ablation`, `dpo-frontier`, `reward-losses` and `iterated-rlaif` each write one metrics file of all their
seeds, so their claims need no repetition of the graph: they are decided anew from metrics/, and Holm's correction over
all claims with them.  What several runs of the graph showed stays as `make claims` recorded it.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.reporting import claims, ditto_claims, dpo_claims, feedback_claims, recorded, run_record
from synthalign.reporting.seeds import Claim, Metrics, Seeds, corrected, outcome


def of_experiments(metrics: Metrics) -> list[Claim]:
    """The claims whose seeds are in one file; the same whichever run of the graph they stand beside."""
    seeds = Seeds([metrics])
    return [*dpo_claims.claims(seeds), *feedback_claims.claims(seeds), *ditto_claims.claims(seeds)]


def renewed(known: Sequence[Claim], metrics: Metrics) -> list[Claim]:
    """The recorded claims with those of the experiments in the place of what they were, in the order of all claims."""
    rows = {claim["id"]: claim for claim in known} | {claim["id"]: claim for claim in of_experiments(metrics)}
    order = [claim["id"] for claim in claims.claims([metrics])]
    return corrected([rows[name] for name in order if name in rows])


def main(folder: Path = Path("metrics")) -> None:
    file, of_run = folder / "claims.json", folder / "recorded.json"
    for made in (file, of_run):
        if not made.exists():
            raise UserError(f"{made}: no recorded claims; `make claims` makes them, those of the experiments too")
    metrics = run_record.metrics_in(folder)
    found = renewed(json.loads(file.read_text(encoding="utf-8")), metrics)
    of: dict[str, Any] = json.loads(of_run.read_text(encoding="utf-8"))
    own = {claim["id"]: recorded.figure(claim) for claim in of_experiments(metrics)}
    figures: Mapping[str, Any] = of["figures"] | own
    claims.write("claims", found, outcome(found))
    named = {claim["id"]: figures[claim["id"]] for claim in found if claim["id"] in figures}
    claims.write("recorded", of | {"figures": named}, recorded.said(of))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"own_seeds: {error}", file=sys.stderr)
        raise SystemExit(1) from error
