"""make nightly: a Prefect server, a worker, the deployment and one watched run of it, in one command.

All of it ends with the run, or with Ctrl-C; the server's database stays in .work/prefect, so that artifacts of several
runs can be compared. With `--runner ray` there are also two Ray nodes and an object store on this machine; what they
keep is in .work/cluster. A server or a cluster that stays: docs/nightly.md, docs/scaling.md.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from filelock import FileLock, Timeout

from flows import local_cluster, machine
from flows.background import background, free_port
from flows.slots import nvidia_devices

HOME = Path(".work/prefect")
CLUSTER = Path(".work/cluster")
POOL = "local"
WATCH = Path("logs/prefect-watch.log")
"""Every event of the run; the worker beside it shows the log."""

START = 300.0
"""Seconds until a server has to answer; with a new database it takes a minute where the disk is slow."""


def environment(home: Path, port: int) -> dict[str, str]:
    """The settings by which Prefect uses this folder, and the server at this port, and nothing else."""
    return {
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # As given, who has the deployment's only place is in the server's memory: after a kill it would never be free.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # This server comes and goes: what it had planned for the hours between would start beside the watched run.
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # of a server that is asked by nobody else
    }


@contextmanager
def server(given: Mapping[str, str], log: Path) -> Iterator[None]:
    """A Prefect server at PREFECT_API_URL; SystemExit with its last words where it does not come up."""
    url = given["PREFECT_API_URL"]
    port = url.split(":")[2].split("/")[0]
    log.parent.mkdir(parents=True, exist_ok=True)
    Path(given["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with background(command, given, log) as process:
        end_at = time.monotonic() + START
        while not answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > end_at:
                raise SystemExit(f"nightly: the server does not start; the end of {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.3)
        yield


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def prefect(*arguments: str, log: Path | None = None) -> int:
    """Run a command of Prefect in the foreground, its output in a file if one is given; returns its exit code."""
    with log.open("wb") if log else nullcontext() as output:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        return subprocess.run(command, stdout=output, stderr=output).returncode


def worker() -> list[str]:
    """The command of a worker; what the flows say goes to its output."""
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]


def must(code: int, what: str) -> None:
    if code:
        raise SystemExit(f"nightly: {what} failed, exit code {code}")


def forget_runs(url: str) -> None:
    """End the runs of a `make nightly` that was killed: they hold the deployment's only place."""
    unfinished = {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]}}}
    crashed = {"type": "CRASHED", "message": "the server of this run was killed"}
    for run in post(f"{url}/flow_runs/filter", {"flow_runs": unfinished}):
        post(f"{url}/flow_runs/{run['id']}/set_state", {"state": crashed, "force": True})


def make_pool(url: str) -> None:
    """The work pool, where there is none yet; how its processes are started the worker knows."""
    try:
        post(f"{url}/work_pools/", {"name": POOL, "type": "process"})
    except HTTPError as error:
        if error.code != 409:  # it is there
            raise


def post(url: str, body: Mapping[str, Any]) -> Any:
    """The answer of the server's API.  Its client would load all of Prefect for two calls."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def two_nodes() -> Iterator[dict[str, str]]:
    """Two Ray nodes on this machine, and a store where this working copy has no DVC remote of its own; the parameters
    of a run on them. What the run and the nodes need to know is in the environment from here on."""
    from flows import on_ray  # with all of Prefect

    asked = on_ray.resources(*machine.both())
    cores = max((os.cpu_count() or 1) // 2, int(asked["num_cpus"]))
    with ExitStack() as held:
        if on_ray.default_remote() is None:
            kept = held.enter_context(local_cluster.store(CLUSTER / "store"))
            os.environ.update(kept.environment | local_cluster.dvc_remote(kept, CLUSTER / "dvc"))
        os.environ.update(local_cluster.word())
        nodes = local_cluster.nodes(CLUSTER, os.environ, cores=cores, gpus=len(nvidia_devices()))
        yield {"runner": "ray", "ray_address": held.enter_context(nodes), "repository": str(Path.cwd())}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runner", choices=["threads", "ray"], default="threads", help="on what the stages run")
    parser.add_argument("--param", action="append", default=[], help="a parameter of the flow, name=value")
    given = parser.parse_args()
    for kind in (signal.SIGINT, signal.SIGTERM):  # a shell starts what it puts into the background with SIGINT ignored
        signal.signal(kind, interrupt)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]  # of a server that stays, whose runs and database are none of ours
    os.environ.update(environment(HOME, free_port()))
    HOME.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(HOME / "nightly.lock").acquire(timeout=0)
    except Timeout:
        raise SystemExit(f"nightly: another `make nightly` of this folder has {HOME}; wait for its end") from None
    with held:
        run(given)


def run(given: argparse.Namespace) -> None:
    """The watched run, on two Ray nodes where they are asked for; ends with SystemExit."""
    nodes: AbstractContextManager[dict[str, str]] = two_nodes() if given.runner == "ray" else nullcontext({})
    try:
        with nodes as parameters:
            code = watched_run([*(f"{name}={json.dumps(value)}" for name, value in parameters.items()), *given.param])
    except KeyboardInterrupt:
        print("\nnightly: stopped; the next run goes on from here", file=sys.stderr)
        code = 130
    except local_cluster.NotStarted as error:
        raise SystemExit(f"nightly: {error}") from None
    print(f"To look at its artifacts: PREFECT_HOME={shlex.quote(str(HOME.resolve()))} prefect server start")
    raise SystemExit(code)


def watched_run(parameters: Sequence[str]) -> int:
    """A server, a worker and the deployment, and one run of it with these parameters, name=value; its exit code."""
    with server(os.environ, Path("logs/prefect-server.log")):
        forget_runs(os.environ["PREFECT_API_URL"])
        make_pool(os.environ["PREFECT_API_URL"])
        with background(worker(), os.environ, None):  # it starts while the flow is deployed
            must(prefect("deploy", "--all"), "deploy")
            words = [word for pair in parameters for word in ("--param", pair)]
            code = prefect("deployment", "run", "align/nightly", "--watch", *words, log=WATCH)
            said = WATCH.read_text(errors="replace").splitlines()
            print(said[-1] if said else "no word of the run; see logs/prefect-server.log")
    return code


if __name__ == "__main__":
    main()
