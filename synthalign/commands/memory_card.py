"""`synthalign plan --memory`: the table of what every stage takes, and whether a card of some size holds it."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from synthalign.commands.memory_kinds import Plan
from synthalign.commands.memory_plan import stages
from synthalign.commands.memory_shapes import Unknown
from synthalign.commands.memory_way import Way
from synthalign.core import hardware, stage, yaml_file
from synthalign.core.errors import UserError
from synthalign.core.hardware import DeviceRows
from synthalign.reporting.text_tables import Rows, plain

GB = 1e9


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
        with suppress(Unknown):  # refused that way
            if plan(changed).peak <= card:
                return words
    return "none of LoRA, bf16, recomputed layers and fewer rows: a larger card, a smaller model or an endpoint"


def in_force(card: float | None) -> Way:
    """How the files of this folder hold a stage; on a GPU where a card is asked about."""
    file = Path("accelerate.yaml")
    launch = yaml_file.keys(file, example="accelerate/gpu.yaml") if file.exists() else {}
    on_cpu = card is None and (launch.get("use_cpu", True) is True)
    processes = int(launch.get("num_processes") or 1)
    here = max(1, processes // int(launch.get("num_machines") or 1))
    return Way(
        hardware.read(),
        processes=processes,
        sharded=launch.get("distributed_type") == "FSDP",
        mixed=launch.get("mixed_precision") in ("bf16", "fp16"),
        device="cpu" if on_cpu else "gpu",
        workers=max(1, len(os.sched_getaffinity(0)) // here) if on_cpu else 1,
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
