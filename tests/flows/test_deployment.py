"""prefect.yaml, and what a real worker makes of it."""

import importlib
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.flows.conftest import ROOT, Make, Server, locked, wait_for, within


@pytest.fixture(scope="module")
def declared() -> Any:
    return yaml.safe_load((ROOT / "prefect.yaml").read_text())


# -- the file ---------------------------------------------------------------------------------------------------------


def test_every_key_is_one_that_prefect_knows(declared: Any) -> None:
    from prefect.cli.deploy._models import PrefectYamlModel

    kept = PrefectYamlModel.model_validate(declared).model_dump(exclude_unset=True, by_alias=True)

    # a key that it drops without a word is missing on the other side
    assert json.loads(json.dumps(kept, default=str)) == declared


def test_every_entrypoint_is_a_flow_and_every_parameter_one_of_its_own(declared: Any) -> None:
    from prefect import Flow

    for deployment in declared["deployments"]:
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert isinstance(flow, Flow)
        assert set(deployment["parameters"]) <= set(inspect.signature(flow.fn).parameters)
        flow.validate_parameters({**deployment["parameters"]})


def test_the_nightly_run_has_a_time_in_a_timezone_and_never_two_at_once(declared: Any) -> None:
    [nightly] = declared["deployments"]
    [schedule] = nightly["schedules"]

    assert nightly["name"] == "nightly"
    assert schedule["slug"] == "nightly"
    assert ZoneInfo(schedule["timezone"]).key == schedule["timezone"]
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


# -- deployed ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(server: Server) -> None:
    made = server.prefect(ROOT, "work-pool", "create", "local", "--type", "process", "--overwrite")
    assert made.returncode == 0, made.stdout + made.stderr


