"""`make nightly` as a user has it, and the flow on the real stages with toy numbers."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from flows import nightly
from flows.background import free_port
from tests import small_graph
from tests.flows.conftest import Make, Server, call, commit, committed, locked, needs_ray, needs_store, wait_for, within


def start(folder: Path, *more: str) -> "subprocess.Popen[bytes]":
    """`python -m flows.nightly`, what `make nightly` calls; as in a terminal, it has a process group of its own."""
    with (folder / "said").open("wb") as said:
        command = [sys.executable, "-m", "flows.nightly", "--param", 'targets=["all"]', *more]  # no report there
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, process_group=0)


@pytest.mark.slow
def test_one_command_runs_it_and_leaves_no_process(diamond: Path) -> None:
    process = start(diamond)

    assert process.wait() == 0, (diamond / "said").read_text()
    assert (diamond / "published/latest/report/index.html").exists()
    assert within(diamond) == []
    # the database stays, for the next time
    assert (diamond / ".work/prefect/prefect.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle_it_takes_everything_along_and_the_next_run_completes(
    repository: Make, ending: signal.Signals
) -> None:
    wait = "touch begun; while ! test -e go; do sleep 0.1; done; mkdir -p metrics; "
    score = """echo '{"score": 1.0}' > metrics/score.json"""
    folder = repository({"score": {"cmd": wait + score, "metrics": [{"metrics/score.json": {"cache": False}}]}})
    process = start(folder)
    try:
        wait_for((folder / "begun").exists, 400.0)
        os.killpg(process.pid, ending)
        assert process.wait() == (-9 if ending == signal.SIGKILL else 130)
        if ending != signal.SIGKILL:  # that reaches the command alone, and nobody can take anything along
            assert within(folder) == []
    finally:
        for left in within(folder):
            left.kill()

    (folder / "go").touch()
    again = start(folder)
    assert again.wait() == 0, (folder / "said").read_text()
    assert sorted(locked(folder)["stages"]) == ["score"]


@pytest.mark.slow
def test_a_second_one_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".work/prefect").mkdir(parents=True)

    with FileLock(tmp_path / ".work/prefect/nightly.lock"):
        refused = start(tmp_path)
        assert refused.wait() == 1

    assert "another `make nightly` of this folder" in (tmp_path / "said").read_text()


def test_a_server_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    settings = os.environ | nightly.environment(tmp_path / "home", free_port())
    settings["PREFECT_API_DATABASE_CONNECTION_URL"] = "nonsense"

    with (
        pytest.raises(SystemExit, match="the server does not start") as stopped,
        nightly.server(settings, tmp_path / "server.log"),
    ):
        pass

    assert "Could not parse SQLAlchemy URL" in str(stopped.value)


MAKE_LEASE = """
import asyncio, datetime, uuid
from prefect.server.concurrency.lease_storage import get_concurrency_lease_storage
making = get_concurrency_lease_storage().create_lease([uuid.uuid4()], datetime.timedelta(minutes=5))
print(asyncio.run(making).id)
"""

RENEW_LEASE = """
import sys
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prefect.server.api.concurrency_limits_v2 import router
server = FastAPI()
server.include_router(router)
print(TestClient(server).post(f"/v2/concurrency_limits/leases/{sys.argv[1]}/renew").status_code)
"""
"""What a run at work asks the server every few minutes."""


def test_the_place_of_a_run_outlives_its_server(tmp_path: Path) -> None:
    given = os.environ | nightly.environment(tmp_path, free_port())

    def server(*code: str) -> str:  # each in a process of its own
        return subprocess.run(
            [sys.executable, "-c", *code], env=given, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert server(RENEW_LEASE, server(MAKE_LEASE)) == "204"


@pytest.mark.parametrize("before", ["export", "Environment="])
def test_the_environments_of_the_docs_keep_the_places_of_runs_as_make_nightly_does(tmp_path: Path, before: str) -> None:
    said = (small_graph.ROOT / "docs/nightly.md").read_text()
    name = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"

    assert re.search(rf"^ +{before}.*\b{name}={nightly.environment(tmp_path, 1)[name]}$", said, re.MULTILINE)


ON_NODES = {
    "one": {"cmd": "echo one > one.out", "outs": ["one.out"]},
    "two": {"cmd": "echo two > two.out", "outs": ["two.out"]},
    "score": {
        "cmd": "mkdir -p data metrics; cat one.out two.out > data/table.parquet; "
        """echo '{"score": 1.0}' > metrics/score.json""",
        "deps": ["one.out", "two.out"],
        "outs": ["data/table.parquet"],
        "metrics": [{"metrics/score.json": {"cache": False}}],
    },
}


@needs_ray
@needs_store
def test_on_two_ray_nodes_a_clean_clone_gets_the_lock_that_is_committed_and_nothing_goes_on(
    repository: Make, tmp_path: Path
) -> None:
    plain = committed(repository(ON_NODES))
    call("dvc", "--cd", str(plain), "repro", "--quiet")
    commit(plain)
    clone = tmp_path / "clone"
    call("git", "clone", "--quiet", str(plain), str(clone))

    process = start(clone, "--runner", "ray")
    [store] = wait_for(lambda: [one for one in within(clone) if one.name() == "weed"] or process.poll() is not None)
    secret = store.environ()["AWS_SECRET_ACCESS_KEY"]

    assert process.wait() == 0, (clone / "said").read_text()
    assert (clone / "published/latest/data/table.parquet").read_text() == "one\ntwo\n"
    assert (clone / "dvc.lock").read_bytes() == (plain / "dvc.lock").read_bytes()
    assert call("git", "-C", str(clone), "status", "--porcelain", "--untracked-files=no") == ""
    assert len(list(clone.glob(".work/cluster/[ab]/*/score/data/table.parquet"))) == 1  # it was made on a node
    assert within(clone) == []
    written = [file for file in clone.rglob("*") if file.is_file() and not file.is_symlink()]
    assert [file for file in written if secret.encode() in file.read_bytes()] == []


TARGETS = ["sample_answers@sft_selfplay", "train_reward@no_filter"]


def outs(folder: Path, stages: list[str]) -> dict[str, Any]:
    found = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {name: found[name] for name in stages}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_real_stages_with_toy_numbers_leave_the_lock_of_dvc(server: Server, tmp_path: Path) -> None:
    one, other = small_graph.clone(tmp_path / "one"), small_graph.clone(tmp_path / "other")
    environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

    flow = Server(server.settings | environment).align(one, targets=TARGETS, parallel=2, gpu_tasks=2)
    assert flow.returncode == 0, flow.stdout[-2000:] + flow.stderr[-4000:]
    small_graph.finish(small_graph.start(other, *TARGETS), other)

    ran = sorted(server.tasks(server.newest_run()))
    assert set(TARGETS) < set(ran)
    assert outs(one, ran) == outs(other, ran)
    assert not any("accelerate-launch starts this stage" in log.read_text() for log in one.glob("logs/*.log"))
