"""The flow on a real Ray cluster of two raylets on this machine, each with clones of its own and a folder as remote."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Make, Server, call, locked

needs_ray = pytest.mark.skipif(find_spec("prefect_ray") is None, reason="prefect-ray is an extra: pip install '.[ray]'")

RAYLETS = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster

def node(name, address):  # another address than 127.0.0.1, for which Ray takes that of the network
    few = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    return few | {"node_ip_address": address, "env_vars": {"SYNTHALIGN_NODE": str(Path(sys.argv[1], name))}}

cluster = Cluster(initialize_head=True, head_node_args=node("a", "127.0.0.2"))
second = cluster.add_node(**node("b", "127.0.0.3"))
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    second.kill_raylet(check_alive=False)
    print("killed", flush=True)
cluster.shutdown()
"""


@dataclass(frozen=True)
class Cluster:
    server: Server
    address: str
    nodes: Path
    process: "subprocess.Popen[str]"

    def align(self, folder: Path, **parameters: Any) -> "subprocess.CompletedProcess[str]":
        given = {"runner": "ray", "ray_address": self.address, "parallel": 4}
        return self.server.align(folder, **given | parameters)

    def kill_the_second(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"


@pytest.fixture
def cluster(tmp_path: Path, server: Server) -> Iterator[Cluster]:
    """Two nodes with a core and folders of their own, for those who know a word."""
    word = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    word |= {"RAY_worker_niceness": "0"}  # Ray adds 15, with which a busy machine never comes to them
    told = Server(server.settings | word)
    command = [sys.executable, "-c", RAYLETS, str(tmp_path / "nodes")]
    with subprocess.Popen(
        command, env=told.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        address = next(line.strip() for line in process.stdout if line.startswith("127."))
        yield Cluster(told, address, tmp_path / "nodes", process)
        process.stdin.close()
        process.wait(timeout=60)


def with_remote(folder: Path) -> Path:
    """A repository as nodes need it: committed, with a remote."""
    (folder / "requirements.lock").write_text("dvc==0\nprefect==0\n")
    (folder / ".gitignore").write_text("/data/\n/.work/\n/logs/\n*.out\n/published/\n__pycache__/\n.met-*\n")
    for name in ("synthalign", "warm", "queries"):
        (folder / name).unlink()
        call("cp", "-r", str(Path(__file__).parents[2] / name), str(folder / name))
    call("dvc", "--cd", str(folder), "remote", "add", "-q", "-d", "store", str(folder.parent / "store"))
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    call("git", "-C", str(folder), "add", "-A")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    call("git", "-C", str(folder), *identity, "commit", "-q", "-m", "x")


GRAPH = {
    "top": {"cmd": "echo top > top.out", "outs": ["top.out"]},
    "left": {
        "cmd": "mkdir -p metrics; cp top.out left.out; echo '{\"left\": 1}' > metrics/left.json",
        "deps": ["top.out"],
        "outs": ["left.out"],
        "metrics": [{"metrics/left.json": {"cache": False}}],
    },
    "right": {"cmd": "cp top.out right.out", "deps": ["top.out"], "outs": ["right.out"]},
    "bottom": {
        "cmd": "mkdir -p data; cat left.out right.out metrics/left.json > data/table.parquet; "
        """echo '{"score": 1.0}' > metrics/score.json""",
        "deps": ["left.out", "right.out", "metrics/left.json"],
        "outs": ["data/table.parquet"],
        "metrics": [{"metrics/score.json": {"cache": False}}],
    },
}


@needs_ray
@pytest.mark.slow
def test_a_run_on_two_nodes_leaves_the_tree_of_a_plain_repro(cluster: Cluster, repository: Make) -> None:
    folder = with_remote(repository(GRAPH))

    done = cluster.align(folder)

    assert done.returncode == 0, done.stdout + done.stderr
    tasks = cluster.server.tasks(cluster.server.newest_run())
    assert {name: task["state_name"] for name, task in tasks.items()} == dict.fromkeys(GRAPH, "Completed")
    assert (folder / "data/table.parquet").read_text() == 'top\ntop\n{"left": 1}\n'
    assert json.loads((folder / "metrics/left.json").read_text()) == {"left": 1}
    made, lock = locked(folder), (folder / "dvc.lock").read_bytes()
    assert made["stages"].keys() == GRAPH.keys()

    assert call("dvc", "--cd", str(folder), "status") == "Data and pipelines are up to date.\n"
    plain = folder.parent / "plain"
    call("git", "clone", "--quiet", str(folder), str(plain))
    call("dvc", "--cd", str(plain), "repro", "--quiet")
    assert (plain / "dvc.lock").read_bytes() == lock
