"""The report: what it says, that model output stays text in a real browser, and that it follows the whole graph."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from stages import report, sample_answers
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.judging import verdicts
from synthalign.policies import answering
from synthalign.reporting import claims, recorded, run_record
from synthalign.reporting.report import almost, answered, charts, curves, dpo, page, sections
from synthalign.reporting.report.parts import Figure, Section, Table
from synthalign.reporting.report.run import Answer, Question, Run

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]

EVIL = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '" onmouseover="alert(1)" x="',
    "'-alert(1)-'{{ 7 * 7 }}{% raw %}",
    "]]></svg><svg onload=alert(1)>",
    "<style>*{background:url(http://localhost:9/x)}</style><link rel=stylesheet href=http://localhost:9/y>",
    "$\\frac{1}{2$ `code` &lt;b&gt; \u2028\u202e\x0b javascript:alert(1)",
]


def figure(value: float, n: int = 40) -> dict:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": n}


def judged(win_rate: float, **more: object) -> dict:
    lengths = {"characters_a": 93.6, "characters_b": 90.2, "tokens_a": 23.0, "tokens_b": 22.0}
    shares = {"win": 0.5, "tie": 0.2, "loss": 0.3, "longer_wins": 0.7, "unjudged": 0}
    return {"win_rate": figure(win_rate), "similar_length": figure(0.5, 12), **lengths, **shares, **more}


def metrics(name: str = "ppo") -> dict:
    """Metrics of every stage that the report reads, with `name` wherever a name comes from settings or models."""
    curve = [{"step": step, "kl": 0.1 * step, "reward": 1.0, "tokens": 9.0, **figure(2.0)} for step in (0, 1)]
    policy = {**figure(1.8), "helpful": 1.0, "harmless": 0.5, "honest": 0.3, "characters": 80.0, "cut_off": 0.0}
    policy["parts"] = {trait: figure(0.5) for trait in almost.TRAITS}
    label = {"agreement": figure(0.8), "coverage": 0.5, "chosen_longer": 0.7, "pairs": 100}
    label["over_previous"] = figure(0.1)
    accuracy = {"accuracy": figure(0.75), "better_is_longer": figure(0.9), "better_is_shorter": None}
    best = {"characters": 80.0, "reward": 1.0, "longest": 2.0, "oracle_pick": 2.5, **figure(2.2)}
    return {
        "mine_queries": {"accepted": 60, "seeds": 8, "rejected": {name: 30, "near_duplicate": 10}},
        "build_comparisons": {"responses": 100, "rejected": {name: 20}},
        "validate_comparisons": {"ranked": 100, "kept": 50, "dropped": {name: 40, "asis_disagrees": 10}},
        f"train_reward/{name}": {"pairs": 9, "held_out_accuracy": figure(0.9), "held_out_loss": 0.2},
        f"simulate_demonstrations/{name}": {"queries": 9, "reward_of_best_of": {"1": 0.5, "2": 1.0}},
        f"train_sft/{name}": {"demonstrations": 9, "steps": 2, "first_loss": 1.0, "last_loss": 0.5},
        "train_dpo": {"pairs": 9, "steps": 2, "first_loss": 0.7, "last_loss": 0.5},
        "train_ppo/almost": {"questions": 9, "before": {"reward": 1.0, "kl": 0.0}, "after": {"reward": 1.5, "kl": 0.8}},
        "judge_answers": {
            "ppo_vs_sft_rmsp": {"oracle": judged(0.6), name: judged(0.5, length_controlled=figure(0.4))},
            f"{name}_vs_base": {"oracle": judged(0.9, position_bias={"consistent": 0.8, name: name})},
            "ratings": {"oracle": {"base": figure(880.0), name: figure(1120.0)}, name: {"base": figure(1000.0)}},
        },
        "score_comparisons": {
            "configurations": {"a": {**figure(2.0), "characters": 70.0}, name: {**figure(1.0), "characters": 60.0}},
            "differences": {"size": figure(0.6), "small_faithful_vs_large": figure(-0.6)},
            "labels": {"no_filter": {**label, "coverage": 1.0}, name: label},
        },
        "score_rewards": {
            "pairs": 1000,
            "rewards": {
                "longer": {"accuracy": figure(0.6)},
                "almost": {**accuracy, "minus_longer": figure(0.1), "ratio_to_upper_bound": figure(0.96)},
                name: accuracy,
            },
        },
        "score_candidates": {
            "candidates": 2,
            "curve": [{"candidates": n, **best} for n in (1, 2)],
            "gain": figure(0.4),
            "minus_longest": figure(0.01),
        },
        "score_policies": {
            "policies": {name: policy, "base": policy},
            "differences": {"ppo_sft": {trait: figure(-0.2) for trait in almost.TRAITS}},
            "ppo_curve": curve,
            "over_optimisation": {
                "peak_step": 0, "peak_oracle": 2.0, "last_step": 1, "reward_after_peak": 0.1, "oracle_after_peak": 0.0,
            },
        },
        f"score_benchmarks/{name}": {
            "heldout_text": {"loss_per_token": figure(0.7)},
            "hhh": {name: figure(0.6)},
        },
    }  # fmt: skip


def points(name: str = "almost") -> dict:
    steps = [{"step": step, "loss": 1 / step, "accuracy": 0.5, "mean_token_accuracy": 0.8} for step in (1, 2, 3)]
    rl = [{"step": step, "reward": 1.0, "kl": 0.1, "entropy": 0.2, "tokens": 20.0} for step in (1, 2, 3)]
    return {f"train_reward/{name}": steps, f"train_sft/{name}": steps, "train_dpo/dpo": steps, "train_ppo/almost": rl}


def settings(name: str = "ppo") -> dict:
    return {
        "base_models": {"medium": {"source": name, "revision": name}},
        "sample_responses": {"configurations": {name: {"model": name, "demonstrations": name, "shots": 3}}},
        "build_comparisons": {"ranking": [name]},
        "train_sft": {"model": "models/base/medium", "learning_rate": 1e-3, "epochs": 3},
        "sample_answers": {"policies": {name: {"model": name, "demonstrations": name, "shots": 0}}},
    }


def claim(**more: object) -> dict:
    one = {"id": "ppo_vs_sft", "claim": "PPO beats SFT", "source": "Figure 3; metrics/x.json", "holds": True}
    part = {"of": "", **figure(0.61), "must": "above", "bound": 0.5, "p": 0.001, "holds": True, "why": None}
    decided = {"why": None, "p": 0.001, "margin": None, "also": None, "p_holm": 0.06, "holds_holm": False}
    return {**one, **figure(0.61), "seeds": 3, **decided, "parts": [part], **more}


SNAPSHOTS = [
    {"step": step, "question_id": f"q{question}", "reward": 1.0 + question + step, "kl": 0.5 * step, "tokens": 20}
    for step in (0, 1)
    for question in (0, 1)
]


def a_run(name: str = "ppo", **more: object) -> Run:
    asked = [
        Question(f"q{place}", f"Question {place} about {name}?", {
            name: [Answer(f"Answer {place} of {name}", 9, "eos", {"oracle": float(place), name: 0.5})],
            "base": [Answer("a plain answer", 4, "length", {"oracle": 0.0})],
        })
        for place in range(30)
    ]  # fmt: skip
    given = {"claims": [claim(claim=name, source=name)], "questions": asked, "questions_in_all": 485} | more
    return Run(settings(name), metrics(name), points(name), snapshots=SNAPSHOTS, **given)


def text_of(run: Run) -> str:
    return page.render(sections.sections(run), run)


def blocks(part: Section) -> list:
    return [*part.blocks, *(block for inner in part.within for block in blocks(inner))]


def table(part: Section, caption: str) -> list[dict[str, str]]:
    """The rows of the table whose caption begins so, as {column: text}; a repeated column keeps its first cell."""
    [found] = [block for block in blocks(part) if isinstance(block, Table) and block.caption.startswith(caption)]
    return [
        dict(reversed([(name, cell.text) for name, cell in zip(found.columns, row, strict=True)])) for row in found.rows
    ]


# -- what it says -----------------------------------------------------------------------------------------------------


def test_an_effect_is_as_in_the_paper_against_it_or_not_shown_by_its_interval():
    def verdict(low, high, **more):
        return almost.direction(almost.Effect("", "", None, **more), Interval((low + high) / 2, low, high, 9)).text

    assert verdict(0.01, 0.2) == "as in the paper"
    assert verdict(-0.01, 0.2) == "not shown"
    assert verdict(-0.2, -0.01) == "against the paper"
    assert verdict(-0.2, -0.01, falls=True) == "as in the paper"
    assert verdict(0.45, 0.49, none_at=0.5) == "against the paper"
    assert almost.direction(almost.Effect("", "", None), None).text == "not measured"


def test_several_seeds_decide_about_an_effect_where_one_seed_would_say_otherwise():
    effect = almost.Effect("PPO", "wins", Interval(0.6, 0.55, 0.65, 40), none_at=0.5, claim="ppo_vs_sft")

    [alone] = almost.effects("", [effect], []).rows
    [together] = almost.effects("", [effect], [claim(holds=False, value=0.51, low=0.43, high=0.59)]).rows

    assert alone[-1].text == "as in the paper"
    assert together[-1].text == "not shown"
    assert [cell.text for cell in together[5:8]] == ["0.510", "0.430 to 0.590", "3"]


def test_the_papers_tables_stand_beside_ours():
    run = a_run()

    rows = table(almost.table_2(run), "Table 2, effects")

    beats = {row["effect"]: row["direction"] for row in rows}
    assert beats["The small model, 3 Faithful shots, over the large one, 5 HHH shots"] == "against the paper"
    assert beats["Size alone: the large model over the small one, 3 HHH shots"] == "as in the paper"
    assert beats["The whole ranking: A over E"] == "not measured"
    falls = {row["effect"]: row["direction"] for row in table(almost.table_1(run), "Table 1, effects")}
    assert falls["PPO minus SFT: honest"] == "as in the paper"  # the paper: it falls; -0.2 here
    assert falls["PPO minus SFT: helpful"] == "against the paper"
    [first, *_] = table(almost.figure_3(run), "Figure 3, effects")
    assert first["the paper"].startswith(f"{0.375 + 0.363 / 2:.4f}"[:5])  # ties half
    assert first["direction"] == "as in the paper"


def test_every_reason_of_the_funnel_has_its_count_and_share():
    rows = table(sections.filters(a_run("too_short")), "Filter funnel")

    found = {(row["step"], row["outcome"]): (row["count"], row["share"]) for row in rows}
    assert found["Queries written by the model", "accepted"] == ("60", f"{60 / (60 + 30 + 10):.1%}")
    assert found["Responses of the configurations", "usable"] == ("80", f"{(100 - 20) / 100:.1%}")
    assert found["Pairs by the rule of thumb", "asis_disagrees"] == ("10", f"{10 / 100:.1%}")


def test_lengths_stand_beside_every_win_rate_and_new_measures_are_shown():
    part = sections.wins(a_run())

    rows = table(part, "Win rates")
    assert {(row["policies"], row["judge"]) for row in rows} == {
        ("ppo–base", "oracle"), ("ppo–sft_rmsp", "oracle"), ("ppo–sft_rmsp", "ppo"),
    }  # fmt: skip
    assert all(
        (row["characters"], row["longer wins"], row["similar length"]) == ("94 / 90", "0.700", "0.500") for row in rows
    )
    others = {(row["policies"], row["measure"]): row["figure"] for row in table(part, "What else")}
    assert others["ppo–sft_rmsp", "length controlled"] == "0.400"
    assert others["ppo–base", "position bias: consistent"] == "0.800"


def test_the_frontier_has_the_mean_of_every_snapshot():
    [first, second] = table(curves.frontier(a_run()), "PPO's snapshots")

    assert (first["KL, nats"], first["reward"], first["n"]) == ("0.000", f"{(1 + 2) / 2:.3f}", "2")
    assert (second["KL, nats"], second["reward"]) == ("0.500", f"{(2 + 3) / 2:.3f}")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["oracle", "kl"], "each with its whole interval: that is over-optimisation."),
        (["kl"], "Over-optimisation is not shown here"),
        (None, "Over-optimisation is not shown here"),
    ],
)
def test_a_peak_without_an_interval_is_no_over_optimisation(flags, said):
    run = a_run()
    measured = {**run.metrics, "score_snapshots": {"trainers": {"ppo": {"flags": flags}}}} if flags else run.metrics

    first = curves.frontier(dataclasses.replace(run, metrics=measured)).blocks[0]

    assert "highest at step 0" in first and said in first


def of_seeds(*values: float) -> list[dict]:
    return [figure(value) for value in values]


def dpo_frontier() -> dict:
    """Two seeds: two KL points, one policy of each method beside the start, two temperatures, the best of 1 and 2."""
    ends = [{"kl": kl, "reward": of_seeds(kl, kl + 0.2), "oracle": of_seeds(kl, kl)} for kl in (0.0, 1.0)]
    at_equal = {"kl_of_dpo": of_seeds(0.4, 0.6), "kl_of_ppo": of_seeds(0.5, 0.5), "oracle": of_seeds(0.0, 0.0)}
    start, end = ({"price": 0.1, "own": True, "step": step, "kl": of_seeds(step, step)} for step in (0, 1))
    point = {"reward": of_seeds(1.0, 1.0), "oracle": of_seeds(1.5, 1.5)}
    rates = [{"temperature": heat, "win_rate": of_seeds(0.6, 0.7)} for heat in (0.0, 1.0)]
    duel = {"win_rate": figure(0.52), "length_controlled": figure(0.48)}
    return {
        "comparisons": {"pairs": 9},
        "seeds": 2,
        "settings": {"betas": [0.1, 0.5], "kl_coefficients": [0.05], "policy": "models/sft/x", "reward": "models/r",
                     "beta": 0.1, "kl_coefficient": 0.05},
        "frontier": {
            "shared": [{"kl": 0.5, "reward": of_seeds(0.1, 0.2), **at_equal}],
            "curves": {"dpo": ends, "ppo": ends},
            "points": {method: [start | point, end | point] for method in ("dpo", "ppo")},
        },
        "win_rates": {
            "temperatures": {"dpo": rates, "ppo": rates, "sft": [rate | {"win_rate": of_seeds(0.5)} for rate in rates]},
            "drop": {name: of_seeds(0.1, 0.1) for name in ("dpo", "ppo", "sft", "ppo_minus_dpo")},
            "best_of": [{"temperature": heat, "n": n, "win_rate": of_seeds(heat * n / 4)}
                        for heat in (0.5, 1.0) for n in (1, 2)],
            "dpo_vs_best": [duel, duel],
            "dpo_vs_chosen": [duel, duel | {"length_controlled": None}],
        },
    }  # fmt: skip


def test_dpo_stands_beside_ppo_at_equal_kl_and_at_every_temperature():
    run = Run({}, {"dpo_frontier": dpo_frontier(), "sample_preferences": {"pairs": 9}})

    [part] = dpo.sections(run)

    [row] = table(part, "DPO minus PPO at equal KL")
    assert (row["KL, nats"], row["reward"], row["KL of DPO"], row["n"]) == (
        "0.500",
        f"{(0.1 + 0.2) / 2:.3f}",
        "0.500",
        "40",
    )
    rates = table(part, "Win rates against SFT")
    assert [(row["temperature"], row["DPO"], row["SFT"]) for row in rates] == [
        ("0.00", "0.650", "0.500"), ("1.00", "0.650", "0.500"),
    ]  # fmt: skip
    claimed = {row["figure"]: row["value"] for row in table(part, "What the claims are about")}
    assert claimed["DPO over the best of 2, at equal lengths"] == "0.480"
    assert claimed["DPO over the chosen, at equal lengths"] == "–"  # one seed has none: all of one length
    assert [(row["N"], row["win rate"]) for row in table(part, "The best of N")] == [("1", "0.250"), ("2", "0.500")]
    assert [row["best of 2"] for row in rates] == ["–", "0.500"]  # at 0 all candidates are one
    drawn = [chart for block in blocks(part) if isinstance(block, Figure) for chart in block.charts]
    assert len(drawn) == 4


def test_figures_of_dpo_that_were_measured_on_other_comparisons_are_not_shown_as_this_runs():
    of_another = Run({}, {"dpo_frontier": dpo_frontier(), "sample_preferences": {"pairs": 10}})

    [part] = dpo.sections(of_another)

    assert [block.split(" than ")[0] for block in blocks(part)] == [
        "What is recorded was measured on other comparisons"
    ]
    assert dpo.sections(a_run()) == []


def test_the_methods_table_takes_intervals_numbers_and_words():
    found = {
        "rrhf": {"reward": figure(1.5), "seconds": 12, "note": "no KL"},
        "grpo": {"reward": figure(1.7), "oracle": 1.25},
    }

    rows = table(sections.methods(found, "recorded over 3 seeds"), "All methods")

    assert [row["method"] for row in rows] == ["rrhf", "grpo"]
    assert [row["reward"] for row in rows] == ["1.500", "1.700"]
    assert [row["95% interval"] for row in rows] == ["1.450 to 1.550", "1.650 to 1.750"]
    assert [(row["seconds"], row["note"], row["oracle"]) for row in rows] == [("12", "no KL", "–"), ("–", "–", "1.250")]
    assert [row["n"] for row in rows] == ["40", "40"]
    assert "methods" in [part.anchor for part in sections.sections(Run({}, {}, methods=found))]
    assert "methods" not in [part.anchor for part in sections.sections(Run({}, {}))]


def test_policies_are_rated_by_each_judge_the_best_first():
    [part] = [part for part in sections.sections(a_run()) if part.anchor == "wins"]
    [table] = [block for block in part.blocks if isinstance(block, Table) and "Elo" in block.caption]

    assert [[cell.text for cell in row] for row in table.rows] == [
        ["oracle", "ppo", "1,120", "1120 to 1120", "40"],
        ["oracle", "base", "880", "880 to 880", "40"],
        ["ppo", "base", "1,000", "1000 to 1000", "40"],
    ]
    assert "policies compared here: ppo, sft_rmsp, base." in sections.aligned(a_run())


@pytest.mark.parametrize("without", ["nothing at all", "no oracle"])
def test_every_section_says_in_words_what_was_not_measured(without):
    empty = {name: {} for name in metrics()} if without == "no oracle" else {}
    if without == "no oracle":  # as the stages of a profile of real models write them
        empty |= {name: metrics()[name] for name in ("mine_queries", "build_comparisons", "validate_comparisons")}
        empty["judge_answers"] = {"ppo_vs_base": {"reward": judged(0.7)}}
        empty["simulate_demonstrations/rmsp"] = {"queries": 9, "reward_of_best_of": {"1": 0.5, "2": 1.0}}
    run = Run({}, empty, snapshots=SNAPSHOTS if without == "no oracle" else [])

    parts = sections.sections(run)

    said = {part.anchor: [block for block in blocks(part) if isinstance(block, str)] for part in parts}
    assert all(said.values()), said
    assert "no claim is tested" in said["claims"][0]
    assert sum("has no oracle" in text for text in said["almost"]) >= 4
    assert "<h2" in page.render(parts, run)


def test_what_peoples_data_say_has_a_section_of_its_own_and_their_model_judges_figure_3():
    scorer = {"accuracy": figure(0.62), "minus_longer": figure(0.12)}
    files = {"pairs": 9, "scorers": {"almost": scorer, "longer": {"accuracy": figure(0.51)}}}
    label = {"agreement": figure(0.7), "over_first": figure(0.01), "coverage": 0.5, "pairs": 7}
    measured = {
        "score_rewards": {
            "human_pairs": files,
            "votes": files | {"alpha": {"people": figure(0.8), "almost": figure(0.4)}},
        },
        "score_comparisons": {
            "people": {"configurations": {"a": figure(1.0) | {"characters": 90.0}}, "labels": {"no_filter": label}},
            "accidents": {"a": {"cut_off": figure(0.25), "any": figure(0.375)}},
        },
        "score_policies": {"people": {"policies": {"ppo": figure(0.3) | {"characters": 80.0}}}},
        "judge_answers": {"ppo_vs_sft_rmsp": {"people": judged(0.7), "reward": judged(0.9)}},
    }
    run = Run({}, {name: {} for name in metrics()} | measured, snapshots=[])

    [found] = [part for part in sections.sections(run) if part.anchor == "people"]
    said = page.render(sections.sections(run), run)

    tables = [block for block in found.blocks if not isinstance(block, str)]
    assert [len(table.rows) for table in tables] == [2, 2, 1, 1, 1, 1]
    assert "37.5%" in said and "alpha with people" in said
    assert "reward model trained on people&#39;s pairs, as this profile has no oracle" in said
    assert "people" not in [part.anchor for part in sections.sections(a_run())]


def test_equal_inputs_are_equal_bytes_and_no_date_is_in_them():
    text = text_of(a_run())

    assert text == text_of(a_run())
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d", text)
    assert charts.bars([("a", 1.0)], title="x") == charts.bars([("a", 1.0)], title="x")


def test_a_name_with_dollars_or_markup_is_drawn_as_it_is():
    svg = charts.dots([("$\\frac{$ <b> #0072b2", {0: Interval(1.0, 0.5, 1.5, 9)})], title="x", x="y")

    assert "$\\frac{$ &lt;b&gt; #0072b2" in svg
    assert "var(--blue)" in svg


def test_no_id_is_twice_on_the_page_and_every_reference_has_its_id():
    text = text_of(a_run())

    ids = re.findall(r'\bid="([^"]+)"', text)
    references = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert len(ids) == len(set(ids)) > 100
    assert set(references) <= set(ids) and len(references) > 100


# -- the stage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project folder in which everything that the report reads is there, with two questions."""
    monkeypatch.chdir(tmp_path)
    given = metrics() | {"claims": [claim()]} | {f"plots/{name}": curve for name, curve in points().items()}
    deps = ["params.yaml", "stages/report.py", "data/queries.parquet", "data/judgements.parquet"]
    deps += ["data/ppo_curve/almost.parquet", "data/answers/base.parquet", "data/answers/ppo.parquet"]
    for name, values in given.items():
        file = Path(f"metrics/{name}.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
        deps.append(str(file))
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"report": {"deps": deps}}}))
    Path("params.yaml").write_text(yaml.safe_dump(settings()))
    schema = pa.schema([("query_id", pa.string()), ("text", pa.string()), ("split", pa.string())])
    asked = [{"query_id": f"q{n}", "text": f"Where is {n}?", "split": "eval"} for n in range(4)]
    asked.append({"query_id": "t0", "text": "a training query", "split": "train"})
    tables.write(asked, "queries", key="query_id", schema=schema)
    for policy in ("base", "ppo"):
        rows = [
            {"question_id": f"q{n}", "policy": policy, "sample_index": 0, "text": f"{policy} says {n}", "tokens": 5,
             "finish_reason": "eos"}
            for n in range(4)
        ]  # fmt: skip
        tables.write(rows, f"answers/{policy}", key=("question_id", "sample_index"), schema=sample_answers.ANSWERS)
    a, b = verdicts.Answer("q0", 0, "ppo says 0", 5), verdicts.Answer("q0", 0, "base says 0", 5)
    duels = verdicts.duels({"ppo": [a], "base": [b]}, [("ppo", "base")], {"q0": "Where is 0?"})
    worth = {"ppo says 0": 2.25, "base says 0": 1.0}
    rows = verdicts.judgements(duels, "oracle", verdicts.by_score(lambda given: [worth[text] for _, text in given]))
    tables.write(rows, "judgements", key=verdicts.KEY, schema=verdicts.SCHEMA)
    snapshots = [{**row, "text": "a snapshot's words", "finish_reason": "eos"} for row in SNAPSHOTS]
    tables.write(snapshots, "ppo_curve/almost", key=("step", "question_id"), schema=answering.CURVE)
    return tmp_path


