"""What TRL's trainer takes for DPO's log-probabilities and its gradient (P2, P3), against sums by hand; where it leads,
by each of its losses (P4, P5), and for pairs that it did not learn from (P6)."""

import math

import pytest
import torch

from synthalign.dialogue import encoding
from synthalign.generation.models import load_causal
from synthalign.judging import scorers
from synthalign.policies import dpo_training
from synthalign.reward.training_settings import Settings
from tests import tiny

BETA = 0.5
PAIRS = [
    {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "chosen_finish_reason": "eos",
        "rejected_finish_reason": "eos",
    }
    for prompt, chosen, rejected in (
        ("Where does the red fox live?", "The forest.", "I am sorry, but I do not know where it lives."),
        ("What does the grey owl eat?", "It eats plums, flour, sugar and the bread of Riga.", "No."),
    )
]


@pytest.fixture
def trainer_of(tmp_path, monkeypatch):
    """The trainer that `train` makes for some pairs, before its first step."""
    base = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    made = []

    def trainer(pairs):
        monkeypatch.setattr(dpo_training.training, "fit", lambda one: made.append(one) or [])
        dpo_training.train(
            pairs, base_model=base, folder=tmp_path / "dpo", work=tmp_path / "work", beta=BETA, learning_rate=1e-3,
            settings=Settings(epochs=1, batch_size=len(pairs), warmup=0.0, weight_decay=0.0, max_length=200, seed=0),
        )  # fmt: skip
        return made[-1]

    yield trainer


def log_probability(model, prompt, answer):
    """The sum over an answer's tokens, read alone and without padding."""
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + place, token] for place, token in enumerate(answer))


