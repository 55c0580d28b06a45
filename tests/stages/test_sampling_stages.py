"""The stages that write text, with tiny random models in an empty folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages import mine_queries, sample_answers, sample_preferences, sample_responses, simulate_demonstrations
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.queries.mining import QUERIES, query_rows
from tests import tiny

SEEDS = ["Where does the red fox live?", "How do I bake a plum cake?", "What is a glimmerfinch?"]
EVAL = ["What does the grey owl eat?", "Who made this bread?"]
DRAW: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "engine": "transformers", "seed": 0}
SPEAKER = simulate_demonstrations.Speaker(model="base", demonstrations="shown.jsonl", shots=1)


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "base", tiny.causal(0), tiny.tokenizer())
    tiny.save(tmp_path / "reward", tiny.reward(1), tiny.tokenizer())
    Path("seeds.txt").write_text("\n".join(SEEDS) + "\n")
    Path("eval.txt").write_text("\n".join(EVAL) + "\n")
    dialogue = '{"role": "user", "content": "Where is Riga?"}, {"role": "assistant", "content": "In Latvia."}'
    Path("shown.jsonl").write_text(f'{{"messages": [{dialogue}]}}\n')


def queries() -> None:
    tables.write(query_rows(SEEDS, [], EVAL), "queries", key="query_id", schema=QUERIES)


def mining(**changes: Any) -> mine_queries.Params:
    settings: dict[str, Any] = dict(
        model="base", seed_queries="seeds.txt", eval_questions="eval.txt", shots=2, target=100, max_rounds=2,
        round_size=16, completions=1, max_new_tokens=24, min_characters=1, max_characters=100, keywords=[],
        rouge_threshold=0.9,
    )  # fmt: skip
    return mine_queries.Params(**(settings | DRAW | changes))


def simulation(**changes: Any) -> simulate_demonstrations.Params:
    guide = simulate_demonstrations.Guide
    guides = {"rmsp": guide(reward="reward", candidates=4), "selfplay": guide(reward=None, candidates=1)}
    settings: dict[str, Any] = dict(guides=guides, assistant=SPEAKER, user=SPEAKER, max_turns=2, max_new_tokens=12)
    return simulate_demonstrations.Params(**(settings | DRAW | changes))


def test_a_language_model_in_the_place_of_the_reward_model_is_refused_before_anything_is_sampled() -> None:
    queries()
    guides = {"rmsp": simulate_demonstrations.Guide(reward="base", candidates=4)}

    with pytest.raises(UserError, match=r"base is no reward model, it has no head"):
        simulate_demonstrations.main(simulation(guides=guides), "rmsp")

    assert not Path(".work").exists()


def test_mining_accounts_for_every_candidate_and_keeps_evaluation_apart(capsys: pytest.CaptureFixture[str]) -> None:
    mine_queries.main(mining())

    rows = tables.rows("queries")
    by_origin = {origin: [row for row in rows if row["origin"] == origin] for origin in ("seed", "mined", "eval")}
    assert {row["text"] for row in by_origin["seed"]} == set(SEEDS)
    assert {row["text"] for row in by_origin["eval"]} == set(EVAL)
    assert {row["split"] for row in by_origin["seed"] + by_origin["mined"]} == {"train"}
    assert {row["split"] for row in by_origin["eval"]} == {"eval"}
    assert len(by_origin["mined"]) > 0
    assert len(by_origin["mined"]) + len(tables.rows("queries_rejected")) == 2 * 16
    assert "warning" in capsys.readouterr().out
    assert not list(Path(".work").glob("*/*"))


def test_mining_stops_at_the_target() -> None:
    mine_queries.main(mining(target=1))

    assert sum(row["origin"] == "mined" for row in tables.rows("queries")) == 1


def test_mining_where_nothing_survives_gives_the_counts() -> None:
    with pytest.raises(UserError, match=r"none of 32 candidates is a new query: \{.*\d"):
        mine_queries.main(mining(min_characters=99))


def test_a_seed_that_is_an_evaluation_question_is_refused() -> None:
    Path("eval.txt").write_text(SEEDS[1] + "\n")

    with pytest.raises(UserError, match="seeds.txt: 'How do I bake a plum cake\\?' is also in eval.txt"):
        mine_queries.main(mining())


def test_responses_are_to_the_queries_of_the_configurations_splits_and_the_same_each_time() -> None:
    queries()
    made = sample_responses.Configuration(
        model="base", demonstrations="shown.jsonl", shots=1, max_new_tokens=12, splits=["eval"]
    )
    params = sample_responses.Params(configurations={"a": made}, **DRAW)

    sample_responses.main(params, "a")
    first = tables.path("responses/a").read_bytes()
    sample_responses.main(params, "a")

    assert tables.path("responses/a").read_bytes() == first
    rows = tables.rows("responses/a")
    assert {row["query_id"] for row in rows} == {content_id("query", text) for text in EVAL}
    assert {(row["config"], row["shots"], row["sample_index"]) for row in rows} == {("a", 1, 0)}
    with pytest.raises(UserError, match="no configuration 'z'; it has a"):
        sample_responses.main(params, "z")


def test_self_play_says_the_first_candidate_of_rmsp_and_rmsp_the_best_of_four() -> None:
    queries()
    simulate_demonstrations.main(simulation(), "rmsp")
    simulate_demonstrations.main(simulation(), "selfplay")

    guided, alone = tables.rows("candidates/rmsp"), tables.rows("candidates/selfplay")
    assert len(guided) == 3 * 4 and len(alone) == 3
    firsts = {row["query_id"]: row["text"] for row in guided if row["sample_index"] == 0}
    assert {row["query_id"]: row["text"] for row in alone} == firsts
    for query in firsts:
        options = [row for row in guided if row["query_id"] == query and row["text"]]
        assert [row["is_best"] for row in options].count(True) == 1
        ended = [row for row in options if row["finish_reason"] in ("eos", "stop")] or options
        assert max(ended, key=lambda row: row["reward"])["is_best"]
    best = {row["query_id"]: row for row in guided if row["is_best"]}
    for row in tables.rows("demonstrations/rmsp"):
        question, answer = row["messages"]
        assert row["query_id"] == content_id("query", question["content"])
        assert (answer["content"], row["reward"]) == (best[row["query_id"]]["text"], best[row["query_id"]]["reward"])


def test_four_turns_are_two_exchanges() -> None:
    queries()
    tiny.save(Path("base"), tiny.ending(), tiny.tokenizer())
    simulate_demonstrations.main(simulation(max_turns=4), "rmsp")

    rows = tables.rows("demonstrations/rmsp")
    assert rows and {len(row["messages"]) for row in rows} <= {2, 4}
    assert 4 in {len(row["messages"]) for row in rows}
    assert {message["role"] for row in rows for message in row["messages"][::2]} == {"user"}
    assert {row["turn"] for row in tables.rows("candidates/rmsp")} == {1, 3}


def test_preferences_are_best_against_worst_and_need_a_margin() -> None:
    queries()
    settings: dict[str, Any] = dict(model="base", reward="reward", samples=4, max_new_tokens=12) | DRAW

    sample_preferences.main(sample_preferences.Params(**settings, min_margin=0.0))

    rows = tables.rows("comparisons/sft")
    assert {row["query_id"] for row in rows} <= {content_id("query", text) for text in SEEDS}
    assert rows and {(row["feedback"], row["p_chosen"]) for row in rows} == {("sft", 1.0)}
    assert all(row["chosen"] != row["rejected"] for row in rows)
    with pytest.raises(UserError, match="min_margin = 99.0"):
        sample_preferences.main(sample_preferences.Params(**settings, min_margin=99.0))


def test_the_better_answer_of_a_pair_ended_and_what_made_no_pair_is_counted() -> None:
    queries()
    settings: dict[str, Any] = dict(model="base", reward="reward", samples=6, max_new_tokens=12, min_margin=0.0) | DRAW
    with pytest.raises(UserError, match=r"in none of 3 queries .*\(\{'no_ended_answer': 3\}"):
        sample_preferences.main(sample_preferences.Params(**settings | {"max_new_tokens": 1}))

    tiny.save(Path("base"), tiny.ending(), tiny.tokenizer())
    sample_preferences.main(sample_preferences.Params(**settings))

    rows = tables.rows("comparisons/sft")
    assert rows and {row["chosen_finish_reason"] for row in rows} <= {"eos", "stop"}
    found = json.loads(Path("metrics/sample_preferences.json").read_text())
    assert found["pairs"] + sum(found["dropped"].values()) == 3
    assert 0 < found["cut_off"] < 3 * 6


def test_answers_are_to_the_evaluation_questions_alone() -> None:
    queries()
    policies = {"p": sample_answers.Policy(model="base", demonstrations=None, shots=0)}
    sample_answers.main(sample_answers.Params(policies=policies, samples=2, max_new_tokens=12, **DRAW), "p")

    rows = tables.rows("answers/p")
    expected = {(content_id("query", text), index) for text in EVAL for index in range(2)}
    assert {(row["question_id"], row["sample_index"]) for row in rows} == expected
