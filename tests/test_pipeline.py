"""dvc.yaml tells the truth: names, settings, and exactly the code that a stage runs."""

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

OURS = ("stages", "synthalign", "world")
FOLDERS = [Path("synthalign") / room for room in ("core", "dialogue", "generation", "reporting/report")]
GRAPH: dict[str, Any] = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in GRAPH["stages"].items()}


def code_of(file: Path, seen: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """The files of ours that running `file` imports, itself included."""
    if file in seen:
        return seen
    seen |= {file}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            imported = Path(name.replace(".", "/") + ".py")
            if name.split(".")[0] in OURS and imported.exists():
                seen = code_of(imported, seen)
    return seen


def keys(settings: Any, place: str = "") -> set[str]:
    if not isinstance(settings, dict):
        return {place}
    return set().union(*(keys(value, f"{place}.{key}") for key, value in settings.items()), {place})


def declared(name: str) -> set[Path]:
    """The code that a stage's deps name: files, and folders of the library."""
    return {Path(dep) for dep in STAGES[name]["deps"] if dep.endswith(".py") or Path(dep) in FOLDERS}


def wanted(imports: frozenset[Path]) -> set[Path]:
    """What deps should name for these imports: files, but the rooms that every stage stands on, and the page, whole."""
    return {file.parent if file.parent in FOLDERS else file for file in imports}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check_settings"])
def test_a_stage_depends_on_exactly_the_code_it_imports(name: str) -> None:
    assert declared(name) == wanted(code_of(Path(f"stages/{name}.py")))


def test_a_folder_stands_for_the_imports_it_holds_and_for_no_others() -> None:
    journal, ppo = Path("synthalign/generation/journal.py"), Path("synthalign/policies/ppo.py")

    assert wanted(frozenset({journal, ppo})) == {Path("synthalign/generation"), ppo}
    assert wanted(frozenset({ppo})) == {ppo}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check_settings"])
def test_a_stage_is_keyed_by_its_own_section_alone(name: str) -> None:
    sections = {key.split(".")[0] for key in STAGES[name].get("params", [])}

    assert sections <= {name}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_one_name_in_the_graph_in_its_command_and_in_its_file(name: str) -> None:
    assert Path(f"stages/{name}.py").exists()
    assert re.search(rf"-m stages\.{name}\b", STAGES[name]["cmd"])


@pytest.mark.parametrize("name", STAGES)
def test_a_command_names_no_hardware(name: str) -> None:
    assert not re.search(r"num_processes|CUDA|device|--cpu|gpu", STAGES[name]["cmd"])


def test_every_stage_file_is_in_the_graph() -> None:
    assert {file.stem for file in Path("stages").glob("*.py")} - {"__init__"} == set(STAGES)


def test_every_output_is_ignored_by_git_so_that_a_failed_run_leaves_a_clean_tree() -> None:
    locked = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    outs = [out["path"] for stage in locked.values() for out in stage["outs"]]
    cached = [out for out in outs if not out.startswith("metrics/")]

    assert cached, "dvc.lock has no outputs"
    result = subprocess.run(["git", "check-ignore", *cached], capture_output=True, text=True)
    assert set(cached) - set(result.stdout.split()) == set()


@pytest.mark.parametrize("settings", ["profiles/base.yaml", "params.yaml"])
def test_there_is_a_sentence_above_every_setting(settings: str) -> None:
    lines = Path(settings).read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if re.match(r"\s*[a-z_0-9]+:", line)
        and not above.strip().startswith("#")
        and not re.match(r"\s*[a-z_0-9]+: *\{", line)
    ]

    assert bare == []


def plots() -> list[tuple[Path, str, str]]:
    """(file, x, y) of every plot of dvc.yaml; a plot of a family once for each file there is of it."""
    declared = [plot for stage in STAGES.values() for plot in stage.get("plots", [])]
    of_stages = [(file, how["x"], how["y"]) for plot in declared for file, how in plot.items()]
    together = [(file, how["x"], y) for plot in GRAPH["plots"] for how in plot.values() for file, y in how["y"].items()]
    return [
        (path, x, y)
        for file, x, y in of_stages + together
        for path in sorted(Path().glob(re.sub(r"\$\{\w+\}", "*", file)))
    ]


@pytest.mark.parametrize(("file", "x", "y"), plots(), ids=lambda value: str(value).removeprefix("metrics/plots/"))
def test_a_plot_draws_what_its_file_has(file: Path, x: str, y: str) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    points = content if isinstance(content, list) else [point for part in content.values() for point in part]

    assert points
    assert {x, y} <= set().union(*points)


def test_what_a_user_got_wrong_is_told_in_one_line_through_the_launcher_too() -> None:
    command = (
        STAGES["sample_answers"]["cmd"].replace("accelerate.yaml", "accelerate/cpu.yaml").replace("${key}", "nobody")
    )

    result = subprocess.run(command.split(), capture_output=True, text=True)

    assert result.returncode == 1
    assert "sample_answers: sample_answers has no policy 'nobody'" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_stands_once_on_the_disk_be_it_a_file_or_a_folder_as_models_are(tmp_path: Path) -> None:
    def call(*command: str) -> None:
        subprocess.run(command, cwd=tmp_path, check=True)

    call("git", "init", "--quiet")
    call("dvc", "init", "--quiet")
    (tmp_path / ".dvc/config").write_bytes(Path(".dvc/config").read_bytes())
    made = {"cmd": "mkdir folder && echo a > file && echo b > folder/inner", "outs": ["file", "folder"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": made}}), encoding="utf-8")

    call("dvc", "repro", "--quiet")

    assert [(tmp_path / name).stat().st_nlink for name in ("file", "folder/inner")] == [2, 2]
