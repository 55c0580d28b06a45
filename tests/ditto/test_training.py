"""DITTO's training on tiny models: D1, D2, D6, D7 and D9 by name, the tokens, the steps, and what survives a kill."""

import copy
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.ditto import authors, draws, fine_tuning, outcome, steps, training
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Fractions, Text
from synthalign.generation import models
from synthalign.policies import checkpoints
from synthalign.reward import training as reward_training
from tests import tiny

DEMONSTRATIONS = [
    Demonstration("Where does the red fox live?", "In the forest, dear."),
    Demonstration("What does the grey owl eat?", "It eats plums, dear."),
    Demonstration("What does the grey owl eat?", "Bread, dear."),  # a second one for the same prompt
]
SETTINGS: dict[str, Any] = {
    "iterations": 3,
    "steps_per_iteration": 2,
    "negatives": 3,
    "pairs_per_demonstration": 3,
    "fractions": Fractions(online=0.7, replay=0.2, inter=0.1),
    "reference": "first",
    "beta": 0.1,
    "learning_rate": 1e-3,
    "warmup": 0.25,
    "weight_decay": 0.0,
    "max_new_tokens": 12,
    "temperature": 1.0,
    "top_p": 1.0,
    "device_batch_size": 4,
    "seed": 0,
}
SFT: dict[str, Any] = {
    "stop_loss": 1.0,
    "max_steps": 40,
    "batch_size": 2,
    "learning_rate": 1e-2,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "device_batch_size": 2,
    "seed": 0,
}


def encoded(demonstrations=DEMONSTRATIONS):
    texts = [draws.demonstrated(one) for one in demonstrations]
    return steps.tokenized(tiny.tokenizer(), [one.prompt for one in demonstrations], texts)


