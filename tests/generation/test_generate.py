from functools import partial
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPTNeoXConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.generation import partial_attention, shared_prefix
from synthalign.generation.generate import Generation, by_length, generate, make_room, tokenize
from tests import families, tiny
from tests.families import REFUSED

DIALOGUE = [
    {"role": "user", "content": "Where does the red fox live?"},
    {"role": "assistant", "content": "The red fox lives in the forest."},
]
PREFIX = chat.few_shot("The assistant is kind.", [DIALOGUE, DIALOGUE])
SUFFIXES = [
    chat.prompt([{"role": "user", "content": f"What {'does the owl eat ' * (row % 4)}{row}?"}]) for row in range(40)
]
ROWS = [f"row {row}" for row in range(40)]


def call(model: PreTrainedModel, **changes: Any) -> list[list[Generation]]:
    settings: dict[str, Any] = dict(
        prefix=PREFIX, suffixes=SUFFIXES, row_ids=ROWS, seed=1, max_new_tokens=20, temperature=1.0, top_p=0.9
    )
    return generate(model, tiny.tokenizer(), **(settings | changes))


def tokens(rows: list[list[Generation]]) -> list[list[list[int]]]:
    return [[one.token_ids for one in row] for row in rows]


def plain(model: PreTrainedModel, prompt: str, new_tokens: int) -> list[int]:
    """What transformers' own greedy search says to the whole prompt."""
    inputs = tiny.tokenizer()(prompt, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False, pad_token_id=1)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def other(config_class: type, **changes: Any) -> PreTrainedModel:
    config = config_class(**(tiny.config().to_dict() | {"model_type": config_class.model_type} | changes))
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
def test_greedy_tokens_are_those_of_transformers_on_the_whole_prompt(prefix: str) -> None:
    model = tiny.causal()

    made = call(model, prefix=prefix, temperature=0.0)

    assert tokens(made) == [[plain(model, prefix + suffix, 20)] for suffix in SUFFIXES]


OTHERS = {
    "qwen2": partial(other, Qwen2Config),
    "mistral": partial(other, MistralConfig, sliding_window=None, head_dim=8),
    "gpt-neox": partial(other, GPTNeoXConfig, rotary_pct=0.5),
    "qwen3 with one key head": partial(other, Qwen3Config, num_key_value_heads=1, head_dim=8),
    "gemma": partial(other, GemmaConfig, head_dim=8),
    "opt": partial(other, OPTConfig, word_embed_proj_dim=None, ffn_dim=64, do_layer_norm_before=True),
}
"""A small random model of other families than the embedded one."""


@pytest.mark.parametrize("family", OTHERS)
def test_other_decoders_run_unchanged(family: str) -> None:
    model, some = OTHERS[family](), SUFFIXES[:8]

    made = call(model, temperature=0.0, suffixes=some, row_ids=ROWS[:8])

    assert tokens(made) == [[plain(model, PREFIX + suffix, 20)] for suffix in some]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", *OTHERS])
def test_of_a_thousand_rows_those_with_other_greedy_tokens_than_transformers_are_near_ties(family: str) -> None:
    model = tiny.causal() if family == "llama" else OTHERS[family]()
    suffixes = [
        chat.prompt([{"role": "user", "content": f"What {'does the owl eat ' * (row % 4)}{row}?"}])
        for row in range(1000)
    ]
    prompts = tiny.tokenizer()([PREFIX + suffix for suffix in suffixes])["input_ids"]

    made = [
        one.token_ids
        for [one] in call(model, suffixes=suffixes, row_ids=[str(row) for row in range(1000)], temperature=0.0)
    ]

    theirs = greedy(model, prompts, new_tokens=20)
    different = [row for row in range(1000) if made[row] != theirs[row]]
    assert len(different) <= 0.005 * 1000
    for row in different:
        agreed = next(place for place in range(20) if made[row][place] != theirs[row][place])
        with torch.inference_mode():
            logits = model(torch.tensor([prompts[row] + theirs[row][:agreed]])).logits[0, -1]
        ours_theirs = logits[[made[row][agreed], theirs[row][agreed]]]
        assert ours_theirs.diff().abs().item() < 1e-4, f"row {row}: {ours_theirs.tolist()} are no near tie"


