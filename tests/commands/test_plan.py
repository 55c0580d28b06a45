"""The plan is what `dvc repro` then does: real DVC, on small graphs of shell commands."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from synthalign.commands import cli, plan
from synthalign.commands.plan import Step
from synthalign.reporting import costs
from synthalign.reporting.costs import Money

DIAMOND = """
stages:
  top:
    cmd: cat input.txt > top.txt
    deps: [input.txt]
    outs: [top.txt]
  left:
    cmd: (cat top.txt; grep left params.yaml) > left.txt
    deps: [top.txt]
    params: [left.word]
    outs: [left.txt]
  right:
    cmd: (cat top.txt; grep right params.yaml) > right.txt
    deps: [top.txt]
    params: [right.word]
    outs: [right.txt]
  bottom:
    cmd: cat left.txt right.txt > bottom.txt
    deps: [left.txt, right.txt]
    outs: [bottom.txt]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose four stages are up to date."""
    folder = tmp_path_factory.mktemp("diamond")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Repo.init(no_scm=True).close()
        Path("dvc.yaml").write_text(DIAMOND)
        Path("input.txt").write_text("one\n")
        settings(left="l", right="r")
        reproduce()
    return folder


@pytest.fixture(autouse=True)
def diamond(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it for each test."""
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "diamond"))


def settings(left: str, right: str) -> None:
    Path("params.yaml").write_text(f"left: {{word: left-{left}}}\nright: {{word: right-{right}}}\n")


def reproduce() -> list[str]:
    """Run `dvc repro`; the stages that it did not pass over."""
    with Repo() as repo:
        return [stage.addressing for stage in repo.reproduce()]


def planned(*targets: str) -> list[Step]:
    with Repo() as repo:
        return plan.plan(repo, targets)


def actions() -> dict[str, str]:
    return {step.stage: step.action for step in planned()}


def reasons() -> dict[str, list[str]]:
    return {step.stage: step.why for step in planned()}