def align(folder: Path, policy=None, **changes: Any):
    """The policy after DITTO, and what the run leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    policy = policy or tiny.causal()
    return policy, training.align(
        Accelerator(cpu=True), policy, tiny.tokenizer(), DEMONSTRATIONS, folder=folder, **SETTINGS | changes
    )


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# --- texts as tokens


def test_demonstrations_and_samples_of_the_same_words_have_the_same_tokens():
    one, text = DEMONSTRATIONS[0], DEMONSTRATIONS[0].output
    as_sample = draws.sampled(one.demonstration_id, 0, 0, text, finish_reason="eos")

    shown, sampled = steps.tokenized(tiny.tokenizer(), [one.prompt] * 2, [draws.demonstrated(one), as_sample])

    assert shown == sampled
    assert tiny.tokenizer().decode(shown[1]) == f" {text}<eos>"


def test_an_empty_sample_is_an_end_and_no_blank_before_it():
    empty = draws.sampled("d", 0, 0, "", finish_reason="eos")

    [(_, answer)] = steps.tokenized(tiny.tokenizer(), ["Where?"], [empty])

    assert answer == [tiny.tokenizer().eos_token_id]


@pytest.mark.parametrize("finish_reason", ["length", "stop"])
def test_a_sample_whose_policy_wrote_no_end_has_none(finish_reason):
    cut = draws.sampled("d", 0, 0, "In the", finish_reason=finish_reason)

    [(prompt, answer)] = steps.tokenized(tiny.tokenizer(), ["Where?"], [cut])

    assert tiny.tokenizer().decode(prompt + answer) == "Human: Where?\n\nAssistant: In the"


def test_the_log_probability_of_an_answer_is_the_sum_over_its_tokens_whatever_stands_beside_it():
    model, rows = tiny.causal(), encoded()

    together = steps.sequence_logprobs(model, rows, pad=1, device=torch.device("cpu"))

    for value, (prompt, answer) in zip(together, rows, strict=True):
        logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        expected = sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(answer))
        assert value.item() == pytest.approx(expected, abs=1e-3)


# --- fine-tuning


def test_D7_fine_tuning_stops_at_the_first_batch_below_the_threshold_and_takes_no_step_on_it():
    rows, policy = encoded(), tiny.causal()
    whole = fine_tuning.supervise(Accelerator(cpu=True), tiny.causal(), rows, pad=1, **SFT | {"stop_loss": 0.0})
    threshold = whole[12]["loss"] + 1e-6
    first = next(entry["step"] for entry in whole if entry["loss"] < threshold)

    log = fine_tuning.supervise(Accelerator(cpu=True), policy, rows, pad=1, **SFT | {"stop_loss": threshold})

    assert len(whole) == SFT["max_steps"]
    assert log == whole[:first]
    assert all(entry["loss"] >= threshold for entry in log[:-1])
    assert log[-1]["loss"] < threshold
    epochs = math.ceil(SFT["max_steps"] * SFT["batch_size"] / len(rows))
    order = reward_training.batch_order([len(p) + len(a) for p, a in rows], batch_size=2, epochs=epochs, seed=0)
    batch = [rows[place] for place in steps.pieces(order, 2)[first - 1]]
    values = steps.sequence_logprobs(policy, batch, pad=1, device=torch.device("cpu"))
    assert log[-1]["loss"] == pytest.approx(-values.sum().item() / sum(len(answer) for _, answer in batch), abs=1e-4)


def test_D7_the_cap_ends_what_the_threshold_does_not():
    rows = encoded()

    log = fine_tuning.supervise(Accelerator(cpu=True), tiny.causal(), rows, pad=1, **SFT | {"max_steps": 3})

    assert [entry["step"] for entry in log] == [1, 2, 3]
    assert log[-1]["loss"] > SFT["stop_loss"]


def test_the_first_loss_is_the_mean_over_the_answers_tokens():
    rows, model = encoded()[:2], tiny.causal()
    values = steps.sequence_logprobs(model, rows, pad=1, device=torch.device("cpu"))
    expected = -values.sum().item() / sum(len(answer) for _, answer in rows)

    log = fine_tuning.supervise(Accelerator(cpu=True), model, rows, pad=1, **SFT | {"max_steps": 1})

    assert log[0]["loss"] == pytest.approx(expected, abs=1e-4)


# --- preferences


def readings(monkeypatch) -> list[tuple[str, int]]:
    """Of every model that is read from here on, the fingerprint, and of how many texts it is asked."""
    read, found = training.read, []

    def remember(accelerator, model, rows, **settings):
        found.append((steps.fingerprint(model), len(rows)))
        return read(accelerator, model, rows, **settings)

    monkeypatch.setattr(training, "read", remember)
    return found


def test_D1_the_reference_is_the_policy_as_it_came_in_and_stays_so(tmp_path, monkeypatch):
    found, start = readings(monkeypatch), steps.fingerprint(tiny.causal())
    policy, learned = align(tmp_path)

    last, end = learned.samples[-1]["policy"], steps.fingerprint(policy)
    sets = [(start, 3 + 9), (start, 9), (last, 9), (start, 9)]  # as they come, the last by its writer too
    assert found == [*sets, (end, 3 + 27)]
    assert len({start, last, end}) == 3


def test_a_reference_that_follows_is_the_policy_that_wrote_the_latest_samples(tmp_path, monkeypatch):
    found, start = readings(monkeypatch), steps.fingerprint(tiny.causal())
    policy, learned = align(tmp_path, reference="previous")

    first, second, third = dict.fromkeys(row["policy"] for row in learned.samples)
    assert first == start
    sets = [(first, 3 + 9), (second, 3 + 18), (third, 9), (third, 3 + 27)]  # every text is read again
    assert found == [*sets, (start, 3 + 27), (steps.fingerprint(policy), 3 + 27)]


def test_D2_the_first_loss_is_ln_2_and_no_text_has_a_reward(tmp_path):
    _, learned = align(tmp_path)

    assert learned.log[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert learned.log[0]["margin"] == pytest.approx(0, abs=1e-3)
    assert learned.log[-1]["loss"] < math.log(2)


def test_the_first_step_after_new_samples_learns_from_them(tmp_path):
    _, learned = align(tmp_path)

    by_id = {row["sample_id"]: row["iteration"] for row in learned.samples}
    for step in range(1, 7):
        online = [row for row in learned.pairs if row["step"] == step and row["kind"] == "online"]
        assert {by_id[row["rejected_id"]] for row in online} == {(step - 1) // 2}
        assert {row["iteration"] for row in online} == {(step - 1) // 2}


def test_D4_the_fractions_of_a_run_are_those_of_its_settings(tmp_path):
    none = Fractions(online=0.5, replay=0.5, inter=0.0)
    _, learned = align(tmp_path / "none", tiny.ending(), fractions=none)
    _, paper = align(tmp_path / "paper", tiny.ending())

    kinds = [[row["kind"] for row in learned.pairs if row["step"] == step] for step in (1, 6)]
    assert [(k.count("online"), k.count("replay"), k.count("inter")) for k in kinds] == [(4, 0, 0), (4, 4, 0)]  # of 9
    kinds = [[row["kind"] for row in paper.pairs if row["step"] == step] for step in (1, 6)]
    assert [(k.count("online"), k.count("replay"), k.count("inter")) for k in kinds] == [(6, 0, 0), (6, 2, 1)]


def test_D5_every_demonstration_has_its_samples_also_those_that_share_a_prompt(tmp_path):
    _, learned = align(tmp_path)

    assert len(learned.samples) == 3 * 3 * 3  # iterations, demonstrations, samples
    assert {row["chosen_id"] for row in learned.pairs if row["kind"] == "online"} == {
        one.demonstration_id for one in DEMONSTRATIONS
    }


# --- what came of it


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_D9_implicit_rewards_are_against_the_first_policy_and_in_the_order_of_the_ranks(tmp_path, reference):
    policy, learned = align(tmp_path, reference=reference, iterations=3, steps_per_iteration=6)
    found = outcome.summary(learned)

    ours, first = (
        steps.sequence_logprobs(model, encoded(), pad=1, device=torch.device("cpu"))
        for model in (policy, tiny.causal())
    )
    rewards = found["rewards"]
    assert rewards["demonstration"] == pytest.approx(0.1 * (ours - first).mean().item(), abs=1e-3)  # beta = .1
    assert [*rewards] == ["demonstration", "iteration 0", "iteration 1", "iteration 2"]
    assert rewards["demonstration"] > rewards["iteration 2"] > rewards["iteration 0"]
    assert 0.5 < found["pairs_in_order"] <= 1


def test_the_share_of_pairs_in_order_is_of_all_pairs_that_the_order_allows():
    best = Text("e", "d", math.inf, "best")
    sets = [[Text("a", "d", 0, "one", "eos"), Text("b", "d", 0, "two", "eos")], [Text("c", "d", 1, "three", "eos")]]

    # e over c, e over a, e over b, c over a, c over b: all but c over b
    assert draws.in_order(draws.pools([best], sets), {"e": 2.0, "a": -1.0, "b": 0.5, "c": 0.25}) == 4 / 5
    assert draws.in_order(draws.pools([best], []), {"e": 2.0}) is None


def test_D12_the_nats_are_of_the_policy_that_wrote_the_last_samples_from_the_first(tmp_path):
    wrote = []
    _, learned = align(tmp_path / "three", on_iteration=lambda t, policy: wrote.append(copy.deepcopy(policy)))

    last = [row for row in learned.samples if row["iteration"] == 2]
    texts = [Text(row["sample_id"], "d", 2, row["text"], row["finish_reason"]) for row in last]
    rows = steps.tokenized(tiny.tokenizer(), [row["prompt"] for row in last], texts)
    then, first = (
        steps.sequence_logprobs(model, rows, pad=1, device=torch.device("cpu")) for model in (wrote[1], tiny.causal())
    )
    assert outcome.summary(learned)["nats"] == pytest.approx((then - first).mean().item(), abs=1e-3)
    _, one = align(tmp_path / "one", iterations=1)
    assert outcome.summary(one)["nats"] == pytest.approx(0, abs=1e-4)  # the first policy wrote the only set


def test_D12_what_is_copied_is_the_share_of_four_words_in_a_row_that_a_demonstration_has():
    shown = [Demonstration("Where?", "The red fox lives in the forest."), Demonstration("What?", "Bread, dear.")]

    # the red fox lives | red fox lives in | fox lives in a | lives in a town
    assert authors.overlap("The red fox LIVES in a town", shown) == 2 / 4
    assert authors.overlap("the red fox lives", shown) == 1
    assert authors.overlap("Lives in the forest bread dear", shown) == 1 / 3  # not from one demonstration to the next
    assert authors.overlap("Bread, dear.", shown) is None  # two words


def test_a_gradient_over_several_parts_is_that_of_the_whole(tmp_path):
    one, _ = align(tmp_path / "one", device_batch_size=64)
    other, _ = align(tmp_path / "other", device_batch_size=2)

    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)


# --- what survives a crash


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The policy of a run that nothing ended, by its reference, and what the run leaves."""
    return cache(lambda reference: align(tmp_path_factory.mktemp(reference), reference=reference))


