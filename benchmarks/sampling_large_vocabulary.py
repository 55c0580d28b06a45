"""Drawing a token from a vocabulary of real size: `sampling.choose` as it is and as it was at 8d51fce."""

import subprocess
import time
import types
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from benchmarks.bench import Comparison, take_turns, versions
from synthalign.generation import models, sampling

BEFORE = "8d51fce:synthalign/sampling.py"
"""The nucleus by a sort of the whole vocabulary wherever likely tokens do not hold it."""

ROWS, TIMES = 16, 3
VOCABULARIES = (49_152, 262_144)
TEMPERATURES = (0.7, 1.0, 1.2)
SPREADS = {"flat": 0.5, "normal": 1.0, "peaked": 4.0}
"""Of normal logits. Those of a trained model spread by 3; the likely tokens alone hold the nucleus from about 5 on."""

OTHERS = (("top_p_1", 1.0, 1.0), ("likely_hold_the_nucleus", 7.0, 0.9))
"""Work that was not slow before, for the notes: spread, top-p."""


def compare() -> Comparison:
    models.fix_rounding()
    before = old()
    generator = torch.Generator().manual_seed(0)
    ratios: list[float] = []
    notes: dict[str, float | int | str] = {}
    for size in VOCABULARIES:
        plain = torch.randn(ROWS, size, generator=generator)
        uniform = torch.rand(ROWS, generator=generator, dtype=torch.float64)
        for name, spread in SPREADS.items():
            found = [beside(before, spread * plain, uniform, temperature, 0.9) for temperature in TEMPERATURES]
            pairs = [pair for pairs in found for pair in pairs]
            ratios.append(median(there / here for here, there in pairs))
            notes |= figures(f"{name}_{size}", pairs)
        for name, spread, top_p in OTHERS:
            notes |= figures(f"{name}_{size}", beside(before, spread * plain, uniform, 1.0, top_p))
    return Comparison(
        work=f"sampling, {ROWS} rows, vocabularies of {' and '.join(f'{size:,}' for size in VOCABULARIES)}, top-p .9",
        against="choose at 8d51fce, the same tokens",
        ratios=ratios,
        at_least=15.0,
        versions=versions("torch", "numpy"),
        notes=notes,
    )


def old() -> types.ModuleType:
    """The module as it was."""
    source = subprocess.run(["git", "show", BEFORE], check=True, capture_output=True, text=True).stdout
    module = types.ModuleType("sampling_before")
    exec(compile(source, BEFORE, "exec"), module.__dict__)
    return module


def beside(
    before: types.ModuleType, logits: Tensor, uniform: Tensor, temperature: float, top_p: float
) -> list[tuple[float, float]]:
    """CPU seconds of five turns of both sides; the tokens have to be the same."""

    def seconds(choose: Callable[..., Tensor]) -> float:
        start = time.process_time()
        for _ in range(TIMES):
            tokens = choose(logits, uniform, temperature=temperature, top_p=top_p)
        spent = time.process_time() - start
        assert torch.equal(tokens, expected), "other tokens than before"
        return spent / TIMES

    expected = before.choose(logits, uniform, temperature=temperature, top_p=top_p)
    return take_turns(lambda: seconds(sampling.choose), lambda: seconds(before.choose))


def figures(name: str, pairs: list[tuple[float, float]]) -> dict[str, float | int | str]:
    """Milliseconds of both sides, and the ratio."""
    return {
        f"{name}_ms": round(1e3 * median(here for here, _ in pairs), 2),
        f"{name}_before_ms": round(1e3 * median(there for _, there in pairs), 1),
        f"{name}_ratio": round(median(there / here for here, there in pairs), 1),
    }
