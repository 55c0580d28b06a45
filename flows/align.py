"""The graph of dvc.yaml as a Prefect flow: one task run a stage, then gates, published tables and report, a message.

    prefect deployment run align/nightly                                      docs/nightly.md has the rest
    python -c 'from flows.align import align; align()'                        without a deployment

What depends on what, and what has changed, is DVC's to say: a task is `dvc repro` of its one stage. So a run of the
flow and a plain `dvc repro` leave the same dvc.lock.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.futures import PrefectFuture, wait
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows import artifacts, beside, gates, graph, machine, on_ray, publish
from flows.lock import Entries, written_together
from flows.process import uninterrupted
from flows.slots import Stopped
from warm import start

REPORT = "report"
"""The stage that all of ALMoST comes before: a run that brings it up to date is gated and published."""

LAST = Path(".work/align/last.json")
"""The figures of the last run on this machine."""


class RunFailed(Exception):
    """Stages failed, or a gate is red."""


@dataclass(eq=False)
class Host:
    """What the tasks of a run share: what may run, how long, and whether the run is being ended."""

    parallel: int
    gpu_tasks: int
    seconds: float | None
    to_run: set[str] | None
    """None where it is not known: DVC is asked about each stage."""

    entries: Entries

    stop: Event = field(default_factory=Event)

    def passes_over(self, stage: graph.Stage) -> bool:
        return self.to_run is not None and stage.name not in self.to_run


@task(task_run_name="{stage.name}", cache_policy=NO_CACHE, persist_result=False)
def reproduce(stage: graph.Stage, host: Host) -> State[None]:
    """Bring one stage up to date; StageFailed with its last lines and what to do."""
    if host.passes_over(stage):
        return Completed(message="unchanged")
    say = get_run_logger().info
    try:
        how = beside.run_stage(
            stage, say, entries=host.entries, stop=host.stop, seconds=host.seconds, gpu_tasks=host.gpu_tasks
        )
    except Stopped as stopped:
        return Cancelled(message=str(stopped))
    return Completed(message=how)


def tell_of_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell whom the run would have told.  It is the worker that calls this when the system has killed the run, with
    these words as keywords; what goes wrong here Prefect writes into the run's log."""
    if notify := flow_run.parameters.get("notify"):
        send(notify, "align: crashed", f"{flow_run.name}: {state.message}; the next run goes on from here")


@flow(name="align", on_crashed=[tell_of_crash], task_runner=ThreadPoolTaskRunner(), persist_result=False)  # type: ignore[arg-type]
def align(
    targets: list[str] | None = None,
    parallel: Annotated[int, Field(ge=1)] = 2,
    gpu_tasks: Annotated[int, Field(ge=1)] = 1,
    stage_hours: Annotated[float, Field(gt=0)] | None = None,
    notify: str | None = None,
    report_url: str | None = None,
    runner: Literal["threads", "ray"] = "threads",
    ray_address: str | None = None,
    repository: str | None = None,
    shards: Annotated[int, Field(ge=1)] = 1,
) -> State[None]:
    """Bring the graph up to date, compare what was measured with the baseline, and publish.

    targets: stages or families to bring up to date with what they need; without, the whole graph. There are gates, and
    something is published, only with the whole graph or with `report`. parallel: stages at once. gpu_tasks: of these,
    how many that `accelerate launch` starts, over all flows of this host; one where accelerate.yaml has several
    processes, which then share all devices. stage_hours: the longest that a stage may take. notify: a notification
    block, type/name. report_url: where published/ can be seen by browsers. runner: threads of this host, or tasks of a
    Ray cluster, each in a clone on its node. ray_address: of the cluster; without one Ray runs on this host.
    repository: from where nodes clone; without one this clone's origin.
    shards: tasks of a Ray cluster that share the rows of each stage that samples.
    """
    logger = get_run_logger()
    try:
        if shards > 1 and runner != "ray":
            raise ValueError(f"shards: {shards} is for runner: ray; threads of one host share its cores as it is")
        elsewhere = partial(on_ray.cluster, ray_address, repository, shards) if runner == "ray" else None
        said = bring_up_to_date(targets or [graph.ALL], parallel, gpu_tasks, stage_hours, report_url, elsewhere)
    except Exception as error:
        tell(notify, "align: failed", str(error).split("\n")[0])
        raise
    logger.info(said)
    tell(notify, "align: done", said)
    return Completed(message=said)