def greedy(model: PreTrainedModel, prompts: list[list[int]], *, new_tokens: int) -> list[list[int]]:
    """What transformers' own greedy search says to each prompt: those of one length together, so nothing is padded."""
    said: list[list[int]] = [[]] * len(prompts)
    for length in {len(prompt) for prompt in prompts}:
        rows = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
        inputs = torch.tensor([prompts[row] for row in rows])
        output = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=new_tokens, do_sample=False, pad_token_id=1
        )
        for row, tokens_of in zip(rows, output[:, length:].tolist(), strict=True):
            said[row] = until_end(tokens_of)
    return said


def until_end(token_ids: list[int]) -> list[int]:
    """Without what follows the end of the sequence, which is filled up where others go on."""
    end = tiny.tokenizer().eos_token_id
    return token_ids[: token_ids.index(end) + 1] if end in token_ids else token_ids


def test_log_probabilities_are_those_of_a_forward_pass_over_the_whole_text() -> None:
    model = tiny.causal()

    made = call(model, logprobs=True, temperature=0.7)

    for suffix, [one] in zip(SUFFIXES, made, strict=True):
        prompt = tiny.tokenizer()(PREFIX + suffix)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + one.token_ids])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(one.token_ids)[:, None])[:, 0]
        assert one.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_batch_size_and_order_do_not_change_what_a_row_says_to_the_last_bit(dtype: torch.dtype) -> None:
    model = tiny.causal(hidden_size=192, head_dim=48, num_attention_heads=4, num_key_value_heads=4).to(dtype)
    suffixes = [suffix * (1 + row % 3) for row, suffix in enumerate(SUFFIXES)]
    made = call(model, suffixes=suffixes, logprobs=True)

    assert call(model, suffixes=suffixes, logprobs=True, batch_size=1) == made
    assert call(model, suffixes=suffixes, logprobs=True, batch_size=7, workers=1) == made
    assert call(model, suffixes=suffixes[::-1], row_ids=ROWS[::-1], logprobs=True)[::-1] == made
    assert call(model, suffixes=suffixes[30:33], row_ids=ROWS[30:33], logprobs=True) == made[30:33]


def test_rows_with_temperatures_of_their_own_say_what_they_say_when_all_have_the_same() -> None:
    model = tiny.causal()
    heat = [(0.0, 0.7, 1.3)[place % 3] for place in range(len(SUFFIXES))]

    together = tokens(call(model, temperature=heat))

    alone = {temperature: tokens(call(model, temperature=temperature)) for temperature in set(heat)}
    assert together == [alone[temperature][place] for place, temperature in enumerate(heat)]


def test_in_how_many_pieces_prompts_are_read_does_not_change_what_a_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.causal()
    together = call(model, samples=2, logprobs=True)

    monkeypatch.setattr(shared_prefix, "PIECE", 1)  # each prompt alone

    assert call(model, samples=2, logprobs=True) == together


def test_the_number_of_workers_does_not_change_what_a_row_says() -> None:
    model = tiny.causal()
    made = tokens(call(model, samples=2, workers=1))

    assert tokens(call(model, samples=2, workers=3)) == made
    assert tokens(call(model, samples=2, workers=2, batch_size=5)) == made


def test_an_error_in_one_worker_ends_the_others_and_is_told() -> None:
    model = tiny.causal()

    def fail(index: int, made: list[Generation]) -> None:
        raise ValueError(f"row {index}")

    with pytest.raises(ValueError, match="row "):
        call(model, workers=3, on_finished=fail)


def test_the_first_of_several_samples_is_the_only_one_and_the_others_differ() -> None:
    model = tiny.causal()
    one, four = tokens(call(model)), tokens(call(model, samples=4, batch_size=7))

    assert [row[:1] for row in four] == one
    assert all(len({tuple(sample) for sample in row}) == 4 for row in four)


def test_another_seed_says_something_else() -> None:
    model = tiny.causal()

    assert tokens(call(model)) != tokens(call(model, seed=2))


def test_a_sequence_ends_at_its_end_token_and_the_next_takes_its_slot() -> None:
    model = tiny.causal()
    model.generation_config.eos_token_id = list(range(0, tiny.VOCABULARY, 8))

    made = [one for [one] in call(model, batch_size=16)]

    assert {one.finish_reason for one in made} == {"eos", "length"}
    for one in made:
        ends = [token % 8 == 0 for token in one.token_ids]
        assert not any(ends[:-1])
        assert ends[-1] == (one.finish_reason == "eos")
        assert ends[-1] or len(one.token_ids) == 20
    longer = [one for [one] in call(model, batch_size=16, suffixes=SUFFIXES[:3], row_ids=ROWS[:3])]
    assert longer == made[:3]


