"""The whole graph with toy numbers, in a clone of its own: the real models, DVC and accelerate.

folder = small_graph.clone(tmp_path / "one")
small_graph.finish(small_graph.start(folder), folder)     # `dvc repro`; raises with DVC's last words
small_graph.locked(folder)                                # the hash of every output, by stage
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = 24


def shrink(settings: dict[str, Any]) -> dict[str, Any]:
    """The embedded profile with numbers that make every stage a matter of seconds."""
    settings["mine_queries"] |= {"target": 48, "round_size": 8, "max_rounds": 4, "eval_questions": "questions.txt"}
    settings["train_asis_reward"] |= {"max_pairs": 160}
    settings["train_reward"]["feedback"] = {name: {"max_pairs": 160} for name in settings["train_reward"]["feedback"]}
    settings["contrast_pairs"] |= {"max_prompts": 64}
    settings["revise_answers"] |= {"max_queries": 16, "steps": 2}
    settings["train_sft"] |= {"epochs": 1}
    settings["train_dpo"] |= {"max_pairs": 32}
    settings["sample_preferences"] |= {"min_margin": 0.0}
    settings["train_ppo"] |= {"steps": 2, "rollout_batch": 16, "minibatch": 8, "snapshot_every": 1, "warmup_steps": 1}
    settings["sample_answers"] |= {"samples": 1}
    settings["train_rrhf"] |= {"batch_size": 4, "temperatures": [1.0, 1.0]}
    for member in settings["train_rrhf"]["policies"].values():
        member |= {"rounds": min(2, member["rounds"]), "queries": 8, "epochs": 1}
    settings["train_group_rl"] |= {"steps": 2, "rollout_batch": 16, "minibatch": 8}
    for section in ("train_ditto", "train_spin", "sample_ditto"):
        settings[section]["authors"] = {"captain": settings[section]["authors"]["captain"]}
    for section in ("train_ditto", "train_spin"):
        settings[section] |= {"iterations": 2, "steps_per_iteration": 2, "negatives": 2}
    settings["train_ditto"]["sft"] |= {"max_steps": 4}
    settings["score_ditto"] |= {"authors": ["captain"]}
    settings["build_mixture"] |= {"task_examples": 40, "examples": 80}
    settings["answer_tasks"] |= {"task_examples": 40, "items": 4, "max_new_tokens": 8}
    return settings


def clone(folder: Path) -> Path:
    """The tracked files as they are now, with toy settings and a cache of their own."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    changed = subprocess.run(
        ["git", "diff", "--name-only", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in changed.stdout.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink()  # it is of other settings, and DVC reads and writes all of it for each stage
    shutil.copyfile(ROOT / "accelerate/cpu.yaml", folder / "accelerate.yaml")
    settings = shrink(yaml.safe_load((ROOT / "profiles/embedded.yaml").read_text()))
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    questions = (ROOT / "data/embedded/eval_questions.txt").read_text().splitlines()[:QUESTIONS]
    (folder / "questions.txt").write_text("\n".join(questions) + "\n")
    return folder


def start(folder: Path, *targets: str) -> subprocess.Popen[bytes]:
    """`dvc repro` of these and what they need, or of all, in a process group of its own; what it says goes to `out`."""
    command = ["dvc", "repro", *targets]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "out").open("wb") as out:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for it to end well."""
    assert process.wait() == 0, (folder / "out").read_text(errors="replace")[-4000:]


def locked(folder: Path) -> dict[str, dict[str, str]]:
    """The hash of every output, by stage."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}