def change(stage: str, **values: Any) -> None:
    graph = yaml.safe_load(Path("dvc.yaml").read_text())
    graph["stages"][stage] |= values
    Path("dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(["plan", *arguments])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["plan", *arguments])
    assert stopped.value.code == 1
    return capsys.readouterr().err


def durations(*runs: tuple[str, str | None, float]) -> None:
    Path(".work").mkdir(exist_ok=True)
    rows = [{"stage": stage, "item": item, "seconds": seconds, "started": ""} for stage, item, seconds in runs]
    Path(".work/durations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- which stages, and why --------------------------------------------------------------------------------------------


def test_there_is_nothing_to_do_after_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == "Nothing to do.\n"
    assert json.loads(said(capsys, "--json")) == {"stages": [], "seconds": 0, "at_least": False}


def test_all_that_follows_a_changed_file_is_planned_in_the_order_in_which_it_runs() -> None:
    Path("input.txt").write_text("two\n")

    steps = planned()

    assert {step.stage: step.why for step in steps} == {
        "top": ["dep input.txt changed"],
        "left": ["after top"],
        "right": ["after top"],
        "bottom": ["after left", "after right"],
    }
    assert reproduce() == [step.stage for step in steps]


def test_only_what_a_target_needs_is_planned_for_it() -> None:
    settings(left="other", right="other")

    assert [step.stage for step in planned("left")] == ["left"]
    assert {step.stage for step in planned("left", "right")} == {"left", "right"}
    assert {step.stage for step in planned()} == {"left", "right", "bottom"}


def test_a_changed_setting_leaves_the_other_side_of_the_diamond_alone() -> None:
    settings(left="other", right="r")

    assert reasons() == {"left": ["params left.word changed"], "bottom": ["after left"]}
    assert reproduce() == ["left", "bottom"]


def test_a_changed_command_and_a_new_input_are_named() -> None:
    Path("more.txt").write_text("")
    change("right", cmd="cat top.txt more.txt > right.txt", deps=["top.txt", "more.txt"])

    assert reasons()["right"] == ["dep more.txt new", "cmd changed"]


def test_a_stage_that_was_added_never_ran() -> None:
    change("left", outs=["left.txt"])
    graph = yaml.safe_load(DIAMOND)
    graph["stages"]["last"] = {"cmd": "cp bottom.txt last.txt", "deps": ["bottom.txt"], "outs": ["last.txt"]}
    Path("dvc.yaml").write_text(yaml.safe_dump(graph))

    assert reasons() == {"last": ["never ran"]}


def test_a_missing_output_comes_out_of_the_cache_and_nothing_follows() -> None:
    Path("left.txt").unlink()

    assert [(step.stage, step.action, step.why) for step in planned()] == [
        ("left", "restore", ["out left.txt missing"])
    ]
    assert not Path("left.txt").exists()
    assert reproduce() == ["left"]


def test_a_missing_output_that_is_not_in_the_cache_either_runs_and_so_may_what_follows() -> None:
    left = hashlib.md5(Path("left.txt").read_bytes()).hexdigest()
    Path(f".dvc/cache/files/md5/{left[:2]}/{left[2:]}").unlink()
    Path("left.txt").unlink()

    assert [(step.stage, step.action, step.why) for step in planned()] == [
        ("left", "run", ["out left.txt not in the cache"]),
        ("bottom", "run", ["after left"]),
    ]


def test_a_fresh_clone_takes_everything_out_of_the_cache() -> None:
    for name in ("top", "left", "right", "bottom"):
        Path(f"{name}.txt").unlink()

    assert actions() == {"top": "restore", "left": "restore", "right": "restore", "bottom": "restore"}


def test_a_setting_that_is_put_back_is_restored_with_all_that_follows() -> None:
    settings(left="other", right="r")
    reproduce()
    before = Path("bottom.txt").read_text()
    settings(left="l", right="r")

    assert [(step.stage, step.action, step.why) for step in planned()] == [
        ("left", "restore", ["params left.word changed"]),
        ("bottom", "restore", ["dep left.txt restored"]),
    ]
    assert Path("bottom.txt").read_text() == before
    assert reproduce() == ["left", "bottom"]
    assert "left-l" in Path("bottom.txt").read_text()


def test_what_follows_a_restored_stage_runs_where_nobody_has_its_result() -> None:
    settings(left="other", right="r")
    reproduce()
    settings(left="l", right="other")  # left is known, right is not, and so the two together

    assert actions() == {"left": "restore", "right": "run", "bottom": "run"}
    assert reasons()["bottom"] == ["dep left.txt restored", "after right"]


def test_a_frozen_stage_is_told_and_cuts_off_what_is_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    change("left", frozen=True)
    Path("input.txt").write_text("two\n")

    assert actions() == {"top": "run", "left": "frozen", "right": "run", "bottom": "run"}
    assert reasons()["bottom"] == ["after right"]
    assert "Frozen, never run: left." in said(capsys)
    assert [name for name in reproduce() if name != "left"] == ["top", "right", "bottom"]


FOLDER = """
stages:
  split:
    cmd: mkdir parts; cp input.txt parts/one.txt; date +%N > parts/clock.txt
    deps: [input.txt]
    outs: [parts]
  count:
    cmd: wc -l < parts/one.txt > count.txt
    deps: [parts/one.txt]
    outs: [count.txt]
"""


def test_a_file_out_of_a_restored_folder_is_not_known_before() -> None:
    Path("dvc.yaml").write_text(FOLDER)
    reproduce()
    Path("input.txt").write_text("one\ntwo\n")
    assert reasons() == {"split": ["dep input.txt changed"], "count": ["after split"]}
    reproduce()
    Path("input.txt").write_text("one\n")

    assert actions() == {"split": "restore", "count": "run"}
    assert reasons()["count"] == ["after split"]
    assert reproduce() == ["split", "count"]


def test_a_plan_changes_no_file() -> None:
    def files() -> dict[Path, bytes]:
        kept = [file for file in Path(".").rglob("*") if file.is_file() and file.parts[:2] != (".dvc", "tmp")]
        return {file: file.read_bytes() for file in kept}

    settings(left="other", right="r")
    reproduce()
    settings(left="l", right="other")
    Path("top.txt").unlink()
    before = files()

    assert set(actions()) == {"top", "left", "right", "bottom"}
    assert files() == before


def test_a_file_that_nobody_makes_is_told_to_stop_the_run() -> None:
    Path("input.txt").unlink()

    assert actions()["top"] == "stop"
    assert reasons()["top"] == ["dep input.txt missing"]
    with pytest.raises(Exception, match="failed to reproduce"):
        reproduce()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_plan_that_would_fail_is_shown_and_ends_with_1(capsys: pytest.CaptureFixture[str], form: list[str]) -> None:
    Path("input.txt").unlink()

    with pytest.raises(SystemExit) as stopped:
        cli.main(["plan", *form])

    assert stopped.value.code == 1
    assert ("stop" if form else "Total: 3 to run, 1 cannot run") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "like"), [("botom", " (like it: bottom)"), ("rigth", " (like it: right)"), ("nosuch", "")]
)
def test_a_stage_that_is_not_there_is_told_with_those_that_are_like_it(
    capsys: pytest.CaptureFixture[str], target: str, like: str
) -> None:
    assert (
        refused(capsys, target)
        == f"plan: there is no stage '{target}'{like}; `dvc stage list --name-only` has all names\n"
    )


