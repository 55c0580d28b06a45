import json

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.reward import scoring
from tests import families, tiny
from tests.families import REFUSED, WHOLE, WINDOWS


def dialogue(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


SHORT = dialogue("Where does the red fox live?", "In the forest.")
LONG = dialogue("Tell me about the city of Riga.", "Riga is a city in Latvia. It is old. I hope this helps!")


def alone(model, ids):
    """The score by hand: body, head, last position, no padding at all."""
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    return (model.score.weight @ hidden).item()


def padded(rows, pad, side):
    width = max(map(len, rows))
    fill = [[pad] * (width - len(row)) for row in rows]
    ids = [gap + row if side == "left" else row + gap for gap, row in zip(fill, rows, strict=True)]
    mask = [
        [0] * len(gap) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(gap)
        for gap, row in zip(fill, rows, strict=True)
    ]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
def test_the_score_is_read_at_the_last_real_token_on_either_side_of_padding_even_when_it_pads_with_eos(side, pad):
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    rows = [scoring.encode(tokenizer, one) for one in (SHORT, LONG)]
    assert rows[0][-1] == rows[1][-1] == tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.convert_tokens_to_ids(pad)

    with torch.no_grad():
        scores = scoring.last_token_scores(model, *padded(rows, tokenizer.convert_tokens_to_ids(pad), side))

    assert scores.tolist() == pytest.approx([alone(model, row) for row in rows], abs=1e-5)


def test_rewards_of_a_16_bit_model_are_not_rounded_to_16_bits():
    model = tiny.reward(seed=0).bfloat16()
    ids = torch.arange(5, 45).view(8, 5)

    values = scoring.token_values(model, ids)

    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    assert torch.allclose(values, (hidden.float() @ model.score.weight.float().T)[..., 0], atol=1e-6)
    assert len(set(values.flatten().tolist())) == 40
    assert (values.bfloat16().float() != values).any()


def test_scores_come_in_the_order_of_the_dialogues_whatever_the_batch():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    dialogues = [LONG, SHORT, dialogue("Why?", "So."), LONG]
    by_hand = [alone(model, scoring.encode(tokenizer, one)) for one in dialogues]

    for batch_size in (1, 2, 64):
        assert scoring.score(model, tokenizer, dialogues, batch_size=batch_size) == pytest.approx(by_hand, abs=1e-5)


def test_answers_behind_one_copy_of_their_prompt_score_as_if_they_were_alone():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    answers = ["In the forest.", "I do not know.", "Riga is a city in Latvia. It is old.", "No."]
    prompt = [*SHORT, {"role": "user", "content": "And the city of Riga?"}]
    dialogues = [[*prompt, {"role": "assistant", "content": answer}] for answer in answers]

    together = scoring.score(model, tokenizer, [*dialogues, SHORT, LONG])

    expected = [alone(model, scoring.encode(tokenizer, one)) for one in [*dialogues, SHORT, LONG]]
    assert together == pytest.approx(expected, abs=1e-5)
    assert len(set(together)) == 6


KINDS = [
    (family, settings)
    for group in (WHOLE, WINDOWS, REFUSED)
    for family, settings in group.items()
    if family in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
]


@pytest.mark.parametrize(("family", "settings"), KINDS, ids=[family for family, _ in KINDS])
@pytest.mark.parametrize("shots", [0, 3])
def test_rewards_of_answers_together_are_those_of_each_alone_for_every_kind_of_layer(family, settings, shots):
    model, tokenizer = families.reward(family, settings), tiny.tokenizer()
    answers = ["In the forest.", "I do not know.", "Riga is a city in Latvia. It is old.", "No."]
    prompt = [*(SHORT + LONG) * shots, {"role": "user", "content": "Why?"}]
    dialogues = [[*prompt, {"role": "assistant", "content": answer}] for answer in answers]

    together = scoring.score(model, tokenizer, dialogues)

    with torch.no_grad():
        expected = []
        for one in dialogues:
            hidden = model.base_model(input_ids=torch.tensor([scoring.encode(tokenizer, one)]), use_cache=False)
            expected.append(model.get_submodule("score")(hidden.last_hidden_state[0, -1]).item())
    assert together == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 1e-3


def test_answers_longer_than_a_row_may_hold_are_cut_as_they_are_alone():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    dialogues = [dialogue("Where does the red fox live?", answer) for answer in ("In the forest.", "In Riga. " * 9)]

    together = scoring.score(model, tokenizer, dialogues, max_length=12)

    expected = [alone(model, scoring.encode(tokenizer, one, 12)) for one in dialogues]
    assert together == pytest.approx(expected, abs=1e-5)


def test_equal_dialogues_have_equal_scores_to_the_last_bit():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    others = [dialogue(f"What is {number}?", "A number. " * number) for number in range(7)]

    scores = scoring.score(model, tokenizer, [SHORT, *others, SHORT], batch_size=2)

    assert scores[0] == scores[-1]
    assert len(set(scores)) == 8


def test_what_is_too_long_is_cut_at_the_left_so_that_the_answer_survives():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    whole = scoring.encode(tokenizer, LONG)

    assert scoring.encode(tokenizer, LONG, 20) == whole[-20:]
    [cut] = scoring.score(model, tokenizer, [LONG], max_length=20)
    assert cut == pytest.approx(alone(model, whole[-20:]), abs=1e-5)


def test_a_dialogue_longer_than_the_models_context_is_cut_to_it():
    tokenizer = tiny.tokenizer()
    model = tiny.reward(max_position_embeddings=16)

    [score] = scoring.score(model, tokenizer, [LONG])

    assert scoring.score(model, tokenizer, [LONG], max_length=128) == [score]
    assert score == pytest.approx(alone(model, scoring.encode(tokenizer, LONG, 16)), abs=1e-5)


def test_nothing_to_score_gives_no_scores():
    assert scoring.score(tiny.reward(), tiny.tokenizer(), []) == []


def test_a_score_that_is_not_a_number_is_refused_with_the_text_it_was_for():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    model.score.weight.data.fill_(float("nan"))

    with pytest.raises(UserError, match="scores 'the fox lives here' with nan; train it again"):
        scoring.score(model, tokenizer, [[{"role": "assistant", "content": "the fox lives here"}]])


def test_the_value_of_the_last_token_is_the_score():
    model, tokenizer = tiny.reward(), tiny.tokenizer()
    model.config.reward_mean, model.config.reward_std = 0.5, 2.0
    ids, mask = padded([scoring.encode(tokenizer, one) for one in (SHORT, LONG)], tokenizer.pad_token_id, "right")

    with torch.no_grad():
        values = scoring.token_values(model, ids, mask)

    assert values.shape == ids.shape
    last = values[[0, 1], mask.sum(-1) - 1]
    assert last.tolist() == scoring.score(model, tokenizer, [SHORT, LONG], batch_size=2)


def test_after_normalisation_the_reference_set_has_mean_0_and_deviation_1(tmp_path):
    tokenizer = tiny.tokenizer()
    folder = tiny.save(tmp_path / "rm", tiny.reward(), tokenizer)
    dialogues = [SHORT, LONG, dialogue("Why?", "So."), dialogue("Who?", "The owl did.")]
    raw = scoring.score(models.load_reward(folder), tokenizer, dialogues)

    mean, std = scoring.normalise(folder, raw)

    scores = scoring.score(models.load_reward(folder), tokenizer, dialogues)
    assert scores == pytest.approx([(one - mean) / std for one in raw], abs=1e-5)
    assert sum(scores) / 4 == pytest.approx(0, abs=1e-5)
    assert sum(one**2 for one in scores) / 4 == pytest.approx(1, abs=1e-5)


def test_normalisation_is_by_the_population_deviation(tmp_path):
    (tmp_path / "config.json").write_text("{}")

    assert scoring.normalise(tmp_path, [1.0, 3.0]) == (2.0, 1.0)
    assert json.loads((tmp_path / "config.json").read_text()) == {"reward_mean": 2.0, "reward_std": 1.0}


def test_a_reward_model_that_likes_everything_equally_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(UserError, match="gives all 3 reference responses the score 0.5; it learned nothing"):
        scoring.normalise(tmp_path, [0.5, 0.5, 0.5])


def test_a_model_to_train_from_loses_its_zero_and_unit():
    model = tiny.reward()
    raw = scoring.score(model, tiny.tokenizer(), [SHORT])
    model.config.reward_mean, model.config.reward_std = 5.0, 2.0
    assert scoring.score(model, tiny.tokenizer(), [SHORT]) == pytest.approx([(raw[0] - 5) / 2])

    scoring.forget_unit(model)

    assert scoring.score(model, tiny.tokenizer(), [SHORT]) == raw
