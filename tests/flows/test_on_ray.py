"""The flow on a real Ray cluster of two raylets on this machine, each with clones of its own and a folder as remote."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import small_graph
from tests.flows.conftest import Make, Server, call, locked, wait_for

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
    second = cluster.add_node(**node("c", "127.0.0.4"))
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Cluster]:
    """Two nodes with a core and folders of their own, for those who know a word."""
    nodes = tmp_path_factory.mktemp("nodes")
    word = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    word |= {"RAY_worker_niceness": "0"}  # Ray adds 15, with which a busy machine never comes to them
    told = Server(server.settings | word)
    command = [sys.executable, "-c", RAYLETS, str(nodes)]
    with subprocess.Popen(
        command, env=told.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        address = next(line.strip() for line in process.stdout if line.startswith("127."))
        yield Cluster(told, address, nodes, process)
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
    made = locked(folder)
    assert made["stages"].keys() == GRAPH.keys()
    assert call("dvc", "--cd", str(folder), "status") == "Data and pipelines are up to date.\n"
    nodes = {node.name for node in cluster.nodes.iterdir() if list(node.glob("*/*/logs"))}
    assert nodes == {"a", "b"}
    assert sorted(file.name for file in (folder / "logs").iterdir()) == sorted(f"{name}.log" for name in GRAPH)

    plain = folder.parent / "plain"
    call("git", "clone", "--quiet", str(folder), str(plain))
    call("dvc", "--cd", str(plain), "repro", "--quiet")
    assert locked(plain) == made


@needs_ray
@pytest.mark.slow
def test_a_stage_whose_node_is_killed_runs_again_on_another(cluster: Cluster, repository: Make, tmp_path: Path) -> None:
    wait = f"echo $SYNTHALIGN_NODE >> {tmp_path}/begun; while ! test -e {tmp_path}/go; do sleep 0.2; done; "
    graph = {name: {"cmd": wait + f"echo {name} > {name}.out", "outs": [f"{name}.out"]} for name in ("one", "two")}
    folder = with_remote(repository(graph))
    begun = tmp_path / "begun"

    with ThreadPoolExecutor() as pool:
        flow = pool.submit(cluster.align, folder, targets=["one", "two"])
        wait_for(lambda: begun.exists() and len(begun.read_text().splitlines()) == 2 or flow.done(), 240)
        cluster.kill_the_second()
        wait_for(lambda: len(begun.read_text().splitlines()) == 3 or flow.done(), 240)
        (tmp_path / "go").touch()
        done = flow.result()

    assert done.returncode == 0, done.stdout + done.stderr
    on = [Path(line).name for line in begun.read_text().splitlines()]
    assert set(on[:2]) == {"a", "b"}
    assert on[2] in {"a", "c"}
    assert locked(folder)["stages"].keys() == {"one", "two"}
    assert (folder / "two.out").read_text() == "two\n"


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_first_stages_of_the_graph_on_two_nodes_leave_the_lock_and_metrics_of_a_plain_repro(
    cluster: Cluster, tmp_path: Path
) -> None:
    plain = small_graph.clone(tmp_path / "plain")
    call("dvc", "--cd", str(plain), "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    call("git", "-C", str(plain), "add", "-f", "data/scaled")  # git ignores what a scale makes, and nodes have git's
    commit(plain)
    folder = tmp_path / "ray"
    call("git", "clone", "--quiet", str(plain), str(folder))
    (folder / "accelerate.yaml").write_bytes((plain / "accelerate.yaml").read_bytes())
    small_graph.finish(small_graph.start(plain, "sample_responses@a"), plain)

    done = cluster.align(folder, targets=["sample_responses@a"])

    assert done.returncode == 0, done.stdout + done.stderr
    assert locked(folder) == locked(plain)
    outs = [out for stage in small_graph.locked(plain).values() for out in stage]
    assert [out for out in outs if not same(folder / out, plain / out)] == []


def same(one: Path, other: Path) -> bool:
    if one.is_dir():
        return not subprocess.run(["diff", "-r", one, other]).returncode
    return one.read_bytes() == other.read_bytes()