class Killed(Exception):
    pass


def kill_after(monkeypatch, name: str, calls: int) -> None:
    """Let the function raise at its call of this number."""
    of = checkpoints if name == "save" else training
    original, made = getattr(of, name), []

    def counted(*given, **others):
        made.append(1)
        if len(made) > calls:
            raise Killed
        return original(*given, **others)

    monkeypatch.setattr(of, name, counted)


@pytest.mark.parametrize("reference", ["first", "previous"])
@pytest.mark.parametrize(("name", "calls"), [("improve", 3), ("take_step", 4), ("read", 2), ("save", 1)])
def test_a_run_that_was_killed_goes_on_to_the_same_weights_samples_and_pairs(
    tmp_path, monkeypatch, whole, name, calls, reference
):
    policy, expected = whole(reference)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, name, calls)
        align(tmp_path / "killed", reference=reference)

    resumed, learned = align(tmp_path / "killed", reference=reference)

    assert same(resumed, policy)
    assert learned == expected


def test_D6_samples_of_finished_iterations_are_read_again_and_not_made_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, "improve", 3)
        align(tmp_path)
    made = []

    def counted(*given, **settings):
        made.extend(settings["row_ids"])
        return original(*given, **settings)

    original = training.generate
    monkeypatch.setattr(training, "generate", counted)
    _, learned = align(tmp_path)

    assert {row.split("/")[0] for row in made} == {"2"}  # D_0 and D_1 were written before the kill
    journals = {file.name.rsplit(".", 2)[0] for file in tmp_path.glob("*.jsonl")}
    assert journals == {f"samples-{row['iteration']}-{row['policy']}" for row in learned.samples}


