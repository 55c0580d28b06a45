"""Measure what a policy forgot (alignment tax), and put policies and reward models to public tests."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from synthalign.core import json_lines, stage, statistics, tables
from synthalign.generation import models, parallel
from synthalign.judging import benchmark_models, benchmarks, harness
from synthalign.judging.benchmarks import Figures, by_category


class Subject(BaseModel, frozen=True, extra="forbid", strict=True):
    kind: Literal["policy", "reward"]
    """Whether the folder holds a language model or a reward model."""

    model: str = Field(min_length=1)
    """The folder."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the order of options and of the bootstrap."""

    batch_size: int = Field(gt=0)
    """Texts that go through the model at once; does not change the result but for rounding."""

    heldout_text: str | None = Field(min_length=1)
    """A .jsonl file of plain texts, {"text"} in each line, for the loss per token; null leaves it out."""

    cloze: str | None = Field(min_length=1)
    """A .jsonl file of texts to finish, {"prefix", "answer", "distractors"} in each line; null leaves it out."""

    hhh: str | None = Field(min_length=1)
    """The file of the 221 items of static HHH alignment; null leaves it out."""

    truthfulqa: str | None = Field(min_length=1)
    """The file of TruthfulQA's multiple-choice questions; null leaves it out."""

    most: int | None = Field(gt=0)
    """Items of HHH and of TruthfulQA that are measured, those with the lowest hashes; null for all."""

    harness: list[str]
    """Tasks of lm-evaluation-harness, by name or as .yaml files; policies alone are put to them."""

    subjects: dict[str, Subject]
    """What is measured, as name: {kind, model}."""


def main(params: Params, name: str) -> None:
    if not stage.is_main_process():
        return
    subject, seed = stage.member("score_benchmarks", "subject", params.subjects, name), params.seed
    is_policy = subject.kind == "policy"
    tasks = harness.load(params.harness, seed=seed) if params.harness and is_policy else None
    load = models.load_causal if is_policy else models.load_reward
    model, tokenizer = load(subject.model).to(parallel.alone()), models.load_tokenizer(subject.model)
    size = params.batch_size

    figures: Figures = {}
    if params.heldout_text and is_policy:
        texts = json_lines.texts(Path(params.heldout_text))
        logprobs = benchmark_models.text_log_probs(model, tokenizer, texts, batch_size=size)
        losses, tokens = [-total for total, _ in logprobs], [count for _, count in logprobs]
        loss = statistics.ratio_interval(losses, tokens, range(len(texts)), seed=seed)
        figures["heldout_text", "all", "loss_per_token"] = loss
    if params.cloze and is_policy:
        cloze = benchmarks.load_cloze(Path(params.cloze), seed=seed)
        asked = [(item, [(item.question, option) for option in item.options]) for item in cloze]
        right = benchmark_models.options_right(model, tokenizer, asked, batch_size=size)
        figures |= by_category("cloze", "accuracy", right, [], [item.item_id for item in cloze], seed=seed)
    if params.hhh:
        hhh = benchmarks.load_hhh(Path(params.hhh), seed=seed, most=params.most)
        rule = benchmark_models.letters_right if is_policy else benchmark_models.preferences_right
        categories, groups = [item.category for item in hhh], [str(item.context) for item in hhh]
        right = rule(model, tokenizer, hhh, batch_size=size)
        figures |= by_category("hhh", "accuracy", right, categories, groups, seed=seed)
        longer = [benchmarks.longer_is_right(item) for item in hhh]
        figures |= by_category("hhh", "always_longer", longer, categories, groups, seed=seed)
    if params.truthfulqa:
        truthful = benchmarks.load_truthfulqa(Path(params.truthfulqa), seed=seed, most=params.most)
        groups = [item.item_id for item in truthful]
        probes = {"mc1": benchmarks.mc1_options, "true_false": benchmarks.true_false_options} if is_policy else {}
        for metric, options in probes.items():
            asked = [(item, options(item)) for item in truthful]
            right = benchmark_models.options_right(model, tokenizer, asked, batch_size=size)
            figures |= by_category("truthfulqa", metric, right, [], groups, seed=seed)
        if not is_policy:
            right = benchmark_models.rewards_right(model, tokenizer, truthful, batch_size=size)
            figures |= by_category("truthfulqa", "highest_reward", right, [], groups, seed=seed)
        longest = [float(benchmarks.longest_is_right(item)) for item in truthful]
        figures |= by_category("truthfulqa", "always_longest", longest, [], groups, seed=seed)

    no_interval: dict[str, list[str]] = {}
    if tasks:
        of_tasks, without = harness.figures(tasks, model, tokenizer, batch_size=size)
        figures |= of_tasks
        no_interval = {"no_interval": without} if without else {}

    table = benchmarks.rows(name, figures)
    tables.write(table, f"benchmark_scores/{name}", key=("benchmark", "category", "metric"), schema=benchmarks.SCHEMA)
    left_out = [key for key in ("heldout_text", "cloze", "hhh", "truthfulqa") if getattr(params, key) is None]
    stage.write_metrics(f"score_benchmarks/{name}", left_out=left_out, **no_interval, **benchmarks.nested(figures))


if __name__ == "__main__":
    stage.run(main, "score_benchmarks", Params)
