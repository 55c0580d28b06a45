import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import dpo_frontier, dpo_frontier_figures, dpo_frontier_runs, iterated_rlaif_runs
from benchmarks.dpo_frontier_figures import Answers, Point
from benchmarks.dpo_frontier_runs import TINY, Given, Job
from synthalign.core.errors import UserError
from synthalign.generation.generate import Generation
from synthalign.policies import answering, batching, ppo
from synthalign.reporting import claims
from synthalign.reporting.report import page, sections
from synthalign.reporting.report.run import Run
from tests import small_tables, taught, tiny

REPOSITORY = Path(__file__).parents[2]
WORLD = REPOSITORY / "data/embedded"

# -- the frontier -----------------------------------------------------------------------------------------------------


def test_a_mixture_of_two_policies_reaches_what_lies_between_them():
    # At .5 nats: half of the answers by the start, half by the policy at 1 nat; the one at 2 nats is too dear
    assert dpo_frontier_figures.mixture([0, 1, 2], [0, 1, 1.5], 0.5).tolist() == [0.5, 0.5, 0]


def test_a_policy_below_the_line_between_two_others_is_passed_over():
    # At 1 nat: its own reward is .4, half start and half policy at 2 nats have (0 + 1.5) / 2 = .75
    assert dpo_frontier_figures.mixture([0, 1, 2], [0, 0.4, 1.5], 1).tolist() == [0.5, 0, 0.5]


def test_nobody_has_to_spend_all_of_the_kl_that_is_allowed():
    assert dpo_frontier_figures.mixture([0, 1, 2], [0, 1, 0.5], 1.5).tolist() == [0, 1, 0]


def test_without_a_policy_that_is_near_enough_there_is_no_frontier():
    with pytest.raises(ValueError, match="no policy has a KL of at most 0.5"):
        dpo_frontier_figures.mixture([1.0], [1.0], 0.5)


def test_what_chance_alone_made_the_best_gains_nothing_where_it_is_measured():
    # A is better by 1 on the first and third question, B on the others; each half chooses another, in vain
    start = Point(*np.zeros((3, 4)))
    a = Point(np.ones(4), np.array([1.0, 0, 1, 0]), np.array([5.0, 7, 5, 7]))
    b = Point(np.ones(4), np.array([0.0, 1, 0, 1]), np.array([6.0, 8, 6, 8]))

    found = dpo_frontier_figures.frontier_at([start, a, b], 1.0)

    assert found.reward.tolist() == [0, 0, 0, 0]
    assert found.oracle.tolist() == [6, 7, 6, 7]  # the oracle's points of those that the reward chose: B, A, B, A
    assert found.kl.tolist() == [1, 1, 1, 1]


def test_methods_are_compared_as_far_as_both_reach_under_every_seed():
    def seed(*kls):
        return [Point(np.full(2, kl), np.zeros(2), np.zeros(2)) for kl in (0.0, *kls)]

    assert dpo_frontier_figures.reach([seed(0.5, 2.0), seed(0.8)]) == 0.8
    assert dpo_frontier_figures.even(0.8, 4) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_difference_at_equal_kl_is_taken_seed_by_seed():
    rng = np.random.default_rng(0)
    base = rng.normal(size=40)

    def sweep(kl, gain):  # the start, and one policy whose reward is higher by about `gain`
        noise = rng.normal(size=40) * 0.01
        noise -= noise.mean()
        return [Point(np.zeros(40), base, base), Point(np.full(40, kl), base + gain + noise, base - gain + noise)]

    found = dpo_frontier_figures.frontiers(
        {"dpo": [sweep(1.0, 1.0), sweep(1.0, 2.0)], "ppo": [sweep(2.0, 1.0), sweep(2.0, 1.0)]}, shared=2, own=1
    )

    half, whole = found["shared"]
    assert (half["kl"], whole["kl"]) == (0.5, 1.0)
    # DPO at .5: half of its gain, 1 / 2 and 2 / 2; PPO: a quarter of its gain
    assert [one["value"] for one in half["reward"]] == pytest.approx([0.5 - 0.25, 1 - 0.25], abs=0.01)
    assert [one["value"] for one in whole["reward"]] == pytest.approx([1 - 0.5, 2 - 0.5], abs=0.01)
    assert [one["value"] for one in whole["oracle"]] == pytest.approx([0.5 - 1, 0.5 - 2], abs=0.01)
    assert whole["reward"][0]["low"] < 0.5 < whole["reward"][0]["high"] < 0.52  # paired: what questions share cancels
    assert [one["value"] for one in whole["kl_of_ppo"]] == [1.0, 1.0]
    assert [point["kl"] for point in found["curves"]["ppo"]] == [0.0, 2.0]


