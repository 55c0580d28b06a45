"""`synthalign plan --memory`: what every stage of the profile in force takes on a device, and whether a card holds it.

Texts are taken as long as the settings let them be. Shapes are those of the config.json of the base models that
params.yaml names, from their folders or from the hub's cache; nothing is downloaded and no weights are opened.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthalign.commands import memory
from synthalign.commands.memory import Held, Need, Shape
from synthalign.commands.memory_shapes import Unknown, base_of, shape_of
from synthalign.core import hardware, stage, yaml_file
from synthalign.core.errors import UserError
from synthalign.core.hardware import DeviceRows
from synthalign.dialogue import demonstrations
from synthalign.reporting.text_tables import Rows, plain

GB = 1e9
QUESTION = 64
"""Tokens that a question is taken to have where no setting bounds it."""

CHARACTERS = 4
"""Characters that a token of a few-shot prefix is taken to have."""

SLOTS, SCORED = 256, 64
"""Sequences that are decoded, and texts that are scored, at once where no setting says."""


@dataclass(frozen=True)
class Way:
    """How a device holds a stage: what hardware.yaml and accelerate.yaml say, and a change of the `lora` of params."""

    hardware: hardware.Hardware
    processes: int = 1
    sharded: bool = False
    mixed: bool = False
    device: str = "gpu"
    rank: int | None = None
    """In place of what params.yaml says, where that is null."""

    def held(self, section: Mapping[str, Any], member: Mapping[str, Any]) -> Held:
        lora = member.get("lora") or section.get("lora")
        w = width(self.hardware.weights.training)
        return Held(
            w=w,
            a=2 if self.mixed else w,
            recomputed=self.hardware.gradient_checkpointing,
            rank=lora["rank"] if lora else self.rank,
            device=self.device,
        )

    @property
    def reading(self) -> int:
        return width(self.hardware.weights.reading)


def width(dtype: str) -> int:
    """Bytes of a weight; what a folder has (auto) is taken for two, as most are bf16."""
    return 4 if dtype == "fp32" else 2


# -- stages -----------------------------------------------------------------------------------------------------------

Plan = Callable[[Way], Need]
"""What a stage needs, held in some way; raises Unknown."""


def stages(params: Mapping[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Every stage that holds a model, by name, and how to tell what it needs."""

    def of(folder: str) -> Shape:
        return shape_of(folder, params)

    def samples(section: Mapping[str, Any], model: str, shown: str | None = None, shots: int = 0, **given: Any) -> Plan:
        def plan(way: Way) -> Need:
            model_shape = of(model)
            if section.get("engine") == "vllm":
                raise Unknown("vLLM takes a fixed share of a GPU and fits its caches in it")
            return memory.sampling(
                model_shape,
                w=way.reading,
                prefix=prefix_tokens(shown, shots),
                own=given.get("own", QUESTION),
                new=given.get("new") or section["max_new_tokens"],
                slots=way.hardware.device_rows.sampling or SLOTS,
                device=way.device,
            )

        return plan

    def scores(
        section: Mapping[str, Any], model: str, *, reward: bool, words: bool = False, tokens: int = 512, models: int = 1
    ) -> Plan:
        """Models of one shape that read texts; `models` of them are there at once."""

        def plan(way: Way) -> Need:
            rows = way.hardware.device_rows.scoring or section.get("batch_size", SCORED)
            found = of(model).as_reward() if reward else of(model)
            need = memory.scoring(found, w=way.reading, rows=rows, tokens=tokens, words=words)
            return replace(need, weights=models * need.weights)

        return plan

    def trains(section: Mapping[str, Any], model: str, *, texts: int = 1, reward: bool = False, **given: Any) -> Plan:
        """A trainer of TRL, with `texts` to a row of the batch; `beside` are folders of frozen models."""

        def plan(way: Way) -> Need:
            member = given.get("member", {})
            held, shape_ = way.held(section, member), of(model).as_reward() if reward else of(model)
            share = max(1, (given.get("rows") or section["batch_size"]) // way.processes)
            rows = held_rows(share, way.hardware.device_rows.training)
            frozen = [one for one in given.get("beside", ()) if held.rank is None or one[1]]
            beside = [of(folder).as_reward() if is_reward else of(folder) for folder, is_reward in frozen]
            need = memory.training(
                held,
                shape_,
                rows=texts * rows,
                tokens=given.get("tokens") or section["max_length"],
                accumulates=rows < share,
                words=not reward,
                beside=held.w * sum(one.parameters for one in beside),
            )
            if not way.sharded:
                return need
            parts = way.processes
            return replace(
                need, weights=need.weights / parts, gradients=need.gradients / parts, optimizer=need.optimizer / parts
            )

        return plan

    def loops(section: Mapping[str, Any], policy: str, reward: str | None, *, value: bool, **given: Any) -> Plan:
        """A loop of ours: with all weights a reference beside; with adapters one base, and the reward model's own."""

        def plan(way: Way) -> Need:
            if way.sharded:
                raise Unknown("refuses FSDP: it keeps whole models on every device")
            held, found = way.held(section, given.get("member", {})), of(policy)
            judge = of(reward).as_reward() if reward else None
            beside = 0.0 if held.rank is not None else held.w * found.parameters
            if judge is not None:
                shared = held.rank is not None and base_of(reward or "", params) == base_of(policy, params)
                beside += 0 if shared else held.w * judge.parameters
                beside += held.w * judge.parameters if value and held.rank is None else 0
            rows = way.hardware.device_rows.training or section["device_batch_size"]
            return memory.loop(
                held,
                found,
                beside=beside,
                value=judge if value else None,
                rows=rows,
                prompt=section.get("max_prompt_tokens", QUESTION),
                new=section["max_new_tokens"],
                accumulates=rows < given["batch"] // way.processes,
            )

        return plan

    p = params
    section = p["mine_queries"]
    yield "mine_queries", samples(section, section["model"], own=QUESTION * section["shots"])
    for name, one in p["sample_responses"]["configurations"].items():
        new = one["max_new_tokens"]
        yield (
            f"sample_responses@{name}",
            samples(p["sample_responses"], one["model"], one["demonstrations"], one["shots"], new=new),
        )
    yield "train_asis_reward", trains(p["train_asis_reward"], p["train_asis_reward"]["model"], texts=2, reward=True)
    for name, one in p["contrast_pairs"]["simulations"].items():
        yield f"contrast_pairs@{name}", samples(p["contrast_pairs"], one["model"])
    for name, one in p["label_pairs"]["labels"].items():
        yield f"label_pairs@{name}", scores(p["label_pairs"], one["labeller"], reward=False)
    section, ranking = p["train_reward"], p["build_comparisons"]["ranking"]
    of_query = sum(1 if isinstance(group, str) else len(group) for group in ranking)  # people's rankings may have more
    texts = 2 if section["loss"] == "pairs" else of_query
    for name, one in section["feedback"].items():
        yield f"train_reward@{name}", trains(section, section["model"], texts=texts, reward=True, member=one)
    section = p["simulate_demonstrations"]
    speaker = section["assistant"]
    for name in section["guides"]:
        yield (
            f"simulate_demonstrations@{name}",
            samples(section, speaker["model"], speaker.get("demonstrations"), speaker.get("shots", 0)),
        )
    yield "revise_answers", samples(p["revise_answers"], p["revise_answers"]["model"])
    yield "train_sft", trains(p["train_sft"], p["train_sft"]["model"])
    yield "sample_preferences", samples(p["sample_preferences"], p["sample_preferences"]["model"])
    yield "train_dpo", trains(p["train_dpo"], p["train_dpo"]["model"], texts=2)
    for name in p["train_ditto"]["authors"]:
        section = p["train_ditto"]
        batch = 2 * section["negatives"]
        yield f"train_ditto@{name}", loops(section, section["model"], None, value=False, batch=batch)
    for name in p["train_spin"]["authors"]:
        section = p["train_spin"]
        model, batch = f"models/ditto_sft/{name}", 2 * section["negatives"]
        yield f"train_spin@{name}", loops(section, model, None, value=False, batch=batch)
    for name in p["sample_ditto"]["authors"]:
        yield f"sample_ditto@{name}", samples(p["sample_ditto"], p["sample_ditto"]["model"])
    for name, one in p["train_ppo"]["policies"].items():
        section = p["train_ppo"]
        yield (
            f"train_ppo@{name}",
            loops(section, one["policy"], one["reward"], value=True, member=one, batch=section["minibatch"]),
        )
    for name, one in p["train_rrhf"]["policies"].items():
        section = p["train_rrhf"]
        each = (section["beams"] or len(section["temperatures"])) + 2 * (one["source"] == "mixed")
        batch = section["batch_size"] * each
        yield (
            f"train_rrhf@{name}",
            loops(section, one["policy"], one["reward"], value=False, member=one, batch=batch),
        )
    for name, one in p["train_group_rl"]["policies"].items():
        section = p["train_group_rl"]
        yield (
            f"train_group_rl@{name}",
            trains(
                section,
                one["policy"],
                member=one,
                rows=section["minibatch"],
                tokens=section["max_prompt_tokens"] + section["max_new_tokens"],
                beside=((one["policy"], False), (one["reward"], True)),
            ),
        )
    for name, one in p["sample_answers"]["policies"].items():
        yield f"sample_answers@{name}", samples(p["sample_answers"], one["model"], one["demonstrations"], one["shots"])
    yield "validate_comparisons", scores(p["validate_comparisons"], "models/asis_reward", reward=True)
    for family in ("score_rewards", "score_scorers"):
        yield family, scores(p[family], next(iter(p[family]["rewards"].values())), reward=True)
    yield "snapshot_dpo", scores(p["snapshot_dpo"], p["snapshot_dpo"]["policy"], reward=False, models=3)
    for name in ("judge_answers", "score_comparisons", "score_policies", "score_candidates", "score_pairs"):
        if judge := p[name].get("reward") or p[name]["people"]:  # else an oracle alone judges, which is no model
            yield name, scores(p[name], judge, reward=True)
    for name, one in p["score_benchmarks"]["subjects"].items():
        is_reward = one["kind"] != "policy"
        yield (
            f"score_benchmarks@{name}",
            scores(p["score_benchmarks"], one["model"], reward=is_reward, words=not is_reward),
        )
    for name, one in p["train_flan"]["members"].items():
        yield f"train_flan@{name}", trains(p["train_flan"], one["model"], member=one)
    for name, one in p["answer_tasks"]["subjects"].items():
        yield f"answer_tasks@{name}", samples(p["answer_tasks"], one["model"], own=4 * QUESTION)


def held_rows(rows: int, most: int | None) -> int:
    """As `training.held_rows`, which needs torch: the largest number up to `most` that divides the rows."""
    return max(size for size in range(1, min(rows, most or rows) + 1) if rows % size == 0)


def prefix_tokens(file: str | None, shots: int) -> int:
    """About how many tokens a few-shot prefix has; 0 where its file is not there yet."""
    try:
        return len(demonstrations.prefix(file, shots)) // CHARACTERS if file else 0
    except UserError:
        return 0


# -- cards ------------------------------------------------------------------------------------------------------------


def card_bytes(text: str) -> float:
    """24GB or 24 as bytes, a GB being 10^9; UserError for what is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(GB|GiB)?", text.strip(), re.IGNORECASE)
    if not found or not float(found[1]):
        raise UserError(f"--card {text!r} is no size of a memory; write it as 24GB or 22.5GiB")
    return float(found[1]) * (2**30 if (found[2] or "").lower() == "gib" else GB)


def ways(way: Way) -> Iterator[tuple[str, Way]]:
    """Changes that make a stage smaller, the mildest first, with what to write."""
    given = way.hardware
    training = given.weights.model_copy(update={"training": "bf16"})
    reading = way.hardware.model_copy(update={"weights": given.weights.model_copy(update={"reading": "bf16"})})
    few = DeviceRows(training=1, scoring=8, sampling=16)
    again = given.model_copy(update={"gradient_checkpointing": True})
    frugal = again.model_copy(update={"device_rows": few})
    yield "weights.reading: bf16", replace(way, hardware=reading)
    yield "gradient_checkpointing", replace(way, hardware=again)
    yield (
        "device_rows (training 1, scoring 8, sampling 16)",
        replace(way, hardware=given.model_copy(update={"device_rows": few})),
    )
    yield "gradient_checkpointing and device_rows.training: 1", replace(way, hardware=frugal)
    small = reading.model_copy(update={"device_rows": few})
    yield "weights.reading: bf16 and device_rows (scoring 8, sampling 16)", replace(way, hardware=small)
    yield "lora of rank 16", replace(way, rank=16)
    yield "lora of rank 16, gradient_checkpointing, device_rows.training: 1", replace(way, hardware=frugal, rank=16)
    least = frugal.model_copy(update={"weights": training})
    yield (
        "lora of rank 16, weights.training: bf16, gradient_checkpointing, device_rows.training: 1",
        replace(way, hardware=least, rank=16),
    )


def remedy(plan: Plan, way: Way, card: float) -> str:
    """The first change with which the card holds a stage."""
    for words, changed in ways(way):
        if plan(changed).peak <= card:
            return words
    return "none of LoRA, bf16, recomputed layers and fewer rows: a larger card, a smaller model or an endpoint"


def in_force(card: float | None) -> Way:
    """How the files of this folder hold a stage; on a GPU where a card is asked about."""
    file = Path("accelerate.yaml")
    launch = yaml_file.keys(file, example="accelerate/gpu.yaml") if file.exists() else {}
    on_cpu = card is None and (launch.get("use_cpu", True) is True)
    return Way(
        hardware.read(),
        processes=int(launch.get("num_processes") or 1),
        sharded=launch.get("distributed_type") == "FSDP",
        mixed=launch.get("mixed_precision") in ("bf16", "fp16"),
        device="cpu" if on_cpu else "gpu",
    )


def gigabytes(count: float) -> str:
    return f"{count / GB:.2f}" if count < 10 * GB else f"{count / GB:.0f}"


def together(names: list[str]) -> str:
    """The names of stages of one family, at most two of them."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join([names[0], *(name.partition("@")[2] for name in names[1:2])]) + more


def by_family(names: list[str]) -> str:
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition("@")[0], []).append(name)
    return "; ".join(together(members) for members in families.values())


