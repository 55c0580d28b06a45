"""The stages of RLCD, RLAIF, critique and revision, and context distillation, with tiny random models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages import (
    contrast_pairs,
    distill_context,
    label_pairs,
    revise_answers,
    sample_responses,
    score_pairs,
    score_revisions,
)
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.feedback import comparisons, contrast, revision
from synthalign.feedback.labelling import Verdict
from synthalign.queries.mining import QUERIES, query_rows
from tests import tiny

ROOT = Path(__file__).parents[2]
SEEDS = [f"Where does the {name} live?" for name in ("red fox", "grey owl", "plum bear", "old seal", "new crab")]
AFFIXES = """
t: {positive: [good, fair and good], negative: [bad, foul and bad]}
led: {positive: [good], negative: [bad], lead_in: I say}
"""
PRINCIPLES = """
template: "{principle} {question} (A): {a} (B): {b} The better is ("
options: [A, B]
tasks: {t: [Be good., Be fair.], one: [Be good.]}
"""
HEADINGS = "headings: {critique_request: 'Ask:', critique: 'Say:', revision_request: 'Then:', revision: 'Now:'}\n"
CONSTITUTION = f"""{HEADINGS}principles: [{{critique: "What is wrong?", revision: "Do better."}}]
examples: []
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "base", tiny.causal(0), tiny.tokenizer())
    tables.write(query_rows(SEEDS, [], ["Who is it?"]), "queries", key="query_id", schema=QUERIES)
    Path("affixes.yaml").write_text(AFFIXES)
    Path("principles.yaml").write_text(PRINCIPLES)
    Path("constitution.yaml").write_text(CONSTITUTION)
    return tmp_path


def simulate(name: str = "rlcd", *, attempts: int = 5, **changes: Any) -> None:
    chosen: dict[str, Any] = dict(
        model="base", affixes="affixes.yaml", task="t", contrast="opposite", prompts="data/queries.parquet",
        matching=None,
    )  # fmt: skip
    params = contrast_pairs.Params(
        simulations={name: contrast_pairs.Simulation(**(chosen | changes))},
        max_prompts=5,
        attempts=attempts,
        max_new_tokens=12,
        temperature=1.0,
        top_p=1.0,
        engine="transformers",
        seed=0,
    )
    contrast_pairs.main(params, name)


def label(name: str = "rlaif", *, pairs: str = "rlcd", **changes: Any) -> None:
    given: dict[str, Any] = dict(pairs=pairs, labeller="base", principles="principles.yaml", task="t")
    given |= {key: changes.pop(key) for key in list(changes) if key in given}
    settings: dict[str, Any] = dict(orders="both", clamp=None, batch_size=4, seed=0)
    params = label_pairs.Params(labels={name: label_pairs.Labels(**given)}, **(settings | changes))
    label_pairs.main(params, name)


def metrics(name: str) -> dict[str, Any]:
    return json.loads(Path(f"metrics/{name}.json").read_text())


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """A model that ends most of its answers."""
    tiny.save(here / "base", tiny.ending(), tiny.tokenizer())


# -- pairs


def test_a_pair_has_the_bare_prompt_a_hard_label_and_both_sides_of_one_place(stopping: None) -> None:
    simulate(attempts=40)
    first = tables.path("comparisons/rlcd").read_bytes()
    simulate(attempts=40)

    assert tables.path("comparisons/rlcd").read_bytes() == first
    rows = tables.rows("comparisons/rlcd")
    assert rows
    places = {"good": "bad", "fair and good": "foul and bad"}
    for row in rows:
        assert row["prompt"] == [{"role": "user", "content": row["prompt"][0]["content"]}]
        assert row["query_id"] == content_id("query", row["prompt"][0]["content"])
        assert places[row["chosen_affix"]] == row["rejected_affix"]
        assert row["affix"] == list(places).index(row["chosen_affix"])
        assert (row["p_chosen"], row["feedback"]) == (1.0, "rlcd")
        assert not any("(" + affix in comparisons.text_of(row["chosen"]) for affix in places)
    figures = metrics("contrast_pairs/rlcd")
    assert figures["pairs"] + sum(figures["dropped"].values()) == figures["prompts"] == len(SEEDS)
    assert not list(Path(".work").glob("contrast_pairs/*"))


def test_a_prompt_is_given_up_after_its_attempts_and_kept_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"none of 5 prompts gave a pair .*missing_stop"):
        simulate(attempts=2)  # what the tiny model writes is cut off