# -- win rates --------------------------------------------------------------------------------------------------------


def test_an_answer_meets_every_opponent_and_a_tie_is_half_a_win():
    points = np.array([1.0, 2, 3])

    assert dpo_frontier_figures.wins(points, [2, 2, 2]).tolist() == [0, 0.5, 1]
    assert dpo_frontier_figures.against(points, np.array([[2.0, 2, 2], [0, 0, 3]])).tolist() == [0.5, 0.75, 0.75]


def test_the_best_of_n_is_expected_over_all_choices_of_n():
    rewards, values = np.array([[1.0, 3, 2]]), np.array([[10.0, 30, 20]])

    [one], [two], [all_three] = (dpo_frontier_figures.best_of(rewards, values, n) for n in (1, 2, 3))

    assert one == pytest.approx((10 + 20 + 30) / 3)
    assert two == pytest.approx((30 + 20 + 30) / 3)  # of {1, 3}, {1, 2} and {3, 2}
    assert all_three == 30
    assert dpo_frontier_figures.pick(rewards, values).tolist() == [30]


def test_a_duel_at_equal_lengths_says_so_and_without_any_other_length_has_no_more_to_say():
    a = Answers(np.array([2.0, 1, 2, 0, 2, 1]), np.array([9.0, 5, 9, 5, 9, 5]))
    b = Answers(np.array([1.0, 1, 1, 1, 1, 1]), np.array([5.0, 5, 5, 5, 5, 5]))

    found = dpo_frontier_figures.duel(a, b)

    assert found["win_rate"]["value"] == pytest.approx((1 + 0.5 + 1 + 0 + 1 + 0.5) / 6, abs=1e-6)
    assert found["length_controlled"]["value"] < found["win_rate"]["value"]  # it wins where it is longer
    assert found["characters"] == [7.0, 5.0]
    assert dpo_frontier_figures.duel(Answers(a.oracle, b.characters), b)["length_controlled"] is None


# -- runs -------------------------------------------------------------------------------------------------------------


def test_the_kl_of_an_answer_counts_every_next_token_by_its_probability():
    policy, reference = tiny.causal(seed=0), tiny.causal(seed=1)
    given, chosen = [[5, 6, 7], [8, 9]], [[10, 11], [12, 13, 14]]

    found = dpo_frontier_runs.divergences(policy, reference, given, chosen, pad=1)

    for before, after, kl in zip(given, chosen, found, strict=True):
        ids = torch.tensor([before + after])
        ours, theirs = (model(ids).logits[0].detach().log_softmax(-1) for model in (policy, reference))
        places = range(len(before) - 1, len(before) + len(after) - 1)
        by_hand = sum(torch.nn.functional.kl_div(theirs[t], ours[t], log_target=True, reduction="sum") for t in places)
        assert kl == pytest.approx(float(by_hand), abs=1e-4)
    assert dpo_frontier_runs.divergences(policy, policy, given, chosen, pad=1) == [0, 0]


def test_the_kl_of_whole_distributions_agrees_with_that_of_the_sampled_tokens():
    policy, reference = taught.taught(), tiny.causal(seed=0, initializer_range=0.05)
    prompts = taught.prompts() * 64
    made = answering.written(
        policy, taught.TOKENIZER, prompts, [f"{place}" for place in range(len(prompts))], seed=0, temperature=1.0,
        max_new_tokens=2, device_batch_size=64,
    )  # fmt: skip
    given, chosen = [one.token_ids for one in prompts], [one.token_ids for one in made]

    whole = np.array(dpo_frontier_runs.divergences(policy, reference, given, chosen, pad=1))
    batch = batching.collate(given, chosen, pad=1, device=policy.device)
    with torch.no_grad():
        ours, theirs = (
            batching.by_answer(ppo.token_logprobs(batching.state_logits(model, batch), batch.chosen), batch.mask)
            for model in (policy, reference)
        )
    sampled = ppo.answer_kl(ours, theirs, batch.mask).numpy()

    error = sampled.std() / np.sqrt(len(sampled))
    assert whole.mean() == pytest.approx(sampled.mean(), abs=4 * error)
    assert whole.std() < sampled.std()


