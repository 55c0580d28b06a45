"""Every table of the graph with one to three rows each, in which no check finds anything.

rows = small_tables.rows()                     # {"comparisons/almost": [...], ...}, to be changed
small_tables.write(folder, rows)               # as Parquet, without the writer's own checks
small_tables.project(folder)                   # with queries/, dvc.yaml and params.yaml: what `synthalign sql` needs
"""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
Rows = dict[str, list[dict[str, Any]]]


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def pair(query: str, **columns: Any) -> dict[str, Any]:
    """The response of configuration a to the query against that of b."""
    return {
        "comparison_id": f"a>b {query}",
        "query_id": query,
        "prompt": said("user", f"What is {query}?"),
        "chosen": said("assistant", f"{query} is a fine thing."),
        "rejected": said("assistant", f"{query}."),
        "chosen_id": f"a {query}",
        "rejected_id": f"b {query}",
        "chosen_config": "a",
        "rejected_config": "b",
        "chosen_finish_reason": "eos",
        "rejected_finish_reason": "stop",
        "feedback": "test",
        "p_chosen": 1.0,
    } | columns


def response(config: str, query: str) -> dict[str, Any]:
    text = f"{query} is a fine thing." if config == "a" else f"{query}."
    given = {"response_id": f"{config} {query}", "query_id": query, "config": config, "model": f"models/{config}"}
    shown = {"demonstrations": "hhh.jsonl", "shots": 3, "sample_index": 0}
    return given | shown | {"text": text, "tokens": len(text) // 4, "finish_reason": "eos"}


def judgement(judge: str, order: str, verdict: str, score_a: float, score_b: float) -> dict[str, Any]:
    asked = {"question_id": "eel", "sample_index": 0, "policy_a": "ppo", "policy_b": "base", "order": order}
    lengths = {"characters_a": 12, "characters_b": 13, "tokens_a": 5, "tokens_b": 5}
    return asked | {"judge": judge, "verdict": verdict, "score_a": score_a, "score_b": score_b, "raw": None} | lengths


def answer(policy: str) -> dict[str, Any]:
    given = {"question_id": "eel", "policy": policy, "sample_index": 0, "text": f"The {policy} eel."}
    return given | {"tokens": 5, "finish_reason": "eos"}


def rows() -> Rows:
    """The tables: the queries yak (a seed) and emu (mined), and the evaluation question eel."""
    query = {"text": "What is it?", "nearest_id": None, "nearest_rouge_l": None}
    asis = {"asis_chosen": 2.0, "asis_rejected": 1.0}
    candidate = {"query_id": "yak", "turn": 1, "text": "A yak.", "finish_reason": "eos"}
    figures = {"benchmark": "cloze", "category": "all", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6}
    return {
        "queries": [
            query | {"query_id": "yak", "origin": "seed", "split": "train"},
            query
            | {"query_id": "emu", "origin": "mined", "split": "train", "nearest_id": "yak", "nearest_rouge_l": 0.5},
            query | {"query_id": "eel", "origin": "eval", "split": "eval"},
        ],
        "queries_rejected": [
            {"candidate_id": "1", "round": 0, "text": "?", "reject_reason": "too_short"}
            | {"nearest_text": None, "nearest_rouge_l": None}
        ],
        "responses/a": [response("a", name) for name in ("yak", "emu", "eel")],
        "responses/b": [response("b", name) for name in ("yak", "emu", "eel")],
        "comparisons_ranked": [pair("yak", drop_reason=None), pair("emu", drop_reason="length_rule")],
        "comparisons/no_filter": [pair("yak"), pair("emu")],
        "comparisons/almost": [pair("yak", **asis)],
        "comparisons/gold": [pair("yak")],
        "comparisons_dropped/almost": [pair("emu", drop_reason="length_rule", asis_chosen=None, asis_rejected=None)],
        "comparisons_dropped/gold": [pair("emu", drop_reason="tie")],
        "candidates/rmsp": [
            candidate | {"sample_index": place, "reward": float(place), "is_best": place == 1} for place in (0, 1)
        ],
        "demonstrations/rmsp": [
            {"demonstration_id": "1", "query_id": "yak", "finish_reason": "eos", "reward": 1.0}
            | {"messages": said("user", "What is a yak?") + said("assistant", "A yak.")}
        ],
        "answers/ppo": [answer("ppo")],
        "answers/base": [answer("base")],
        "judgements": [
            judgement(judge, order, verdict, score, 1.0)
            for judge, verdict, score in (("oracle", "tie", 1.0), ("reward", "a", 2.5))
            for order in ("ab", "ba")
        ],
        "ppo_curve/almost": [
            {"step": 0, "question_id": "eel", "text": "An eel.", "tokens": 5, "finish_reason": "eos"}
            | {"reward": 0.1, "kl": 0.0}
        ],
        "rrhf_samples/offline": [
            {"round": 0, "query_id": "yak", "sample_index": 0, "text": "A yak.", "tokens": 5, "finish_reason": "eos"}
            | {"reward": 0.1, "kl": 0.0, "rank_reward": 0.1}
        ],
        "revisions": [
            {"query_id": "yak", "step": 0, "principle": None, "critique": None, "text": "A yak.", "reject_reason": None}
            | {"finish_reason": "eos"}
        ],
        "ditto_samples/captain": [
            {"sample_id": "1", "demonstration_id": "2", "iteration": 0, "sample_index": 0, "prompt": "What is it?"}
            | {"text": "A yak, aye.", "tokens": 6, "finish_reason": "eos", "policy": "sft"}
        ],
        "ditto_answers/captain": [
            {"prompt_id": "3", "method": "ditto", "sample_index": 0, "prompt": "What is it?", "text": "A yak, aye."}
            | {"tokens": 6, "finish_reason": "eos"}
        ],
        "mixtures/all": [
            {"mixture_id": "1", "example_id": "2", "task": "home", "family": "home", "template": "a", "shots": 0}
            | {"cot": False, "inverted": False, "query": "Where?"}
            | {"messages": said("user", "Where?") + said("assistant", "In the wood.")}
        ],
        "task_answers/medium": [
            {"subject": "medium", "item_id": "1", "task": "bed", "family": "bed", "template": "a", "shots": 0}
            | {"cot": False, "metric": "exact_match", "query": "Where?", "target": "A nest.", "text": "A nest."}
            | {"finish_reason": "eos", "right": True, "chance": 0.1}
        ],
        "benchmark_scores/base": [figures | {"subject": "base", "n": 9}],
    }


def write(folder: Path, tables: Rows) -> None:
    """The tables under folder/data, as they are given, right or wrong."""
    for name, given in tables.items():
        file = folder / "data" / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(given), file)


def project(folder: Path) -> Path:
    """What `synthalign sql` reads beside tables, as it is in this repository."""
    shutil.copytree(ROOT / "queries", folder / "queries")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder
