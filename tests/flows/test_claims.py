"""The copies of a repository in which other seeds run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from flows import claims
from tests.flows.conftest import wait_for

ROOT = Path(__file__).parents[2]

GRAPH = """
stages:
  make:
    cmd: python -c "open('made', 'w').write('1'); open('runs', 'a').write('.')"
    outs: [made]
"""


@pytest.fixture
def repository(initialised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose cache is not where DVC has it by itself, with one stage that has run."""
    folder = shutil.copytree(initialised, tmp_path / "repository")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # a copy of this repository has flows/ itself
    for command in (
        ["git", "config", "user.email", "a@b.c"],
        ["git", "config", "user.name", "A"],
        ["dvc", "config", "--local", "cache.dir", str(tmp_path / "elsewhere")],
    ):
        subprocess.run(command, check=True)
    Path("dvc.yaml").write_text(GRAPH)
    Path("params.yaml").write_text("train_sft: {seed: 3}\nmine_queries: {seed: 3}\n")
    Path(".gitignore").write_text("/runs\n/.work\n/made\n")
    subprocess.run(["dvc", "repro", "--quiet"], check=True)
    subprocess.run(["git", "add", "--all"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "one stage"], check=True)
    return folder


def test_a_copy_takes_what_does_not_hang_on_the_seed_from_the_cache_wherever_that_is(repository: Path) -> None:
    claims.reproduce(1, 1, ["make"], ("train_sft",))
    copy = repository / ".work/claims/seed-1"
    assert (copy / "made").read_text() == "1"
    assert not (copy / "runs").exists()
    assert (copy / "params.yaml").read_text().splitlines() == [
        "train_sft:", "  seed: 4", "mine_queries:", "  seed: 3",
    ]  # fmt: skip


def test_a_copy_has_the_files_that_settings_name_whoever_brought_them(repository: Path) -> None:
    for name in ("data/scaled/questions.txt", "mine/pairs.jsonl", "mine/model/config.json", "mine/unnamed.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("params.yaml").write_text(
        "train_sft: {seed: 3, model: mine/model, of: {pairs: [mine/pairs.jsonl]}}\n"
        "mine_queries: {seed: 3, eval_questions: data/scaled/questions.txt, made: made, absent: mine/absent.txt,"
        f" prose: {'Write as in a novel. ' * 20}}}\n"
    )

    copy = claims.workspace(1, ("train_sft",))

    for name in ("data/scaled/questions.txt", "mine/pairs.jsonl", "mine/model/config.json"):
        assert (copy / name).read_text() == name
    assert not (copy / "mine/unnamed.txt").exists()
    assert not (copy / "made").exists()  # a stage makes it: DVC has it from the cache


def test_a_copy_is_the_working_tree_as_it_is(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["edited.py", "grün.py", "deleted.py", "old name.py"]
    for name in names:
        Path(name).write_text("before\n")
    subprocess.run(["git", "add", "--all"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "four files"], check=True)
    Path("edited.py").write_text("now\n")
    Path("grün.py").write_text("now\n")
    Path("deleted.py").unlink()
    subprocess.run(["git", "mv", "old name.py", "new.py"], check=True)
    Path("mine.yaml").write_text("threads: 2\n")  # which git ignores or not
    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "mine.yaml")

    copy = claims.workspace(1, ("train_sft",))

    assert {file.name: file.read_text() for file in copy.glob("*.py")} == {
        "edited.py": "now\n", "grün.py": "now\n", "new.py": "before\n"
    }  # fmt: skip
    assert (copy / "mine.yaml").read_text() == "threads: 2\n"


def test_what_an_interrupted_seed_had_finished_is_there_when_it_goes_on(repository: Path) -> None:
    copy = claims.workspace(1, ("train_sft",))
    (copy / ".work/sample_answers").mkdir(parents=True)
    (copy / ".work/sample_answers/rows.jsonl").write_text("{}\n")
    (copy / "made").write_text("of yesterday")

    assert claims.workspace(1, ("train_sft",)) == copy
    assert (copy / ".work/sample_answers/rows.jsonl").read_text() == "{}\n"
    assert not (copy / "made").exists()
    assert not copy.with_suffix(".work").exists()


