import math

import pytest
import torch

from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.judging import benchmark_models, benchmarks, likelihoods
from synthalign.judging.benchmark_models import batches, continuation_log_probs, text_log_probs, token_log_probs
from synthalign.judging.benchmarks import Preference
from tests import families, tiny


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def model():
    return tiny.causal(seed=1)


def test_a_batch_has_so_many_rows_and_so_many_tokens_and_a_longer_row_is_alone():
    lengths = [9, 2, 30, 3, 4, 3]

    assert batches(lengths, most=3, cells=100) == [[1, 3, 5], [4, 0, 2]]
    # 3 rows of 3 tokens are 9; with a fourth of 4 they would be 16.
    assert batches(lengths, most=32, cells=12) == [[1, 3, 5], [4], [0], [2]]


def test_token_log_probs_are_those_of_a_row_by_itself(model):
    row = [5, 9, 11, 200, 31]
    with torch.inference_mode():
        logprobs = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
    by_hand = [float(logprobs[place - 1, row[place]]) for place in range(1, len(row))]

    [alone] = token_log_probs(model, [row], pad_token_id=1, batch_size=1)
    _, beside_a_longer_one, _ = token_log_probs(model, [[7] * 30, row, [3, 4]], pad_token_id=1, batch_size=3)

    assert alone.tolist() == pytest.approx(by_hand, abs=1e-5)
    assert beside_a_longer_one.tolist() == pytest.approx(by_hand, abs=1e-4)


def test_a_continuation_and_its_parts_add_up(model, tokenizer):
    prefix, first, second = "Where does the red fox live?", " In the", " forest."

    whole, one, other = continuation_log_probs(
        model, tokenizer, [(prefix, first + second), (prefix, first), (prefix + first, second)], batch_size=2
    )

    assert whole == pytest.approx(one + other, abs=1e-3)
    assert whole < one < 0


def test_with_its_end_an_option_that_another_one_begins_with_is_less_probable_where_the_model_goes_on(model, tokenizer):
    prefix, short, long = "Where does the red fox live?", " In the", " In the forest."
    bare = continuation_log_probs(model, tokenizer, [(prefix, short), (prefix, long)], batch_size=2)
    ended = continuation_log_probs(model, tokenizer, [(prefix, short), (prefix, long)], batch_size=2, ends=True)
    tokens = torch.tensor([tokenizer(prefix + short).input_ids])
    end = model(tokens).logits[0, -1].log_softmax(-1)[tokenizer.eos_token_id].item()

    assert bare[0] > bare[1]  # whatever the model says
    assert ended[0] == pytest.approx(bare[0] + end, abs=1e-3)


def test_a_uniform_model_gives_every_token_the_same(tokenizer):
    uniform = tiny.causal()
    torch.nn.init.zeros_(uniform.model.embed_tokens.weight)  # the head shares it, so all logits are 0
    text = "The red fox lives in the forest."

    [(total, tokens)] = text_log_probs(uniform, tokenizer, [text], batch_size=4)

    assert tokens == len(tokenizer(text)["input_ids"])  # the start has no probability itself
    assert -total / tokens == pytest.approx(math.log(tiny.VOCABULARY), abs=1e-4)


def test_equal_options_are_all_wrong(model, tokenizer):
    item = benchmarks.shuffled("Where does it live?", "In the forest", ["By the sea", "Who knows"], seed=0)
    same = [("prefix", " word")] * 3

    assert benchmark_models.options_right(model, tokenizer, [(item, same)], batch_size=4) == [0.0]


def test_a_right_option_is_found_wherever_it_stands(model, tokenizer):
    options = [" fox", " Riga", " plum cake"]
    scores = continuation_log_probs(model, tokenizer, [("The red", option) for option in options], batch_size=4)
    best = options[scores.index(max(scores))]

    for seed in range(4):
        item = benchmarks.shuffled("The red", best, [option for option in options if option != best], seed=seed)
        asked = [(item, [("The red", option) for option in item.options])]
        assert benchmark_models.options_right(model, tokenizer, asked, batch_size=4) == [1.0]


def preference(chosen, rejected, order=0):
    return Preference("id", "other", ({"role": "user", "content": "Where does it live?"},), chosen, rejected, order)


def test_hhh_is_right_for_one_of_two_replies_whatever_is_shown_first(model, tokenizer):
    verdicts = [
        benchmark_models.letters_right(model, tokenizer, [preference(*replies, order)], batch_size=4)
        for replies in [("In the forest.", "Who knows."), ("Who knows.", "In the forest.")]
        for order in (0, 1)
    ]

    assert verdicts[0] == verdicts[1] != verdicts[2] == verdicts[3]


def test_equal_replies_are_wrong_for_policies_and_reward_models(model, tokenizer):
    same = preference("In the forest.", "In the forest.")

    assert benchmark_models.letters_right(model, tokenizer, [same], batch_size=4) == [0.0]
    assert benchmark_models.preferences_right(tiny.reward(), tokenizer, [same], batch_size=4) == [0.0]


def test_a_reward_model_is_right_for_one_of_two_replies(tokenizer):
    items = [preference("In the forest.", "Who knows."), preference("Who knows.", "In the forest.")]

    assert sum(benchmark_models.preferences_right(tiny.reward(), tokenizer, items, batch_size=4)) == 1.0


