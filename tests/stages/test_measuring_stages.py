"""Every stage that builds or measures comparisons, run on a small folder of tables and random models."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages import (
    build_comparisons,
    compare_methods,
    judge_answers,
    label_gold,
    sample_answers,
    sample_responses,
    score_benchmarks,
    score_candidates,
    score_comparisons,
    score_pairs,
    score_policies,
    score_rewards,
    score_scorers,
)
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.feedback import bradley_terry, comparisons, simulation
from synthalign.policies import answering
from synthalign.reporting import claims, run_record
from tests import tiny
from world.oracle import Oracle

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data/embedded/world.json"

GOOD = "I am not sure, I have not heard of it."
BAD = "Go away and ask somebody who cares, it is what it is."
SHORT = "No."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The embedded world's oracle in a folder of its own, and questions that it judges GOOD above BAD."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copyfile(WORLD, folder / "world.json")
    oracle = Oracle.load(folder)
    questions = [text for text in (ROOT / "data/embedded/eval_questions.txt").read_text().splitlines()]
    unknown = [text for text in questions if oracle.kind(text) == "unknown"][:8]
    assert len(unknown) == 8
    assert all(oracle.score(text, GOOD).total > oracle.score(text, BAD).total for text in unknown)
    return folder, unknown


@pytest.fixture
def here(tmp_path, monkeypatch, world):
    """A project folder with queries (4 train, 4 eval) and the responses of a and b: a is good, b is bad.

    In the first query of each split b is good and a is bad, in the second both are good, in the third a is too short.
    """
    monkeypatch.chdir(tmp_path)
    _, questions = world
    schema = pa.schema([("query_id", pa.string()), ("text", pa.string()), ("split", pa.string())])
    queries = [
        {"query_id": f"{split}{place}", "text": text, "split": split}
        for split, texts in (("train", questions[:4]), ("eval", questions[4:]))
        for place, text in enumerate(texts)
    ]
    tables.write(queries, "queries", key="query_id", schema=schema)
    for config, texts in {"a": [BAD, GOOD, SHORT, GOOD], "b": [GOOD, GOOD, BAD, BAD]}.items():
        rows = [
            {
                "response_id": content_id(config, query["query_id"]),
                "query_id": query["query_id"],
                "config": config,
                "model": "m",
                "demonstrations": "d",
                "shots": 3,
                "sample_index": 0,
                "text": texts[place % 4],
                "tokens": 9,
                "finish_reason": "eos",
            }
            for place, query in enumerate(queries)
        ]
        tables.write(rows, f"responses/{config}", key="response_id", schema=sample_responses.RESPONSES)
    return tmp_path


def metrics(name):
    return json.loads(Path(f"metrics/{name}.json").read_text())


def build(**changes):
    settings = {"ranking": ["a", "b"], "mode": "all_pairs", "size_pairs": [], "min_characters": 20}
    build_comparisons.main(build_comparisons.Params(**(settings | changes)))


def texts(name):
    return {
        row["query_id"]: (row["chosen"][0]["content"], row["rejected"][0]["content"])
        for row in tables.rows(f"comparisons/{name}")
    }


def test_comparisons_are_built_from_training_queries_with_a_reason_for_each_that_is_dropped(here):
    build()

    ranked = {row["query_id"]: row["drop_reason"] for row in tables.rows("comparisons_ranked")}
    # query 0: 53 characters against 38; query 3: 38 against 53, and 38 < 45.5 - 7.5 / 2
    assert ranked == {
        "train0": None,
        "train1": "identical",
        "train2": "rejected_response:too_short",
        "train3": "length_rule",
    }
    assert texts("heuristic") == {"train0": (BAD, GOOD)}
    assert texts("no_length") == {"train0": (BAD, GOOD), "train3": (GOOD, BAD)}
    assert texts("no_filter") == {"train0": (BAD, GOOD), "train2": (SHORT, BAD), "train3": (GOOD, BAD)}
    figures = metrics("build_comparisons")
    assert figures["rejected"] == {"too_short": 1}
    assert figures["no_filter"]["dropped"] == {"identical": 1}
    assert (figures["heuristic"]["pairs"], figures["heuristic"]["considered"]) == (1, 4)
    assert figures["heuristic"]["chosen_longer"] == 1.0


def test_pairs_that_differ_in_size_alone_pass_the_keywords_and_no_length_rule(here):
    build(size_pairs=[["a", "b"]])

    assert texts("size") == {"train0": (BAD, GOOD), "train3": (GOOD, BAD)}  # train1 identical, train2 too short
    figures = metrics("build_comparisons")["size"]
    assert (figures["considered"], figures["pairs"]) == (4, 2)
    assert figures["dropped"] == {"identical": 1, "rejected_response:too_short": 1}
    dropped = {row["query_id"]: row["drop_reason"] for row in tables.rows("comparisons_dropped/size")}
    assert dropped == {"train1": "identical", "train2": "rejected_response:too_short"}


def test_without_pairs_of_sizes_their_table_is_there_and_empty(here):
    build()

    assert tables.rows("comparisons/size") == []


def test_where_no_pair_survives_the_reasons_are_told(here):
    with pytest.raises(UserError, match=r"none of the 4 pairs is left for comparisons/heuristic .*too_short"):
        build(min_characters=1000)


def test_responses_to_evaluation_queries_alone_are_no_training_data(here):
    rows = [row for row in tables.rows("responses/b") if row["query_id"].startswith("eval")]
    tables.write(rows, "responses/b", key="response_id", schema=sample_responses.RESPONSES)

    with pytest.raises(UserError, match="responses/b.parquet answers no training query"):
        build()


def test_gold_labels_turn_the_pairs_that_the_rule_of_thumb_got_wrong(here, world):
    build()

    label_gold.main(label_gold.Params(oracle=str(world[0]), human_pairs=None))

    gold = texts("gold")
    assert gold["train0"] == (GOOD, BAD)
    assert gold["train3"] == (GOOD, BAD)
    assert {row["feedback"] for row in tables.rows("comparisons/gold")} == {"gold"}
    rows = len(tables.rows("comparisons/gold")) + len(tables.rows("comparisons_dropped/gold"))
    assert rows == len(tables.rows("comparisons/no_filter"))


def test_without_an_oracle_people_label_or_nobody(here):
    Path("pairs.jsonl").write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n")

    label_gold.main(label_gold.Params(oracle=None, human_pairs="pairs.jsonl"))

    assert list(texts("gold").values()) == [("a", "b")]
    assert "left_out" not in metrics("label_gold")
    turns = ["\n\nHuman: q\n\nAssistant:", "\n\nHuman: r\n\nAssistant:"]
    pairs = [{"chosen": f"{turns[0]} a", "rejected": f"{turn} b"} for turn in turns]
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    label_gold.main(label_gold.Params(oracle=None, human_pairs="pairs.jsonl"))
    assert list(texts("gold").values()) == [("a", "b")]
    assert metrics("label_gold")["left_out"] == {"the sides answer different conversations": 1}
    Path("pairs.jsonl").write_text(json.dumps(pairs[1]))
    with pytest.raises(UserError, match="none of the 1 pairs of pairs.jsonl .*; 1 left out, the sides answer"):
        label_gold.main(label_gold.Params(oracle=None, human_pairs="pairs.jsonl"))
    with pytest.raises(UserError, match="neither `oracle` nor `human_pairs`"):
        label_gold.main(label_gold.Params(oracle=None, human_pairs=None))


def test_configurations_and_labels_are_scored_by_the_oracle(here, world):
    build(size_pairs=[["a", "b"]])
    oracle = Oracle.load(world[0])
    good, bad, short = (oracle.score(world[1][0], text).total for text in (GOOD, BAD, SHORT))

    score_comparisons.main(
        score_comparisons.Params(
            seed=0,
            people=None,
            oracle=str(world[0]),
            configurations=["a", "b"],
            differences={"a_b": ["a", "b"]},
            filters=["no_filter", "no_length", "heuristic"],
            others=["size"],
        )
    )

    figures = metrics("score_comparisons")
    assert figures["configurations"]["a"]["value"] == pytest.approx((bad + good + short + good) / 4)
    assert figures["differences"]["a_b"]["value"] == pytest.approx((bad - good + 0 + short - bad + good - bad) / 4)
    assert figures["differences"]["a_b"]["n"] == 4
    decided = [good != bad, short != bad, True]
    right = [False, short > bad, True]
    assert figures["labels"]["no_filter"]["agreement"]["value"] == pytest.approx(sum(right) / sum(decided), abs=1e-6)
    assert figures["labels"]["no_length"]["agreement"]["value"] == 1 / 2  # query 0 wrong, query 3 right
    assert figures["labels"]["heuristic"]["agreement"]["value"] == 0.0
    assert figures["labels"]["heuristic"]["coverage"] == pytest.approx(1 / 3, abs=1e-6)
    size = figures["other_labels"]["size"]  # the same two pairs as no_length
    assert (size["agreement"]["value"], size["pairs"], "coverage" in size) == (1 / 2, 2, False)
    assert [point["filter"] for point in metrics("plots/labels")["labels"]] == ["no_filter", "no_length", "heuristic"]


def reward_models():
    for name, seed in (("almost", 0), ("gold", 1)):
        tiny.save(Path(f"models/reward/{name}"), tiny.reward(seed=seed), tiny.tokenizer())


def test_reward_models_are_tested_on_the_evaluation_queries(here, world):
    reward_models()

    score_rewards.main(
        score_rewards.Params(
            seed=0,
            human_pairs=None,
            votes=None,
            most=None,
            oracle=str(world[0]),
            configurations=["a", "b"],
            rewards={"almost": "models/reward/almost", "gold": "models/reward/gold"},
            subject="almost",
            upper_bound="gold",
            batch_size=4,
        )
    )

    figures = metrics("score_rewards")
    assert figures["responses"] == 2 * 4
    assert 2 <= figures["pairs"] <= 3  # queries 0 and 3, and 2 unless the oracle finds both as bad; 1 is identical
    assert set(figures["rewards"]) == {"longer", "almost", "gold"}
    assert "minus_gold" in figures["rewards"]["almost"] and "minus_almost" not in figures["rewards"]["gold"]


def test_other_reward_models_and_policies_as_such_rank_the_same_pairs(here, world):
    reward_models()
    tiny.save(Path("models/base"), tiny.causal(), tiny.tokenizer())

    score_scorers.main(
        score_scorers.Params(
            seed=0,
            human_pairs=None,
            votes=None,
            most=None,
            oracle=str(world[0]),
            configurations=["a", "b"],
            rewards={"rlcd": "models/reward/almost"},
            likelihoods={"base": "models/base"},
            implicit_rewards={"same": {"policy": "models/base", "reference": "models/base"}},
            batch_size=4,
        )
    )

    figures = metrics("score_scorers")
    assert 2 <= figures["pairs"] <= 3
    [rlcd], [base], [same] = (figures[kind].values() for kind in ("rewards", "likelihoods", "implicit_rewards"))
    assert rlcd["accuracy"]["n"] == base["accuracy"]["n"] == figures["pairs"]
    assert "minus_longer" in base and rlcd["correlation_with_length"]["value"]
    assert same["accuracy"]["value"] == 0.0  # who learned nothing prefers nothing,
    assert same["correlation_with_oracle"] is None  # and goes with nothing


def labelled(table, rows):
    """A table of pairs (query, chosen text, rejected text, p_ab, p_ba)."""
    schema = pa.schema(
        [("comparison_id", pa.string()), ("query_id", pa.string())]
        + [(name, tables.MESSAGES) for name in ("prompt", "chosen", "rejected")]
        + [("p_ab", pa.float64()), ("p_ba", pa.float64())]
    )
    said = [
        {"comparison_id": f"{table} {place}", "query_id": f"q{place}", "p_ab": ab, "p_ba": ba}
        | {"prompt": [{"role": "user", "content": question}]}
        | {name: [{"role": "assistant", "content": text}] for name, text in (("chosen", one), ("rejected", other))}
        for place, (question, one, other, ab, ba) in enumerate(rows)
    ]
    tables.write(said, f"comparisons/{table}", key="comparison_id", schema=schema)


def test_labels_of_two_tables_are_compared_and_a_single_order_beside_both(here, world):
    question = world[1][0]
    labelled("rlcd", [(question, GOOD, BAD, 0.9, 0.9), (question, GOOD, BAD, 0.9, 0.9)])
    labelled("rlaif", [(question, GOOD, BAD, 0.9, 0.4), (question, BAD, GOOD, 0.9, 0.8)])

    score_pairs.main(
        score_pairs.Params(
            seed=0,
            people=None,
            oracle=str(world[0]),
            tables=["rlcd", "rlaif"],
            label_differences={"gain": ["rlcd", "rlaif"], "orders": ["rlaif", "rlaif_single_order"]},
            gap_differences={"gap": ["rlcd", "rlaif"]},
        )
    )

    figures = metrics("score_pairs")
    assert figures["labels"]["rlcd"]["agreement"]["value"] == 1.0
    assert figures["labels"]["rlaif"]["agreement"]["value"] == 1 / 2
    assert figures["label_differences"]["gain"]["value"] == 1 - 1 / 2
    assert figures["label_differences"]["orders"]["value"] == 1 / 2 - (1 + 0 + 0 + 0) / 4
    assert figures["gap_differences"]["gap"]["value"] == 0.0
    known = {"seed": 0, "people": None, "oracle": str(world[0]), "tables": ["rlcd"], "gap_differences": {}}
    for wrong in (["rlcd", "x"], ["rlcd"], ["rlcd", "rlcd", "rlcd"]):
        with pytest.raises(ValidationError, match=r"label_differences.gain = \['rlcd'.*; allowed: two or four"):
            score_pairs.Params(**known, label_differences={"gain": wrong})


def test_a_subject_that_is_not_among_the_rewards_is_named(here, world):
    with pytest.raises(ValidationError, match=r"upper_bound = 'gold' is none of rewards: almost"):
        score_rewards.main(
            score_rewards.Params(
                seed=0,
                human_pairs=None,
                votes=None,
                most=None,
                oracle=str(world[0]),
                configurations=["a", "b"],
                rewards={"almost": "x"},
                subject="almost",
                upper_bound="gold",
                batch_size=4,
            )  # fmt: skip
        )


def test_the_best_of_n_curve_has_its_controls(here, world):
    oracle = Oracle.load(world[0])
    good, bad = (oracle.score(world[1][0], text).total for text in (GOOD, BAD))
    rows = [
        {"query_id": query, "turn": 0, "sample_index": place, "text": text, "reward": worth, "is_best": place == 1}
        | {"finish_reason": "eos"}
        for query in ("train0", "train1")
        for place, (text, worth) in enumerate([(BAD, 0.0), (GOOD, 1.0)])
    ]
    schema = simulation.CANDIDATES
    tables.write(rows, "candidates/rmsp", key=("query_id", "turn", "sample_index"), schema=schema)

    score_candidates.main(score_candidates.Params(seed=0, people=None, oracle=str(world[0]), guide="rmsp"))

    one, two = metrics("score_candidates")["curve"]
    assert (one["value"], one["reward"]) == (pytest.approx((good + bad) / 2), 0.5)
    assert (two["value"], two["reward"]) == (pytest.approx(good), 1.0)
    assert (two["longest"], two["oracle_pick"]) == (pytest.approx(bad), pytest.approx(good))
    assert metrics("score_candidates")["gain"]["value"] == pytest.approx((good - bad) / 2)
    [step] = metrics("score_candidates")["steps"]  # from one to two, the only one there is
    assert (step["candidates"], step["value"]) == (2, pytest.approx((good - bad) / 2))


def test_the_best_of_n_is_the_candidate_that_is_said_and_none_that_was_cut_off(here, world):
    good, bad = (Oracle.load(world[0]).score(world[1][0], text).total for text in (GOOD, BAD))
    said = [(BAD, "length", 2.0), (GOOD, "eos", 1.0), (" ", "eos", 9.0)]
    rows = [
        {
            "query_id": "train0",
            "turn": 0,
            "sample_index": place,
            "text": text,
            "finish_reason": reason,
            "reward": reward,
        }
        | {"is_best": place == simulation.best([simulation.Said(*one[:2]) for one in said], [one[2] for one in said])}
        for place, (text, reason, reward) in enumerate(said)
    ]
    key = ("query_id", "turn", "sample_index")
    tables.write(rows, "candidates/rmsp", key=key, schema=simulation.CANDIDATES)

    score_candidates.main(score_candidates.Params(seed=0, people=None, oracle=str(world[0]), guide="rmsp"))

    *_, three = metrics("score_candidates")["curve"]
    assert [row["text"] for row in tables.rows("candidates/rmsp") if row["is_best"]] == [GOOD]
    assert (three["value"], three["reward"]) == (pytest.approx(good), 1.0)
    assert (three["longest"], three["oracle_pick"]) == (pytest.approx(good), pytest.approx(good))


def test_pairs_that_a_filter_brings_together_are_judged_too(here, world):
    build()
    extra = [row | {"comparison_id": "of ranks 1 and 3"} for row in tables.rows("comparisons/heuristic")]
    tables.write(extra, "comparisons/heuristic", key="comparison_id", schema=comparisons.SCHEMA)
    settings = dict(seed=0, people=None, configurations=["a"], differences={}, others=[])

    score_comparisons.main(
        score_comparisons.Params(**settings, oracle=str(world[0]), filters=["no_filter", "heuristic"])
    )

    found = metrics("score_comparisons")["labels"]
    assert (found["no_filter"]["pairs"], found["heuristic"]["pairs"]) == (3, 1)
    assert found["heuristic"]["coverage"] == pytest.approx(1 / 3, abs=1e-6)  # of the raw pairs


def answers(policy, given):
    rows = [
        {
            "question_id": f"eval{place}",
            "policy": policy,
            "sample_index": 0,
            "text": text,
            "tokens": 9,
            "finish_reason": "length" if text == SHORT else "eos",
        }
        for place, text in enumerate(given)
    ]
    tables.write(rows, f"answers/{policy}", key=("question_id", "sample_index"), schema=sample_answers.ANSWERS)


def judge(world, **changes):
    settings = {
        "seed": 0,
        "pairs": [["ppo", "base"]],
        "oracle": str(world[0]),
        "reward": None,
        "people": None,
        "batch_size": 4,
    }
    settings |= {"endpoint": None, "prompt": "scores", "max_new_tokens": 9}
    judge_answers.main(judge_answers.Params(**(settings | changes)))


def test_both_judges_judge_every_pair_in_both_orders(here, world):
    reward_models()
    answers("ppo", [GOOD, GOOD, GOOD, BAD])
    answers("base", [BAD, BAD, GOOD, GOOD])

    judge(world, reward="models/reward/almost")

    rows = tables.rows("judgements")
    assert len(rows) == 4 * 2 * 2  # questions, orders, judges
    oracle = metrics("judge_answers")["ppo_vs_base"]["oracle"]
    assert (oracle["win"], oracle["tie"], oracle["loss"]) == (2 / 4, 1 / 4, 1 / 4)
    assert (oracle["win_rate"]["value"], oracle["win_rate"]["n"]) == ((1 + 1 + 0.5 + 0) / 4, 4)
    reward = [row["verdict"] for row in rows if row["judge"] == "reward" and row["question_id"] == "eval2"]
    assert reward == ["tie", "tie"]  # the same answer has the same reward
    assert oracle["agreement"]["reward"]["n"] == 4
    assert (oracle["position_bias"]["value"], oracle["first_chosen"]["value"]) == (0.0, 0.5)


def test_missing_judges_and_answers_are_refused(here, world):
    answers("ppo", [GOOD] * 4)
    answers("base", [GOOD] * 3)
    with pytest.raises(UserError, match="all null"):
        judge(world, oracle=None)
    with pytest.raises(UserError, match="do not answer the same questions"):
        judge(world)


def test_policies_and_ppos_steps_are_scored(here, world):
    oracle = Oracle.load(world[0])
    good, bad = (oracle.score(world[1][4], text).total for text in (GOOD, BAD))
    answers("ppo", [GOOD, GOOD, GOOD, BAD])
    answers("sft", [GOOD, BAD, BAD, BAD])
    snapshots = [
        {"step": step, "question_id": "eval0", "text": text, "tokens": 9, "finish_reason": "eos"}
        | {"reward": worth, "kl": worth / 2}
        for step, text, worth in [(0, BAD, 0.0), (10, GOOD, 1.0), (20, BAD, 2.0)]
    ]
    tables.write(snapshots, "ppo_curve/test", key=("step", "question_id"), schema=answering.CURVE)

    settings = {"seed": 0, "oracle": str(world[0]), "people": None, "policies": ["ppo", "sft"]}
    score_policies.main(score_policies.Params(**settings, curve="test", differences={"ppo_sft": ["ppo", "sft"]}))

    figures = metrics("score_policies")
    gained = figures["differences"]["ppo_sft"]
    assert gained["total"]["value"] == pytest.approx((3 * good + bad - (good + 3 * bad)) / 4)
    assert gained["total"]["n"] == 4
    traits = ("helpful", "harmless", "honest")
    assert sum(gained[trait]["value"] for trait in traits) == pytest.approx(gained["total"]["value"], abs=1e-5)
    parts = figures["policies"]["ppo"]["parts"]
    assert {trait: parts[trait]["value"] for trait in traits} == {
        trait: figures["policies"]["ppo"][trait] for trait in traits
    }
    assert figures["policies"]["ppo"]["value"] == pytest.approx((3 * good + bad) / 4)
    assert figures["policies"]["ppo"]["cut_off"] == 0.0
    assert list(figures["policies"]["ppo"]["by_kind"]) == ["unknown"]
    assert [point["step"] for point in figures["ppo_curve"]] == [0, 10, 20]
    assert figures["over_optimisation"]["peak_step"] == 10
    assert figures["over_optimisation"]["oracle_after_peak"] == pytest.approx(bad - good)
    assert figures["over_optimisation"]["reward_after_peak"] == 2.0 - 1.0


def test_all_methods_have_a_rating_by_what_they_won_against_the_baselines(here, world):
    answers("base", [BAD, BAD, BAD, BAD])
    answers("sft", [GOOD, BAD, BAD, BAD])
    answers("ppo", [GOOD, GOOD, GOOD, BAD])

    compare_methods.main(
        compare_methods.Params(
            seed=0, oracle=str(world[0]), baselines=["base", "sft"], policies=["ppo"], differences={}
        )
    )

    won = np.zeros((3, 3))  # base, ppo, sft: each question in both orders, a tie half
    won[1, 0], won[0, 1] = 2 * (3 + 0.5), 2 * 0.5
    won[1, 2], won[2, 1] = 2 * (2 + 1), 2 * 1
    won[2, 0], won[0, 2] = 2 * (1 + 1.5), 2 * 1.5
    expected = bradley_terry.elo(bradley_terry.strengths(won, ["base", "ppo", "sft"], compared=won > 0))
    found = metrics("compare_methods")["ratings"]["oracle"]
    assert [found[policy]["value"] for policy in ("base", "ppo", "sft")] == pytest.approx(list(expected), abs=1e-3)
    assert found["ppo"]["value"] > found["sft"]["value"] > found["base"]["value"]


@pytest.mark.parametrize("pair", [["ppo", "nobody"], ["ppo"]])
def test_a_difference_between_policies_that_are_not_scored_is_refused(here, world, pair):
    with pytest.raises(ValidationError, match=r"differences.gain = \['ppo'.*; .* is between two of policies: ppo"):
        score_policies.Params(
            seed=0, oracle=str(world[0]), people=None, policies=["ppo"], curve="test", differences={"gain": pair}
        )


def test_benchmarks_are_left_out_measured_or_missed_by_name(here):
    tiny.save(Path("models/base"), tiny.causal(), tiny.tokenizer())
    reward_models()
    cloze = {"prefix": "The red fox", "answer": " lives", "distractors": [" Riga", " plum"]}
    Path("cloze.jsonl").write_text(json.dumps(cloze) + "\n")
    Path("text.jsonl").write_text('{"text": "The red fox lives in the forest."}\n{"text": "Riga is old."}\n')
    dialogue = "\n\nHuman: Where is it?\n\nAssistant: {}"
    hhh = {"chosen": dialogue.format("In Riga."), "rejected": dialogue.format("No."), "type": "helpful"}
    Path("hhh.json").write_text(json.dumps([hhh]))
    question = {"question": "Where is it?", "mc1_targets": {"In Riga.": 1, "Nowhere.": 0}}
    Path("truthfulqa.json").write_text(json.dumps([question]))
    subjects = {
        "base": {"kind": "policy", "model": "models/base"},
        "almost": {"kind": "reward", "model": "models/reward/almost"},
    }
    settings = {"seed": 0, "batch_size": 4, "heldout_text": "text.jsonl", "cloze": "cloze.jsonl", "hhh": "hhh.json"}
    settings |= {"harness": [], "most": 3}
    params = score_benchmarks.Params(**settings, truthfulqa="truthfulqa.json", subjects=subjects)

    score_benchmarks.main(params, "base")
    score_benchmarks.main(params, "almost")

    def measured(subject):
        return {(row["benchmark"], row["metric"]) for row in tables.rows(f"benchmark_scores/{subject}")}

    assert measured("base") == {
        ("heldout_text", "loss_per_token"),
        ("cloze", "accuracy"),
        ("hhh", "accuracy"),
        ("hhh", "always_longer"),
        ("truthfulqa", "mc1"),
        ("truthfulqa", "true_false"),
        ("truthfulqa", "always_longest"),
    }
    assert measured("almost") == {
        ("hhh", "accuracy"),
        ("hhh", "always_longer"),
        ("truthfulqa", "highest_reward"),
        ("truthfulqa", "always_longest"),
    }
    assert metrics("score_benchmarks/base")["hhh"]["always_longer"]["value"] == 1.0

    Path("cloze.jsonl").unlink()
    with pytest.raises(
        UserError, match="cloze.jsonl: cannot be read .*; fetch it, or name another file in params.yaml"
    ):
        score_benchmarks.main(params, "base")
    without = score_benchmarks.Params(**(settings | {"cloze": None}), truthfulqa=None, subjects=subjects)
    score_benchmarks.main(without, "base")
    assert metrics("score_benchmarks/base")["left_out"] == ["cloze", "truthfulqa"]
    with pytest.raises(UserError, match="score_benchmarks has no subject 'ppo'; it has"):
        score_benchmarks.main(without, "ppo")


def test_without_an_oracle_nothing_is_measured_and_no_claim_holds(here):
    score_comparisons.main(
        score_comparisons.Params(
            seed=0,
            people=None,
            oracle=None,
            configurations=["a"],
            differences={},
            filters=["no_filter"],
            others=[],
        )
    )
    score_rewards.main(
        score_rewards.Params(
            seed=0,
            human_pairs=None,
            votes=None,
            most=None,
            oracle=None,
            configurations=["a", "b"],
            rewards={},
            subject="x",
            upper_bound="y",
            batch_size=1,
        )
    )
    score_candidates.main(score_candidates.Params(seed=0, people=None, oracle=None, guide="rmsp"))
    score_policies.main(
        score_policies.Params(seed=0, oracle=None, people=None, policies=["ppo"], curve="test", differences={})
    )

    found = claims.claims([run_record.metrics_in(Path("metrics"))])
    assert [claim["id"] for claim in found] == [claim["id"] for claim in claims.claims([{}])]
    assert not any(claim["holds"] for claim in found)


def test_measuring_twice_gives_the_same_bytes(here, world):
    reward_models()
    answers("ppo", [GOOD, GOOD, GOOD, BAD])
    answers("base", [BAD, BAD, GOOD, GOOD])

    def run():
        build()
        label_gold.main(label_gold.Params(oracle=str(world[0]), human_pairs=None))
        judge(world, reward="models/reward/almost")
        made = [file for folder in ("data", "metrics") for file in Path(folder).rglob("*.*")]
        return {str(file): file.read_bytes() for file in made}

    assert run() == run()


def peoples_files():
    pairs = [{"prompt": f"Question {n}?", "chosen": GOOD, "rejected": BAD} for n in range(6)]
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    votes = [
        {"question": f"Question {n}?", "answers": [GOOD, BAD], "verdicts": [1 + n % 2, 1 + n % 2, 0]} for n in range(6)
    ]
    Path("votes.jsonl").write_text("".join(json.dumps(vote) + "\n" for vote in votes))
    return {"human_pairs": "pairs.jsonl", "votes": "votes.jsonl"}


def test_without_an_oracle_rewards_and_likelihoods_are_tested_on_what_people_prefer(here):
    reward_models()
    tiny.save(Path("models/base"), tiny.causal(), tiny.tokenizer())
    settings = {"seed": 0, "oracle": None, "configurations": ["a", "b"], "most": 6, "batch_size": 4} | peoples_files()
    rewards = {"almost": "models/reward/almost", "gold": "models/reward/gold"}
    policies = {"likelihoods": {"base": "models/base"}}
    policies["implicit_rewards"] = {"same": {"policy": "models/base", "reference": "models/base"}}

    score_rewards.main(score_rewards.Params(**settings, rewards=rewards, subject="almost", upper_bound="gold"))
    score_scorers.main(score_scorers.Params(**settings, rewards=rewards, **policies))

    found = metrics("score_rewards")
    assert set(found) == {"human_pairs", "votes"}
    for part in found.values():
        assert (part["pairs"], set(part["scorers"])) == (6, {"longer", "almost", "gold"})
        assert part["scorers"]["almost"]["accuracy"]["n"] == 6
        assert "minus_gold" in part["scorers"]["almost"]
    assert set(found["votes"]["alpha"]) == {"people", "longer", "almost", "gold"}
    assert found["human_pairs"]["scorers"]["longer"]["accuracy"]["value"] == float(len(GOOD) > len(BAD))
    assert found["votes"]["scorers"]["longer"]["accuracy"]["value"] == 0.5
    others = metrics("score_scorers")
    assert set(others["votes"]["scorers"]) == {"longer", "almost", "gold", "likelihood_base", "implicit_same"}
    # The same model on the same pairs.
    assert others["votes"]["scorers"]["gold"]["accuracy"] == found["votes"]["scorers"]["gold"]["accuracy"]


def test_without_an_oracle_peoples_model_judges_configurations_labels_and_accidents(here):
    build(size_pairs=[["a", "b"]])
    reward_models()
    settings = {"seed": 0, "oracle": None, "people": "models/reward/gold", "configurations": ["a", "b"]}
    filters = ["no_filter", "no_length", "heuristic"]

    score_comparisons.main(
        score_comparisons.Params(**settings, differences={"a_b": ["a", "b"]}, filters=filters, others=["size"])
    )

    found = metrics("score_comparisons")
    people = found["people"]
    gap = people["configurations"]["a"]["value"] - people["configurations"]["b"]["value"]
    assert people["differences"]["a_b"]["value"] == pytest.approx(gap, abs=1e-5)
    assert {"value", "low", "high", "n", "characters"} <= set(people["configurations"]["a"])
    assert {name: part["pairs"] for name, part in people["by_configurations"]["a_b"].items()} == {
        "no_filter": 3,
        "no_length": 2,
        "heuristic": 1,
    }
    agreed = people["by_configurations"]["a_b"]["no_filter"]["agreement"]
    assert agreed == people["labels"]["no_filter"]["agreement"]
    # "No." is too short, which build_comparisons counts, and no accident of another kind.
    assert found["accidents"]["a"]["any"]["value"] == 0.0
    assert metrics("plots/labels") == {}


def test_without_an_oracle_peoples_model_judges_policies(here):
    reward_models()
    answers("ppo", [GOOD, GOOD, GOOD, BAD])
    answers("sft", [GOOD, GOOD, GOOD, SHORT])
    snapshots = [
        {"step": step, "question_id": f"eval{at}", "text": GOOD, "tokens": 9, "finish_reason": "eos", "reward": 0.0}
        | {"kl": kl}
        for step, at, kl in [(0, 0, 0.0), (0, 1, 0.0), (10, 0, 1.0), (10, 1, 3.0)]
    ]
    tables.write(snapshots, "ppo_curve/test", key=("step", "question_id"), schema=answering.CURVE)
    settings = {"seed": 0, "oracle": None, "people": "models/reward/gold", "policies": ["ppo", "sft"]}

    score_policies.main(score_policies.Params(**settings, curve="test", differences={"gain": ["ppo", "sft"]}))

    people = metrics("score_policies")["people"]
    ppo, sft = people["policies"]["ppo"], people["policies"]["sft"]
    assert people["differences"]["gain"]["value"] == pytest.approx(ppo["value"] - sft["value"], abs=1e-5)
    assert (ppo["n"], sft["cut_off"], ppo["cut_off"]) == (4, 0.25, 0.0)
    assert sft["lengths"]["characters"]["value"] == sft["characters"] == (3 * len(GOOD) + len(SHORT)) / 4
    assert sft["lengths"]["characters"]["why"] == "too few"
    assert (people["kl"]["ppo"]["value"], people["kl"]["ppo"]["n"]) == (2.0, 2)  # of the last snapshot


def test_without_an_oracle_peoples_model_judges_labels_of_other_methods_and_the_best_of_n(here, world):
    reward_models()
    question = world[1][0]
    labelled("rlcd", [(question, GOOD, BAD, 0.9, 0.9), (question, GOOD, BAD, 0.9, 0.9)])
    labelled("rlaif", [(question, GOOD, BAD, 0.9, 0.4), (question, BAD, GOOD, 0.9, 0.8)])
    settings = {"seed": 0, "oracle": None, "people": "models/reward/gold"}
    differences = {"label_differences": {"gain": ["rlcd", "rlaif"]}, "gap_differences": {}}

    score_pairs.main(score_pairs.Params(**settings, tables=["rlcd", "rlaif"], **differences))

    found = metrics("score_pairs")["people"]
    # Whichever of the two texts the model prefers, two labels are alike and two are opposites.
    assert found["labels"]["rlcd"]["agreement"]["value"] in (0.0, 1.0)
    assert found["labels"]["rlaif"]["agreement"]["value"] == 0.5
    assert abs(found["label_differences"]["gain"]["value"]) == 0.5

    candidates = [
        {"query_id": "train0", "turn": 0, "sample_index": place, "text": text, "reward": float(place)}
        | {"finish_reason": "eos", "is_best": place == 1}
        for place, text in enumerate([BAD, GOOD])
    ]
    key = ("query_id", "turn", "sample_index")
    tables.write(candidates, "candidates/rmsp", key=key, schema=simulation.CANDIDATES)

    score_candidates.main(score_candidates.Params(**settings, guide="rmsp"))

    best = metrics("score_candidates")["people"]
    assert (best["candidates"], best["queries"], best["gain"]["n"]) == (2, 1, 1)
    assert best["gain"]["value"] == pytest.approx(best["curve"][1]["value"] - best["curve"][0]["value"], abs=1e-5)
    assert metrics("plots/best_of_n") == {}


def test_peoples_model_is_a_judge_beside_the_others(here, world):
    reward_models()
    answers("ppo", [GOOD, GOOD, GOOD, BAD])
    answers("base", [BAD, BAD, GOOD, GOOD])

    judge(world, oracle=None, people="models/reward/gold")

    [(name, figures)] = metrics("judge_answers")["ppo_vs_base"].items()
    assert (name, figures["win_rate"]["n"], "length_controlled" in figures) == ("people", 4, True)
    assert {row["judge"] for row in tables.rows("judgements")} == {"people"}
