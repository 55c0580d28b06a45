"""The graph with toy numbers through real DVC and accelerate, on the real models: two clones, the same bytes."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.small_graph import MAKE_REPRO, QUESTIONS, clone, finish, locked, start


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Two clones in which all of ALMoST ran at the same time, as `make repro` runs it and as `dvc repro` does."""
    root = tmp_path_factory.mktemp("graph")
    one, other = clone(root / "one"), clone(root / "other")
    running = [start(one, "--jobs", "1", "report", by=MAKE_REPRO), start(other, "report")]
    try:
        for folder, process in zip((one, other), running, strict=True):
            finish(process, folder)
        yield one, other
    finally:
        for process in running:
            process.kill()


@pytest.mark.timeout(3600)
def test_two_clones_make_the_same_bytes_in_every_stage(clones: tuple[Path, Path]) -> None:
    one, other = (locked(folder) for folder in clones)

    assert len(one) > 30
    assert not any("accelerate-launch starts this stage" in (folder / "out").read_text() for folder in clones)
    assert {name: outs for name, outs in one.items() if outs != other[name]} == {}


def test_nothing_runs_when_nothing_changed(clones: tuple[Path, Path]) -> None:
    begin = time.monotonic()

    again = subprocess.run(["dvc", "repro", "report"], cwd=clones[0], check=True, capture_output=True, text=True)

    print(f"dvc repro with nothing changed: {time.monotonic() - begin:.1f} s")
    assert "Running stage" not in again.stdout


def test_a_setting_of_ppo_re_runs_ppo_and_what_follows_alone(clones: tuple[Path, Path]) -> None:
    folder = clones[0]
    before = locked(folder)
    in_force = (folder / "params.yaml").read_text()
    settings = yaml.safe_load(in_force)
    settings["train_ppo"]["kl_coefficient"] *= 2
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))

    dry = subprocess.run(["dvc", "repro", "--dry", "report"], cwd=folder, check=True, capture_output=True, text=True)
    (folder / "params.yaml").write_text(in_force)

    stages = [line.split("'")[1] for line in dry.stdout.splitlines() if line.startswith("Running stage")]
    # the report shows the settings, so it follows any of them
    assert [name for name in stages if name not in ("check_settings", "train_ppo@almost", "report")] == []
    assert "train_ppo@almost" in stages
    assert locked(folder) == before


def test_the_tables_tell_one_story(clones: tuple[Path, Path]) -> None:
    import duckdb

    def one(query: str) -> Any:
        return duckdb.sql(query).fetchall()[0][0]

    data = clones[0] / "data"
    assert one(f"SELECT count(*) FROM '{data}/queries.parquet' WHERE split = 'eval'") == QUESTIONS
    # every response belongs to a query, every pair to two responses of its own query
    assert (
        one(f"SELECT count(*) FROM '{data}/responses/*.parquet' ANTI JOIN '{data}/queries.parquet' USING (query_id)")
        == 0
    )
    assert (
        one(
            f"SELECT count(*) FROM '{data}/comparisons_ranked.parquet' c "
            f"ANTI JOIN '{data}/responses/*.parquet' r ON r.response_id = c.chosen_id AND r.query_id = c.query_id"
        )
        == 0
    )
    # what the filters drop is kept with its reason
    ranked = one(f"SELECT count(*) FROM '{data}/comparisons_ranked.parquet'")
    kept = one(f"SELECT count(*) FROM '{data}/comparisons/almost.parquet'")
    dropped = one(f"SELECT count(*) FROM '{data}/comparisons_dropped/almost.parquet' WHERE drop_reason IS NOT NULL")
    assert ranked == kept + dropped
    # both orders of every judgement are there
    assert one(f"SELECT count(*) FROM '{data}/judgements.parquet' WHERE \"order\" = 'ab'") == one(
        f"SELECT count(*) FROM '{data}/judgements.parquet' WHERE \"order\" = 'ba'"
    )


def test_no_evaluation_question_is_in_any_training_table(clones: tuple[Path, Path]) -> None:
    import duckdb

    data = clones[0] / "data"
    for table in ("comparisons/*", "demonstrations/*", "candidates/*", "comparisons_ranked"):
        leaked = duckdb.sql(
            f"SELECT count(*) FROM '{data}/{table}.parquet' SEMI JOIN "
            f"(SELECT query_id FROM '{data}/queries.parquet' WHERE split = 'eval') USING (query_id)"
        ).fetchall()[0][0]
        assert leaked == 0, table


def test_the_results_table_names_every_policy(clones: tuple[Path, Path]) -> None:
    shown = subprocess.run(
        ["python", "-m", "synthalign.reporting.results"], cwd=clones[0], check=True, capture_output=True, text=True
    ).stdout

    policies = json.loads((clones[0] / "metrics/score_policies.json").read_text())["policies"]
    assert [name for name in policies if name not in shown] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_other_methods_run_on_top_of_it(clones: tuple[Path, Path]) -> None:
    folder = clones[1]

    finish(start(folder), folder)

    graph = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    ran = {name.split("@")[0] for name in yaml.safe_load((folder / "dvc.lock").read_text())["stages"]}
    assert ran == set(graph)
    compared = json.loads((folder / "metrics/compare_methods.json").read_text())["policies"]
    assert {"ppo", "rloo", "rrhf", "ppo_rlcd", "ppo_rlaif", "sft_context_distillation"} <= set(compared)