def data_of(text: str) -> dict:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def test_the_stage_writes_one_page_of_what_it_declares(here):
    report.main(report.Params(answer_megabytes=1.0))

    text = Path("report/index.html").read_text()
    data = data_of(text)
    assert data["policies"] == ["base", "ppo"]
    assert sorted(question["text"] for question in data["questions"]) == [f"Where is {n}?" for n in range(4)]
    [asked] = [question for question in data["questions"] if question["id"] == "q0"]
    assert asked["answers"] == [[["base says 0", 5, "eos", 1.0]], [["ppo says 0", 5, "eos", 2.25]]]
    assert "metrics/score_policies.json" in text
    assert "a training query" not in text
    assert not re.search(r"""(?:src|href)=["'](?!#|data:,)""", text), "something that a browser would fetch"


def record(moved: float = 0.0) -> None:
    """All that the run of the fixture measured is recorded over 3 seeds, DITTO too, and one policy was compared.

    moved  how far the recorded first seed lies from this run
    """
    measured = [one for one in claims.claims([run_record.metrics_in(Path("metrics"))]) if one["value"] is not None]
    known = [one | {"claim": f"Recorded of {one['id']}", "seeds": 3, "holds": True} for one in measured]
    known.append(claim(id="ditto_vs_sft", claim="Recorded of DITTO", source="Table 1; metrics/ditto.json"))
    figures = {one["id"]: recorded.figure(one | {"value": one["value"] + moved}) for one in measured}
    of = {"lock": "0a1b2c3d", "settings": "e4f5a6b7", "seeds": 3, "figures": figures}
    graph = yaml.safe_load(Path("dvc.yaml").read_text())
    for name, values in {"claims": known, "recorded": of, "methods": {"grpo": {"oracle": 1.25}}}.items():
        file = f"metrics/{name}.json"
        Path(file).write_text(json.dumps(values))
        graph["stages"]["report"]["deps"] += [file] if file not in graph["stages"]["report"]["deps"] else []
    Path("dvc.yaml").write_text(yaml.safe_dump(graph))


