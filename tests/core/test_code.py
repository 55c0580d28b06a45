"""The code that a scratch folder is named by: all that a module runs, and nothing else."""

from pathlib import Path

import pytest

from synthalign.core import code

ROOT = Path(__file__).resolve().parents[2]
STAGES = sorted(file for file in (ROOT / "stages").glob("*.py") if "stage.work_dir(" in file.read_text())


def named(file: str) -> set[str]:
    return {str(one.relative_to(ROOT)) for one in code.of(ROOT / file)}


def test_it_is_all_that_a_module_imports_wherever_and_what_that_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "ROOT", tmp_path)
    files = {
        "stages/train.py": "import json\nfrom synthalign.core import stage\nfrom world.oracle import Oracle\n",
        "synthalign/core/stage.py": "import torch\nimport synthalign.core.shards\n",
        "synthalign/core/shards.py": "def here():\n    from synthalign.core import ids, stage\n",
        "synthalign/core/ids.py": "",
        "synthalign/core/words.py": "",  # nobody imports it
        "world/oracle.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    found = code.of(tmp_path / "stages/train.py")

    assert [str(file.relative_to(tmp_path)) for file in found] == sorted(files.keys() - {"synthalign/core/words.py"})


@pytest.mark.parametrize(
    ("stage", "needs"),
    [
        ("train_asis_reward", ["dialogue/chat", "dialogue/encoding", "reward/losses", "reward/scoring"]),
        ("train_sft", ["dialogue/chat", "generation/models"]),
        ("train_dpo", ["dialogue/chat"]),
        ("train_ppo", ["dialogue/chat", "policies/ppo", "generation/generate"]),
        ("mine_queries", ["queries/similarity", "dialogue/endings", "generation/generate"]),
        ("sample_responses", ["dialogue/demonstrations", "generation/vllm_engine"]),
    ],
)
def test_a_stages_scratch_is_named_by_code_that_it_reaches_through_others(stage: str, needs: list[str]) -> None:
    assert {f"synthalign/{name}.py" for name in needs} | {f"stages/{stage}.py"} <= named(f"stages/{stage}.py")


@pytest.mark.parametrize("file", STAGES, ids=lambda file: file.stem)
def test_no_stage_goes_on_with_what_other_code_of_it_has_made(file: Path) -> None:
    # what `judge_answers` keeps is what an endpoint was paid, which no edit gives back
    assert ("*code.of(__file__)" in file.read_text()) == (file.stem != "judge_answers")
