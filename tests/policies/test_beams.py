import torch
from transformers import PreTrainedModel

from synthalign.dialogue import chat
from synthalign.generation.generate import Stopping, generate
from synthalign.policies import answering, beams
from synthalign.reward import training
from tests.policies.test_rrhf_training import run
from tests.taught import TOKENIZER, prompts, taught


def mean_logprob(prompt: list[int], answer: list[int]) -> float:
    """By one plain forward pass."""
    with torch.no_grad():
        logits = taught()(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return float(logits.log_softmax(-1)[torch.arange(len(answer)), torch.tensor(answer)].mean())


def search(count: int, *, batch_size: int = 8, max_new_tokens: int = 24, policy: PreTrainedModel | None = None):
    return beams.searched(
        policy or taught(), TOKENIZER, prompts(), beams=count, max_new_tokens=max_new_tokens, batch_size=batch_size
    )


def test_beams_are_different_answers_the_likeliest_first_and_none_is_less_likely_than_the_greedy_one() -> None:
    for prompt, found in zip(prompts(), search(4), strict=True):
        values = [mean_logprob(prompt.token_ids, one.token_ids) for one in found]

        assert values == sorted(values, reverse=True)
        assert len({tuple(one.token_ids) for one in found}) == 4
        asked = chat.prompt([{"role": "user", "content": prompt.question}])
        [[greedy]] = generate(taught(), TOKENIZER, prefix="", suffixes=[asked], row_ids=["0"], seed=0,
                              max_new_tokens=24, temperature=0.0, top_p=1.0)  # fmt: skip
        assert values[0] >= mean_logprob(prompt.token_ids, greedy.token_ids) - 1e-5


def test_a_taught_policy_ends_its_beams_and_prompts_of_other_lengths_beside_it_change_nothing() -> None:
    together, alone = search(2), search(2, batch_size=1)

    assert together == alone
    best = together[0][0]
    assert (best.finish_reason, best.token_ids[-1]) == ("eos", TOKENIZER.eos_token_id)
    assert best.text.startswith("The") and best.token_ids.count(TOKENIZER.eos_token_id) == 1


def test_a_policy_whose_layers_are_recomputed_in_training_is_searched_like_any(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hardware.yaml").write_text("gradient_checkpointing: true", encoding="utf-8")
    policy = taught()
    training.recomputing(policy)

    assert search(2, policy=policy) == search(2)
    assert policy.training


def test_what_a_models_folder_says_of_sampling_has_no_part_in_the_search() -> None:
    policy = taught()
    policy.generation_config.repetition_penalty = 5.0  # as instruct models have one, milder
    policy.generation_config.min_new_tokens = 20

    assert search(2, policy=policy) == search(2)
    assert policy.generation_config.repetition_penalty == 5.0


def test_an_answer_ends_at_its_end_token_before_another_turn_or_where_it_was_cut_off() -> None:
    end, said = TOKENIZER.eos_token_id, TOKENIZER(" Yes.").input_ids
    turn = [*said, *TOKENIZER("\n\nHuman: And?").input_ids]
    stopping = Stopping.of(taught(), TOKENIZER, chat.STOPS)

    ended = [beams.ended(tokens, {end}, stopping) for tokens in ([*said, end, 1, end], turn, said)]

    assert [one.finish_reason for one in ended] == ["eos", "stop", "length"]
    assert [one.text for one in ended] == [" Yes."] * 3
    assert ended[0].token_ids == [*said, end] and ended[2].token_ids == said
    assert len(said) < len(ended[1].token_ids) < len(turn)  # the marker is kept: it has to become less likely


def test_the_policy_trained_on_beams_draws_nothing(tmp_path) -> None:
    one, other = (run(tmp_path / str(seed), beams=2, seed=seed, epochs=1)[1] for seed in (0, 1))

    texts = [{row["text"] for row in state.samples} for state in (one, other)]
    assert texts[0] == texts[1] and len(one.samples) == 2 * len(prompts())
    assert {row["sample_index"] for row in one.samples} == {0, 1}
    assert answering.average(one.curve)["tokens"] > 0