def test_P3_the_references_log_probability_is_the_sum_over_the_answers_tokens_alone(trainer_of):
    rows, reference = dpo_training.tokenized(PAIRS, tiny.tokenizer(), 200), tiny.causal()
    lengths = [(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
    assert lengths[0][0] < lengths[0][1] and lengths[1][0] > lengths[1][1]  # either side is padded

    found = [*trainer_of(PAIRS).train_dataset]

    assert len(found) == 2
    for row in rows:
        [one] = [one for one in found if one["prompt_ids"] == row["prompt_ids"]]
        for side in ("chosen", "rejected"):
            by_hand = log_probability(reference, row["prompt_ids"], row[f"{side}_ids"]).item()
            assert one[f"ref_{side}_logps"] == pytest.approx(by_hand, abs=1e-3)


def test_P2_the_gradient_is_that_of_the_paper_with_sums_and_not_means(trainer_of):
    [row] = dpo_training.tokenized(PAIRS[:1], tiny.tokenizer(), 200)
    assert row["chosen_ids"][0] != row["rejected_ids"][0]  # what both begin with would cancel out
    trainer, reference = trainer_of(PAIRS[:1]), tiny.causal()
    policy = trainer.model
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    [batch] = trainer.get_train_dataloader()

    policy.zero_grad()
    trainer.compute_loss(policy, batch).backward()
    found = {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}

    def of_sides(model):
        return [log_probability(model, row["prompt_ids"], row[f"{side}_ids"]) for side in ("chosen", "rejected")]

    ours, theirs = of_sides(policy), of_sides(reference)
    z = BETA * ((ours[0] - theirs[0]) - (ours[1] - theirs[1])).item()
    assert abs(z) > 0.1  # else sigmoid(-z) says nothing
    chosen, rejected = (torch.autograd.grad(one, [*policy.parameters()], retain_graph=True) for one in ours)
    weight = torch.tensor(-z).sigmoid()
    for (name, gradient), up, down in zip(found.items(), chosen, rejected, strict=True):
        assert torch.allclose(gradient, -BETA * weight * (up - down), atol=1e-4), name


@pytest.mark.parametrize("beta", [0.5, 20.0])
def test_P4_of_many_labels_of_a_reward_the_policy_is_the_reference_tilted_by_it(beta, tmp_path):
    texts = ["The forest.", "In Riga.", "No."]
    rewards = [math.log(9), math.log(3), 0.0]  # so that of two neighbours the better one wins three times in four
    often = {(0, 1): 3, (1, 0): 1, (1, 2): 3, (2, 1): 1, (0, 2): 9, (2, 0): 1}  # Bradley and Terry, to the pair
    said = [{"role": "assistant", "content": text} for text in texts]
    pairs = [
        PAIRS[0] | {"chosen": [said[better]], "rejected": [said[worse]]}
        for (better, worse), times in often.items()
        for _ in range(times)
    ]
    base = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())

    dpo_training.train(
        pairs, base_model=base, folder=tmp_path / "dpo", work=tmp_path / "work", beta=beta, learning_rate=3e-3,
        settings=Settings(epochs=300, batch_size=len(pairs), warmup=0.0, weight_decay=0.0, max_length=200, seed=0),
    )  # fmt: skip

    policy, reference = load_causal(tmp_path / "dpo"), tiny.causal()
    dialogues = [[*PAIRS[0]["prompt"], one] for one in said]
    encoded = encoding.encode(tiny.tokenizer(), dialogues)
    with torch.no_grad():
        tilt = [(log_probability(policy, *one) - log_probability(reference, *one)).item() for one in encoded]
    # pi(y) = pi_ref(y) exp(r(y) / beta) / Z, so r = beta * tilt up to a constant: the greater beta, the less it tilts
    assert [beta * (one - tilt[2]) for one in tilt] == pytest.approx(rewards, abs=0.1)


@pytest.mark.parametrize(
    ("loss", "label_smoothing", "beta", "margin"),
    [
        ("sigmoid", 0.1, 0.5, math.log(0.9 / 0.1) / 0.5),  # sigmoid(z*) = 1 - epsilon, z = beta h
        ("sigmoid", 0.4, 0.5, math.log(0.6 / 0.4) / 0.5),
        ("ipo", 0.0, 0.5, 1 / (2 * 0.5)),  # h* = 1 / (2 beta), of means over the tokens
        ("ipo", 0.0, 2.0, 1 / (2 * 2.0)),
    ],
)
def test_P5_the_best_margin_of_conservative_dpo_and_of_ipo_is_finite(loss, label_smoothing, beta, margin, tmp_path):
    base = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    rows = dpo_training.tokenized(PAIRS, tiny.tokenizer(), 200)

    dpo_training.train(
        PAIRS, base_model=base, folder=tmp_path / "dpo", work=tmp_path / "work", beta=beta, learning_rate=3e-3,
        loss=loss, label_smoothing=label_smoothing,
        settings=Settings(epochs=300, batch_size=2, warmup=0.0, weight_decay=0.0, max_length=200, seed=0),
    )  # fmt: skip

    policy, reference = load_causal(tmp_path / "dpo"), tiny.causal()
    for row in rows:
        chosen, rejected = (
            (
                log_probability(policy, row["prompt_ids"], ids) - log_probability(reference, row["prompt_ids"], ids)
            ).item()
            / (len(ids) if loss == "ipo" else 1)
            for ids in (row["chosen_ids"], row["rejected_ids"])
        )
        assert chosen - rejected == pytest.approx(margin, abs=0.1)


def test_P5_without_smoothing_the_loss_is_dpos_own():
    assert dpo_training.losses("sigmoid", 0.0) == {"loss_type": ["sigmoid"]}


@pytest.mark.parametrize("label_smoothing", [0.1, 0.4])
def test_P5_the_two_losses_of_trl_add_up_to_the_conservative_one(trainer_of, label_smoothing):
    trainer = trainer_of(PAIRS[:1])
    found = dpo_training.losses("sigmoid", label_smoothing)
    trainer.loss_types, trainer.loss_weights = found["loss_type"], found["loss_weights"]
    trainer.label_smoothing = found["label_smoothing"]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    [batch] = trainer.get_train_dataloader()

    loss = trainer.compute_loss(trainer.model, batch).item()

    [row] = dpo_training.tokenized(PAIRS[:1], tiny.tokenizer(), 200)
    reference = tiny.causal()
    above = [
        log_probability(trainer.model, row["prompt_ids"], ids) - log_probability(reference, row["prompt_ids"], ids)
        for ids in (row["chosen_ids"], row["rejected_ids"])
    ]
    z = BETA * (above[0] - above[1])
    by_hand = -(1 - label_smoothing) * z.sigmoid().log() - label_smoothing * (-z).sigmoid().log()
    assert loss == pytest.approx(by_hand.item(), abs=1e-4)


def test_P6_the_implicit_reward_orders_pairs_that_were_not_learned_from(tmp_path):
    places = ["the forest", "Riga", "the city", "the sky", "the bread", "flour", "sugar", "plums"]
    animals = ["The red fox", "The grey owl", "It"]
    pairs = [
        PAIRS[0]
        | {"chosen": [{"role": "assistant", "content": f"{animal} lives in {place}."}]}
        | {"rejected": [{"role": "assistant", "content": f"Why do you ask about {place}?"}]}
        for animal in animals
        for place in places
    ]
    learned, held_out = pairs[: 2 * len(places)], pairs[2 * len(places) :]
    base = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())

    curve, _ = dpo_training.train(
        learned, base_model=base, folder=tmp_path / "dpo", work=tmp_path / "work", beta=0.1, learning_rate=1e-3,
        settings=Settings(epochs=3, batch_size=8, warmup=0.0, weight_decay=0.0, max_length=200, seed=0),
    )  # fmt: skip

    def right(score):
        asked = [[*pair["prompt"], *pair[side]] for pair in held_out for side in ("chosen", "rejected")]
        scores = score(asked)
        return sum(better > worse for better, worse in zip(scores[::2], scores[1::2], strict=True)) / len(held_out)

    before = right(lambda asked: scorers.implicit_rewards(str(base), str(base), asked, 4))
    assert before == 0.0  # who learned nothing prefers nothing
    assert curve[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert right(lambda asked: scorers.implicit_rewards(str(tmp_path / "dpo"), str(base), asked, 4)) == 1.0
    assert right(lambda asked: scorers.likelihoods_of(str(base), asked, 4)) < 1.0
    assert curve[-1]["rewards/accuracies"] == 1.0
    assert curve[-1]["rewards/margins"] > curve[0]["rewards/margins"]
