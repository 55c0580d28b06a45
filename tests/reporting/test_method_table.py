"""The table of all methods: seeds put together, and which stage's seconds are a policy's."""

import json
from pathlib import Path

import pytest
import yaml

from synthalign.core.statistics import Interval, combine_seeds
from synthalign.reporting import method_table


def figure(value: float) -> dict[str, float | int]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 485}


def run(value: float, kl: float, flags: list[str]) -> dict:
    points = figure(value) | {"harmless": 0.25, "helpful": value, "honest": 0.5, "tokens": 20.0}
    return {
        "compare_methods": {
            "ratings": {"oracle": {"ppo": figure(1000 * value)}},
            "policies": {
                "base": points | {"against": {"sft_rmsp": {"win_rate": figure(0.2)}}},
                "ppo": points | {"against": {"base": {"win_rate": figure(0.8)}}},
            }
        },
        "score_snapshots": {
            "trainers": {"ppo": {"curve": [{"reward": figure(0.0), "kl": 0.0}, {"reward": figure(1.0), "kl": kl}],
                                 "flags": flags}}
        },
    }  # fmt: skip


def test_figures_of_several_seeds_are_put_together_as_claims_are():
    table = method_table.table([run(1.0, 2.0, []), run(2.0, 5.0, ["kl"])], [{"ppo": 30.0}, {"ppo": 50.0}])

    both = combine_seeds([Interval(1.0, 0.9, 1.1, 485), Interval(2.0, 1.9, 2.1, 485)])
    assert table["ppo"]["oracle"] == both.metrics()
    assert table["ppo"]["elo"]["value"] == (1000 + 2000) / 2
    assert table["ppo"]["helpful"] == (1.0 + 2.0) / 2
    assert table["ppo"]["kl"] == (2.0 + 5.0) / 2
    assert table["ppo"]["flagged"] == 0 + 1
    assert table["ppo"]["seconds"] == (30 + 50) / 2
    assert (table["ppo"]["seeds"], table["ppo"]["tokens"]) == (2, 20.0)


def test_what_was_not_measured_of_a_policy_is_null():
    table = method_table.table([run(1.0, 2.0, [])])

    assert (
        table["base"]["elo"]
        is table["base"]["wins_against_base"]
        is table["base"]["reward"]
        is table["base"]["kl"]
        is None
    )
    assert table["ppo"]["wins_against_sft"] is table["ppo"]["seconds"] is None
    assert table["base"]["wins_against_sft"]["value"] == 0.2


def test_runs_that_did_not_compare_the_methods_are_left_out():
    assert method_table.table([{"score_snapshots": {}}, run(1.0, 2.0, [])])["ppo"]["seeds"] == 1
    assert method_table.table([{}]) == {}


def test_seconds_are_those_of_the_stage_that_made_the_policy(tmp_path: Path):
    policies = {
        "base": {"model": "models/base/medium"},
        "ppo": {"model": "models/ppo/almost"},
        "rloo": {"model": "models/group_rl/rloo"},
    }
    stages = {
        "base_models": {"outs": [{"path": "models/base/medium"}]},
        "train_ppo@almost": {"outs": [{"path": "models/ppo/almost"}, {"path": "data/ppo_curve/almost.parquet"}]},
        "train_group_rl@rloo": {"outs": [{"path": "models/group_rl/rloo"}]},
    }
    runs = [("base_models", None, 5.0), ("train_ppo", "almost", 99.0), ("train_ppo", "almost", 61.5)]
    rest = {"stage": "train_ppo", "item": "almost", "seconds": 3.0, "resumed": True}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"sample_answers": {"policies": policies}}))
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / ".work").mkdir()
    lines = [json.dumps({"stage": stage, "item": item, "seconds": seconds}) for stage, item, seconds in runs]
    (tmp_path / ".work/durations.jsonl").write_text("\n".join(lines) + "\n")

    assert method_table.seconds_of(tmp_path) == pytest.approx({"ppo": 61.5})  # the last run; rloo came from the cache
    assert method_table.seconds_of(tmp_path / "elsewhere") == {}

    with (tmp_path / ".work/durations.jsonl").open("a") as file:
        file.write(json.dumps(rest) + "\n")
    assert method_table.seconds_of(tmp_path) == {}  # how long the whole training took, nobody knows
