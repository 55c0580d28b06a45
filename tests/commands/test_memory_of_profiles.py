"""What the profiles of real models take on one GPU with accelerate/gpu.hardware.yaml: shapes typed in, no weights."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config

from synthalign.commands import memory_plan, memory_way, profiles
from synthalign.core import graph, hardware, yaml_file


def llama(hidden: int, inner: int, layers: int, heads: int, keys: int, words: int, *, tied: bool) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=words,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        tie_word_embeddings=tied,
    )


def qwen(hidden: int, inner: int, layers: int, heads: int, keys: int, words: int, *, tied: bool) -> Qwen2Config:
    return Qwen2Config(
        **llama(hidden, inner, layers, heads, keys, words, tied=tied).to_dict() | {"model_type": "qwen2"}
    )


SHAPES: dict[str, dict[str, PreTrainedConfig]] = {
    "smollm": {
        "small": llama(576, 1536, 30, 9, 3, 49152, tied=True),
        "medium": llama(960, 2560, 32, 15, 5, 49152, tied=True),
        "large": llama(2048, 8192, 24, 32, 32, 49152, tied=True),
    },
    "qwen": {
        "small": qwen(896, 4864, 24, 14, 2, 151936, tied=True),
        "medium": qwen(1536, 8960, 28, 12, 2, 151936, tied=True),
        "large": qwen(3584, 18944, 28, 28, 4, 152064, tied=False),
    },
    "llama-paper": {
        "small": llama(4096, 11008, 32, 32, 32, 32000, tied=False),
        "medium": llama(5120, 13824, 40, 40, 40, 32000, tied=False),
        "large": llama(6656, 17920, 60, 52, 52, 32000, tied=False),
    },
}
"""Of config.json on the hub."""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By profile, the bytes of every stage that `make repro` runs, on one GPU with accelerate/gpu.yaml."""
    folder = tmp_path_factory.mktemp("shapes")
    held = hardware.Hardware.model_validate(yaml_file.load(Path("accelerate/gpu.hardware.yaml").read_text()))
    way = memory_way.Way(held, mixed=True)

    @cache
    def of(profile: str) -> dict[str, float]:
        settings = yaml.safe_load(profiles.composed(Path(f"profiles/{profile}.yaml")).settings)
        for size, config in SHAPES[profile].items():
            config.save_pretrained(folder / profile / size)
            settings["base_models"][size] |= {"source": str(folder / profile / size), "revision": None}
        wanted = upstream("report", settings)
        return {
            name: plan(way).peak
            for name, plan in memory_plan.stages(settings)
            if any(one == name or one.startswith(f"{name}@") for one in wanted)
        }

    return of


def upstream(target: str, settings: dict[str, Any]) -> set[str]:
    """The stages that a stage needs, members of families by name."""
    stages = {
        f"{name}@{member}" if member else name: (
            {*graph.paths(entry["deps"], values)},
            {*graph.paths([*entry.get("outs", []), *entry.get("metrics", [])], values)},
        )
        for name, stage in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].items()
        for member, (entry, values) in graph.members(stage, settings).items()
    }
    found, new = set(), {target}
    while new:
        found |= new
        read = {path for name in new for path in stages[name][0]}
        new = {name for name, (_, made) in stages.items() if made & read} - found
    return found


def test_a_card_of_24_gb_holds_all_that_make_repro_runs_with_smollm(peaks: Any) -> None:
    needs = peaks("smollm")

    assert {"mine_queries", "train_asis_reward", "train_ppo@almost", "sample_answers@large_hhh"} <= needs.keys()
    assert {name: peak for name, peak in needs.items() if peak > 22e9} == {}  # CUDA's own, and fragments, are beside


def test_the_readme_says_what_the_largest_stage_of_make_repro_takes(peaks: Any) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+) GB[^|]*\|[^|]*\|$", Path("README.md").read_text(), re.MULTILINE)

    assert dict(rows) == {profile: f"{max(peaks(profile).values()) / 1e9:.0f}" for profile in SHAPES}