def deploy(server: Server, folder: Path) -> dict[str, Any]:
    """`prefect deploy --all`; what the server knows of the deployment then."""
    done = server.prefect(folder, "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = server.ask("deployments/filter")
    deployed: dict[str, Any] = found
    return deployed


@pytest.mark.slow
@pytest.mark.usefixtures("pool")
def test_to_deploy_twice_leaves_one_active_schedule(server: Server, diamond: Path) -> None:
    first = deploy(server, diamond)
    second = deploy(server, diamond)

    assert first["id"] == second["id"]
    [schedule] = second["schedules"]
    assert (schedule["active"], schedule["slug"]) == (True, "nightly")
    assert schedule["id"] == first["schedules"][0]["id"]
    # the flow runs where it was deployed from
    assert second["pull_steps"] == [{"prefect.deployments.steps.set_working_directory": {"directory": str(diamond)}}]
    assert second["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.slow
@pytest.mark.usefixtures("pool")
def test_a_worker_runs_the_deployment_and_a_second_run_beside_it_is_cancelled(server: Server, repository: Make) -> None:
    folder = repository(
        {
            "wait": {
                "cmd": "touch waiting; while ! test -e go; do sleep 0.1; done; echo x > wait.out",
                "outs": ["wait.out"],
            },
            "score": {
                "cmd": """mkdir -p metrics; echo '{"score": 1.0}' > metrics/score.json""",
                "deps": ["wait.out"],
                "metrics": [{"metrics/score.json": {"cache": False}}],
            },
        }
    )
    deploy(server, folder)
    with server.worker(folder):
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deployment", "run", "align/nightly", "--watch"]
        with subprocess.Popen(command, env=server.environment, stdout=subprocess.PIPE, text=True) as first:
            wait_for((folder / "waiting").exists)
            second = server.prefect(folder, "deployment", "run", "align/nightly", "--watch")
            (folder / "go").touch()
            assert first.stdout is not None
            said = first.stdout.read()

    assert second.returncode == 1
    assert "Cancelled" in second.stdout + second.stderr
    assert first.returncode == 0, said + (folder / "worker.log").read_text()
    assert sorted(locked(folder)["stages"]) == ["score", "wait"]
    assert (folder / "published/latest/metrics/score.json").exists()


TORCH = """
import os, sys, time
from pathlib import Path
import torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
journal = Path(".work/rows")
journal.parent.mkdir(exist_ok=True)
for row in range(40):
    if rank == 0 and row >= (len(journal.read_text().split()) if journal.exists() else 0):
        with journal.open("a") as file:
            file.write(f"{row}-{os.environ['ROUND']}\\n")
        time.sleep(0.2 if os.environ["ROUND"] == "2" or row < 10 else 600)
    dist.barrier()
if rank == 0:
    Path("rows.out").write_text(journal.read_text())
"""


@pytest.fixture
def two_processes(repository: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stage of two processes of torch, which gets to its tenth row in the first round and goes on in the second."""
    launch = "accelerate-launch --quiet --config_file accelerate.yaml work.py"
    folder = repository({"work": {"cmd": launch, "deps": ["work.py"], "outs": ["rows.out"]}})
    (folder / "work.py").write_text(TORCH)
    (folder / "accelerate.yaml").write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\n"
        "main_process_port: 0\nmixed_precision: 'no'\n"
    )
    (folder / "flows/gates.yaml").write_text("")
    yield folder


@pytest.mark.slow
@pytest.mark.usefixtures("pool")
def test_a_cancelled_run_leaves_no_process_of_torch_and_the_next_one_goes_on(
    server: Server, two_processes: Path
) -> None:
    folder = two_processes
    deploy(server, folder)
    rounds = [Server(server.settings | {"ROUND": number, "OMP_NUM_THREADS": "1"}) for number in "12"]
    with rounds[0].worker(folder.parent):
        assert server.prefect(folder, "deployment", "run", "align/nightly").returncode == 0
        journal = folder / ".work/rows"
        wait_for(lambda: journal.exists() and len(journal.read_text().split()) > 10)
        working = within(folder)
        assert sum("work.py" in process.cmdline() for process in working) >= 3  # the launcher and two ranks
        sessions = {process.pid for process in working}
        begin = time.monotonic()
        run = server.newest_run()
        assert server.prefect(folder, "flow-run", "cancel", run["id"]).returncode == 0
        wait_for(lambda: not within(folder), 60.0)
        print(f"cancelled: {len(sessions)} processes gone after {time.monotonic() - begin:.1f} s")
        wait_for(lambda: server.newest_run()["state_name"] == "Cancelled")

    with rounds[1].worker(folder.parent):
        again = server.prefect(folder, "deployment", "run", "align/nightly", "--watch")
    assert again.returncode == 0, again.stdout + (folder.parent / "worker.log").read_text()
    # ten rows and the one that it waited at are of the first round, and none was made twice
    assert (folder / "rows.out").read_text().split() == [f"{row}-{1 if row < 11 else 2}" for row in range(40)]


@pytest.mark.slow
@pytest.mark.usefixtures("pool")
def test_a_run_that_the_system_kills_is_told_of_too(
    server: Server, repository: Make, heard: Callable[[], list[str]]
) -> None:
    folder = repository({"wait": {"cmd": "touch waiting; sleep 600", "outs": ["wait.out"]}})
    deploy(server, folder)
    with server.worker(folder):
        command = ("deployment", "run", "align/nightly", "--param", "notify=custom-webhook/nightly")
        assert server.prefect(folder, *command, "--param", 'targets=["wait"]').returncode == 0
        wait_for((folder / "waiting").exists)
        working = [process for process in within(folder) if {"flows.dvc_stage", "sleep"} & {*process.cmdline()}]
        [dvc, sleeper] = sorted(working, key=lambda process: "sleep" in process.cmdline())
        dvc.parent().kill()
        wait_for(heard)
        wait_for(lambda: not dvc.is_running() and not sleeper.is_running(), 30.0)

    run = server.newest_run()
    assert run["state_name"] == "Crashed"
    [said] = heard()
    assert said.startswith(f"align: crashed / {run['name']}: Process exited with status code: -9")
    assert said.endswith("; the next run goes on from here")
