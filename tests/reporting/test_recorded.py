"""Recorded claims belong to a run; another run's page must not show them as its own."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from synthalign.reporting import recorded

LOCK: dict[str, dict[str, Any]] = {
    "mine": {
        "params": {"params.yaml": {"mine.target": 48}},
        "outs": [{"path": "data/queries.parquet", "md5": "q1"}, {"path": "metrics/mine.json", "md5": "m1"}],
    },
    "label": {
        "params": {"params.yaml": {"label.model": "small"}},
        "deps": [{"path": "data/queries.parquet", "md5": "q1"}, {"path": "stages/label.py", "md5": "c1"}],
        "outs": [{"path": "metrics/label.json", "md5": "l1"}],
    },
    "judge": {
        "deps": [{"path": "metrics/label.json", "md5": "l1"}],
        "outs": [{"path": "metrics/judge.json", "md5": "j"}],
    },
}
SETTINGS = {"mine": {"target": 48}, "label": {"model": "small"}}

CLAIMS = [
    {"id": "labels", "source": "ALMoST section 3.1; metrics/label.json: labels", "seeds": 4},
    {"id": "wins", "source": "ALMoST Figure 3; metrics/judge.json", "seeds": 4},
    {"id": "style", "source": "DITTO Table 1; metrics/ditto.json", "seeds": 4},
]
OF = {"lock": "0a1b2c3d", "settings": "e4f5a6b7", "seeds": 4, "metrics": {"label": "l1", "judge": "j", "ditto": "d"}}


def test_a_claim_is_of_this_run_when_its_metrics_file_is_the_recorded_one() -> None:
    def ids(now: dict[str, str]) -> list[str]:
        return [claim["id"] for claim in recorded.of_this_run(CLAIMS, OF, now)]

    assert ids({"label": "l1", "judge": "j"}) == ["labels", "wins"]  # DITTO was not run
    assert ids({"label": "l1", "judge": "other"}) == ["labels"]
    assert ids({"label": "toy", "judge": "toy"}) == []
    assert recorded.of_this_run(CLAIMS, {}, {"label": "l1"}) == []  # nobody knows of which run they are


def test_recorded_figures_stand_while_all_that_was_measured_is_what_was_recorded() -> None:
    assert recorded.stands(CLAIMS, OF, {"label": "l1", "judge": "j"})
    assert not recorded.stands(CLAIMS, OF, {"label": "l1", "judge": "other"})
    assert not recorded.stands(CLAIMS, OF, {"mine": "m1"})


def test_a_stage_is_of_this_run_while_its_settings_and_all_before_it_are() -> None:
    assert recorded.up_to_date(LOCK, SETTINGS) == {"mine", "label", "judge"}
    # another labeller: what was judged by the old labels is not of this run either
    assert recorded.up_to_date(LOCK, SETTINGS | {"label": {"model": "large"}}) == {"mine"}
    # a setting that is gone, a member of a family that was taken out for example
    assert recorded.up_to_date(LOCK, {"mine": {"target": 48}}) == {"mine"}


def test_a_stage_that_was_not_run_after_what_it_reads_is_of_another_run() -> None:
    again = LOCK | {"mine": {**LOCK["mine"], "outs": [{"path": "data/queries.parquet", "md5": "q2"}]}}

    assert recorded.up_to_date(again, SETTINGS) == {"mine"}


def test_a_metrics_file_counts_while_it_is_the_one_that_its_stage_made(tmp_path: Path) -> None:
    for name in ("mine", "label"):
        (tmp_path / f"{name}.json").write_text(f'"{name}"')
    md5 = hashlib.md5(b'"mine"').hexdigest()
    lock = LOCK | {"mine": {**LOCK["mine"], "outs": [{"path": "metrics/mine.json", "md5": md5}]}, "label": {}}

    assert recorded.current(tmp_path, lock, SETTINGS) == {"mine"}


def test_what_was_recorded_names_its_lock_its_settings_and_its_metrics(tmp_path: Path) -> None:
    (tmp_path / "metrics/plots").mkdir(parents=True)
    for name in ("mine", "claims", "recorded", "plots/curve"):
        (tmp_path / f"metrics/{name}.json").write_text("{}")
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": LOCK}))
    (tmp_path / "params.yaml").write_text(json.dumps(SETTINGS))

    found = recorded.origin(tmp_path / "metrics", 4)

    assert found["metrics"] == {"mine": hashlib.md5(b"{}").hexdigest()}
    assert found["seeds"] == 4
    other = LOCK | {"judge": {"outs": [{"path": "metrics/judge.json", "md5": "k"}]}}
    page = LOCK | {"report": {"outs": [{"path": "report/index.html", "md5": "p"}]}}
    assert found["lock"] == recorded.lock_digest(page)  # the page shows what was recorded, so it is no part of it
    assert found["lock"] != recorded.lock_digest(other)
