"""The flow on a real Ray cluster of two nodes on this machine, each with clones of its own, and a real object store."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import local_cluster
from tests import small_graph
from tests.flows.conftest import DEAL, Make, Server, call, commit, committed, locked, needs_ray, needs_store, wait_for

pytestmark = [needs_ray, needs_store]


@dataclass(frozen=True)
class Cluster:
    server: Server
    """In whose environment are the words of cluster and store."""

    address: str
    nodes: Path

    def start(self, folder: Path, **parameters: Any) -> "subprocess.Popen[bytes]":
        """The flow in a process of its own."""
        given = {"runner": "ray", "ray_address": self.address, "parallel": 4} | parameters
        code = f"from flows.align import align; align(**{given!r})"
        with (folder / "said").open("w") as said:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=folder,
                env=self.server.environment,
                stdout=said,
                stderr=said,
                text=True,
            )

    def align(self, folder: Path, **parameters: Any) -> str:
        """The same, to its good end; returns what it says."""
        process = self.start(folder, **parameters)
        assert process.wait() == 0, (folder / "said").read_text()
        return (folder / "said").read_text()

    def kill(self, name: str) -> None:
        """A node, as if its power went out: all that runs there, for a worker would still hand in what it has made."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("SYNTHALIGN_NODE") == str(self.nodes / name):
                    process.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Cluster]:
    """Two nodes with a core and folders of their own, and a store."""
    folder = tmp_path_factory.mktemp("cluster")
    with local_cluster.store(folder / "store") as kept:
        given = server.settings | local_cluster.word() | kept.environment
        given |= local_cluster.dvc_remote(kept, folder / "dvc")
        told = Server(given)
        with local_cluster.nodes(folder, told.environment) as address:
            yield Cluster(told, address, folder)


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


@pytest.mark.slow
def test_a_run_on_two_nodes_leaves_the_tree_of_a_plain_repro(cluster: Cluster, repository: Make) -> None:
    folder = committed(repository(GRAPH))

    cluster.align(folder)

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


@pytest.mark.slow
def test_a_stage_after_many_that_are_up_to_date_runs_on_a_node_too(cluster: Cluster, repository: Make) -> None:
    early = {
        f"early{number}": {"cmd": f"echo {number} > {number}.out", "outs": [f"{number}.out"]} for number in range(12)
    }
    last = {
        "cmd": """mkdir -p metrics data; cat *.out > data/table.parquet; echo '{"score": 1.0}' > metrics/score.json""",
        "deps": [f"{number}.out" for number in range(12)],
        "outs": ["data/table.parquet"],
        "metrics": [{"metrics/score.json": {"cache": False}}],
    }
    folder = repository({**early, "last": last})
    call("dvc", "--cd", str(folder), "repro", "--quiet", *early)
    committed(folder)

    cluster.align(folder)

    assert [node.name for node in cluster.nodes.glob("*/*/last")] == ["last"]
    assert (folder / "data/table.parquet").read_text().split() == ["0", "1", "10", "11", *"23456789"]


def killed_in_the_middle(cluster: Cluster, folder: Path, begun: Path, go: Path, **parameters: Any) -> list[str]:
    """A run with three tasks that begin at once, each on a node, the third of which is killed before they go on; the
    names of the nodes, as the tasks began there."""
    with local_cluster.one_more(cluster.nodes / "c", cluster.server.environment, cluster.address, "127.0.0.4"):
        flow = cluster.start(folder, **parameters)
        wait_for(lambda: begun.exists() and len(begun.read_text().splitlines()) == 3 or flow.poll() is not None, 240)
        cluster.kill("c")
        go.touch()
        assert flow.wait() == 0, (folder / "said").read_text()
    return [Path(line).name for line in begun.read_text().splitlines()]


