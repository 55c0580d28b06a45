"""Who may import whom: the rules that keep the graph in dvc.yaml, the maths in synthalign and the clock in flows."""

import ast
from pathlib import Path

import pytest

DATA_HALF = ["tables", "comparisons", "filters", "similarity", "statistics", "judging", "claims", "results", "measures"]
DATA_HALF += ["result_tables", "text_tables", "generated_part", "layout", "graph_figure"]
DATA_HALF += ["win_rates", "agreement", "annotation"]
MODEL_HALF = ["generate", "sampling", "losses", "reward", "ppo", "ppo_training", "training", "models"]
MODEL_HALF += ["answering", "checkpoints", "rrhf", "rrhf_training"]
MODEL_HALF += ["engines", "openai_engine", "vllm_engine"]
DATA_HALF += ["contrast", "label_measures", "label_noise", "labelling", "principles", "prompts", "revision"]
MODEL_HALF += ["option_tokens"]


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


@pytest.mark.parametrize("file", sorted({*files("stages", "synthalign")} - {Path("synthalign/cli.py")}), ids=str)
def test_nothing_but_the_command_line_knows_the_plan(file: Path) -> None:
    assert imported(file) & {"synthalign.plan", "synthalign.cli"} == set()


@pytest.mark.parametrize("name", DATA_HALF)
def test_the_data_half_never_imports_torch(name: str) -> None:
    file = Path(f"synthalign/{name}.py")

    assert roots(file) & {"torch", "transformers", "trl", "accelerate"} == set()
    assert {f"synthalign.{other}" for other in MODEL_HALF} & imported(file) == set()


@pytest.mark.parametrize("name", MODEL_HALF)
def test_the_model_half_never_imports_tables(name: str) -> None:
    file = Path(f"synthalign/{name}.py")

    assert "duckdb" not in roots(file)
    assert "synthalign.tables" not in imported(file)


@pytest.mark.parametrize("file", files("world"), ids=str)
def test_the_world_is_built_without_stages(file: Path) -> None:
    assert roots(file) & {"stages", "flows", "tests"} == set()