def test_the_block_with_the_fewest_sequences_is_emptied_into_the_others_long_to_long() -> None:
    held = [True] * 14 + [False] * 2 + [True] * 2 + [False] * 14 + [True] * 15 + [False]
    places = [30] * 14 + [0] * 2 + [40, 20] + [0] * 14 + [50] * 15 + [0]

    assert make_room(held, places, keep=False) == ([(16, 47), (17, 14)], list(range(16, 32)))
    assert make_room(held, places, keep=True)[0] == [(slot, slot - 14) for slot in range(32, 46)] + [(46, 14)]
    assert make_room([False] * 32, [0] * 32, keep=False) == ([], list(range(32)))


def test_text_is_cut_before_the_first_stop_string_and_the_sequence_ends_there() -> None:
    model = tiny.causal()
    free = [one for [one] in call(model)]
    stop = next(one.text[4:6] for one in free if one.text.isascii() and len(one.text) > 10)

    made = [one for [one] in call(model, stops=[stop])]

    assert "stop" in {one.finish_reason for one in made}
    for before, one in zip(free, made, strict=True):
        assert one.token_ids == before.token_ids[: len(one.token_ids)]
        if one.finish_reason == "stop":
            assert one.text == before.text[: before.text.index(stop)]
            assert stop in tiny.tokenizer().decode(one.token_ids)
            assert stop not in tiny.tokenizer().decode(one.token_ids[:-1])
        else:
            assert stop not in before.text


def test_a_vocabulary_is_looked_through_for_stop_strings_once_for_a_tokenizer_and_its_stops() -> None:
    def counted(tokens: list[list[int]], **given: Any) -> list[str]:
        passes.append(len(tokens))
        return decode(tokens, **given)

    model, tokenizer, passes = tiny.causal(vocab_size=401), tiny.tokenizer(), list[int]()
    decode, tokenizer.batch_decode = tokenizer.batch_decode, counted
    asked: dict[str, Any] = dict(
        prefix="", suffixes=["The"], row_ids=["0"], seed=0, max_new_tokens=2, temperature=1.0, top_p=1.0
    )

    for stops in (["fox"], ["fox"], ["fox", "owl"], ["fox"]):
        generate(model, tokenizer, stops=stops, **asked)
    assert passes == [400, 400]
    tokenizer.add_tokens(["redfox"])
    generate(model, tokenizer, stops=["fox"], **asked)
    assert passes == [400, 400, 401]


def test_the_shared_and_the_own_tokens_together_are_those_of_the_whole_prompt() -> None:
    tokenizer = tiny.tokenizer()

    shared, own = tokenize(tokenizer, PREFIX, SUFFIXES)

    assert [shared + rest for rest in own] == [tokenizer(PREFIX + suffix)["input_ids"] for suffix in SUFFIXES]
    assert len(shared) >= len(tokenizer(PREFIX)["input_ids"]) - 2


def test_a_text_longer_than_the_context_is_refused_with_the_numbers() -> None:
    with pytest.raises(UserError, match=r"max_new_tokens = 500 make \d+ tokens, but .* context of 512"):
        call(tiny.causal(), max_new_tokens=500)


def test_a_model_with_convolutions_is_refused_before_it_writes_and_the_next_step_is_named() -> None:
    model = families.causal("lfm2", REFUSED["lfm2"])
    written: list[int] = []

    with pytest.raises(UserError, match="Lfm2ForCausalLM has layers of the kind conv.* use another engine"):
        call(model, on_finished=lambda row, made: written.append(row))
    assert written == []


def test_logits_that_are_not_finite_are_refused() -> None:
    model = tiny.causal()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)

    with pytest.raises(UserError, match="not finite in 1 of 40 continuations"):
        call(model)