@pytest.mark.slow
def test_a_stage_whose_node_is_killed_runs_again_on_another(cluster: Cluster, repository: Make, tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    wait = f"echo $SYNTHALIGN_NODE >> {begun}; while ! test -e {go}; do sleep 0.2; done; "
    names = ["one", "two", "three"]
    folder = committed(
        repository({name: {"cmd": wait + f"echo {name} > {name}.out", "outs": [f"{name}.out"]} for name in names})
    )

    on = killed_in_the_middle(cluster, folder, begun, go, targets=names)

    assert (set(on[:3]), len(on)) == ({"a", "b", "c"}, 4)
    assert on[3] in {"a", "b"}
    assert locked(folder)["stages"].keys() == {*names}
    assert [(folder / f"{name}.out").read_text() for name in names] == ["one\n", "two\n", "three\n"]


@pytest.mark.slow
def test_shards_are_tasks_and_one_whose_node_is_killed_samples_on_another(
    cluster: Cluster, repository: Make, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    wait = f"echo $SYNTHALIGN_NODE >> {begun}; while ! test -e {go}; do sleep 0.2; done; "
    graph = {
        "top": {"cmd": "echo top > top.out", "outs": ["top.out"]},
        "sample_answers": {"cmd": wait + "python deal.py", "deps": ["deal.py", "top.out"], "outs": ["answers.out"]},
    }
    folder = repository(graph)
    (folder / "deal.py").write_text(DEAL)

    on = killed_in_the_middle(cluster, committed(folder), begun, go, targets=["sample_answers"], shards=3)

    assert (set(on[:3]), len(on)) == ({"a", "b", "c"}, 3 + 1 + 1)  # the shard again, and the stage itself
    assert (folder / "answers.out").read_text().splitlines() == [f"row {number}" for number in range(6)]
    assert "sampled" not in (folder / "logs/sample_answers.log").read_text()
    assert cluster.server.tasks(cluster.server.newest_run()).keys() == {
        "top", "sample_answers", *(f"sample_answers {number}/3" for number in range(3))
    }  # fmt: skip


@pytest.mark.slow
def test_when_the_flow_is_killed_its_stages_end_and_the_next_run_goes_on(
    cluster: Cluster, repository: Make, tmp_path: Path
) -> None:
    wait = f"echo $$ >> {tmp_path}/begun; while ! test -e {tmp_path}/go; do sleep 0.2; done; "
    graph = {
        "first": {
            "cmd": f"echo x >> {tmp_path}/firsts; echo top > first.out",
            "deps": ["asked"],
            "outs": ["first.out"],
        },
        "long": {"cmd": wait + "cp first.out long.out", "deps": ["first.out"], "outs": ["long.out"]},
    }
    folder = repository(graph)
    (folder / "asked").write_text("this\n")
    begun = tmp_path / "begun"

    flow = cluster.start(committed(folder), targets=["long"])
    wait_for(lambda: begun.exists() or flow.poll() is not None, 300)
    flow.kill()
    wait_for(lambda: not psutil.pid_exists(int(begun.read_text())), 300)
    assert flow.wait() == -signal.SIGKILL
    assert not (folder / "dvc.lock").exists()  # entries are written every few minutes

    (tmp_path / "go").touch()
    cluster.align(folder, targets=["long"])

    assert locked(folder)["stages"].keys() == {"first", "long"}
    assert (folder / "long.out").read_text() == "top\n"
    assert (tmp_path / "firsts").read_text() == "x\n"


@pytest.mark.slow
def test_two_flows_at_once_on_one_cluster_each_get_their_own_commits_tree(cluster: Cluster, repository: Make) -> None:
    one = committed(repository(GRAPH))
    other = one.with_name("other")
    call("git", "clone", "--quiet", str(one), str(other))
    changed = (other / "dvc.yaml").read_text().replace("echo top", "echo other")
    (other / "dvc.yaml").write_text(changed)
    commit(other)

    first = cluster.start(one, targets=["bottom"])
    cluster.align(other, targets=["bottom"], repository=str(other))

    assert first.wait() == 0, (one / "said").read_text()
    assert (one / "data/table.parquet").read_text() == 'top\ntop\n{"left": 1}\n'
    assert (other / "data/table.parquet").read_text() == 'other\nother\n{"left": 1}\n'
    assert call("dvc", "--cd", str(one), "status") == call("dvc", "--cd", str(other), "status")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_first_stages_of_the_graph_on_two_nodes_leave_the_lock_and_metrics_of_a_plain_repro(
    cluster: Cluster, tmp_path: Path
) -> None:
    plain = small_graph.clone(tmp_path / "plain")
    call("git", "-C", str(plain), "add", "-f", "data/scaled")  # git ignores what a scale makes, and nodes have git's
    commit(plain)
    folder = tmp_path / "ray"
    call("git", "clone", "--quiet", str(plain), str(folder))
    (folder / "accelerate.yaml").write_bytes((plain / "accelerate.yaml").read_bytes())
    small_graph.finish(small_graph.start(plain, "sample_responses@a"), plain)

    cluster.align(folder, targets=["sample_responses@a"], shards=2)

    tasks = cluster.server.tasks(cluster.server.newest_run())
    assert {"sample_responses@a 0/2", "sample_responses@a 1/2", "sample_responses@a"} < tasks.keys()
    assert locked(folder) == locked(plain)
    outs = [out for stage in small_graph.locked(plain).values() for out in stage]
    assert [out for out in outs if not same(folder / out, plain / out)] == []


def same(one: Path, other: Path) -> bool:
    if one.is_dir():
        return not subprocess.run(["diff", "-r", one, other]).returncode
    return one.read_bytes() == other.read_bytes()