def test_a_plan_without_settings_says_what_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    change("left", cmd="echo ${left.word} > left.txt")
    Path("params.yaml").unlink()

    assert refused(capsys) == "plan: there is no params.yaml; `make profile P=embedded` writes it\n"


# -- what it takes ----------------------------------------------------------------------------------------------------


def test_a_time_is_the_median_of_the_last_five_runs() -> None:
    durations(*[("left", None, seconds) for seconds in (900, 900, 900, 10, 50, 20, 40, 30)])

    assert costs.estimate("left", costs.durations()) == (30, False)


def test_a_member_without_a_history_takes_the_median_of_its_siblings() -> None:
    durations(("sample", "a", 10), ("sample", "a", 20), ("sample", "b", 25), ("sample_more", "a", 900))

    history = costs.durations()

    assert costs.estimate("sample@a", history) == (15, False)
    assert costs.estimate("sample@c", history) == (20, True)  # of 15 and 25
    assert costs.estimate("train", history) == (None, False)


def test_the_total_says_at_least_while_a_stage_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    settings(left="other", right="r")
    assert "Total: 2 to run, time unknown (2 never timed here)." in said(capsys)

    durations(("left", None, 61))
    assert "Total: 2 to run, at least 1 min 1 s (1 never timed here)." in said(capsys)

    durations(("left", None, 61), ("bottom", None, 3599))
    assert "Total: 2 to run, about 1 h 1 min." in said(capsys)


def test_the_table_says_why_how_much_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    settings(left="other", right="r")
    durations(("left", None, 12.4))
    Path("metrics").mkdir()
    Path("metrics/left.json").write_text('{"responses": 2457, "tokens": 21.425, "seed": 3}')

    lines = said(capsys).splitlines()

    assert lines[0].split() == ["stage", "why", "last", "run", "time"]
    # 21.425 tokens a response
    assert " ".join(lines[2].split()) == "left params left.word changed 2,457 responses, 52,641 tokens 12 s"
    assert " ".join(lines[3].split()) == "bottom after left unknown"
    told = json.loads(said(capsys, "--json"))
    assert told["stages"][0]["last_run"] == {"responses": 2457, "tokens": 52641}
    assert (told["seconds"], told["at_least"]) == (12.4, True)


def test_a_torn_line_of_the_history_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    durations(("left", None, 1))
    with Path(".work/durations.jsonl").open("a") as stream:
        stream.write('{"stage": "le')

    assert refused(capsys) == ('plan: .work/durations.jsonl:2: no duration: \'{"stage": "le\'; remove the line\n')


def endpoint(**values: float) -> str:
    Path("endpoint.yaml").write_text(yaml.safe_dump({"prompt_price": 0.5, "completion_price": 2.0} | values))
    return "endpoint.yaml"


def test_a_model_that_is_an_endpoint_is_found_for_its_own_member_alone() -> None:
    section = {
        "configurations": {"a": {"model": "models/base/large"}, "b": {"model": "endpoint.yaml"}},
        "user": {"model": "other.yaml"},
    }

    assert costs.endpoints(section, "a") == ["other.yaml"]
    assert costs.endpoints(section, "b") == ["endpoint.yaml", "other.yaml"]
    assert costs.endpoints({"model": "models/base/large"}, "") == []
    assert costs.endpoints({"reward": "models/reward/almost", "endpoint": "judge.yaml"}, "") == ["judge.yaml"]
    assert costs.endpoints({"endpoint": None}, "") == []