def test_figures_over_seeds_are_shown_on_the_page_of_the_run_that_they_are_of(here):
    record()

    report.main(report.Params(answer_megabytes=1.0))

    text = Path("report/index.html").read_text()
    assert "Recorded of ppo_vs_sft" in text and "Recorded of DITTO" in text and "grpo" in text
    assert "recorded over 3 seeds (outputs 0a1b2c3d, settings e4f5a6b7)" in text
    assert "claims measured here, recorded over 3 seeds (outputs 0a1b2c3d, settings e4f5a6b7), " in text


def test_figures_of_another_run_are_not_shown_as_this_ones(here):
    record(moved=0.01)

    report.main(report.Params(answer_megabytes=1.0))

    text = Path("report/index.html").read_text()
    assert "Recorded of" not in text and "over 3 seeds" not in text and "grpo" not in text
    assert "has recorded no figures over several seeds for what this run measured" in text


def test_running_the_stage_twice_gives_the_same_bytes(here):
    report.main(report.Params(answer_megabytes=1.0))
    first = Path("report/index.html").read_bytes()
    report.main(report.Params(answer_megabytes=1.0))

    assert Path("report/index.html").read_bytes() == first


def test_the_hash_of_an_input_is_that_of_dvc_lock(monkeypatch):
    monkeypatch.chdir(ROOT)
    deps = yaml.safe_load(Path("dvc.lock").read_text())["stages"]["judge_answers"]["deps"]
    [locked] = [dep for dep in deps if dep["path"] == "data/embedded/world.json"]

    assert report.hashed(Path(locked["path"])) == (locked["path"], locked["md5"], locked["size"])


