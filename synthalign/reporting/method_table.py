"""One table of all methods: oracle, wins, rating, reward, KL, tokens and seconds of each policy, a run per seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from synthalign.core import yaml_file
from synthalign.core.stage import DURATIONS
from synthalign.core.statistics import Interval
from synthalign.reporting import costs
from synthalign.reporting.seeds import Metrics, Seeds

TRAITS = ("harmless", "helpful", "honest")


def table(metrics: Sequence[Metrics], seconds: Sequence[Mapping[str, float]] = ()) -> dict[str, dict[str, Any]]:
    """The measures of every policy of compare_methods, over the runs that compared the methods; {} where none did.

    oracle                                points of the answers to the evaluation questions
    harmless, helpful, honest             what they consist of
    wins_against_base, wins_against_sft   by the oracle, ties half
    elo                                   rating by the oracle, from what all won against those two; see
                                          `judging.ratings`
    reward, kl, flagged                   at temperature 1, of policies trained for a reward that score_snapshots shows:
                                          by that reward model, nats an answer, and in how many seeds the gain in
                                          reward is flagged as one to distrust
    tokens                                of an answer
    seconds                               of the training stage, start-up included, where it is known how long it took;
                                          the median of the runs, for one may have waited for something else
    seeds                                 runs that differ in the oracle's points; what no seed changes is of one

    metrics  the metrics of one run per seed
    seconds  by policy, one mapping a seed; `seconds_of`
    """
    runs = [run for run in metrics if run.get("compare_methods")]
    seeds = Seeds(runs)
    names = list(runs[0]["compare_methods"]["policies"]) if runs else []
    return {name: _row(seeds, name, [each[name] for each in seconds if name in each]) for name in names}


def _row(seeds: Seeds, name: str, seconds: Sequence[float]) -> dict[str, Any]:
    policy = ("compare_methods", "policies", name)
    oracle = seeds.figure(*policy)
    wins = {
        f"wins_against_{short}": _figure(seeds.interval(*policy, "against", base, "win_rate"))
        for short, base in (("base", "base"), ("sft", "sft_rmsp"))
    }
    trainer = ("score_snapshots", "trainers", name)
    kl, flags = seeds.get(*trainer, "curve", -1, "kl"), seeds.get(*trainer, "flags")
    return {
        "oracle": _figure(oracle.whole if oracle else None),
        **{trait: round(fmean(seeds.get(*policy, trait) or []), 3) for trait in TRAITS},
        **wins,
        "elo": _figure(seeds.interval("compare_methods", "ratings", "oracle", name)),
        "reward": _figure(seeds.interval(*trainer, "curve", -1, "reward")),
        "kl": round(fmean(kl), 3) if kl else None,
        "flagged": sum(map(bool, flags)) if flags else None,
        "tokens": round(fmean(seeds.get(*policy, "tokens") or []), 1),
        "seconds": round(median(seconds), 1) if seconds else None,
        "seeds": oracle.count if oracle else 0,
    }


def _figure(found: Interval | None) -> dict[str, float | int] | None:
    return found.metrics() if found else None


def seconds_of(run: Path) -> dict[str, float]:
    """How long the stage that trained each policy took in the run of this folder; those that it did not train are left
    out, and those whose training went on after an interruption.

    run  the folder of params.yaml, dvc.lock and .work/durations.jsonl; without them nothing is known
    """
    if not all((run / name).exists() for name in ("params.yaml", "dvc.lock", DURATIONS)):
        return {}
    policies = yaml_file.load((run / "params.yaml").read_text(encoding="utf-8"))["sample_answers"]["policies"]
    stages = yaml_file.load((run / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    made_by = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
    took = costs.last_whole(run / DURATIONS)
    found = {}
    for policy, settings in policies.items():
        stage = made_by.get(settings["model"], "")
        if stage.startswith("train_") and stage in took:
            found[policy] = took[stage]
    return found
