"""Who may import whom: the order of the library's rooms, the graph in dvc.yaml alone, and the clock in flows."""

import ast
import sys
from pathlib import Path

import pytest

from synthalign.reporting.layout import PACKAGES

ROOMS = list(PACKAGES)

DATA_HALF = ["core/tables", "core/statistics", "core/measures", "dialogue/prompts", "queries/similarity"]
DATA_HALF += [f"feedback/{name}" for name in ("comparisons", "filters", "contrast", "label_noise", "labelling")]
DATA_HALF += [f"feedback/{name}" for name in ("principles", "revision")]
DATA_HALF += [f"judging/{name}" for name in ("verdicts", "win_rates", "agreement", "annotation", "label_measures")]
DATA_HALF += [f"reporting/{name}" for name in ("claims", "results", "result_tables", "text_tables")]
DATA_HALF += [f"reporting/{name}" for name in ("generated_part", "layout", "graph_figure")]
MODEL_HALF = ["generation/generate", "generation/sampling", "generation/models", "generation/engines"]
MODEL_HALF += ["generation/openai_engine", "generation/vllm_engine", "feedback/option_tokens"]
MODEL_HALF += ["reward/losses", "reward/scoring", "reward/training", "policies/answering", "policies/checkpoints"]
MODEL_HALF += ["policies/batching", "policies/gradients", "policies/prompting"]
MODEL_HALF += ["policies/beams", "policies/ppo", "policies/ppo_training"]
MODEL_HALF += ["policies/rrhf", "policies/rrhf_sources", "policies/rrhf_training"]


def imported(file: Path) -> set[str]:
    """The modules that a file imports, as dotted names, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def roots(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(file)}


def files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in Path(folder).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_further_up(room: str) -> None:
    own = files(f"synthalign/{room}")
    known = {name.split(".")[1] for file in own for name in imported(file) if name.startswith("synthalign.")}

    assert own
    assert known <= {*ROOMS[: ROOMS.index(room) + 1]}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_doorplate_and_hands_nothing_on(room: str) -> None:
    door = ast.parse(Path(f"synthalign/{room}/__init__.py").read_text(encoding="utf-8"))

    assert ast.get_docstring(door)
    assert len(door.body) == 1


def test_every_module_is_in_a_room() -> None:
    assert {file.name for file in Path("synthalign").glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {file.parts[1] for file in files(*(f"synthalign/{room}" for room in ROOMS))} == {*ROOMS}
    assert {folder.name for folder in Path("synthalign").iterdir() if any(folder.glob("*.py"))} == {*ROOMS}


@pytest.mark.parametrize("file", files("flows"), ids=str)
def test_a_flow_knows_the_dvc_command_and_no_code_of_ours(file: Path) -> None:
    assert roots(file) & {"stages", "world", "torch", "duckdb", "transformers"} == set()
    assert {name for name in imported(file) if name.startswith("synthalign.")} <= set()


@pytest.mark.parametrize("file", files("stages"), ids=str)
def test_a_stage_imports_no_other_stage_and_no_orchestrator(file: Path) -> None:
    assert roots(file) & {"stages", "flows", "prefect", "dvc", "argparse", "tests"} == set()


@pytest.mark.parametrize("file", files("synthalign"), ids=str)
def test_the_library_knows_no_stage_no_flow_and_no_world_and_only_plan_and_recover_ask_dvc(file: Path) -> None:
    allowed = {"dvc"} if file.stem in ("plan", "recover") else set()

    assert roots(file) & {"stages", "flows", "world", "prefect", "dvc", "tests"} == allowed


@pytest.mark.parametrize("file", sorted({*files("stages", "synthalign")} - {*files("synthalign/commands")}), ids=str)
def test_nothing_but_the_command_line_knows_the_plan(file: Path) -> None:
    assert imported(file) & {"synthalign.commands.plan", "synthalign.commands.cli"} <= (
        {"synthalign.commands.cli"} if file.name == "__main__.py" else set()
    )


@pytest.mark.parametrize("name", DATA_HALF)
def test_the_data_half_never_imports_torch(name: str) -> None:
    file = Path(f"synthalign/{name}.py")

    assert roots(file) & {"torch", "transformers", "trl", "accelerate"} == set()
    assert {f"synthalign.{other.replace('/', '.')}" for other in MODEL_HALF} & imported(file) == set()


@pytest.mark.parametrize("name", MODEL_HALF)
def test_the_model_half_never_imports_tables(name: str) -> None:
    file = Path(f"synthalign/{name}.py")

    assert "duckdb" not in roots(file)
    assert "synthalign.core.tables" not in imported(file)


@pytest.mark.parametrize("file", files("world"), ids=str)
def test_the_world_is_built_without_stages(file: Path) -> None:
    assert roots(file) & {"stages", "flows", "tests"} == set()


@pytest.mark.parametrize("file", files("warm"), ids=str)
def test_a_warm_parent_holds_no_code_of_ours_so_that_an_edit_counts_at_once(file: Path) -> None:
    assert roots(file) & {"synthalign", "stages", "world", "flows", "benchmarks", "tests"} == set()


@pytest.mark.parametrize("name", ["launch", "start", "__main__"])
def test_the_launcher_of_a_stage_imports_nothing_that_takes_long(name: str) -> None:
    assert roots(Path(f"warm/{name}.py")) - {"warm"} <= sys.stdlib_module_names