def test_a_page_with_little_room_holds_the_first_questions_by_hash_and_says_so(here):
    report.main(report.Params(answer_megabytes=1.0))
    whole = [question["id"] for question in data_of(Path("report/index.html").read_text())["questions"]]
    one_question = len("Where is 0?" + "base says 0" + "ppo says 0")

    report.main(report.Params(answer_megabytes=2 * one_question / 1e6))

    text = Path("report/index.html").read_text()
    assert [question["id"] for question in data_of(text)["questions"]] == whole[:2]
    assert "2 of 4 evaluation questions" in text


def test_a_judge_that_scores_a_pair_and_not_an_answer_has_no_score_beside_it():
    def row(b, judge, score):
        pair = {"policy_a": "ppo", "policy_b": b, "judge": judge, "score_a": score, "score_b": None}
        return {"question_id": "q", "sample_index": 0, **pair}

    rows = [row("base", "llm", 7.0), row("sft", "llm", 9.0), row("base", "oracle", 2.0), row("sft", "oracle", 2.0)]

    assert answered.scores_of(rows) == {("ppo", "q", 0): {"oracle": 2.0}}


def test_a_missing_or_broken_input_is_named(here):
    Path("metrics/train_dpo.json").write_text("{")
    with pytest.raises(UserError, match=r"metrics/train_dpo.json: not JSON.*run its stage again"):
        report.main(report.Params(answer_megabytes=1.0))
    Path("metrics/train_dpo.json").unlink()
    with pytest.raises(UserError, match=r"metrics/train_dpo.json does not exist; `dvc repro report`"):
        report.main(report.Params(answer_megabytes=1.0))