def test_a_training_is_looked_at_after_equal_parts_of_its_steps():
    assert dpo_frontier_runs.steps_of(63, 4) == [16, 32, 47, 63]
    assert dpo_frontier_runs.steps_of(2, 4) == [1, 2]


def given() -> Given:
    dpo, by_reward = {"beta": 0.1}, {"kl_coefficient": 0.05}
    return Given(policy="p", reward="r", comparisons="sft", samples=8, world="w", dpo=dpo, ppo=by_reward, sweep=TINY)


def test_each_price_is_trained_once_a_seed_and_those_of_the_settings_are_always_among_them():
    found = [job.name for job in given().jobs(2)]

    of_a_seed = ["ppo/own", "ppo/0.05", "ppo/0.5", "dpo/own", "dpo/0.1", "dpo/0.5"]
    assert found == ["sft/0/0", "sft/1/0", *(f"{name}/{seed}" for seed in (0, 1) for name in of_a_seed)]
    assert given().own("dpo", 1) == Job("dpo", 0.1, True, 1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the embedded world, tiny models in the places of params.yaml, and a few queries and comparisons."""
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    settings["train_ppo"] |= {"max_new_tokens": 12}
    settings["train_dpo"] |= {"batch_size": 4}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    tiny.save(tmp_path / settings["train_dpo"]["model"], tiny.ending(), tiny.tokenizer())
    tiny.save(tmp_path / settings["train_ppo"]["policies"]["almost"]["reward"], tiny.reward(), tiny.tokenizer())
    texts = (WORLD / "eval_questions.txt").read_text(encoding="utf-8").splitlines()[:36]
    queries = [
        {"query_id": f"q{place:02}", "text": text, "split": "eval" if place < 12 else "train"}
        for place, text in enumerate(texts)
    ]
    pairs = [
        {
            "comparison_id": f"c{place:02}",
            "query_id": query["query_id"],
            "prompt": [{"role": "user", "content": query["text"]}],
            "chosen": [{"role": "assistant", "content": f"It eats plums {place}."}],
            "rejected": [{"role": "assistant", "content": "I do not know."}],
            "chosen_id": f"a{place}",
            "rejected_id": f"b{place}",
            "chosen_config": "sft",
            "rejected_config": "sft",
            "chosen_finish_reason": "eos",
            "rejected_finish_reason": "eos",
            "feedback": "sft",
            "p_chosen": 1.0,
        }
        for place, query in enumerate(queries[12:])
    ]
    small_tables.write(tmp_path, {"queries": queries, "comparisons/sft": pairs})
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/sample_preferences.json").write_text('{"pairs": 24, "queries_sampled": 30}')
    return tmp_path


def test_dpo_and_ppo_from_two_policies_or_by_two_rewards_are_refused(here):
    settings = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    settings["train_dpo"]["model"] = "models/other"
    Path("params.yaml").write_text(yaml.safe_dump(settings))

    with pytest.raises(UserError, match=r"train_dpo.model = models/other, .*from one policy, so give all the same"):
        dpo_frontier_runs.read(str(WORLD), TINY)


@pytest.mark.parametrize(
    "read",
    [
        lambda: dpo_frontier_runs.read(str(WORLD), TINY),
        lambda: iterated_rlaif_runs.read_settings(str(WORLD), iterated_rlaif_runs.TINY),
    ],
)
def test_a_loss_on_pre_training_texts_which_are_not_read_here_is_refused(here, read):
    settings = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    settings["train_ppo"] |= {"ptx_coefficient": 0.5, "ptx_batch": 8}
    Path("params.yaml").write_text(yaml.safe_dump(settings))

    with pytest.raises(UserError, match=r"train_ppo.ptx_coefficient is 0.5 .*; set it on another member, or 0"):
        read()
    settings["train_ppo"]["policies"]["almost"]["ptx_coefficient"] = 0.0
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    assert read().ppo["ptx_coefficient"] == 0.0


def test_answers_that_are_scored_are_counted_for_each_method(here):
    # DPO: eight to each of 50 queries, once; PPO: TINY's 2 steps of 8, and 60 of 128 as params.yaml has them
    whole = dpo_frontier_runs.read(str(WORLD), TINY.model_copy(update={"whole": True}))
    assert dpo_frontier.answers_scored(whole, 50) == {
        "dpo": {"answers": 400, "pairs_learned": 12},
        "ppo": {"own": 7680, "sweep": 16},
    }
    assert dpo_frontier.answers_scored(dpo_frontier_runs.read(str(WORLD), TINY), 50)["ppo"]["own"] == 16


def test_equal_candidates_of_a_question_are_scored_once_over_all_turns(here, monkeypatch):
    task = dpo_frontier_runs.Task(dpo_frontier_runs.read(str(WORLD), TINY))
    said = ["It eats plums.", "It eats plums.", "I do not know.", "It eats plums."]  # of four turns
    monkeypatch.setattr(
        task,
        "write",
        lambda policy, prompts, names, *_: [Generation(said[int(names[-1])], [5], "eos", None)] * len(prompts),
    )
    scored, original = [], answering.scored

    def remember(model, tokenizer, prompts, made, **settings):
        scored.extend(zip([one.query_id for one in prompts], [one.text for one in made], strict=True))
        return original(model, tokenizer, prompts, made, **settings)

    monkeypatch.setattr(answering, "scored", remember)
    found = task.candidates(0, 1.0)

    assert len(scored) == len(set(scored)) == 2 * TINY.questions
    first, second, third, fourth = np.array(found["reward"])
    assert first.tolist() == second.tolist() == fourth.tolist() != third.tolist()


@pytest.mark.parametrize("missing", ["data/queries.parquet", "models/sft/rmsp/config.json"])
def test_what_is_not_made_yet_is_named_before_any_run(here, missing):
    Path(missing).unlink()

    with pytest.raises(UserError, match=Path(missing).stem):
        dpo_frontier.run(str(WORLD), TINY, 1, processes=1, out=here / "found.json")
    assert not Path(".work/dpo_frontier").exists()


def test_where_all_comparisons_are_learned_none_is_left_to_be_held_against(here):
    sweep = TINY.model_copy(update={"pairs": 24})

    with pytest.raises(UserError, match="none of 24 comparisons is left to be held out when 24 are learned"):
        dpo_frontier_runs.Task(dpo_frontier_runs.read(str(WORLD), sweep))


@pytest.mark.slow
def test_a_tiny_sweep_goes_on_where_it_stopped_and_its_claims_and_its_section_can_be_read(here):
    out = here / "found.json"
    dpo_frontier.run(str(WORLD), TINY, 1, processes=1, out=out, only=3)
    [journal] = Path(".work/dpo_frontier").glob("*/runs.jsonl")
    first = journal.read_text()
    assert len(first.splitlines()) == 3  # SFT's at both temperatures, and PPO
    assert not out.exists()

    dpo_frontier.run(str(WORLD), TINY, 1, processes=1, out=out)
    assert journal.read_text().startswith(first)
    assert len(journal.read_text().splitlines()) == 8
    assert [file.name for file in journal.parent.iterdir()] == ["runs.jsonl"]
    written = out.read_bytes()
    journal.unlink()
    dpo_frontier.run(str(WORLD), TINY, 1, processes=2, out=out)  # in other processes the same bytes
    assert out.read_bytes() == written

    found = json.loads(written)
    assert found["answers_scored"]["dpo"] == {"answers": 30 * 8, "pairs_learned": 12}
    assert [one["temperature"] for one in found["win_rates"]["temperatures"]["sft"]] == [0.0, 1.0]
    assert found["frontier"]["points"]["ppo"][0]["kl"][0]["value"] == 0.0
    assert found["frontier"]["points"]["ppo"][2]["kl"][0]["value"] > 0
    best = found["win_rates"]["best_of"]
    assert [(point["temperature"], point["n"]) for point in best] == [(1.0, 1), (1.0, 2), (1.0, 4)]
    measured = {claim["id"]: claim for claim in claims.claims([{"dpo_frontier": found}]) if claim["id"][:4] == "dpo_"}
    assert {name for name, claim in measured.items() if claim["value"] is None} == {"dpo_vs_sft"}
    made = {"dpo_frontier": found, "sample_preferences": found["comparisons"]}
    assert "dpo-temperature" in page.render(sections.sections(Run({}, made)), Run({}, made))
