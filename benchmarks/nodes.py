"""What more nodes bring: the flow on 1, 2 and 4 Ray nodes of this machine, and a simulation of 64 and 1,024.

    python -m benchmarks.nodes                 # extras [ray], [s3], [store]: benchmarks/results/nodes.json
    python -m benchmarks.nodes --simulate      # the simulation alone, with the overheads of the last measurement

Measured are graphs of equal stages that need nothing of each other and wait (a server that takes its time to answer) or
compute (one core each), each stage with its clone, its fetching and its pushing.  The overheads of the simulation are
fitted to one node; what it says of 2 and 4 stands beside what was measured.  Then it is given the graph at hand, with
the seconds that its stages took here (.work/durations.jsonl) and the sizes in dvc.lock.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import pbkdf2_hmac
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import simpy
import yaml

from benchmarks.bench import machine, versions
from flows import beside, graph, local_cluster, nightly, on_ray
from flows.background import free_port
from synthalign.reporting.recorded import read_lock

OUT = Path("benchmarks/results/nodes.json")
STAGES, SECONDS, LATENCY = 6, 6.0, 0.2

# -- simulation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """What the simulation knows of a stage."""

    needs: tuple[str, ...]
    seconds: float
    computes: bool = True
    fetches: int = 0
    """Bytes that a node does not have."""

    leaves: int = 0
    """Bytes that go to the remote."""

    shards: int = 1


@dataclass(frozen=True)
class Cluster:
    nodes: int
    cores: int
    """Of all nodes together, one at most for a stage; less than the nodes where they are of one machine."""

    start: float
    """Seconds of the flow around all stages."""

    overhead: float
    """Seconds of a core around each stage: clone, DVC, Prefect."""

    link: float = 125e6
    """Bytes a second between a node and the remote."""

    streams: int = 64
    """So many nodes have their whole link at the same time."""


def makespan(stages: Mapping[str, Stage], cluster: Cluster) -> float:
    """Seconds of the whole run: every stage starts when those that it needs are done and a node is free; of those that
    could start, the one with the longest way to the end is the next."""
    env = simpy.Environment()
    nodes = simpy.PriorityResource(env, cluster.nodes)
    cores = simpy.Resource(env, cluster.cores)
    streams = simpy.Resource(env, cluster.streams)
    plain = {name: graph.Stage(name, one.needs, False, ()) for name, one in stages.items()}
    ways = beside.remaining(plain, {name: one.seconds for name, one in stages.items()})
    done: dict[str, Any] = {}

    def hold(resource: simpy.Resource, seconds: float) -> Iterator[Any]:
        if seconds:
            with resource.request() as place:
                yield place
                yield env.timeout(seconds)

    def on_a_node(one: Stage, way: float, seconds: float, leaves: int) -> Iterator[Any]:
        with nodes.request(priority=-way) as place:
            yield place
            yield from hold(streams, one.fetches / cluster.link)
            yield from hold(cores, cluster.overhead)
            if one.computes:
                yield from hold(cores, seconds)
            else:
                yield env.timeout(seconds)
            yield from hold(streams, leaves / cluster.link)

    def run(name: str, one: Stage) -> Iterator[Any]:
        yield env.all_of([done[need] for need in one.needs if need in done])
        if one.shards > 1:  # each makes its rows, then the stage itself finds them all
            share = one.seconds / one.shards
            yield env.all_of([env.process(on_a_node(one, ways[name], share, 0)) for _ in range(one.shards)])
        yield from on_a_node(one, ways[name], 0 if one.shards > 1 else one.seconds, one.leaves)

    for name, one in stages.items():  # each after those that it needs
        done[name] = env.process(run(name, one))
    env.run(env.all_of(list(done.values())))
    return float(cluster.start + env.now)


def here() -> dict[str, Stage]:
    """The graph at hand: seconds of the last runs on this machine, and sizes of dvc.lock."""
    seconds, lock, found = beside.known_seconds(), read_lock(Path()), {}
    for name, stage in graph.read().items():
        if name in seconds and name in lock:
            sizes = {
                kind: sum(int(one.get("size", 0)) for one in lock[name].get(kind, [])) for kind in ("deps", "outs")
            }
            found[name] = Stage(stage.needs, seconds[name], True, sizes["deps"], sizes["outs"])
    return found


def in_shards(stages: Mapping[str, Stage], shards: int) -> dict[str, Stage]:
    return {
        name: replace(one, shards=shards) if name.split("@")[0] in on_ray.IN_SHARDS else one
        for name, one in stages.items()
    }


def simulated(start: float, overhead: float) -> dict[str, Any]:
    """The graph at hand, and one whose stages all have a hundred times as much to do, on 1 to 1,024 nodes, without
    shards and with as many as nodes."""
    stages = here()
    if not stages:
        raise SystemExit("no stage of this graph has been timed here: run `make repro` first")
    rows = []
    for work in (1, 100):
        more = {
            name: replace(one, seconds=work * one.seconds, fetches=work * one.fetches, leaves=work * one.leaves)
            for name, one in stages.items()
        }
        for nodes in (1, 2, 4, 16, 64, 1024):
            cluster = Cluster(nodes, nodes, start, overhead)
            for shards in sorted({1, min(nodes, 64), nodes}):
                seconds = makespan(in_shards(more, shards), cluster)
                rows.append({"work": work, "nodes": nodes, "shards": shards, "seconds": round(seconds, 1)})
    return {"stages": len(stages), "seconds": round(sum(one.seconds for one in stages.values()), 1), "rows": rows}


# -- measurement ------------------------------------------------------------------------------------------------------


@contextmanager
def slow_server(latency: float) -> Iterator[str]:
    """A server whose every answer takes so many seconds; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(latency)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def rounds_for(seconds: float) -> int:
    """So many rounds of a hash take these seconds of a core here."""
    begin = time.perf_counter()
    pbkdf2_hmac("sha256", b"", b"", 1_000_000)
    return round(1_000_000 * seconds / (time.perf_counter() - begin))


