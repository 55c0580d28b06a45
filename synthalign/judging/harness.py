"""Tasks of lm-evaluation-harness (Gao et al.) on a policy: `pip install '.[eval]'`.

    tasks = harness.load(["arc_easy", "data/ours/trivia.yaml"], seed=0)
    figures = harness.figures(tasks, model, tokenizer, batch_size=32)

A task is one that the harness has, or a .yaml file of yours in its format. Each is asked as the harness asks a language
model, with no chat template.
"""

import difflib
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.core.statistics import ALL_EQUAL, FEWEST, TOO_FEW, Interval
from synthalign.judging.benchmarks import Figures

KEY = "params.yaml: score_benchmarks.harness"

NORMAL_975 = 1.959964
"""Standard errors between a mean and each end of its 95% interval."""


def load(names: Sequence[str], *, seed: int) -> dict[str, Any]:
    """The tasks with their data, as the harness has them; what they need is fetched unless it is local or cached.

    seed  draws solved examples

    UserError for a name that is no task, a file that is none, data that cannot be had, and without the harness.
    """
    if find_spec("lm_eval") is None:
        raise UserError(
            f"{KEY} = {[*names]}: these are tasks of lm-evaluation-harness, which is not installed; "
            "`.venv/bin/pip install '.[eval]'`, or empty the list"
        )
    from lm_eval.tasks import TaskManager  # an extra; it takes seconds to import

    files = [Path(name) for name in names if name.endswith((".yaml", ".yml"))]
    own = {str(file): _task_of(file) for file in files}
    has_defaults = len(files) < len(names)  # thousands of files
    manager = TaskManager(include_path=[str(file.parent) for file in files] or None, include_defaults=has_defaults)
    asked = [own.get(name, name) for name in names]
    for name in asked:
        if name not in manager.task_index:
            near = difflib.get_close_matches(name, sorted(manager.task_index), n=3)
            like = f"; like it are {', '.join(near)}" if near else ""
            raise UserError(f"{KEY}: no task {name!r} in lm-evaluation-harness{like}; `lm-eval ls tasks` lists them")
    try:
        loaded: dict[str, Any] = dict(manager.load(asked))
    except Exception as error:  # of the harness, of datasets, or of the connection; they share no class
        reason = next(iter(str(error).strip().splitlines()), "")
        raise UserError(
            f"{KEY} = {[*names]}: a task's data could not be loaded ({type(error).__name__}: {reason}); where there is "
            "no network, they have to be in the cache of `datasets`, or in files that a task of yours names"
        ) from error
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=seed)
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return loaded


def _task_of(file: Path) -> str:
    """The name of the task in a file."""
    name = yaml_file.keys(file, example="the task files of lm-evaluation-harness").get("task")
    if not isinstance(name, str):
        raise UserError(f"{KEY}: {file} has no `task`, the name of the task in it")
    return name


def figures(
    tasks: Mapping[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int
) -> tuple[Figures, list[str]]:
    """Every metric of every task and group with its 95% interval, and those that the harness gives no error of.

    The interval is value ± 1.96 standard errors; a metric with a filter is named `metric,filter`; n counts the items.
    UserError where the harness cannot ask: a task that runs code that a model wrote is refused.
    """
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    asked: Any = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    try:
        done = evaluator.evaluate(asked, dict(tasks), log_samples=False)
    except ValueError as error:
        raise UserError(f"{KEY}: {error}") from error
    found: Figures = {}
    without = []
    counts = {name: given["effective"] for name, given in done["n-samples"].items()}
    for name, values in {**done["results"], **(done.get("groups") or {})}.items():
        n = counts.get(name) or sum(counts[one] for one in _leaves(name, done["group_subtasks"]) if one in counts)
        for key, value in values.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            spread = values.get(f"{metric}_stderr,{filtered}")
            shown = metric if filtered == "none" else key
            if isinstance(spread, int | float):
                half = NORMAL_975 * spread
                why = TOO_FEW if n < FEWEST else None if half else ALL_EQUAL
                low, high = (None, None) if why else (float(value - half), float(value + half))
                found[name, "all", shown] = Interval(float(value), low, high, n, why)
            else:
                without.append(f"{name} {shown}")
    return found, without


def _leaves(name: str, below: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks of a group, through the groups in it."""
    children = below.get(name) or []
    return [leaf for child in children for leaf in _leaves(child, below)] if children else [name]