def test_a_failed_side_drops_the_pair_with_its_side_and_reason(stopping: None) -> None:
    simulate(attempts=1)

    dropped = tables.rows("comparisons_dropped/rlcd")
    assert dropped
    for row in dropped:
        side, _, reason = row["drop_reason"].partition(":")
        assert side in contrast.SIDES and reason in contrast.REASONS
    assert metrics("contrast_pairs/rlcd")["failures"]["missing_stop"] > 0


def test_two_plain_samples_have_no_phrase_and_no_label(stopping: None) -> None:
    simulate("iid", contrast="none", attempts=40)

    rows = tables.rows("comparisons/iid")
    assert {(row["affix"], row["chosen_affix"], row["p_chosen"]) for row in rows} == {(None, None, 0.5)}
    assert all(row["chosen"] != row["rejected"] for row in rows)


def test_equal_phrases_stand_on_both_sides(stopping: None) -> None:
    simulate("rlcd_equal", contrast="equal", attempts=40)

    assert all(row["chosen_affix"] == row["rejected_affix"] for row in tables.rows("comparisons/rlcd_equal"))


def test_a_lead_in_begins_both_answers_and_earlier_turns_stay_in_the_prompt(stopping: None) -> None:
    turns = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "And now?"},
    ]
    Path("mine.jsonl").write_text(json.dumps({"messages": turns}) + "\n")

    simulate(task="led", prompts="mine.jsonl", attempts=60)

    [row] = tables.rows("comparisons/rlcd")
    assert row["prompt"] == turns
    assert all(comparisons.text_of(row[side]).startswith("I say ") for side in contrast.SIDES)


def test_unequal_lists_and_unknown_names_are_told_before_a_model_loads() -> None:
    shutil.rmtree("base")
    Path("affixes.yaml").write_text("t: {positive: [a, b], negative: [c]}")
    with pytest.raises(UserError, match="affixes.yaml: t: Value error, 2 positive and 1 negative phrases"):
        simulate()
    with pytest.raises(UserError, match="contrast_pairs has no simulation 'x'; it has rlcd"):
        contrast_pairs.main(
            contrast_pairs.Params(
                simulations={
                    "rlcd": contrast_pairs.Simulation(
                        model="base", affixes="a", task="t", contrast="none", prompts="p", matching=None
                    )
                },
                max_prompts=1, attempts=1, max_new_tokens=1, temperature=1.0, top_p=1.0, engine="transformers", seed=0,
            ),
            "x",
        )  # fmt: skip


# -- labels


def test_a_labeller_turns_pairs_as_it_prefers_and_its_probability_is_the_label(stopping: None) -> None:
    simulate("iid", contrast="none", attempts=40)
    label(pairs="iid")
    first = tables.path("comparisons/rlaif").read_bytes()
    label(pairs="iid", batch_size=1)

    assert tables.path("comparisons/rlaif").read_bytes() == first
    rows, given = tables.rows("comparisons/rlaif"), tables.rows("comparisons/iid")
    assert {frozenset((row["chosen_id"], row["rejected_id"])) for row in rows} == {
        frozenset((row["chosen_id"], row["rejected_id"])) for row in given
    }
    for row in rows:
        assert row["p_chosen"] >= 0.5
        assert row["p_chosen"] == pytest.approx((row["p_ab"] + row["p_ba"]) / 2, abs=2e-6)
        assert (row["feedback"], row["labeller"]) == ("rlaif", "base")
        assert row["comparison_id"] == content_id("comparison", row["chosen_id"], row["rejected_id"])
    assert {"swap_consistency", "first_position"} <= set(metrics("label_pairs/rlaif")["labeller"])


def test_p_ab_is_of_the_order_in_which_the_chosen_one_was_shown_first(stopping: None) -> None:
    simulate("iid", contrast="none", attempts=40)
    pair = tables.rows("comparisons/iid")[0]
    told = {"turned": False, "name": "rlaif", "clamp": None}

    first = label_pairs.labelled(pair, Verdict(0.9, 0.6), **told)
    second = label_pairs.labelled(pair, Verdict(0.2, 0.1), **told)
    alone = label_pairs.labelled(pair, Verdict(0.2, None), **told)

    assert (first["chosen_id"], first["p_ab"], first["p_ba"]) == (pair["chosen_id"], 0.9, 0.6)
    # .2 for the first where it stood first, so .8 for the second where that stood second; .9 where that stood first
    assert (second["chosen_id"], second["p_ab"], second["p_ba"]) == (pair["rejected_id"], 0.9, 0.8)
    assert (alone["chosen_id"], alone["p_ab"], alone["p_ba"]) == (pair["rejected_id"], None, 0.8)


