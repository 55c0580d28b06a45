"""What `ppo_vs_before` and `rrhf_vs_before` share: a training loop of this tree beside that of an earlier commit.

    python benchmarks/reinforcement.py WORK    # from the root of the tree whose loop is to run

Both sides start from the same models with the same prompts, settings and random numbers, each in a process of its own
with this environment; timed is the loop with a snapshot of one question before and after it. WORK is a JSON file. For
every line on stdin the loop runs once, from the start, and a line of JSON is printed: the seconds, and a hash of the
weights that came out. Needs models/ and data/ of a reproduced tree.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

BEFORE = "8d51fce"
"""One shelf of 86 modules; the loops are in synthalign/ppo_training.py and synthalign/rrhf_training.py there."""


def compared(work: dict[str, Any], *, name: str, samples: int, notes: dict[str, float | int | str]) -> Any:
    """The Comparison of this tree's loop with that of BEFORE.

    work     {method, policy, reward, settings, prompts, …}, as `run` reads it; folders as they are here
    samples  answers that the loop learns from
    """
    from benchmarks.bench import Comparison, take_turns, versions

    weights: dict[str, set[str]] = {"now": set(), "before": set()}
    with tempfile.TemporaryDirectory() as folder:
        before, file = Path(folder) / "before", Path(folder) / "work.json"
        archive = subprocess.run(["git", "archive", BEFORE, "synthalign"], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(before, filter="data")
        file.write_text(json.dumps(work), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).resolve()), str(file)]
        with ExitStack() as running:
            sides = {
                side: running.enter_context(
                    subprocess.Popen(command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                )
                for side, tree in (("now", Path.cwd()), ("before", before))
            }

            def seconds(side: str) -> float:
                stdin, stdout = sides[side].stdin, sides[side].stdout
                assert stdin is not None and stdout is not None
                print(file=stdin, flush=True)
                said = json.loads(stdout.readline())
                weights[side].add(said["weights"])
                return float(said["seconds"])

            pairs = take_turns(lambda: seconds("now"), lambda: seconds("before"))
    assert len(weights["now"]) == len(weights["before"]) == 1, f"one side is not repeatable: {weights}"
    return Comparison(
        work=name,
        against=f"the same at {BEFORE}",
        ratios=[there / here for here, there in pairs],
        at_least=1.6,
        versions=versions("torch", "transformers"),
        notes=notes
        | {
            "samples_a_second": round(samples / min(here for here, _ in pairs), 1),
            "samples_a_second_before": round(samples / min(there for _, there in pairs), 1),
            "same_weights": "yes" if weights["now"] == weights["before"] else "no",
        },
    )


def run(work: dict[str, Any]) -> dict[str, Any]:
    """The loop of the tree in the working directory."""
    sys.path[0] = str(Path.cwd())
    import torch
    from accelerate import Accelerator

    training: dict[str, Any] = {}
    if Path("synthalign/policies").is_dir():
        from synthalign.generation import models
        from synthalign.policies import ppo_settings, ppo_training, prompting, rrhf_settings, rrhf_training

        settings_of, variants = (ppo_settings if work["method"] == "ppo" else rrhf_settings), rrhf_settings
        training["use"] = "training"
    else:
        from synthalign import answering as prompting
        from synthalign import models, ppo_settings, ppo_training, rrhf_training

        settings_of, variants = (ppo_settings if work["method"] == "ppo" else rrhf_training), rrhf_training
    settings = _filled(settings_of.Settings, work["settings"])
    policy, reward = models.load_causal(work["policy"], **training), models.load_reward(work["reward"])
    tokenizer, accelerator = models.load_tokenizer(work["policy"]), Accelerator(cpu=True)
    prompts = [prompting.Prompt(*prompt) for prompt in work["prompts"]]
    special: dict[str, Any] = {"ptx_texts": []}
    given: tuple[Any, ...] = (settings,)
    if work["method"] == "ppo":
        train = ppo_training.train
    else:
        train, special = rrhf_training.train, {"given": None}
        given = (settings, _filled(variants.Variant, work["variant"]))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(
            accelerator,
            policy.requires_grad_(True),
            reward,
            tokenizer,
            *given,
            prompts=prompts,
            questions=prompts[:1],
            folder=Path(folder),
            **special,
        )
        seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for _, tensor in sorted(policy.state_dict().items()):
        digest.update(tensor.detach().to(torch.float32).numpy().tobytes())
    return {"seconds": seconds, "weights": digest.hexdigest()}


def _filled(kind: Any, values: dict[str, Any]) -> Any:
    """Settings of a tree, of those that it knows."""
    return kind(**{name: value for name, value in values.items() if name in kind.model_fields})


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for _ in sys.stdin:
        print(json.dumps(run(given)), flush=True)