def test_what_a_copy_runs_ends_with_the_command_that_was_killed(repository: Path) -> None:
    waits = """
stages:
  make:
    cmd: "grep -q 'seed: 3' params.yaml || (touch ../../../begun; sleep 300); touch made"
    params: [train_sft.seed]
    outs: [made]
"""
    Path("dvc.yaml").write_text(waits)
    Path("params.yaml").write_text("train_sft: {seed: 3}\n")
    code = "from flows.claims import reproduce; reproduce(1, 1, ['make'], ('train_sft',))"
    command = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_for(Path("begun").exists, 120)
    [repro] = [one for one in psutil.Process(command.pid).children(recursive=True) if "flows.repro" in one.cmdline()]

    command.kill()

    wait_for(lambda: not repro.is_running() or repro.status() == psutil.STATUS_ZOMBIE, 60)


CLAIMS = [sys.executable, "-m", "flows.claims"]


@pytest.fixture
def measured(repository: Path) -> Path:
    """The same repository with a stage that measures something, and its seed."""
    Path("dvc.yaml").write_text("""
stages:
  measure:
    cmd: grep -o '[0-9]*' params.yaml | head -1 > metrics/score_rewards.json
    params: [train_sft.seed]
    outs: [metrics/score_rewards.json]
""")
    Path("metrics").mkdir()
    sections = {"train_sft": {"seed": 3}} | {name: {"seed": 0} for name in claims.TRAINED if name != "train_sft"}
    Path("params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    Path(".gitignore").write_text("/runs\n/.work\n/made\n/metrics/score_rewards.json\n")
    subprocess.run(["git", "add", "--all"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "measures"], check=True)
    return repository


def test_a_seed_runs_alone_and_is_not_run_again_where_it_is_kept(measured: Path) -> None:
    alone = subprocess.run([*CLAIMS, "--seed", "2", "measure"], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    kept = json.loads(Path("metrics/seeds/claims/2.json").read_text())
    assert (kept["metrics"], kept["seeds"]["train_sft"]) == ({"score_rewards": 5}, 5)
    assert not Path("metrics/score_rewards.json").exists() and not Path("metrics/claims.json").exists()

    whole = subprocess.run([*CLAIMS, "--seeds", "3", "--kept", "measure"], capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    assert "seed 2: kept in metrics/seeds/claims/2.json" in whole.stdout
    assert "seed 1: done" in whole.stdout and "seed 2: done" not in whole.stdout
    assert json.loads(Path("metrics/recorded.json").read_text())["seeds"] == 3


def test_a_seed_that_fails_ends_the_command_and_those_before_it_are_kept(measured: Path) -> None:
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(text.replace("> metrics", "> metrics/score_rewards.json; ! grep -q 5 metrics", 1))

    done = subprocess.run([*CLAIMS, "--seeds", "5", "measure"], capture_output=True, text=True)

    assert done.returncode == 1 and "seed 2: a stage failed" in done.stderr
    assert sorted(file.stem for file in Path("metrics/seeds/claims").iterdir()) == ["0", "1"]
    assert "seed 3: running" not in done.stdout


@pytest.mark.parametrize("wrong", [["--jobs", "0"], ["--seeds", "0"], ["--threads", "-1"]])
def test_a_number_that_is_none_is_told_before_anything_runs(measured: Path, wrong: list[str]) -> None:
    done = subprocess.run([*CLAIMS, *wrong, "measure"], capture_output=True, text=True)

    assert done.returncode == 2 and f"{wrong[0]} {wrong[1]}: at least" in done.stderr
    assert not Path("metrics/score_rewards.json").exists()


def test_a_kept_seed_of_other_settings_stops_the_command_before_anything_runs(measured: Path) -> None:
    subprocess.run([*CLAIMS, "--seed", "1", "measure"], check=True)
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "mine_queries: {target: 3}\n")

    done = subprocess.run([*CLAIMS, "--seeds", "2", "--kept", "measure"], capture_output=True, text=True)

    assert done.returncode == 1 and done.stdout == ""
    assert "run_record: metrics/seeds/claims/1.json: the run in it had other settings in mine_queries" in done.stderr


def test_a_command_has_the_time_it_takes_to_end_after_an_interrupt_and_is_told_where_it_has_not_heard(
    tmp_path: Path,
) -> None:
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "def end(number, frame):\n"
        "    time.sleep(.6); Path(sys.argv[1]).write_text(signal.Signals(number).name); sys.exit(1)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, end)\n"
        "Path(sys.argv[1]).write_text(''); time.sleep(60)"
    )
    ours = (
        "import sys; from flows import claims; claims.NOTICED = .2\n"
        "claims.to_its_end([sys.executable, '-c', sys.argv[1], sys.argv[2]])"
    )
    said = tmp_path / "said"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", ours, code, str(said)], env=environment, stderr=subprocess.PIPE
    ) as run:
        wait_for(said.exists)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=30)

    assert said.read_text() == "SIGTERM" and b"KeyboardInterrupt" in told