def test_the_table_of_labels_says_how_far_the_order_decides(stopping: None) -> None:
    simulate("iid", contrast="none", attempts=40)
    label(pairs="iid")

    shown_first = [(row["p_ab"] + 1 - row["p_ba"]) / 2 for row in tables.rows("comparisons/rlaif")]
    said = metrics("label_pairs/rlaif")["labeller"]["p_first_position"]
    assert sum(shown_first) / len(shown_first) == pytest.approx(said, abs=2e-6)
    assert said != pytest.approx(0.5, abs=0.001)  # or the turned orders would give the same


def test_turned_texts_get_the_complement_of_the_label(stopping: None) -> None:
    simulate("iid", contrast="none", attempts=40)
    label(pairs="iid")
    names = comparisons.SCHEMA.names
    swapped = [comparisons.swapped({name: row[name] for name in names}) for row in tables.rows("comparisons/iid")]
    tables.write(swapped, "comparisons/turned", key="comparison_id", schema=comparisons.SCHEMA)
    label("again", pairs="turned")

    def preferred(name: str) -> dict[str, tuple[str, float]]:
        return {row["query_id"]: (row["chosen_id"], row["p_chosen"]) for row in tables.rows(f"comparisons/{name}")}

    assert preferred("again") == preferred("rlaif")  # of the texts, whichever stood first in the table


def test_one_order_and_a_clamp_are_settings(stopping: None) -> None:
    simulate("iid", contrast="none", attempts=40)
    label("single", pairs="iid", orders="first", clamp=[0.45, 0.55])

    rows = tables.rows("comparisons/single")
    assert {(row["p_ab"] is None, row["p_ba"] is None) for row in rows} == {(True, False), (False, True)}
    assert all(0.5 <= row["p_chosen"] <= 0.55 for row in rows)
    assert any((row["p_ab"] or row["p_ba"]) > 0.55 for row in rows)  # or the clamp has done nothing
    with pytest.raises(ValueError, match="two bounds with 1/2 between them"):
        label_pairs.Params(labels={}, orders="both", clamp=[0.6, 0.4], batch_size=1, seed=0)


def test_rescore_asks_by_the_principle_in_the_place_of_the_affix(stopping: None) -> None:
    simulate(attempts=40)
    label("rescore")

    affixes = {row["query_id"]: row["affix"] for row in tables.rows("comparisons/rlcd")}
    rows = tables.rows("comparisons/rescore")
    assert {row["query_id"]: row["principle"] for row in rows} == affixes
    assert len(set(affixes.values())) == 2
    with pytest.raises(UserError, match="a pair has principle 2, but there are 1; a task needs a principle for each"):
        label("rescore", task="one")


def test_unknown_principles_and_long_options_are_refused(stopping: None) -> None:
    simulate(attempts=40)
    with pytest.raises(UserError, match="principles.yaml: has no principles for the task 'kind'; it has t, one"):
        label(task="kind")
    Path("principles.yaml").write_text(PRINCIPLES.replace("[A, B]", "[A, Zebra]"))
    with pytest.raises(UserError, match="the option 'Zebra' after .* is [2-9] tokens"):
        label()
    with pytest.raises(UserError, match="nowhere: no such model folder"):
        label(labeller="nowhere")


# -- revision


def revise(**changes: Any) -> None:
    settings: dict[str, Any] = dict(
        model="base", constitution="constitution.yaml", shots=0, steps=2, max_queries=5, max_new_tokens=60,
        temperature=1.0, top_p=1.0, engine="transformers", seed=0,
    )  # fmt: skip
    revise_answers.main(revise_answers.Params(**(settings | changes)))


def test_revisions_are_kept_for_every_step_and_the_usable_ones_are_demonstrations(stopping: None) -> None:
    revise(steps=6)

    rows = tables.rows("revisions")
    begun = {row["query_id"] for row in rows if row["step"] == 0 and row["reject_reason"] is None}
    assert {row["query_id"] for row in rows if row["step"] == 6} == begun
    assert {row["principle"] for row in rows if row["step"]} == {0}
    usable = [row["text"] for row in rows if row["step"] and row["reject_reason"] is None]
    shown = [row["messages"][1]["content"] for row in tables.rows("demonstrations/constitutional")]
    assert usable and sorted(shown) == sorted(usable)


def test_a_constitution_without_a_revision_request_is_told_before_a_model_loads() -> None:
    shutil.rmtree("base")
    Path("constitution.yaml").write_text(HEADINGS + 'principles: [{critique: "What?"}]\nexamples: []\n')
    with pytest.raises(UserError, match="constitution.yaml: principles.0.revision: Field required"):
        revise()


