"""`runner: ray` of the flow `align`: every stage is a Ray task, through Prefect's runner for Ray.

Ray places the tasks by the GPUs and cores that they ask for, runs one again whose node has died, and carries what goes
in and out; DVC's remote carries tables and models. What a task does on its node is in flows/node.py.
"""

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import machine, node
from flows.failures import hint
from flows.graph import Stage
from flows.lock import Entries

RETRIES = 3
"""How often a stage is run again whose node has died; one that fails is not."""


IN_SHARDS = {
    "contrast_pairs",
    "mine_queries",
    "revise_answers",
    "sample_answers",
    "sample_preferences",
    "sample_responses",
    "simulate_demonstrations",
}
"""The stages and families that can be run in shards."""


@task(task_run_name="{task.name}", cache_policy=NO_CACHE, persist_result=False)
def reproduce_there(
    run: node.Run, task: node.Task, journals: Sequence[node.Journals], seconds: float | None
) -> State[node.Made]:
    """Bring one stage up to date on the node where Ray has put this."""
    made = node.reproduce(run, task, get_run_logger().info, journals=journals, seconds=seconds)
    return Completed(message=made.how, data=made)


@task(task_run_name="{task.name} {shard}", cache_policy=NO_CACHE, persist_result=False)
def sample_there(run: node.Run, task: node.Task, shard: str, seconds: float | None) -> State[node.Journals]:
    """Make the rows of one shard of a stage on the node where Ray has put this."""
    journals = node.sample(run, task, shard, get_run_logger().info, seconds=seconds)
    return Completed(message=f"ran on {os.uname().nodename}", data=journals)


@dataclass
class Cluster:
    """A cluster at work for one run."""

    runner: Any
    run: node.Run
    needs: Mapping[str, float]
    """What a stage that `accelerate launch` starts asks of Ray; others ask for a core."""

    lock: dict[str, Any]
    """The entries of dvc.lock, with those that this run has made."""

    entries: Entries
    shards: int = 1
    """How many tasks share the rows of a stage that samples."""

    made: list[str] = field(default_factory=list)
    shards_of: dict[str, list[Any]] = field(default_factory=dict)
    """The futures of a stage's shards."""

    def submit(
        self, stage: Stage, stages: Mapping[str, Stage], wait_for: Sequence[State[Any]], seconds: float | None
    ) -> Any:
        """A task for a stage, those that it needs being done, after one for each of its shards; returns its future.

        What shards have sampled goes from node to node as Ray's objects: they are as large as the table's texts, are
        needed once, and Ray makes one again whose node has died.
        """
        from prefect_ray.context import remote_options

        near = [stage, *(stages[need] for need in stage.needs)]
        given = node.Task(
            stage.name,
            {one.name: self.lock[one.name] for one in near if one.name in self.lock},
            {file: Path(file).read_bytes() for one in near for file in one.uncached if Path(file).exists()},
            stage.uncached,
        )
        parameters: dict[str, Any] = {"run": self.run, "task": given, "seconds": seconds}
        asked = self.needs if stage.gpu else {"num_cpus": 1}
        with remote_options(**asked, max_retries=RETRIES):
            if self.shards > 1 and stage.name.split("@")[0] in IN_SHARDS:
                self.shards_of[stage.name] = [
                    self.runner.submit(
                        sample_there, parameters={**parameters, "shard": f"{number}/{self.shards}"}, wait_for=wait_for
                    )
                    for number in range(self.shards)
                ]
            parameters["journals"] = self.shards_of.get(stage.name, [])
            return self.runner.submit(reproduce_there, parameters=parameters, wait_for=wait_for)

    def state(self, name: str, future: Any) -> State[Any]:
        """How a stage has ended: as the first of its shards that failed, or as itself."""
        for one in self.shards_of.get(name, []):
            one.wait()
        ended = [one.state for one in (*self.shards_of.get(name, []), future)]
        return next((state for state in ended if not state.is_completed()), ended[-1])

    def take(self, stage: Stage, future: Any) -> None:
        """What a stage has made becomes part of this working copy, but for what only the remote has yet."""
        made: node.Made = future.result()
        for file, content in made.files.items():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_bytes(content)
        log = Path("logs") / f"{stage.name.replace('/', '_')}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(made.log, encoding="utf-8")
        self.lock[stage.name] = made.entry
        self.entries.add({"dvc.lock": {stage.name: made.entry}})
        self.made.append(stage.name)

    def stop(self, futures: Sequence[Any]) -> None:
        """End the tasks; what they have finished is kept where they are."""
        import ray

        for future in (*futures, *chain(*self.shards_of.values())):
            with suppress(Exception):
                ray.cancel(future.wrapped_future)

    def share(self, names: Sequence[str]) -> None:
        """Push what these stages have made, which this run does not make again and nodes need."""
        dvc("push", names)

    def fetch(self) -> None:
        """Bring from the remote what dvc.lock now names, as if all had been made here."""
        self.entries.write(math.inf)  # as the pull waits
        dvc("pull", self.made)


