"""kill -9 at twenty moments of a run with toy numbers: what comes out in the end, and that nothing was made twice.

Not the whole graph, which takes minutes more, but a part of it with every kind of long stage: four that sample, the
one that mines in rounds, and the four kinds of trainers.  PPO and DPO start from the policy and with the reward
model that this part has.
"""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from threading import Event, Thread
from typing import Literal

import psutil
import pytest
import yaml

from synthalign.commands.recover import recover
from tests import small_graph

pytestmark = pytest.mark.slow

TARGETS = ("train_dpo", "train_ppo@almost", "sample_responses@a", "sample_answers@sft_selfplay")
KILLS = 20
POLICY, REWARD = "models/sft/selfplay", "models/asis_reward"

Victim = Literal["stage", "launcher", "dvc", "group"]
VICTIMS: tuple[Victim, ...] = ("stage", "launcher", "dvc", "group")


@dataclass(frozen=True)
class Moment:
    """When to kill: so long after DVC said that it runs the stage, after so many of its rows, or at its end."""

    stage: str
    kind: Literal["seconds", "rows", "recording"]
    amount: float
    """Seconds, rows, or seconds after the stage's process has ended, when DVC records what it made."""


class Keeper:
    """Hard links of all journals of a folder, so that their rows can be counted when they are long removed."""

    def __init__(self, folder: Path, links: Path) -> None:
        self.folder, self.links = folder, links
        links.mkdir()
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.look()

    def look(self) -> None:
        for journal in self.folder.glob(".work/*/*/*.jsonl"):
            with suppress(FileNotFoundError, FileExistsError):
                stage, name = journal.parts[-3], journal.name.removesuffix(".0.jsonl")
                os.link(journal, self.links / f"{stage}|{name}|{journal.stat().st_ino}")

    def rows(self) -> "Counter[tuple[str, str, str]]":
        """How often each (stage, journal, row) was written to the end, in whatever file."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for link in self.links.iterdir():
            stage, name, _ = link.name.split("|")
            for line in link.read_bytes().splitlines():
                with suppress(ValueError):  # a torn line is no row
                    counts[stage, name, json.loads(line)["id"]] += 1
        return counts

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def clone(folder: Path) -> Path:
    small_graph.clone(folder)
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    for guide in settings["simulate_demonstrations"]["guides"].values():
        guide["reward"] = REWARD
    settings["sample_preferences"] |= {"model": POLICY, "reward": REWARD}
    settings["train_dpo"] |= {"model": POLICY}
    settings["train_ppo"]["policies"]["almost"] = {"policy": POLICY, "reward": REWARD}
    settings["sample_answers"] |= {"samples": 4}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


def running(folder: Path) -> list[str]:
    """The stages that DVC said it runs, in order."""
    lines = (folder / "out").read_text(errors="replace").splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def skipped(folder: Path) -> set[str]:
    """The stages that DVC said need not run."""
    lines = (folder / "out").read_text(errors="replace").splitlines()
    return {
        line.split("'")[1] for line in lines if line.startswith("Stage ") and line.endswith(("skipping", "outputs"))
    }


def undisturbed(folder: Path, keeper: Keeper) -> dict[str, float]:
    """How long each stage takes, in the order of their work."""
    process = small_graph.start(folder, *TARGETS)
    starts: dict[str, float] = {}
    while process.poll() is None:
        starts |= {stage: time.monotonic() for stage in running(folder) if stage not in starts}
        time.sleep(0.05)
    small_graph.finish(process, folder)
    ends = [*starts.values(), time.monotonic()][1:]
    return {stage: end - start for (stage, start), end in zip(starts.items(), ends, strict=True)}


def draw(durations: dict[str, float], rows: "Counter[tuple[str, str, str]]") -> list[Moment]:
    """Twenty moments in their order: eight anywhere in the run, eight among the rows, four while DVC records."""
    generator = random.Random(0)
    stages = list(durations)
    moments = []
    for _ in range(8):
        seconds = generator.uniform(0, sum(durations.values()))
        for stage, duration in durations.items():
            if seconds < duration:
                moments.append(Moment(stage, "seconds", round(seconds, 2)))
                break
            seconds -= duration
    written = sorted(rows)
    for stage, _, _ in generator.sample(written, 8):
        amount = generator.randrange(1, sum(name == stage for name, _, _ in written))
        [place] = [name for name in stages if name.split("@")[0] == stage]
        moments.append(Moment(place, "rows", amount))
    moments += [
        Moment(stage, "recording", round(generator.uniform(0, 0.6), 2)) for stage in generator.sample(stages[2:], 4)
    ]
    kinds = ["seconds", "rows", "recording"]
    return sorted(moments, key=lambda one: (stages.index(one.stage), kinds.index(one.kind), one.amount))


def wait_for_any(
    moments: list[Moment], process: "Popen[bytes]", folder: Path, keeper: Keeper, done: set[str]
) -> Moment:
    """Wait for the first of the moments that comes, take it out, and return it.

    DVC's order of stages that do not need each other changes from run to run.  And the moment of a stage that is
    already done, because an earlier kill came late, counts for the stage that runs.
    """
    while True:
        assert process.poll() is None, f"ended by itself before {moments}\n{(folder / 'out').read_text()[-3000:]}"
        stages = running(folder)
        done |= set(stages[:-1]) | skipped(folder)
        due = [moment for moment in moments if stages and (moment.stage == stages[-1] or moment.stage in done)]
        if due:
            break
        time.sleep(0.01)
    moment, now = due[0], stages[-1]
    moments.remove(moment)
    began = time.monotonic()
    if moment.kind == "seconds":
        time.sleep(moment.amount)
    elif moment.kind == "rows":
        while process.poll() is None and running(folder)[-1] == now:
            if sum(name == now.split("@")[0] for name, _, _ in keeper.rows()) >= moment.amount:
                break
            time.sleep(0.005)
    else:
        while process.poll() is None and (below(process) or time.monotonic() < began + 1):
            time.sleep(0.005)
        time.sleep(moment.amount)
    return moment


def below(process: "Popen[bytes]") -> list[psutil.Process]:
    """The launcher and the stage of a DVC."""
    with suppress(psutil.NoSuchProcess):
        dvc = psutil.Process(process.pid)
        warm = [child for child in dvc.children() if "warm.parent" in child.cmdline()]
        return [child for child in dvc.children(recursive=True) if child not in warm]
    return []


def kill(victim: Victim, process: "Popen[bytes]") -> str:
    """Kill it, or DVC where it does not exist at the moment; says what was killed."""
    children = below(process)
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "dvc" or not children:
        process.kill()
        return "dvc"
    else:
        with suppress(psutil.NoSuchProcess):
            children[-1 if victim == "stage" else 0].kill()
    return victim


def all_gone(folder: Path) -> None:
    """Wait until no process works in the folder: what was below a killed DVC must end by itself."""
    deadline = time.monotonic() + 30
    while alive := [
        one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder) and one.pid != os.getpid()
    ]:
        assert time.monotonic() < deadline, [one.cmdline() for one in alive]
        time.sleep(0.05)


def products(folder: Path, stages: list[str]) -> dict[str, bytes]:
    """Everything that the stages made: tables, models, metrics, points of plots."""
    locked = small_graph.locked(folder)
    paths = [folder / out for stage in stages for out in locked[stage]]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    yield clone(tmp_path / "one"), clone(tmp_path / "other")
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.timeout(2400)
def test_twenty_kills_leave_no_trace(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, folder = folders
    keeper = Keeper(calm, tmp_path / "calm-journals")
    began = time.monotonic()
    durations = undisturbed(calm, keeper)
    keeper.stop()
    expected = keeper.rows()
    stages = list(durations)
    moments = draw(durations, expected)
    print(f"\nundisturbed: {time.monotonic() - began:.0f} s, {len(stages)} stages, {len(expected)} journaled rows")

    keeper = Keeper(folder, tmp_path / "journals")
    monkeypatch.chdir(folder)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    done: set[str] = set()
    for number in range(KILLS):
        process = small_graph.start(folder, *TARGETS)
        moment = wait_for_any(moments, process, folder, keeper, done)
        assert process.poll() is None, f"{moment}: ended by itself\n{(folder / 'out').read_text()[-3000:]}"
        at = running(folder)[-1]
        killed = kill(VICTIMS[number % 4], process)
        process.wait()
        all_gone(folder)
        mended = recover()
        rows = sum(keeper.rows().values())
        counts.update([killed, *(["mended"] if mended else [])])
        print(f"{number + 1:2} {moment}: killed {killed} in {at}, {rows} rows so far {' '.join(mended)}", flush=True)
    small_graph.finish(small_graph.start(folder, *TARGETS), folder)
    keeper.look()
    keeper.stop()
    print(f"with {KILLS} kills: {time.monotonic() - began:.0f} s, {dict(counts)}")

    assert keeper.rows() == expected
    assert set(expected.values()) == {1}
    assert products(folder, stages) == products(calm, stages)
    # in what order they were recorded, and entries that were mended from git, are those of another run
    locked, expected_lock = (yaml.safe_load((one / "dvc.lock").read_text())["stages"] for one in (folder, calm))
    assert {name: locked[name] for name in expected_lock} == expected_lock