# -- the graph --------------------------------------------------------------------------------------------------------


OTHER_METHODS = {
    *("compare_methods", "score_ditto", "score_pairs", "score_revisions", "score_scorers", "score_snapshots"),
    "score_tasks",
}
"""What is measured of the other methods: `make methods` runs it, the report is ALMoST's."""


def test_all_of_almost_and_nothing_else_comes_before_the_report():
    import networkx
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        graph = repo.index.graph  # DVC's edges go from a stage to what it needs
        by_name = {stage.addressing: stage for stage in graph}

        def before(*names):
            needed = set().union(*(networkx.descendants(graph, by_name[name]) for name in names))
            return {stage.addressing for stage in needed} | set(names)

        almost, others = before("report"), before(*OTHER_METHODS)
    left = {name for name in by_name if name not in almost | others and not name.startswith("score_benchmarks@")}
    assert left == set(), "add what these stages write to the deps of report in dvc.yaml"
    assert {name.split("@")[0] for name in almost} & {*OTHER_METHODS, "contrast_pairs", "train_rrhf"} == set()


def test_the_pages_own_files_are_deps_of_the_stage():
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["report"]["deps"]

    assert "synthalign/reporting/report" in deps
    assert len([*(ROOT / "synthalign/reporting/report").glob("page.*")]) == 4


