"""Which models share a prefix: what they say behind it is what they say without, or they are refused by name."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from synthalign.core.errors import UserError
from synthalign.generation import attention
from synthalign.generation.attention_interface import Seen
from synthalign.generation.generate import generate
from tests import families, tiny
from tests.families import REFUSED, WHOLE, WINDOW, WINDOWS

SERVED = [*((family, settings) for group in (WHOLE, WINDOWS) for family, settings in group.items())]


SIZES = {"sliding_window", "attention_chunk_size"}


def named(group: dict[str, Any]) -> Any:
    return pytest.mark.parametrize(("family", "settings"), group.items(), ids=group)


def tokens(count: int) -> list[int]:
    return [(31 * place + place * place) % tiny.VOCABULARY for place in range(count)]


@cache
def served(place: int) -> Any:
    return families.causal(*SERVED[place])


@pytest.mark.parametrize("place", range(len(SERVED)), ids=[f"{name}-{len(made)}" for name, made in SERVED])
@pytest.mark.parametrize("length", [12, 16, 17, 31, 40, 45, 150])
def test_a_shared_prefix_gives_the_log_probabilities_of_one_plain_pass(place: int, length: int) -> None:
    # the lengths put the window's edge into the prefix, into the own tokens, and between both
    model = served(place)

    ours = attention.shared(model, tokens(length)).log()

    assert (ours - attention.plain(model, tokens(length)).log()).abs().max() < 1e-4


@named(WINDOWS)
def test_without_its_window_a_model_says_something_else(family: str, settings: dict[str, Any]) -> None:
    # so the test above can fail
    windowed = families.causal(family, settings)
    wide = families.causal(family, settings | {name: 500 for name in settings if name in SIZES})

    far = attention.plain(windowed, tokens(150)).log() - attention.plain(wide, tokens(150)).log()

    assert far.abs().max() > 0.01


def test_a_window_of_three_sees_a_token_and_the_two_before_it_and_a_chunk_begins_anew() -> None:
    model = families.causal("mistral", dict(sliding_window=3, head_dim=8))
    window = Seen(*_rule(model))
    places = torch.arange(5)

    assert window.size == 3
    assert window.at(places, places).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]

    chunk = Seen(*_rule(families.causal("llama4_text", WINDOWS["llama4_text"] | dict(attention_chunk_size=3))))

    assert chunk.size == 3
    assert chunk.at(places, places).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]


def _rule(model: PreTrainedModel) -> tuple[Any, int | None]:
    """What the first layer is given in place of a mask."""
    given: list[Seen] = []
    memory = attention.Memory()
    memory.attend = lambda layer, query, key, value, seen, **others: given.append(seen) or query  # type: ignore
    with torch.inference_mode(), attention.attention_of(model):
        memory.read_prefix(model, tokens(8))
    return given[0].rule, given[0].size


def test_the_layers_of_gemma_3_see_windows_and_every_third_one_all() -> None:
    assert attention.sizes(families.causal("gemma3_text", WINDOWS["gemma3_text"])) == [WINDOW, WINDOW, None, WINDOW]
    assert attention.sizes(tiny.causal()) == [None, None]


def test_gemma_3_continues_a_real_few_shot_prompt_that_is_much_longer_than_its_window() -> None:
    model = families.causal("gemma3_text", WINDOWS["gemma3_text"] | dict(max_position_embeddings=2048))
    tokenizer = tiny.tokenizer()
    prefix = "".join(tiny.TEXT) * 8
    suffixes = [f"Human: What is a plum cake {row}?\n\nAssistant:" + " It is old." * (row % 4) for row in range(20)]
    rows = [f"row {row}" for row in range(20)]
    settings: dict[str, Any] = dict(
        prefix=prefix, suffixes=suffixes, row_ids=rows, seed=1, max_new_tokens=24, top_p=0.9
    )
    assert len(tokenizer(prefix)["input_ids"]) > 60 * WINDOW

    greedy = generate(model, tokenizer, temperature=0.0, **settings)

    for suffix, [made] in zip(suffixes, greedy, strict=True):
        inputs = tokenizer(prefix + suffix, return_tensors="pt")
        theirs = model.generate(**inputs, max_new_tokens=24, do_sample=False, pad_token_id=1)
        assert made.token_ids == theirs[0, inputs["input_ids"].shape[1] :].tolist()

    one, other = (
        generate(model, tokenizer, temperature=1.0, logprobs=True, batch_size=size, workers=workers, **settings)
        for size, workers in ((16, 1), (64, 2))
    )
    assert one == other  # to the last bit of the log-probabilities


@named(REFUSED)
def test_a_model_that_reads_earlier_tokens_in_another_way_is_refused_by_name(
    family: str, settings: dict[str, Any]
) -> None:
    model = families.causal(family, settings)

    with pytest.raises(UserError, match=rf"{type(model).__name__}.*`engine: vllm` or an endpoint \(docs/engines.md\)"):
        attention.check_served(model, tiny.tokenizer())


def test_a_model_that_says_another_token_behind_a_shared_prefix_is_refused_with_both() -> None:
    model = families.causal("diffllama", REFUSED["diffllama"])  # the interface never sees half of its attention
    length = 32
    said = [
        repr(tiny.tokenizer().decode([int(each.argmax())]))
        for each in (
            attention.plain(model, attention.some_tokens(model, length)),
            attention.shared(model, attention.some_tokens(model, length)),
        )
    ]

    with pytest.raises(UserError) as error:
        attention.check_served(model, tiny.tokenizer())

    assert said[0] != said[1]
    assert f"continues {length} tokens with {said[0]}" in str(error.value)
    assert f"and with {said[1]}" in str(error.value)


def test_the_comparison_exceeds_a_window_where_that_is_cheap_and_never_the_context() -> None:
    model = tiny.causal()  # a context of 512

    assert attention._comparison_length(model, 0) == 32
    assert attention._comparison_length(model, 256) == 256 + 32
    assert attention._comparison_length(model, 4096) == 48
    assert attention._comparison_length(tiny.causal(max_position_embeddings=40), 16) == 40


@pytest.mark.parametrize("rope", ["longrope", "dynamic"])
def test_a_text_in_which_positions_turn_in_another_way_is_refused_with_the_numbers(rope: str) -> None:
    model = tiny.causal()
    model.config.rope_parameters = {"rope_type": rope, "original_max_position_embeddings": 100, "factor": 4.0}

    nested = tiny.causal()
    nested.config.rope_parameters = {"full_attention": dict(model.config.rope_parameters), "sliding_attention": {}}
    assert attention.turning(nested) == 100
    assert attention.turning(model) == 100 and attention.turning(tiny.causal()) == math.inf
    attention.check_length(model, 100)
    with pytest.raises(UserError, match=r"texts of more than 100 tokens, .* take up to 101; use fewer shots"):
        attention.check_length(model, 101)


def test_llama_4_is_refused_where_it_begins_to_sharpen_its_attention() -> None:
    settings = WINDOWS["llama4_text"] | dict(attn_temperature_tuning=True, floor_scale=64)
    model = families.causal("llama4_text", settings)

    attention.check_length(model, 63)
    assert (attention.shared(model, tokens(62)) - attention.plain(model, tokens(62))).abs().max() < 1e-5
    with pytest.raises(UserError, match="from token 64 on, .* take up to 64; use fewer shots"):
        attention.check_length(model, 64)


def test_texts_share_a_row_where_every_layer_sees_them_whole() -> None:
    assert attention.shares_rows(tiny.causal(), 100_000)
    windowed = families.causal("mistral", WINDOWS["mistral"])
    assert attention.shares_rows(windowed, WINDOW)
    assert not attention.shares_rows(windowed, WINDOW + 1)


@pytest.mark.parametrize(("text", "shares"), [("{}", False), ("tf32: true", True)])
def test_a_row_may_round_as_tf32_does_where_the_file_says_so_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, shares: bool
):
    def rounding(by: float) -> PreTrainedModel:
        """A model whose products differ by this share in a row of several texts."""
        model = tiny.causal()
        model.model.layers[1].mlp.register_forward_hook(lambda _, given, out: out * (1 + by * (out.shape[1] > 10)))
        return model

    monkeypatch.chdir(tmp_path)
    Path("hardware.yaml").write_text(text, encoding="utf-8")

    assert attention.shares_rows(tiny.causal(), 50)
    assert attention.shares_rows(rounding(2**-11), 50) is shares
    assert not attention.shares_rows(rounding(0.1), 50)


@named({family: settings for family, settings in REFUSED.items() if family != "diffllama"})
def test_texts_never_share_a_row_where_earlier_tokens_are_read_in_another_way(
    family: str, settings: dict[str, Any]
) -> None:
    # all of DiffLlama's attention reads such a mask, so its texts may share a row
    assert not attention.shares_rows(families.causal(family, settings), 1)