def test_the_fine_tuned_model_is_kept_and_not_trained_twice(tmp_path, monkeypatch):
    tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    settings = SFT | {"folder": tmp_path, "file": "x.jsonl", "max_new_tokens": 64}

    folder, log = fine_tuning.supervised(Accelerator(cpu=True), tmp_path / "base", DEMONSTRATIONS, **settings)
    monkeypatch.setattr(fine_tuning, "supervise", None)
    again = fine_tuning.supervised(Accelerator(cpu=True), tmp_path / "base", DEMONSTRATIONS, **settings)

    assert again == (folder, log)
    assert not same(models.load_causal(folder), tiny.causal())


def test_a_fine_tuned_model_that_a_power_cut_has_left_empty_is_trained_again(tmp_path):
    tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    settings = SFT | {"folder": tmp_path, "file": "x.jsonl", "max_new_tokens": 64, "max_steps": 2}

    folder, log = fine_tuning.supervised(Accelerator(cpu=True), tmp_path / "base", DEMONSTRATIONS, **settings)
    whole = steps.fingerprint(models.load_causal(folder))
    for name in ("model.safetensors", fine_tuning.LOG):
        (folder / name).write_bytes(b"")
        again = fine_tuning.supervised(Accelerator(cpu=True), tmp_path / "base", DEMONSTRATIONS, **settings)

        assert again == (folder, log)
        assert steps.fingerprint(models.load_causal(folder)) == whole


# --- what is refused


def test_a_demonstration_that_samples_could_not_reach_or_that_does_not_fit_is_named():
    rows = [DEMONSTRATIONS[0], Demonstration("Short?", "word " * 40)]
    given = {"file": "x.jsonl", "tokenizer": tiny.tokenizer(), "model": tiny.causal()}
    with pytest.raises(UserError, match=r"x\.jsonl, demonstration 2: its output has \d+ tokens.*max_new_tokens = 20"):
        steps.check_lengths(rows, max_new_tokens=20, **given)

    long = [Demonstration("word " * tiny.CONTEXT, "Yes.")]
    with pytest.raises(UserError, match=r"demonstration 1: a prompt of \d+ tokens and max_new_tokens = 20"):
        steps.check_lengths(long, max_new_tokens=20, **given)


def test_a_rate_that_breaks_the_model_is_told(tmp_path):
    policy = tiny.causal()
    policy.model.norm.weight.data.fill_(math.inf)

    with pytest.raises(UserError, match="not finite|try a smaller learning_rate"):
        align(tmp_path, policy)


def test_a_policy_whose_samples_all_say_what_the_demonstration_says_takes_no_step(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "_differs", lambda sample, said: False)

    policy, learned = align(tmp_path)

    assert same(policy, tiny.causal())
    assert [entry["pairs"] for entry in learned.log] == [0] * 6
    assert outcome.summary(learned)["first_loss"] is None


def test_the_prompt_of_a_sample_is_that_of_the_dialogue_format():
    [(prompt, _)] = steps.tokenized(tiny.tokenizer(), ["Where?"], [Text("t", "d", 0, "There.")])

    assert tiny.tokenizer().decode(prompt) == chat.prompt([{"role": "user", "content": "Where?"}])
