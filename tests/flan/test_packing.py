"""F3: an example has the logits that it has alone, and only targets are learned from."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from synthalign.flan import packing
from tests import families, tiny
from tests.families import REFUSED, WHOLE, WINDOW, WINDOWS

SHAPE = dict(
    vocab_size=tiny.VOCABULARY,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=tiny.CONTEXT,
    eos_token_id=0,
    bos_token_id=None,
    pad_token_id=1,
    initializer_range=0.2,
)


def build(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "llama":
        return tiny.causal()
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SHAPE, num_key_value_heads=2)).eval()
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE)).eval()


EXAMPLES = [
    (list(range(5, 5 + prompt)), list(range(60, 60 + target))) for prompt, target in ((7, 3), (2, 1), (11, 6), (4, 2))
]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_neox"])
def test_an_example_has_the_same_logits_packed_and_alone(kind):
    model = build(kind)
    assert packing.packs(model, 40)
    rows = [packing.join(EXAMPLES[:3]), packing.join(EXAMPLES[3:])]  # the second one is padded
    batch = packing.collate(rows, pad_token_id=1)

    with torch.no_grad():
        packed = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
        alone = [model(torch.tensor([prompt + target])).logits[0] for prompt, target in EXAMPLES]

    places = [(0, 0), (0, 10), (0, 13), (1, 0)]  # 10 = 7 + 3, 13 = 10 + 2 + 1
    for (row, start), logits in zip(places, alone, strict=True):
        assert torch.allclose(packed[row, start : start + len(logits)], logits, atol=1e-5)
    assert torch.isfinite(packed).all()


@pytest.mark.parametrize(
    ("family", "settings"), [*WHOLE.items(), *WINDOWS.items(), *REFUSED.items()], ids=lambda one: str(one)[:20]
)
def test_an_example_has_the_logits_that_it_has_alone_whatever_the_layers_read(family, settings):
    model = families.causal(family, settings)
    examples = [(list(range(5, 5 + size)), list(range(60, 60 + size))) for size in (3, 12, 20)]  # 24, 40: past a window
    packed = packing.packs(model, 70)
    rows = [packing.join(examples)] if packed else [packing.join([one]) for one in examples]
    batch = packing.collate(rows, pad_token_id=1, packed=packed)

    with torch.no_grad():
        logits = model(**{key: value for key, value in batch.items() if key != "labels"}, use_cache=False).logits
        alone = [model(torch.tensor([prompt + target]), use_cache=False).logits[0] for prompt, target in examples]

    places = [(0, 0), (0, 6), (0, 30)] if packed else [(0, 0), (1, 0), (2, 0)]
    for (row, start), own in zip(places, alone, strict=True):
        assert torch.allclose(logits[row, start : start + len(own)], own, atol=1e-4)


def test_examples_share_rows_where_a_row_is_no_longer_than_the_window_and_the_mask_is_a_boolean():
    windowed = families.causal("gemma3_text", WINDOWS["gemma3_text"])

    assert packing.packs(windowed, WINDOW)
    assert not packing.packs(windowed, WINDOW + 1)
    assert not packing.packs(families.causal("gemma2", WINDOWS["gemma2"]), WINDOW)  # eager adds the mask to the scores


def test_without_the_mask_the_logits_are_others():
    model = tiny.causal()
    batch = packing.collate([packing.join(EXAMPLES[:3])], pad_token_id=1)
    ids, positions, length = batch["input_ids"], batch["position_ids"], batch["input_ids"].shape[1]
    open_to_all = torch.ones(1, 1, length, length).tril().bool()
    with torch.no_grad():
        right = model(input_ids=ids, position_ids=positions, attention_mask=batch["attention_mask"]).logits
        other = model(input_ids=ids, position_ids=positions, attention_mask=open_to_all).logits

    assert torch.allclose(right[:, :10], other[:, :10], atol=1e-5)  # the first example, 7 + 3 tokens, sees itself alone
    assert (right[:, 10:] - other[:, 10:]).abs().max() > 0.1


def test_without_new_positions_the_logits_of_absolute_positions_are_others():
    torch.manual_seed(0)
    shape = dict(vocab_size=tiny.VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)
    model = GPT2LMHeadModel(GPT2Config(**shape)).eval()
    batch = packing.collate([packing.join(EXAMPLES[:2])], pad_token_id=1)
    with torch.no_grad():
        alone = model(torch.tensor([EXAMPLES[1][0] + EXAMPLES[1][1]])).logits[0]
        given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        right = model(**given, position_ids=batch["position_ids"]).logits[0, 10:]
        other = model(**given, position_ids=torch.arange(len(right) + 10)[None]).logits[0, 10:]

    assert torch.allclose(right, alone, atol=1e-5)
    assert (other - alone).abs().max() > 0.1


def test_the_loss_of_a_packed_row_is_that_of_its_targets_alone():
    model = tiny.causal()
    batch = packing.collate([packing.join(EXAMPLES)], pad_token_id=1)
    with torch.no_grad():
        packed = model(**batch).loss
        total, count = 0.0, 0
        for prompt, target in EXAMPLES:
            ids = torch.tensor([prompt + target])
            log_probs = model(ids).logits[0].log_softmax(-1)
            total -= sum(log_probs[len(prompt) - 1 + at, token].item() for at, token in enumerate(target))
            count += len(target)

    assert count == 3 + 1 + 6 + 2
    assert packed.item() == pytest.approx(total / count, abs=1e-5)


def test_labels_positions_and_examples_of_a_row():
    row = packing.join([([7, 8], [9]), ([5], [6, 0])])

    ignored = packing.IGNORED
    assert row == {
        "input_ids": [7, 8, 9, 5, 6, 0],
        "labels": [ignored, ignored, 9, ignored, 6, 0],
        "positions": [0, 1, 2, 0, 1, 2],
        "example": [1, 1, 1, 2, 2, 2],
    }


def test_a_token_sees_the_earlier_ones_of_its_example_alone():
    mask = packing.mask(torch.tensor([[1, 1, 2, 0]]))

    assert mask.shape == (1, 1, 4, 4)
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_an_example_goes_into_the_first_row_with_room():
    assert packing.pack([5, 6, 3, 4, 2], size=10) == [[0, 2, 4], [1, 3]]  # 5 + 3 + 2 = 10, 6 + 4 = 10
    assert packing.pack([], size=10) == []


def test_an_example_that_is_longer_than_a_row_is_no_example():
    with pytest.raises(AssertionError, match="an example has 11 tokens; a row has room for 10"):
        packing.pack([3, 11], size=10)
