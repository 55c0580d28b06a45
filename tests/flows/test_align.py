"""The flow against a real server, on graphs of shell commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from flows.align import made_here
from flows.graph import Stage
from tests.flows.conftest import Make, Server, locked, wait_for


def state(server: Server) -> tuple[str, str]:
    """How the newest run ended, and with which words."""
    run = server.newest_run()
    return run["state_name"], run["state"]["message"] or ""


def reproduce(folder: Path) -> None:
    """A plain `dvc repro` of a diamond; its siblings need not meet."""
    for side in ("left", "right"):
        (folder / f".met-{side}").touch()
    subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, check=True)


def test_siblings_run_at_the_same_time_and_the_lock_is_that_of_dvc(server: Server, diamond: Path) -> None:
    done = server.align(diamond)

    assert done.returncode == 0, done.stdout + done.stderr
    run = server.newest_run()
    tasks = server.tasks(run)
    # they could not have ended one after the other
    assert {name: task["state_name"] for name, task in tasks.items()} == dict.fromkeys(
        ("top", "left", "right", "bottom"), "Completed"
    )
    # Prefect draws DVC's edges
    names = {task["id"]: name for name, task in tasks.items()}
    edges = {(names[up["id"]], name) for name, task in tasks.items() for up in task["task_inputs"].get("wait_for", [])}
    assert edges == {("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")}

    made = locked(diamond)
    (diamond / "dvc.lock").unlink()
    reproduce(diamond)
    assert made == locked(diamond)

    # published, and shown
    latest = diamond / "published/latest"
    assert (latest / "data/table.parquet").read_text() == "top\ntop\n"
    assert (latest / "report/index.html").read_text() == "<p>report\n"
    [row] = json.loads(server.artifact(run, "align-metrics"))
    assert (row["figure"], row["now"], row["gate"]) == ("score:score", "1", "green")
    assert "# 4 ran" in server.artifact(run, "align-summary")
    assert f"{latest.resolve()}/report/index.html" in server.artifact(run, "align-report")
    assert server.artifact(run, "align-progress") == 100.0

    # nothing has changed: no stage is asked about, and nothing new is published
    for log in (diamond / "logs").iterdir():
        log.unlink()
    (diamond / "dvc.lock").write_bytes((latest / "dvc.lock").read_bytes())
    assert server.align(diamond).returncode == 0
    messages = {name: task["state"]["message"] for name, task in server.tasks(server.newest_run()).items()}
    assert messages == dict.fromkeys(tasks, "unchanged")
    assert list((diamond / "logs").iterdir()) == []
    assert sorted(os.listdir(diamond / "published")) == sorted([latest.resolve().name, "latest"])


def test_nodes_get_what_is_made_here_and_all_that_may_be_where_dvc_cannot_tell() -> None:
    needs = {"top": (), "left": ("top",), "right": ("top",), "bottom": ("left", "right")}
    stages = {name: Stage(name, names, False, ()) for name, names in needs.items()}

    assert made_here(stages, {"right", "bottom"}) == ["left", "top"]  # right is made on a node
    assert made_here(stages, {"bottom"}) == ["left", "right"]
    assert made_here(stages, None) == ["bottom", "left", "right", "top"]


@pytest.mark.slow
def test_a_failure_stops_what_follows_and_nothing_else(server: Server, repository: Make) -> None:
    folder = repository(
        {
            "fails": {"cmd": "seq 100; echo 'No space left on device'; exit 9", "outs": ["fails.out"]},
            "follows": {"cmd": "touch follows.out", "deps": ["fails.out"], "outs": ["follows.out"]},
            "last": {"cmd": "touch last.out", "deps": ["follows.out", "beside.out"], "outs": ["last.out"]},
            "beside": {"cmd": "sleep 5; echo x > beside.out", "outs": ["beside.out"]},
            "after": {"cmd": "cp beside.out after.out", "deps": ["beside.out"], "outs": ["after.out"]},
        }
    )

    assert server.align(folder).returncode != 0

    run = server.newest_run()
    tasks = server.tasks(run)
    assert {name: task["state_name"] for name, task in tasks.items()} == {
        "fails": "Failed",
        "follows": "NotReady",
        "last": "NotReady",
        "beside": "Completed",
        "after": "Completed",
    }
    first, *last = tasks["fails"]["state"]["message"].split("\n")
    assert "; the disk is full: free some space" in first
    assert len(last) == 50
    assert "100" in last  # DVC's own words come after it
    assert state(server)[0] == "Failed"
    assert "failed: fails; 2 that follow were not started" in state(server)[1]
    assert "Nothing is published." in server.artifact(run, "align-summary")
    assert not (folder / "published").exists()
    assert sorted(locked(folder)["stages"]) == ["after", "beside"]


@pytest.mark.slow
def test_a_red_gate_fails_the_run_and_publishes_nothing_until_it_is_accepted(server: Server, diamond: Path) -> None:
    (diamond / "flows/baseline.json").write_text('{"score:score": {"value": 1.5}}\n')

    assert server.align(diamond).returncode != 0

    assert state(server) == ("Failed", state(server)[1])
    assert "red gates, nothing is published: score:score" in state(server)[1]
    assert not (diamond / "published").exists()
    [row] = json.loads(server.artifact(server.newest_run(), "align-metrics"))
    assert (row["gate"], row["why"]) == ("red", "worse by 0.5 (± 0), tolerated 0.1")

    subprocess.run([sys.executable, "-m", "flows.accept"], cwd=diamond, check=True)
    assert server.align(diamond).returncode == 0
    assert (diamond / "published/latest/data/table.parquet").exists()


@pytest.mark.slow
def test_a_part_of_the_graph_has_no_gates_and_publishes_nothing(server: Server, diamond: Path) -> None:
    assert server.align(diamond, targets=["left", "right"]).returncode == 0

    assert sorted(server.tasks(server.newest_run())) == ["left", "right", "top"]
    assert not (diamond / "published").exists()

    refused = server.align(diamond, targets=["lefd"])
    assert refused.returncode != 0
    assert "targets: 'lefd' is no stage of dvc.yaml; did you mean left?" in state(server)[1]


@pytest.mark.slow
def test_gpu_tasks_take_turns(server: Server, repository: Make) -> None:
    log = "echo begin >> ../turns; sleep 2; echo end >> ../turns"
    folder = repository(
        {name: {"cmd": f"accelerate-launch-{name} && touch {name}.out", "outs": [f"{name}.out"]} for name in "abc"}
    )
    for name in "abc":
        script = folder / "bin" / f"accelerate-launch-{name}"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\n{log}\n")
        script.chmod(0o755)
    path = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(folder)}

    assert Server(server.settings | path).align(folder, parallel=3, gpu_tasks=1).returncode == 1  # no figure: red

    assert (folder.parent / "turns").read_text().split() == ["begin", "end"] * 3


@pytest.mark.slow
def test_a_stage_that_another_dvc_holds_is_tried_again(server: Server, repository: Make) -> None:
    command = "touch begun; while ! test -e go; do sleep 0.1; done; echo x > held.out"
    folder = repository({"held": {"cmd": command, "outs": ["held.out"]}})
    log = folder / "logs/held.log"
    with subprocess.Popen(["dvc", "repro", "--quiet"], cwd=folder) as other, ThreadPoolExecutor() as pool:
        wait_for((folder / "begun").exists)
        flow = pool.submit(server.align, folder, targets=["held"])
        wait_for(lambda: log.exists() and "is busy" in log.read_text())
        (folder / "go").touch()
        assert other.wait() == 0
        assert flow.result().returncode == 0

    assert server.tasks(server.newest_run())["held"]["state"]["message"] == "restored or unchanged"


@pytest.mark.slow
def test_a_lock_that_was_cut_is_mended_and_no_stage_runs_again(server: Server, diamond: Path) -> None:
    assert server.align(diamond).returncode == 0
    whole = (diamond / "dvc.lock").read_bytes()
    (diamond / "dvc.lock").write_bytes(whole[: len(whole) // 2])
    (diamond / ".met-left").unlink()  # a sibling that ran again would be seen

    assert server.align(diamond).returncode == 0

    assert locked(diamond) == yaml.safe_load(whole)
    assert not (diamond / ".met-left").exists()


@pytest.mark.slow
def test_who_wants_it_is_told_how_a_run_ended(server: Server, diamond: Path, heard: Callable[[], list[str]]) -> None:
    assert server.align(diamond, notify="custom-webhook/nightly").returncode == 0
    (diamond / "flows/baseline.json").write_text('{"score:score": {"value": 9.0}}\n')
    assert server.align(diamond, notify="custom-webhook/nightly").returncode != 0

    done, failed = heard()
    assert done == f"align: done / published published/{(diamond / 'published/latest').resolve().name}"
    assert failed == "align: failed / red gates, nothing is published: score:score"
    # a message that cannot be sent fails no run
    (diamond / "flows/baseline.json").write_text("{}")
    assert server.align(diamond, notify="custom-webhook/nobody").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"parallel": 0}, "greater than or equal to 1"), ({"stage_hours": -1}, "greater than 0"), ({"typo": 1}, "typo")],
)
def test_a_wrong_parameter_is_named(server: Server, diamond: Path, parameters: dict[str, int], words: str) -> None:
    refused = server.align(diamond, **parameters)

    assert refused.returncode != 0
    assert words in refused.stderr + refused.stdout
    assert not (diamond / "dvc.lock").exists()