def dvc(command: str, names: Sequence[str]) -> None:
    """`dvc push` or `dvc pull` of stages, once no other DVC is at work; RuntimeError with its reason and what to do."""
    if not names:
        return
    asking = [sys.executable, "-m", "dvc", "--wait-for-lock", command, "--quiet", *names]
    done = subprocess.run(asking, capture_output=True, text=True)
    if done.returncode:
        known = f"; {words}" if (words := hint(done.stderr)) else ""
        raise RuntimeError(f"dvc {command} of what the nodes need or have made{known}: {done.stderr.strip()[-2000:]}")


@contextmanager
def cluster(address: str | None, repository: str | None, shards: int, entries: Entries) -> Iterator[Cluster]:
    """Connect to a cluster, or start Ray on this machine; RuntimeError for what a run on nodes cannot do with."""
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise RuntimeError("runner: ray, but prefect-ray is not installed: pip install '.[ray]'") from None
    from dvc.utils.serialize import load_yaml

    run = described(repository)
    lock = load_yaml("dvc.lock").get("stages", {}) if Path("dvc.lock").exists() else {}
    here = [str(Path(package).resolve()) for package in ("flows", "warm")]
    runner = RayTaskRunner(address=address, init_kwargs={"runtime_env": {"py_modules": here}, "log_to_driver": False})
    with runner as started:
        yield Cluster(started, run, resources(*machine.both()), dict(lock), entries, shards)


def resources(launch: Mapping[str, Any], hardware: Mapping[str, Any]) -> dict[str, float]:
    """What a stage asks of Ray that `accelerate launch` starts: a GPU for each of its processes, or its threads."""
    processes, threads = launch.get("num_processes", 1), hardware.get("threads", 1)
    if launch.get("use_cpu", True):
        return {"num_cpus": processes * threads, "num_gpus": 0}
    return {"num_cpus": max(processes, threads), "num_gpus": processes}


def described(repository: str | None) -> node.Run:
    """This working copy as nodes are to have it; RuntimeError where they could not."""
    if changed := node.changes(Path()):
        raise RuntimeError(
            f"nodes work at a commit, and {', '.join(changed[:5])} is not committed: commit, then run again"
        )
    if repository is None:
        found = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True).stdout.strip()
        repository = found or str(Path.cwd())
    return node.Run(
        repository,
        node.git("rev-parse", "HEAD"),
        node.versions(node.named(Path("requirements.lock"))),
        remote(),
        {name: file.read_text(encoding="utf-8") for name, file in machine.files().items() if file.exists()},
    )


def remote() -> dict[str, str]:
    """The settings of DVC's default remote; RuntimeError without one, or where it holds a secret."""
    from dvc.config import Config

    name, config = default_remote(), Config.from_cwd()
    if name is None:
        raise RuntimeError("runner: ray takes tables from node to node through a DVC remote: `dvc remote add -d …`")
    given = dict(config["remote"][name])
    if secret := sorted(key for key in given if node.SECRET.search(key)):
        raise RuntimeError(
            f"the remote {name} has {', '.join(secret)} in DVC's settings, which nodes do not get: put credentials "
            "into the environment of each node (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or its ~/.aws"
        )
    return {key: str(value) for key, value in given.items() if value is not None}


def default_remote() -> str | None:
    """The name of DVC's default remote here; None without one."""
    from dvc.config import Config

    name: str | None = Config.from_cwd()["core"].get("remote")
    return name
