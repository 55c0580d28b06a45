"""Runs that are kept in files and put together."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from synthalign.core.errors import UserError
from synthalign.reporting import run_record

SETTINGS = {"mine": {"target": 48, "seed": 0}, "train": {"steps": 9, "seed": 4}}


def run(folder: Path, moved: int = 0, **changed: object) -> Path:
    """The metrics folder of a run with a stage's metrics and an experiment's beside them."""
    metrics = folder / "metrics"
    metrics.mkdir(parents=True)
    text = json.dumps({"loss": 0.5 + moved})
    (metrics / "train.json").write_text(text)
    (metrics / "sweep.json").write_text(json.dumps({"seeds": 5}))
    settings = SETTINGS | {"train": SETTINGS["train"] | {"seed": 4 + moved}} | changed
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    stage = {
        "params": {"params.yaml": {"train.steps": 9}},
        "outs": [{"path": "metrics/train.json", "md5": hashlib.md5(text.encode()).hexdigest()}],
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"train": stage}}))
    return metrics


def test_a_run_is_the_same_read_from_its_file_as_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    metrics = run(tmp_path)
    monkeypatch.chdir(tmp_path)

    run_record.main([str(metrics), "metrics/seeds/claims/0.json"])

    whole = run_record.of_folder(metrics)
    assert run_record.together([Path("metrics/seeds/claims/0.json")]) == [whole]
    assert whole.metrics == {"train": {"loss": 0.5}, "sweep": {"seeds": 5}}  # what was kept is no metrics of a run
    assert whole.seeds == {"mine": 0, "train": 4}


def test_a_kept_run_has_the_experiments_of_the_folder_where_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_record.keep(run(tmp_path / "there", 1), tmp_path / "1.json")
    run(tmp_path / "here")
    Path(tmp_path / "here/metrics/sweep.json").write_text(json.dumps({"seeds": 3}))
    monkeypatch.chdir(tmp_path / "here")

    assert run_record.kept(tmp_path / "1.json").metrics == {"train": {"loss": 1.5}, "sweep": {"seeds": 3}}


def test_a_run_of_other_settings_is_no_seed_and_the_section_is_named(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other", 1, mine={"target": 9, "seed": 0})

    with pytest.raises(
        UserError, match=r"other/metrics: mine of its params.yaml is not as in the run of .*one/metrics"
    ):
        run_record.together([one, other])


def test_one_run_is_not_counted_twice(tmp_path: Path):
    folders = [run(tmp_path / "one"), run(tmp_path / "two", 1), run(tmp_path / "again", 1)]

    with pytest.raises(UserError, match=r"again/metrics: the seeds of .*two/metrics once more"):
        run_record.together(folders)


def test_runs_of_which_some_share_a_training_are_no_seeds_of_what_comes_after_it(tmp_path: Path):
    # SFT once with seed 0 for two of them, and once with 1: three runs of PPO, and no three of both
    trained = [(0, 0), (0, 1), (1, 2)]
    folders = [
        run(tmp_path / f"{place}", place, sft={"seed": sft}, ppo={"seed": ppo})
        for place, (sft, ppo) in enumerate(trained)
    ]

    with pytest.raises(UserError, match="the seeds of sft are 0, 0, 1; where some runs share one"):
        run_record.together(folders)
    assert len(run_record.together(folders[:2])) == 2  # one SFT under both, as a stage that is not reseeded


WRONG = [("{", "1.json"), ("{}", "1.json: metrics"), ('{"loss": 1}', "1.json: loss")]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_a_file_that_holds_no_run_is_named(tmp_path: Path, text: str, says: str):
    (tmp_path / "1.json").write_text(text)

    with pytest.raises(UserError, match=f"(?s)1.json: no run.*{says}"):
        run_record.together([tmp_path / "1.json"])


def test_what_a_stage_measured_before_its_settings_changed_is_not_kept(tmp_path: Path):
    metrics = run(tmp_path, train={"steps": 10, "seed": 4})

    with pytest.raises(UserError, match="nothing in it is of the dvc.lock beside it"):
        run_record.keep(metrics, tmp_path / "0.json")


def test_a_folder_that_is_given_has_nothing_of_other_settings_either(tmp_path: Path):
    metrics = run(tmp_path, train={"steps": 10, "seed": 4})

    assert run_record.together([metrics])[0].metrics == {"sweep": {"seeds": 5}}


def test_metrics_that_no_stage_here_has_made_are_not_kept(tmp_path: Path):
    metrics = run(tmp_path)
    (metrics / "train.json").unlink()

    with pytest.raises(UserError, match="nothing in it is of the dvc.lock beside it"):
        run_record.keep(metrics, tmp_path / "0.json")
    assert not (tmp_path / "0.json").exists()