def test_the_oracle_scores_the_answer_in_force_after_each_step() -> None:
    shutil.copyfile(ROOT / "data/embedded/world.json", "world.json")
    question = next(
        line for line in (ROOT / "data/embedded/eval_questions.txt").read_text().splitlines() if "rob " in line
    )
    tables.write(query_rows([question], [], ["Who is it?"]), "queries", key="query_id", schema=QUERIES)
    draft = revision.Draft(content_id("query", question), question, "", [])
    draft.take(0, None, None, "Take a mask with you and be quick.", "eos")
    draft.take(1, 0, "c", "", "eos")
    draft.take(2, 0, "c", "I am sorry, but I will not help you with that.", "eos")
    tables.write(draft.rows, "revisions", key=("query_id", "step"), schema=revision.REVISIONS)

    score_revisions.main(score_revisions.Params(seed=0, oracle="."))

    found = metrics("score_revisions")
    assert [step["value"] for step in found["steps"]] == [-2, -2, 2]
    assert ([gain["value"] for gain in found["gains"]], found["gain"]["value"]) == ([0, 4], 4)
    assert found["first_over_second"]["value"] == -4
    assert [gain["harmless"]["value"] for gain in found["gains"]] == [0, 4]
    score_revisions.main(score_revisions.Params(seed=0, oracle=None))
    assert metrics("score_revisions") == {}


# -- distillation


def distill(table: str) -> None:
    params = distill_context.Params(sources={"distilled": distill_context.Source(table=table)}, max_demonstrations=100)
    distill_context.main(params, "distilled")


def test_chosen_answers_become_demonstrations_without_the_phrase(stopping: None) -> None:
    simulate(attempts=40)
    distill("comparisons/rlcd")

    pairs = {row["query_id"]: [*row["prompt"], *row["chosen"]] for row in tables.rows("comparisons/rlcd")}
    assert {row["query_id"]: row["messages"] for row in tables.rows("demonstrations/distilled")} == pairs
    assert {row["taught"] for row in tables.rows("demonstrations/distilled")} == {1}  # of earlier turns, none


def test_a_chosen_answer_that_was_cut_off_is_no_demonstration(stopping: None) -> None:
    simulate(attempts=40)
    [first, *others] = tables.rows("comparisons/rlcd")
    names = comparisons.SCHEMA.names
    rows = [first | {"chosen_finish_reason": "length"}, *(row | {"chosen_finish_reason": "stop"} for row in others)]
    rows = [{name: row[name] for name in names} for row in rows]
    tables.write(rows, "comparisons/some", key="comparison_id", schema=comparisons.SCHEMA)

    distill("comparisons/some")

    found = tables.rows("demonstrations/distilled")
    assert {row["query_id"] for row in found} == {row["query_id"] for row in others}
    assert {row["finish_reason"] for row in found} == {"stop"}
    assert metrics("distill_context/distilled")["rejected"] == {"missing_stop": 1}


def test_whole_responses_to_training_queries_become_demonstrations_without_their_shots() -> None:
    texts = {query_row["query_id"]: query_row for query_row in tables.rows("queries")}
    rows = [
        {
            "response_id": query, "query_id": query, "config": "a", "model": "m", "demonstrations": "d", "shots": 3,
            "sample_index": 0, "text": f"{place} times.", "tokens": 3,
            "finish_reason": "length" if place == 1 else "stop",
        }
        for place, query in enumerate(sorted(texts))
    ]  # fmt: skip
    tables.write(rows, "responses/a", key="response_id", schema=sample_responses.RESPONSES)

    distill("responses/a")

    train = {query for query, row in texts.items() if row["split"] == "train"}
    whole = {
        row["query_id"]: row["text"] for row in rows if row["finish_reason"] == "stop" and row["query_id"] in train
    }
    shown = {row["query_id"]: row["messages"][1]["content"] for row in tables.rows("demonstrations/distilled")}
    assert shown == whole
    with pytest.raises(UserError, match=r"table = 'queries'; allowed: comparisons/… and responses/…"):
        distill("queries")


# -- measures


def test_a_difference_names_tables_that_are_measured() -> None:
    with pytest.raises(
        UserError, match=r"score_pairs.gap_differences.x = \['a', 'c'\]; allowed: two or four of a, b, "
    ):
        score_pairs.differences_of("gap_differences", {"x": ["a", "c"]}, {"a": [], "b": []}, list, 0)