def test_what_an_endpoint_may_cost_is_its_limit_or_the_last_runs_tokens_or_unknown() -> None:
    tokens = {"prompt_tokens": 3_000_000, "completion_tokens": 500_000}

    assert costs.money([], tokens) is None
    assert costs.money([endpoint(max_cost=5)], tokens) == Money(5, "max_cost")
    assert costs.money([endpoint()], tokens) == Money(3 * 0.5 + 0.5 * 2.0, "last run")
    assert costs.money([endpoint()], {}) == Money(None, "unknown: set max_cost in endpoint.yaml")


def test_money_is_in_the_plan_where_a_stage_asks_an_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    settings(left="other", right="r")
    with Path("params.yaml").open("a") as stream:
        stream.write(f"bottom: {{model: {endpoint(max_cost=2.5)}}}\n")

    text = said(capsys)

    assert "at most 2.50 (max_cost)" in text
    assert "cost at most 2.50." in text

    endpoint()
    assert "cost without a limit." in said(capsys)


# -- what cannot be planned -------------------------------------------------------------------------------------------


def test_a_folder_outside_of_dvc_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    [line] = refused(capsys).splitlines()
    assert line.startswith("plan: you are not inside of a DVC repository")


@pytest.mark.parametrize(
    ("text", "about"),
    [("stages: [", "dvc.yaml"), ("stages: {top: {cmds: ls}}", "dvc.yaml"), ("stages: {a: {cmd: '${b}'}}", "b")],
    ids=["YAML", "schema", "setting"],
)
def test_a_broken_graph_is_one_line(text: str, about: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.yaml").write_text(text)

    [line] = refused(capsys).splitlines()
    assert line.startswith("plan: ") and about in line


CHECKED = """
stages:
  check_settings:
    cmd: python -m stages.check_settings
    params: [{params.yaml: }]
    metrics: [metrics/check_settings.json: {cache: false}]
  train:
    cmd: cat metrics/check_settings.json > train.txt
    deps: [metrics/check_settings.json]
    params: [train.steps]
    outs: [train.txt]
"""
CHECK = """
import json, sys, yaml
settings = yaml.safe_load(open("params.yaml"))
if settings["train"]["steps"] < 0:
    sys.exit("check_settings: 2 wrong\\n./params.yaml: train.steps = -1: too few\\n./params.yaml: train.x: unknown")
if sys.argv[1:] != ["./params.yaml"]:
    open("metrics/check_settings.json", "w").write(json.dumps({"sections": sorted(settings)}))
"""


@pytest.fixture
def checked() -> None:
    """A repository whose settings are checked by the first stage, which all others follow."""
    Path("stages").mkdir()
    Path("metrics").mkdir()
    Path("stages/check_settings.py").write_text(CHECK)
    Path("dvc.yaml").write_text(CHECKED)
    Path("params.yaml").write_text("train: {steps: 3, shown: 1}\n")
    reproduce()


@pytest.mark.usefixtures("checked")
def test_settings_that_pass_their_check_re_run_what_reads_them_alone() -> None:
    Path("params.yaml").write_text("train: {steps: 3, shown: 2}\n")
    assert reasons() == {"check_settings": ["params train changed"]}

    Path("params.yaml").write_text("train: {steps: 4, shown: 2}\n")
    assert reasons() == {"check_settings": ["params train changed"], "train": ["params train.steps changed"]}

    # another section: the check writes other words, and train reads them
    Path("params.yaml").write_text("train: {steps: 3, shown: 1}\nsample: {}\n")
    assert reasons() == {"check_settings": ["params sample new"], "train": ["after check_settings"]}
    assert reproduce() == ["check_settings", "train"]


@pytest.mark.usefixtures("checked")
def test_settings_that_the_check_refuses_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text("train: {steps: -1}\n")

    assert refused(capsys) == (
        "plan: params.yaml: train.steps = -1: too few (and 1 more); `python -m stages.check_settings` tells all\n"
    )