def test_dvc_shows_metrics_and_plots(tmp_path):
    def dvc(*words):
        return subprocess.run(["dvc", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert "metrics/score_policies.json" in dvc("metrics", "show", "--md")
    dvc("metrics", "diff", "--md")
    shown = dvc("plots", "show", "--out", str(tmp_path / "plots"))

    drawn = (tmp_path / "plots/index.html").read_text()
    assert shown.strip().endswith("index.html")
    for title in ("PPO", "Reward models", "SFT", "Best of N"):
        assert title in drawn, title


# -- the browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a run's page from disk; afterwards there must have been no dialog, no console error and no request."""
    noise: list[str] = []
    pages = []

    def open_it(run: Run, **options):
        file = tmp_path / "index.html"
        file.write_text(text_of(run))
        tab = chromium.new_page(**options)
        pages.append(tab)
        tab.on("dialog", lambda dialog: (noise.append(f"dialog {dialog.message}"), dialog.dismiss()))
        tab.on("console", lambda line: noise.append(f"console {line.text}") if line.type != "log" else None)
        tab.on("pageerror", lambda error: noise.append(f"error {error}"))
        tab.on("request", lambda one: None if one.url == file.as_uri() else noise.append(f"request {one.url[:80]}"))
        tab.goto(file.as_uri())
        return tab

    yield open_it
    for tab in pages:
        tab.close()
    assert noise == []


@pytest.mark.parametrize("words", [*EVIL[:2], " ".join(EVIL)], ids=["img", "script", "all"])
def test_markup_in_any_field_is_shown_as_text(opened, words):
    asked = [Question(f"q{n}", f"Question {n}: {evil}", {words: [Answer(f"Answer {n}: {evil}", 9, evil, {words: 1.0})]})
             for n, evil in enumerate(EVIL)]  # fmt: skip
    tab = opened(a_run(words, claims=[claim(claim=words, source=words)], questions=asked))

    tab.mouse.move(300, 300)
    tab.fill("#search", "answer")
    tab.wait_for_timeout(100)

    assert tab.locator("main img, main script, main link, main style, main [onerror], main [onmouseover]").count() == 0
    texts = "nodes => nodes.map(node => node.textContent)"
    assert tab.locator("#cards blockquote").evaluate_all(texts) == [
        f"Answer {n}: {evil}" for n, evil in enumerate(EVIL)
    ]
    assert tab.locator("#cards h3").evaluate_all(texts) == [f"Question {n}: {evil}" for n, evil in enumerate(EVIL)]
    assert set(tab.locator("#cards h4").evaluate_all(texts)) == {words}
    assert tab.locator("#claims ~ .scroll td").first.evaluate("node => node.textContent") == words
    shown = tab.locator("pre").first.evaluate("node => node.textContent")
    assert yaml.safe_load(shown) == settings(words)


def test_markup_that_slips_through_can_neither_run_nor_fetch(chromium, tmp_path):
    """The second wall: the page's policy, with the escaping taken out of the way."""
    text = text_of(a_run()).replace("</main>", f"{''.join(EVIL)}<img src=http://localhost:9/z></main>")
    (tmp_path / "index.html").write_text(text)
    tab = chromium.new_page()
    dialogs, requests = [], []
    tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    tab.on("requestfinished", lambda one: requests.append(one.url))
    tab.goto((tmp_path / "index.html").as_uri())
    tab.wait_for_timeout(200)
    tab.close()

    assert dialogs == []
    assert [url for url in requests if not url.startswith("file:")] == []


def test_a_click_on_a_heading_sorts_by_number_and_a_second_one_turns_it_around(opened):
    tab = opened(a_run("too_short"))
    funnel = tab.locator("table", has_text="Filter funnel")
    heading = funnel.locator("th", has_text="count")

    def counts():
        return [int(cell.replace(",", "")) for cell in funnel.locator("tbody tr td:nth-child(3)").all_inner_texts()]

    before = counts()
    heading.locator("button").click()
    assert counts() == sorted(before) != before
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert counts() == sorted(before, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    assert funnel.locator("th", has_text="share").get_attribute("aria-sort") == "none"


def test_search_finds_an_answer_and_policies_can_be_left_out(opened):
    tab = opened(a_run())

    assert tab.locator("#cards article").count() == 12
    tab.click("#more")
    assert tab.locator("#cards article").count() == 24
    tab.fill("#search", "ANSWER 17")
    assert tab.locator("#cards article").count() == 1
    assert tab.locator("#found").inner_text() == "1 of 30 questions have these words"
    assert tab.locator("#cards mark").all_inner_texts() == ["17", "Answer", "17", "answer"]  # question, ppo, base
    assert tab.locator("#cards h4").all_inner_texts() == ["ppo", "base"]
    tab.fill("#search", "17 of")
    assert tab.locator("#cards article").count() == 1
    tab.uncheck("label:has-text('ppo') input")
    assert tab.locator("#cards article").count() == 0  # only ppo said "of"
    tab.fill("#search", "plain")
    assert tab.locator("#cards h4").first.inner_text() == "base"
    assert tab.locator("#cards small").first.inner_text() == "4 tokens · cut off · oracle 0.00"
    tab.check("label:has-text('ppo') input")
    tab.select_option("#order", label="widest gap in oracle")
    assert tab.locator("#cards h3").first.inner_text().startswith("Question 29 ")


def test_dark_and_light_follow_the_system_and_the_button(opened):
    tab = opened(a_run(), color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"

    dark = tab.evaluate(paper)
    assert tab.locator("#theme").inner_text() == "Light"
    tab.click("#theme")
    light = tab.evaluate(paper)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 24, 27)")
    ink = tab.locator(".charts svg text").first.evaluate("node => getComputedStyle(node).fill")
    assert ink == tab.evaluate("getComputedStyle(document.body).color")
    tab.reload()
    assert tab.evaluate(paper) == light  # the choice is kept


def test_the_page_fits_a_telephone_and_every_link_of_the_contents_has_its_heading(opened):
    tab = opened(a_run(), viewport={"width": 420, "height": 900})

    assert tab.evaluate("document.documentElement.scrollWidth") <= 420
    links = tab.locator("nav a").evaluate_all("links => links.map(link => link.getAttribute('href').slice(1))")
    assert len(links) > 15 and len(set(links)) == len(links)
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)
