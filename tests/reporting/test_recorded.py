"""Recorded claims belong to a run; another run's page must not show them as its own."""

import hashlib
import subprocess
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


def claim(name: str, value: float | None, seeds: int = 1) -> dict[str, Any]:
    near = (None, None, 0) if value is None else (value - 0.1, value + 0.1, 485)
    return {"id": name, "value": value, "low": near[0], "high": near[1], "n": near[2], "seeds": seeds}


KNOWN = [claim("labels", 0.8, 4), claim("wins", 0.6, 4), claim("style", 0.3, 4)]
FIRST = [claim("labels", 0.75), claim("wins", 0.5), claim("style", 0.25)]
OF = {
    "lock": "0a1b2c3d",
    "settings": "e4f5a6b7",
    "seeds": 4,
    "figures": {one["id"]: recorded.figure(one) for one in FIRST},
}


def test_a_claim_is_of_this_run_when_its_figure_is_that_of_the_recorded_first_seed() -> None:
    def ids(*here: dict[str, Any]) -> list[str]:
        return [one["id"] for one in recorded.of_this_run(KNOWN, OF, here)]

    assert ids(*FIRST) == ["labels", "wins", "style"]
    assert ids(FIRST[0], claim("wins", 0.51), claim("style", None)) == ["labels"]
    assert ids(FIRST[0] | {"high": 0.86}) == []  # the same mean of other questions
    assert recorded.of_this_run(KNOWN, {}, FIRST) == []  # nobody knows of which run they are


def test_recorded_figures_stand_while_all_that_was_measured_is_what_was_recorded() -> None:
    assert recorded.stands(KNOWN, OF, [*FIRST[:2], claim("style", None)])
    assert not recorded.stands(KNOWN, OF, [FIRST[0], claim("wins", 0.51)])
    assert not recorded.stands(KNOWN, OF, [claim("labels", None)])


def test_the_sentence_counts_the_figures_that_have_changed_since() -> None:
    assert recorded.state(OF, FIRST).endswith(
        "(outputs 0a1b2c3d, settings e4f5a6b7); the first seed is the run in `dvc.lock`."
    )
    assert "an earlier run: 1 of the 3 figures" in recorded.state(OF, [*FIRST[:2], claim("style", 0.2)])
    assert "Nobody wrote down" in recorded.state({}, FIRST)


def test_a_stage_is_of_this_run_while_its_settings_and_all_before_it_are() -> None:
    assert recorded.up_to_date(LOCK, SETTINGS) == {"mine", "label", "judge"}
    # another labeller: what was judged by the old labels is not of this run either
    assert recorded.up_to_date(LOCK, SETTINGS | {"label": {"model": "large"}}) == {"mine"}
    # a setting that is gone, a member of a family that was taken out for example
    assert recorded.up_to_date(LOCK, {"mine": {"target": 48}}) == {"mine"}


def test_a_stage_that_was_not_run_after_what_it_reads_is_of_another_run() -> None:
    again = LOCK | {"mine": {**LOCK["mine"], "outs": [{"path": "data/queries.parquet", "md5": "q2"}]}}

    assert recorded.up_to_date(again, SETTINGS) == {"mine"}


def of_a_family(read: str, **made: str) -> dict[str, dict[str, Any]]:
    """A lock whose judge reads the folder of a family's outputs, one stage for each of them."""
    makers = {
        name: {
            "params": {"params.yaml": {f"write.{name}": 1}},
            "outs": [{"path": f"data/answers/{name}.parquet", "md5": md5}],
        }
        for name, md5 in made.items()
    }
    judge = {"deps": [{"path": "data/answers", "md5": read}], "outs": [{"path": "metrics/judge.json", "md5": "j"}]}
    return makers | {"judge": judge}


def test_a_stage_that_read_a_folder_is_of_this_run_while_all_that_made_it_are() -> None:
    whole = recorded.folder_md5({"ada.parquet": "a1", "bob.parquet": "b1"})
    settings = {"write": {"ada": 1, "bob": 1}}

    assert recorded.up_to_date(of_a_family(whole, ada="a1", bob="b1"), settings) == {"ada", "bob", "judge"}
    assert recorded.up_to_date(of_a_family(whole, ada="a1", bob="b1"), {"write": {"ada": 1, "bob": 2}}) == {"ada"}
    assert recorded.up_to_date(of_a_family(whole, ada="a1", bob="b2"), settings) == {
        "ada",
        "bob",
    }  # written again since
    # who was taken out of the family stands in dvc.lock still
    assert recorded.up_to_date(of_a_family(whole, ada="a1", bob="b1", eve="e1"), settings) == {"ada", "bob", "judge"}


def test_the_hash_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("ada.txt", "bob.txt"):
        (tmp_path / "data" / name).write_text(name)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "add", "--quiet", "data"], cwd=tmp_path, check=True)

    [out] = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"]
    assert out["md5"] == recorded.folder_md5({n: hashlib.md5(n.encode()).hexdigest() for n in ("ada.txt", "bob.txt")})


def test_a_metrics_file_counts_while_it_is_the_one_that_its_stage_made(tmp_path: Path) -> None:
    for name in ("mine", "label"):
        (tmp_path / f"{name}.json").write_text(f'"{name}"')
    md5 = hashlib.md5(b'"mine"').hexdigest()
    lock = LOCK | {"mine": {**LOCK["mine"], "outs": [{"path": "metrics/mine.json", "md5": md5}]}, "label": {}}

    assert recorded.current(tmp_path, lock, SETTINGS) == {"mine"}


def test_what_was_recorded_names_its_lock_its_settings_and_its_first_figures(tmp_path: Path) -> None:
    found = recorded.origin(
        recorded.lock_digest(LOCK), recorded.digest(SETTINGS), 4, [*FIRST[:1], claim("style", None)]
    )

    assert found["figures"] == {"labels": [0.75, 0.65, 0.85, 485], "style": None}
    assert found["seeds"] == 4
    other = LOCK | {"judge": {"outs": [{"path": "metrics/judge.json", "md5": "k"}]}}
    page = LOCK | {"report": {"outs": [{"path": "report/index.html", "md5": "p"}]}}
    assert found["lock"] == recorded.lock_digest(page)  # the page shows what was recorded, so it is no part of it
    assert found["lock"] != recorded.lock_digest(other)