def test_a_continuation_with_logits_that_are_not_finite_is_recorded_up_to_the_rate_that_is_allowed() -> None:
    model = tiny.causal(tie_word_embeddings=False)
    [poison] = tiny.tokenizer()(" Riga")["input_ids"]
    suffixes = [f"{SUFFIXES[0]} {'Riga' if row in (3, 8) else 'fox'} is" for row in range(40)]
    clean = call(model, suffixes=suffixes, batch_size=16)
    said = [row for row, [one] in enumerate(clean) if poison in one.token_ids[:-1]]
    with torch.no_grad():
        model.model.embed_tokens.weight[poison] = torch.nan

    made = call(model, suffixes=suffixes, batch_size=16, error_rate=0.5)

    broken = sorted({3, 8, *said})
    assert [row for row, [one] in enumerate(made) if one.finish_reason == "error"] == broken
    assert made[3][0] == Generation("", [], "error", None)
    whole = [row for row in range(40) if row not in broken]
    assert [made[row] for row in whole] == [
        clean[row] for row in whole
    ]  # also those that came into a broken one's slot
    with pytest.raises(UserError, match=f"not finite in {len(broken)} of 40"):
        call(model, suffixes=suffixes, error_rate=(len(broken) - 1) / 40)


def test_a_few_very_long_prompts_get_slots_of_their_own_and_say_the_same() -> None:
    assert by_length([10, 500, 12, 11, 90]) == [[0, 3, 2], [4], [1]]
    assert by_length([3, 60, 2]) == [[2, 0, 1]]
    model = tiny.causal()
    long = SUFFIXES[0] * 12
    made = call(model, suffixes=[*SUFFIXES, long], row_ids=[*ROWS, "long"])

    assert tokens(made[:40]) == tokens(call(model))
    assert tokens(made[40:]) == tokens(call(model, suffixes=[long], row_ids=["long"]))


@pytest.mark.parametrize("workers", [1, 2])
def test_long_prompts_behind_short_ones_have_slots_of_their_size_whoever_decodes(workers: int) -> None:
    model, long = tiny.causal(), SUFFIXES[0] * 12
    made = call(model, suffixes=[*SUFFIXES[:3], long], row_ids=[*ROWS[:3], "long"], workers=workers)

    assert tokens(made) == tokens(call(model, suffixes=[*SUFFIXES[:3]], row_ids=[*ROWS[:3]])) + tokens(
        call(model, suffixes=[long], row_ids=["long"])
    )


def test_scores_of_16_bit_keys_are_not_rounded_before_the_softmax() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 5, 16).bfloat16() for _ in range(3))
    key += 40  # as the biases of Qwen2's keys
    exact = torch.softmax(query.double() @ key.double().mT * 0.25, -1) @ value.double()

    out, total = partial_attention.attention(query, key, value, None, 0.25, softcap=1e4)  # a bound so wide is none

    assert (out.double() - exact).abs().max() < 0.02
    assert torch.allclose(total.double(), torch.logsumexp(query.double() @ key.double().mT * 0.25, -1), atol=1e-3)


def test_the_model_is_as_it_was_afterwards() -> None:
    model = tiny.causal().train()
    before = model.config._attn_implementation

    call(model, suffixes=SUFFIXES[:2], row_ids=ROWS[:2])

    assert model.training and model.config._attn_implementation == before


def test_progress_counts_rows_and_finished_rows_are_told_once() -> None:
    rows: list[int] = []
    told: list[int] = []

    call(tiny.causal(), samples=2, progress=rows.append, on_finished=lambda row, made: told.append(row))

    assert sum(rows) == len(SUFFIXES)
    assert sorted(told) == list(range(len(SUFFIXES)))


def test_bfloat16_runs() -> None:
    made = call(tiny.causal().to(torch.bfloat16), suffixes=SUFFIXES[:4], row_ids=ROWS[:4])

    assert [len(row[0].token_ids) > 0 for row in made] == [True] * 4


def test_sampled_frequencies_are_the_exact_probabilities() -> None:
    model = tiny.causal()
    made = call(model, suffixes=SUFFIXES[:1], row_ids=ROWS[:1], samples=2000, max_new_tokens=1, top_p=1.0)
    counts = torch.bincount(torch.tensor([one.token_ids[0] for one in made[0]]), minlength=tiny.VOCABULARY)

    ids = tiny.tokenizer()(PREFIX + SUFFIXES[0], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = 2000 * model(ids).logits[0, -1].softmax(-1)
    common = expected > 5
    statistic = ((counts - expected) ** 2 / expected)[common].sum()

    degrees = int(common.sum())
    assert degrees > 20
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5  # four standard deviations above the mean
