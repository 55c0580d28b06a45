import json

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPTNeoConfig, GPTNeoForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.reward import probe, scoring
from tests import families, tiny
from tests.families import WHOLE, WINDOWS

FAMILIES = [
    (family, settings)
    for group in (WHOLE, WINDOWS)
    for family, settings in group.items()
    if family in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
]


def pair(number, chosen, rejected, p_chosen=1.0):
    return {
        "query_id": f"q{number // 2}",
        "prompt": [{"role": "user", "content": f"Question {number // 2}?"}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "p_chosen": p_chosen,
    }


def foxes_win(count=24):
    return [pair(number, f"The red fox lives in the forest. {number}", "Why do you ask?") for number in range(count)]


def questions(count):
    return [f"q{number // 2}" for number in range(count)]


def test_the_feature_that_tells_gets_the_weight_and_one_that_is_always_equal_none():
    random = np.random.default_rng(0)
    chosen, rejected = random.normal(size=(2, 80, 3))
    chosen[:, 0], rejected[:, 0] = 1.0, 0.0
    chosen[:, 2] = rejected[:, 2] = 5.0

    weights = probe.fit(chosen, rejected, np.ones(80), questions(80))

    assert weights[0] > 4 * abs(weights[1])
    assert weights[2] == 0.0


def test_a_pair_the_other_way_round_with_the_opposite_label_says_the_same():
    random = np.random.default_rng(1)
    chosen, rejected = random.normal(size=(2, 40, 4)) + np.array([[[1.0, 0, 0, 0]], [[0.0, 0, 0, 0]]])
    labels = random.choice([1.0, 0.8, 0.5], size=40)

    turned = probe.fit(rejected, chosen, 1 - labels, questions(40))

    assert turned == pytest.approx(probe.fit(chosen, rejected, labels, questions(40)), abs=1e-4)


def test_where_every_label_is_even_all_rewards_are_equal():
    chosen, rejected = np.random.default_rng(2).normal(size=(2, 20, 4))

    assert probe.fit(chosen, rejected, np.full(20, 0.5), questions(20)) == pytest.approx(np.zeros(4), abs=1e-4)


def test_a_label_of_three_in_four_on_one_feature_is_met_where_l2_is_weak(monkeypatch):
    monkeypatch.setattr(probe, "STRENGTHS", (1e6,))
    chosen, rejected = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])

    [weight] = probe.fit(chosen, rejected, np.array([0.75, 0.75]), ["p", "q"])

    assert weight == pytest.approx(np.log(3), abs=1e-3)  # sigmoid(log 3) = 3/4


def test_labels_that_mean_nothing_on_other_questions_are_not_learned_by_heart(monkeypatch):
    random = np.random.default_rng(3)
    chosen, rejected = random.normal(size=(2, 60, 100))
    labels = random.integers(0, 2, size=60).astype(float)

    given = probe.fit(chosen, rejected, labels, questions(60))

    monkeypatch.setattr(probe, "STRENGTHS", (max(probe.STRENGTHS),))
    by_heart = probe.fit(chosen, rejected, labels, questions(60))
    assert np.abs(given).max() < np.abs(by_heart).max() / 5


def test_answers_that_all_look_the_same_are_refused():
    with pytest.raises(UserError, match="look the same to these layers; take more of them"):
        probe.fit(np.ones((4, 3)), np.ones((4, 3)), np.ones(4), questions(4))


def test_a_probes_score_is_its_head_on_the_mean_of_the_answers_tokens_at_its_layer(tmp_path):
    whole, tokenizer = tiny.causal(), tiny.tokenizer()
    tiny.save(tmp_path / "base", whole, tokenizer)

    [point] = probe.train(foxes_win(), base_model=tmp_path / "base", folder=tmp_path / "out", depth=0.5, max_length=64)

    assert point["accuracy"] == 1.0
    model = models.load_reward(tmp_path / "out")
    assert (model.config.num_hidden_layers, model.config.reward_pooling) == (1, "mean")
    dialogues = [[*one["prompt"], *one[side]] for one in foxes_win(4) for side in ("chosen", "rejected")]
    scores = scoring.score(model, tokenizer, dialogues)  # several answers behind one copy of their prompt
    for dialogue, score in zip(dialogues, scores, strict=True):
        prompt = len(scoring.encode(tokenizer, [*dialogue[:-1], {"role": "assistant", "content": ""}])) - 1
        ids = torch.tensor([scoring.encode(tokenizer, dialogue)])
        with torch.no_grad():
            first = whole.model(input_ids=ids, output_hidden_states=True).hidden_states[1]
            hidden = whole.model.norm(first)[0, prompt:]
        assert score == pytest.approx((model.get_submodule("score").weight @ hidden.mean(0)).item(), abs=1e-4)
    assert min(scores[::2]) > max(scores[1::2])


def test_what_a_probe_reads_is_cut_as_a_score_is(tmp_path):
    tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    model, tokenizer = models.load_reward(tmp_path / "base", new_head=True), tiny.tokenizer()
    model.config.reward_pooling = "mean"
    dialogues = [[*one["prompt"], *one["chosen"]] for one in foxes_win(6)]

    found = probe.means(model, tokenizer, dialogues, max_length=9)

    by_head = found @ model.get_submodule("score").weight.double().detach().numpy()[0]
    assert by_head == pytest.approx(scoring.score(model, tokenizer, dialogues, max_length=9), abs=1e-5)


@pytest.mark.parametrize(("family", "settings"), FAMILIES, ids=[family for family, _ in FAMILIES])
def test_the_first_layers_of_every_family_are_a_model_of_their_own_that_is_loaded_again(family, settings, tmp_path):
    model, tokenizer = families.reward(family, settings), tiny.tokenizer()
    layers = model.config.num_hidden_layers
    ids = torch.arange(5, 25)[None]

    probe.shorten(model, 0.5)
    models.save(model, tokenizer, tmp_path)

    again = models.load_reward(tmp_path)
    assert again.config.num_hidden_layers == max(1, round(layers / 2)) < layers
    with torch.no_grad():
        assert torch.equal(scoring.token_values(again, ids), scoring.token_values(model, ids))


def test_a_body_whose_layers_are_not_found_is_refused_with_a_next_step():
    model = tiny.reward()
    model.base_model.layers = nn.Sequential(*model.base_model.layers)

    with pytest.raises(UserError, match=r"LlamaModel cannot be cut \(it has no list of its 2\); leave out `probe`"):
        probe.shorten(model, 0.5)


def test_a_config_that_is_none_with_fewer_layers_is_refused_before_anything_is_read():
    config = GPTNeoConfig(
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        vocab_size=400,
        num_labels=1,
    )

    with pytest.raises(UserError, match="(?s)GPTNeoModel cannot be cut .*; leave out `probe` of train_reward"):
        probe.shorten(GPTNeoForSequenceClassification(config), 0.5)


def test_an_answer_of_which_the_body_makes_no_number_is_refused():
    chosen = np.ones((4, 3))
    chosen[0, 0] = np.nan

    with pytest.raises(UserError, match="the body makes no number of some answer"):
        probe.fit(chosen, np.zeros((4, 3)), np.ones(4), questions(4))


def test_a_model_that_is_trained_from_a_probe_is_read_at_the_last_token_again(tmp_path):
    model = tiny.reward()
    model.config.reward_pooling = "mean"

    scoring.forget_unit(model)

    model.save_pretrained(tmp_path)
    assert "reward_pooling" not in json.loads((tmp_path / "config.json").read_text())