def bring_up_to_date(
    targets: Sequence[str],
    parallel: int,
    gpu_tasks: int,
    stage_hours: float | None,
    report_url: str | None,
    elsewhere: Callable[[Entries], AbstractContextManager[on_ray.Cluster]] | None = None,
) -> str:
    """The run; returns what there is to say of it. RunFailed where a stage failed or a gate is red."""
    wanted = gates.read_gates()
    last, accepted = gates.read_figures(LAST), gates.read_figures(gates.BASELINE)
    if mended := graph.mend():
        get_run_logger().warning(mended)
    stages, to_run = ask_dvc(targets)
    launch, _ = machine.both()
    gpu_tasks = 1 if machine.has_several_processes(launch) else gpu_tasks
    accelerated = any(stage.gpu for name, stage in stages.items() if to_run is None or name in to_run)
    with written_together() as entries, ExitStack() as held:
        host = Host(parallel, gpu_tasks, stage_hours and stage_hours * 3600, to_run, entries)
        cluster = None
        if elsewhere and to_run != set():
            cluster = held.enter_context(elsewhere(entries))
            cluster.share(made_here(stages, to_run))
        elif accelerated:
            held.enter_context(start.beside())
        states = run_stages(stages, host, cluster)
        if cluster:
            cluster.fetch()

    ended = {name: how_it_ended(state) for name, state in states.items()}
    if not all(state.is_completed() for state in states.values()):
        failures = {name: message(states[name]) for name, how in ended.items() if how == "failed"}
        create_markdown_artifact(artifacts.summary(ended, failures, [], "Nothing is published."), "align-summary")
        waiting = sum(how == "not started" for how in ended.values())
        raise RunFailed(f"failed: {', '.join(failures)}" + f"; {waiting} that follow were not started" * bool(waiting))
    if targets != [graph.ALL] and REPORT not in targets:
        create_markdown_artifact(artifacts.summary(ended, {}, [], "A part of the graph: no gates."), "align-summary")
        return f"{len(stages)} stages are up to date"

    verdicts = gates.judge(wanted, last, accepted)
    create_table_artifact(artifacts.rows(verdicts), "align-metrics", "The gates' figures, and how they have moved")
    gates.write_figures(gates.figures(list(wanted)), LAST)
    red = [verdict.name for verdict in verdicts if verdict.colour == "red"]
    problem = f"red gates, nothing is published: {', '.join(red)}" if red else ""
    try:
        said = problem or published(stages, report_url)
    except (OSError, ValueError) as error:
        said = problem = f"nothing is published: {error}"
    create_markdown_artifact(artifacts.summary(ended, {}, verdicts, said), "align-summary")
    if problem:
        raise RunFailed(problem)
    return said


def ask_dvc(targets: Sequence[str]) -> tuple[dict[str, graph.Stage], set[str] | None]:
    """The stages of the targets, and which may have to run; None where that cannot be told, for then DVC is asked about
    each."""
    try:
        return graph.look(targets)
    except RuntimeError as error:
        get_run_logger().warning(f"what has changed cannot be told, so DVC is asked about every stage: {error}")
        return graph.select(graph.read(), targets), None


def made_here(stages: Mapping[str, graph.Stage], to_run: set[str] | None) -> list[str]:
    """The stages whose outs nodes may need, and no node makes; any of them where DVC could not tell what runs."""
    if to_run is None:
        return sorted(stages)
    return sorted({need for name in to_run for need in stages[name].needs} - to_run)