def repository(folder: Path, command: str, stages: int) -> Path:
    """A repository with this flow and a graph of equal stages, each of which leaves a file of its own."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for name in ("flows", "warm", "synthalign"):
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements.lock").write_text("")
    script = folder / "work.sh"
    script.write_text(command + "\n")
    names = [f"stage{number}" for number in range(stages)]
    here = folder.parent.name  # so that the cache of runs has none of another measurement
    described = {
        name: {"cmd": f"sh work.sh && echo {here} {name} > {name}.out", "outs": [f"{name}.out"]} for name in names
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": described}))
    (folder / ".gitignore").write_text("*.out\n.work\nlogs\n__pycache__\n")
    for words in (["dvc", "init", "--quiet"], ["git", "add", "-A"]):
        subprocess.run(words, cwd=folder, check=True)
    named = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    subprocess.run(["git", *named, "commit", "--quiet", "-m", "a graph of equal stages"], cwd=folder, check=True)
    return folder


@contextmanager
def services() -> Iterator[dict[str, str]]:
    """A store and a Prefect server, for all measurements; the environment of a flow that uses them."""
    with tempfile.TemporaryDirectory(prefix="nodes-") as name, ExitStack() as held:
        folder = Path(name)
        kept = held.enter_context(local_cluster.store(folder / "store"))
        given = os.environ | nightly.environment(folder / "prefect", free_port()) | local_cluster.word()
        given |= kept.environment | local_cluster.dvc_remote(kept, folder / "dvc")
        held.enter_context(nightly.server(given, folder / "server.log"))
        yield given


@contextmanager
def cluster(given: Mapping[str, str], nodes: int) -> Iterator[str]:
    """So many nodes with a core each, whose clones and caches go with them; their address."""
    with (
        tempfile.TemporaryDirectory(prefix="cluster-") as name,
        local_cluster.nodes(Path(name), given, nodes) as address,
    ):
        yield address


def measured(address: str, given: Mapping[str, str], nodes: int, command: str, stages: int) -> float:
    """Seconds that the flow takes for such a graph on a cluster of so many nodes, a core each."""
    with tempfile.TemporaryDirectory(prefix="graph-") as name:
        work = repository(Path(name) / "work", command, stages)
        parameters = {"runner": "ray", "ray_address": address, "parallel": 2 * nodes}
        names = [f"stage{number}" for number in range(stages)]
        code = f"from flows.align import align; align({names!r}, **{parameters!r})"
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=work, env=given, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the flow failed on {nodes} nodes:\n{done.stderr[-3000:]}")
        return time.perf_counter() - begin


def compared(runs: int) -> dict[str, Any]:
    """Every kind of stage on every number of nodes, in turns, and what the simulation says of the same.

    The first flow on a cluster, which starts Ray's workers, is not counted.
    """
    rounds = rounds_for(SECONDS)
    found: dict[tuple[str, int, int], list[float]] = {}
    with slow_server(LATENCY) as url, services() as given:
        python = sys.executable
        asking = (
            f"from urllib.request import urlopen; [urlopen('{url}').close() for _ in range({SECONDS / LATENCY:.0f})]"
        )
        hashing = f"from hashlib import pbkdf2_hmac; pbkdf2_hmac('sha256', b'', b'', {rounds})"
        commands = {"waits": f'{python} -c "{asking}"', "computes": f'{python} -c "{hashing}"'}
        for nodes in (1, 2, 4) * runs:
            with cluster(given, nodes) as address:
                measured(address, given, nodes, "true", nodes)
                wanted = [("waits", STAGES), ("computes", STAGES), *([("waits", 1)] if nodes == 1 else [])]
                for kind, count in wanted:
                    seconds = measured(address, given, nodes, commands[kind], count)
                    print(f"{kind}, {count} stages, {nodes} nodes: {seconds:.1f} s", flush=True)
                    found.setdefault((kind, nodes, count), []).append(seconds)
    one, all_of_them = (median(found["waits", 1, count]) for count in (1, STAGES))
    overhead = (all_of_them - one) / (STAGES - 1) - SECONDS
    start = one - SECONDS - overhead
    rows = []
    for (kind, nodes, count), taken in found.items():
        stages = {f"stage{number}": Stage((), SECONDS, kind == "computes") for number in range(count)}
        available = Cluster(nodes, len(os.sched_getaffinity(0)), start, overhead)
        rows.append(
            {
                "stages": count,
                "kind": kind,
                "nodes": nodes,
                "seconds": [round(value, 2) for value in taken],
                "simulated": round(makespan(stages, available), 2),
                "fitted": kind == "waits" and nodes == 1,
            }
        )
    return {"start": round(start, 2), "overhead": round(overhead, 2), "stage_seconds": SECONDS, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nodes", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of every measurement, in turns (default 3)")
    parser.add_argument("--simulate", action="store_true", help="with the overheads of the last measurement")
    given = parser.parse_args()
    if given.simulate and not OUT.exists():
        parser.error(f"--simulate: there is no {OUT} yet")
    before = json.loads(OUT.read_text(encoding="utf-8"))["measured"] if given.simulate else None
    found = before or compared(given.runs)
    result = {
        "machine": machine(),
        "versions": versions("ray", "prefect", "prefect-ray", "dvc", "simpy"),
        "measured": found,
        "simulated": simulated(found["start"], found["overhead"]),
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in [*found["rows"], *result["simulated"]["rows"]]:
        print(row)


if __name__ == "__main__":
    main()