def test_a_reward_model_picks_one_option(tokenizer):
    options = ["In the forest.", "By the sea.", "Who knows."]
    items = [
        benchmarks.shuffled("Where?", right, [option for option in options if option != right], seed=0)
        for right in options
    ]

    assert sum(benchmark_models.rewards_right(tiny.reward(), tokenizer, items, batch_size=8)) == 1.0


def test_a_text_longer_than_the_context_is_scored_at_its_end(tokenizer):
    short = tiny.causal(seed=1, max_position_embeddings=16)

    [score] = continuation_log_probs(short, tokenizer, [("The red fox lives. " * 20, " In the forest.")], batch_size=1)

    assert math.isfinite(score) and score < 0


@pytest.fixture
def damaged():
    model = tiny.causal()
    model.model.norm.weight.data.fill_(float("nan"))
    model.name_or_path = "models/damaged"
    return model


def test_a_model_whose_log_probabilities_are_none_is_named_and_has_no_accuracy(damaged, tokenizer):
    item = benchmarks.shuffled("What is it?", "a fox", ["an owl"], seed=0)
    told = r"models/damaged scores ' a.*' after '.*What is it\?\\nA:' with nan: its logits are not finite"

    with pytest.raises(UserError, match=told):
        benchmark_models.options_right(damaged, tokenizer, [(item, benchmarks.mc1_options(item))], batch_size=2)
    with pytest.raises(UserError, match="models/damaged scores ' [AB]' after .* with nan"):
        benchmark_models.letters_right(
            damaged, tokenizer, [Preference("i", "c", ({"role": "user", "content": "Why?"},), "So.", "No.", 0)],
            batch_size=2,
        )  # fmt: skip


def test_a_text_or_an_answer_whose_log_probability_is_none_is_named(damaged, tokenizer):
    asked = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So it is."}]

    with pytest.raises(UserError, match="models/damaged scores 'The red fox' with nan"):
        text_log_probs(damaged, tokenizer, ["The red fox"], batch_size=1)
    with pytest.raises(UserError, match="models/damaged scores 'So it is.' with nan"):
        likelihoods.logprobs(damaged, tokenizer, [asked], batch_size=1, per_token=True)


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # a position too many is another reading, and of GPT-2 a crash
def test_likelihoods_are_read_of_what_fits_a_models_context(tokenizer, family):
    model = families.causal(family, families.WHOLE[family] | dict(n_positions=32, max_position_embeddings=32))
    said = [("Why? " * 20, "So it is."), ("Why?", "So it is. " * 20), ("Why?", "So.")]
    dialogues = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in said]

    found = likelihoods.logprobs(model, tokenizer, dialogues, batch_size=2, per_token=True)

    (asked, told), (short, long), (first, last) = encoding.encode(tokenizer, dialogues)
    kept = [([asked[0], *asked[-(31 - len(told)) :]], told), (short[:1], long[-31:]), (first, last)]
    for (prompt, answer), value in zip(kept, found, strict=True):
        assert len(prompt) + len(answer) <= 32
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).mean()
        assert value == pytest.approx(float(expected), abs=1e-5)


def test_a_reward_model_whose_rewards_are_none_is_named(tokenizer):
    model = tiny.reward()
    model.score.weight.data.fill_(float("nan"))
    model.name_or_path = "models/damaged"
    item = benchmarks.shuffled("What is it?", "a fox", ["an owl"], seed=0)

    with pytest.raises(UserError, match="the reward model models/damaged scores 'a.*' with nan"):
        benchmark_models.rewards_right(model, tokenizer, [item], batch_size=2)


def test_continuations_behind_one_copy_of_their_prefix_are_as_probable_as_alone(model, tokenizer):
    prefixes, ends = (
        ["Where does the red fox live?", "What is a plum cake"],
        [" In", " In the forest", " By the sea.", "?"],
    )
    pairs = [(prefix, end) for prefix in prefixes for end in ends]

    together = continuation_log_probs(model, tokenizer, pairs, batch_size=64)

    alone = [continuation_log_probs(model, tokenizer, [pair], batch_size=1)[0] for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-4)
    for (prefix, end), found in zip(pairs, together, strict=True):
        before, whole = tokenizer(prefix)["input_ids"], tokenizer(prefix + end)["input_ids"]
        with torch.inference_mode():
            logprobs = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        by_hand = sum(float(logprobs[place - 1, whole[place]]) for place in range(len(before), len(whole)))
        assert found == pytest.approx(by_hand, abs=1e-4)


def test_a_model_that_sees_a_window_alone_reads_each_continuation_by_itself(tokenizer):
    windowed = families.causal("mistral", dict(sliding_window=16, head_dim=8))
    prefix = "The red fox lives in the forest by the sea. " * 3
    pairs = [(prefix, end) for end in (" In the forest.", " Who knows.")]

    together = continuation_log_probs(windowed, tokenizer, pairs, batch_size=8)

    for (_, end), found in zip(pairs, together, strict=True):
        before, whole = tokenizer(prefix)["input_ids"], tokenizer(prefix + end)["input_ids"]
        with torch.inference_mode():
            logprobs = windowed(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        by_hand = sum(float(logprobs[place - 1, whole[place]]) for place in range(len(before), len(whole)))
        assert found == pytest.approx(by_hand, abs=1e-4)