def show(card_text: str | None = None) -> bool:
    """Print the table; False where a card does not hold every stage."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    card = card_bytes(card_text) if card_text else None
    params = stage.read("params.yaml")
    way = in_force(card)
    groups: dict[tuple[str, ...], list[str]] = {}
    rows: Rows = [("stage", "weights", "gradients", "optimizer", "activations", "caches", "at once")]
    unknown: dict[str, list[str]] = {}
    wrong: dict[str, list[str]] = {}
    for name, plan in stages(params):
        try:
            need = plan(way)
        except Unknown as reason:
            unknown.setdefault(str(reason), []).append(name)
            continue
        terms = (need.weights, need.gradients, need.optimizer, need.activations, need.caches, need.peak)
        cells = tuple(gigabytes(term) for term in terms)
        groups.setdefault((name.partition("@")[0], *cells), []).append(name)
        if card is not None and need.peak > card:
            wrong.setdefault(f"{gigabytes(need.peak)} GB; fits with: {remedy(plan, way, card)}", []).append(name)
    rows += [(together(names), *cells) for (_, *cells), names in groups.items()]
    print(plain(rows))
    print(
        f"\nGB (10^9 bytes) of one device, {way.device}; weights {way.hardware.weights.training} in trainers and "
        f"{way.hardware.weights.reading} else; every text as long as settings allow. docs/plan.md has the formulae."
    )
    for why, names in unknown.items():
        print(f"Unknown: {by_family(names)}: {why}.")
    for words, names in wrong.items():
        print(f"Does not fit {card_text}: {by_family(names)}: {words}.")
    if not groups:
        print("No stage's model is known yet, so nothing can be said.")
    elif card is not None and not wrong:
        print(f"A card of {card_text} holds every stage{' whose model is known' if unknown else ''}.")
    return not wrong