def run_stages(
    stages: Mapping[str, graph.Stage], host: Host, cluster: on_ray.Cluster | None = None
) -> dict[str, State[Any]]:
    """Run every stage after those that it needs, here or on a cluster; returns how each ended."""
    futures: dict[str, PrefectFuture[Any]] = {}
    progress = Progress(len(stages))

    def submit(stage: graph.Stage) -> PrefectFuture[Any]:
        """A task, with DVC's edges to those that it needs; what comes after a failure Prefect does not run."""
        needs = [futures[needed] for needed in stage.needs if needed in futures]
        if cluster and not host.passes_over(stage) and all(need.state.is_completed() for need in needs):
            done = [need.state.model_copy(update={"data": ""}) for need in needs]  # for the edges alone
            futures[stage.name] = cluster.submit(stage, stages, done, host.seconds)
            return futures[stage.name]
        futures[stage.name] = reproduce.submit(stage, host, wait_for=needs)  # type: ignore[call-overload]
        return futures[stage.name]

    def ended_well(future: PrefectFuture[Any]) -> bool:
        future.wait()  # else its state is what the server knows, which lags behind
        progress.more(1)
        if cluster and future.state.is_completed():
            cluster.take(next(stages[name] for name, one in futures.items() if one is future), future)
        return future.state.is_completed()

    try:
        for stage in stages.values():
            if host.passes_over(stage):
                submit(stage)
        for future in futures.values():  # they end at once, and a cluster is given what comes after them
            future.wait()
        progress.more(len(futures))
        beside.run_all(
            {name: stage for name, stage in stages.items() if name not in futures},
            submit,
            ended_well,
            at_once=host.parallel,
            gpu_tasks=host.parallel if cluster else host.gpu_tasks,
            seconds=beside.known_seconds(),
        )
        for stage in stages.values():
            if stage.name not in futures:
                submit(stage)
        wait(list(futures.values()))
    except BaseException:  # the run is being cancelled, with stages at work
        host.stop.set()
        with uninterrupted():
            if cluster:
                cluster.stop(list(futures.values()))
            wait(list(futures.values()))
        raise
    progress.show()
    return {name: cluster.state(name, future) if cluster else future.state for name, future in futures.items()}


class Progress:
    """How many stages have ended, as an artifact."""

    def __init__(self, of: int) -> None:
        self._artifact = create_progress_artifact(0.0, "align-progress", "Stages that have ended")
        self._done, self._of, self._shown = 0, of, time.monotonic()

    def more(self, stages: int) -> None:
        self._done += stages
        if time.monotonic() - self._shown > 5:  # each is a call to the server
            self.show()

    def show(self) -> None:
        self._shown = time.monotonic()
        with suppress(Exception):
            update_progress_artifact(self._artifact, 100 * self._done / self._of)  # type: ignore[arg-type, unused-coroutine]


def how_it_ended(state: State[Any]) -> str:
    if state.is_completed():
        return state.message or "ran"
    if state.is_cancelled():
        return "cancelled"
    return "failed" if state.is_final() else "not started"


def message(state: State[Any]) -> str:
    """What a failed task says, without Prefect's words around it."""
    try:
        state.result()
    except Exception as error:
        return str(error)
    return state.message or ""


def published(stages: Mapping[str, graph.Stage], report_url: str | None) -> str:
    """Publish; returns what there is to say of it."""
    folder, is_new = publish.publish(stages, date.today())
    report = folder / "report" / "index.html"
    if report.exists():
        link = f"{report_url.rstrip('/')}/{folder.name}/report/index.html" if report_url else report.resolve().as_uri()
        create_link_artifact(link, f"Report of {folder.name}", "align-report", "The report of the last published run")
    return f"published {folder}" if is_new else f"nothing new since {folder}"


def tell(notify: str | None, subject: str, body: str) -> None:
    """Send a message with a notification block, type/name; that it cannot be sent fails no run."""
    if notify is None:
        return
    try:
        send(notify, subject, body)
    except Exception as error:
        get_run_logger().warning(f"notify: {notify} took no message: {error!r}")


def send(notify: str, subject: str, body: str) -> None:
    Block.load(notify).notify(body=body, subject=subject)  # type: ignore[union-attr]
