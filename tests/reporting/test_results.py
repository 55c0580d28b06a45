import copy
import hashlib
import json
import shutil

import pytest

from synthalign.core.errors import UserError
from synthalign.reporting import claims, method_table, result_tables, results, seeds, text_tables
from synthalign.reporting import recorded as recorder

METRICS = {
    "judge_answers": {
        "ppo_vs_sft_rmsp": {
            "oracle": {
                "win_rate": {"value": 0.6, "low": 0.55, "high": 0.65, "n": 400},
                "length_controlled": {"value": 0.52, "low": 0.48, "high": 0.56, "n": 400},
                "tie": 0.2,
                "characters_a": 93.6,
                "characters_b": 90.2,
            },
            "reward": {"unjudged": 800},
        }
    },
    "score_policies": {
        "policies": {"ppo": {"value": 2.5, "low": 2.4, "high": 2.6, "n": 400, "characters": 93.6, "cut_off": 0.01}}
    },
    "score_benchmarks/ppo": {
        "heldout_text": {"loss_per_token": {"value": 1.25, "low": 1.2, "high": 1.3, "n": 50}},
        "hhh": {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 221}},
    },
}
PLAIN = {"of": "", "value": 0.61, "low": 0.56, "high": 0.66, "must": "above", "bound": 0.5, "holds": True, "n": 400}
FAIR = PLAIN | {"of": "at equal lengths", "value": 0.58, "low": 0.53, "high": 0.63}
CLAIM = {
    "id": "ppo_vs_sft",
    "claim": "PPO beats SFT",
    "source": "ALMoST Figure 3; metrics/judge_answers.json",
    "value": 0.61,
    "low": 0.56,
    "high": 0.66,
    "n": 400,
    "seeds": 3,
    "holds": True,
    "why": None,
    "p": 0.001,
    "margin": None,
    "also": None,
    "parts": [PLAIN, FAIR],
    "p_holm": 0.06,
    "holds_holm": False,
}


README = """# x

<!-- printed -->
<!-- /printed -->
<!-- results -->
stale words
<!-- /results -->

end
"""


def in_folder(folder, monkeypatch, readme=README, recorded=(CLAIM,)):
    monkeypatch.chdir(folder)
    for name, values in METRICS.items():
        file = folder / "metrics" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    made = {f"metrics/{name}.json": hashlib.md5(json.dumps(METRICS[name]).encode()).hexdigest() for name in METRICS}
    stages = {name: {"cmd": "x", "outs": [{"path": name, "md5": md5}]} for name, md5 in made.items()}
    stages["metrics/score_policies.json"]["params"] = {"params.yaml": {"score_policies.seed": 1}}
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    (folder / "params.yaml").write_text(json.dumps({"score_policies": {"seed": 1}}))
    if recorded:
        (folder / "metrics/claims.json").write_text(json.dumps(list(recorded)))
        first = {one["id"]: recorder.figure(one) for one in claims.claims([METRICS]) if one["value"] is not None}
        of = {"lock": "0a1b", "settings": "c2d3", "seeds": 3, "figures": first}
        (folder / "metrics/recorded.json").write_text(json.dumps(of))
    (folder / "README.md").write_text(readme)
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs/results.md").write_text("# Results\n\n<!-- results -->\n<!-- /results -->\n")
    (folder / "docs/pocket.md").write_text("# Pocket\n\n<!-- results -->\n<!-- /results -->\n")


def test_the_terminal_says_who_wins_and_where_things_are(tmp_path, monkeypatch, capsys):
    in_folder(tmp_path, monkeypatch)

    results.main([])

    said = capsys.readouterr().out
    assert "ppo against sft_rmsp  oracle  0.600  0.550 to 0.650  0.520 (0.480 to 0.560)  0.200  94 / 90     400" in said
    assert "ppo     2.500   2.400 to 2.600  94          0.010    1.250" in said
    assert "data/, models in models/, all figures in metrics/" in said
    assert "Claims, this run's seed; recorded over 3 seeds (outputs 0a1b, settings c2d3)" in said
    assert "ppo_vs_sft  0.600     0.560 to 0.660     yes" in said


def test_what_was_measured_with_other_settings_is_not_shown_as_this_runs(tmp_path, monkeypatch, capsys):
    in_folder(tmp_path, monkeypatch)
    (tmp_path / "params.yaml").write_text(json.dumps({"score_policies": {"seed": 2}}))

    results.main([])

    said = capsys.readouterr().out
    assert "ppo     2.500" not in said
    assert "ppo against sft_rmsp" in said  # which does not depend on that setting


def test_metrics_that_are_all_of_other_settings_are_told_from_none(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch, recorded=())
    lock = json.loads((tmp_path / "dvc.lock").read_text())
    for entry in lock["stages"].values():
        entry["params"] = {"params.yaml": {"score_policies.seed": 1}}
    (tmp_path / "dvc.lock").write_text(json.dumps(lock))
    (tmp_path / "params.yaml").write_text(json.dumps({"score_policies": {"seed": 2}}))
    with pytest.raises(UserError, match="metrics/ holds 3 files of other settings than those in params.yaml"):
        results.main([])

    shutil.rmtree(tmp_path / "metrics")
    (tmp_path / "metrics").mkdir()
    with pytest.raises(UserError, match="metrics/ holds no results yet; run `make repro`"):
        results.main([])


@pytest.mark.parametrize(
    ("there", "end"),
    [
        ([], results.COMMITTED),
        (["data/queries.parquet"], results.COMMITTED),
        (["data/queries.parquet", "models/ppo"], results.WHERE),
    ],
)
def test_a_clone_where_nothing_ran_is_not_told_where_its_tables_are(tmp_path, monkeypatch, capsys, there, end):
    in_folder(tmp_path, monkeypatch)
    lock = json.loads((tmp_path / "dvc.lock").read_text())
    outs = [{"path": path, "md5": "ab"} for path in ("data/queries.parquet", "data/answers/ppo.parquet", "models/ppo")]
    lock["stages"]["all"] = {"cmd": "x", "outs": outs}
    (tmp_path / "dvc.lock").write_text(json.dumps(lock))
    for name in there:
        (tmp_path / name).mkdir(parents=True)

    results.main([])

    assert capsys.readouterr().out.splitlines()[-1] == end


def test_what_was_recorded_of_another_run_is_not_held_against_this_one(tmp_path, monkeypatch, capsys):
    in_folder(tmp_path, monkeypatch)
    (tmp_path / "metrics/recorded.json").write_text(
        json.dumps({"seeds": 3, "figures": {"ppo_vs_sft": [0.7, 0.6, 0.8, 400]}})
    )

    results.main([])
    results.main(["--readme"])

    assert "0.560 to 0.660" not in capsys.readouterr().out
    assert "an earlier run: 1 of the 1 figures" in (tmp_path / "README.md").read_text()


def test_this_runs_figure_is_held_against_the_recorded_interval():
    now = [CLAIM | {"value": 0.56}, CLAIM | {"id": "sft_vs_base", "value": 0.5}, CLAIM | {"id": "x", "value": None}]
    recorded = [CLAIM, CLAIM | {"id": "sft_vs_base"}]

    assert results.against_recorded(now, recorded)[1:] == [
        ("ppo_vs_sft", "0.560", "0.560 to 0.660", "yes"),
        ("sft_vs_base", "0.500", "0.560 to 0.660", "NO"),
    ]


def test_this_runs_least_shown_figure_is_held_against_the_recorded_one_of_the_same_name():
    fair = FAIR | {"value": 0.54}
    now = [CLAIM | {"value": 0.54, "parts": [fair, PLAIN]}]  # of the recorded run it was the other that came first

    assert results.against_recorded(now, [CLAIM])[1:] == [
        ("ppo_vs_sft: at equal lengths", "0.540", "0.530 to 0.630", "yes")
    ]


def test_the_readme_is_written_between_its_markers_and_then_checks(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch)

    with pytest.raises(UserError, match="says other numbers"):
        results.main(["--check"])
    results.main(["--readme"])
    results.main(["--check"])

    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# x\n\n<!-- printed -->") and text.endswith("<!-- /results -->\n\nend\n")
    assert "stale words" not in text
    assert "Of 1 claims of 1 papers, 1 hold, 0 of them with all decided at once (Holm)." in text
    both = "0.610 (0.560 to 0.660); at equal lengths 0.580 (0.530 to 0.630)"
    assert f"| PPO beats SFT | {both} | 400 | 3 | yes | no | ALMoST Figure 3 |" in text
    page = (tmp_path / "docs/results.md").read_text()
    assert f"| PPO beats SFT | {both} | 400 | 3 | above 0.5 | yes | no | ALMoST Figure 3 |" in page
    assert "## Public tests\n\n" in page and "| ppo | hhh accuracy | 0.700 | 0.600 to 0.800 | 221 |" in page


def test_what_the_readme_shows_of_make_repro_is_what_it_prints(tmp_path, monkeypatch, capsys):
    in_folder(tmp_path, monkeypatch)
    results.main(["--readme"])
    results.main([])

    said = capsys.readouterr().out.splitlines()
    shown = (tmp_path / "README.md").read_text().partition("<!-- printed -->\n\n")[2].partition("\n\n<!-- /")[0]
    lines = [line.removeprefix("    ") for line in shown.splitlines()]
    assert lines[1] == "Policies" and any(line.startswith("ppo ") for line in lines)
    assert [line for line in lines if line != "…" and line not in said] == []


def test_a_changed_metric_makes_the_readme_stale(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch)
    results.main(["--readme"])

    (tmp_path / "metrics/claims.json").write_text(json.dumps([CLAIM | {"parts": [PLAIN | {"value": 0.62}, FAIR]}]))

    with pytest.raises(UserError, match="README.md says other numbers"):
        results.main(["--check"])


def test_a_changed_metric_that_the_readme_does_not_show_makes_the_page_of_results_stale(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch)
    results.main(["--readme"])

    without = {test: found for test, found in METRICS["score_benchmarks/ppo"].items() if test != "hhh"}
    (tmp_path / "metrics/score_benchmarks/ppo.json").write_text(json.dumps(without))

    with pytest.raises(UserError, match="docs/results.md says other numbers"):
        results.main(["--check"])


def named(number, paper, n, holds):
    return CLAIM | {"id": str(number), "source": f"{paper} Table 1; metrics/x.json", "n": n, "holds": holds}


def chosen(*recorded):
    return [claim["id"] for claim in result_tables.chosen_claims(recorded)]


def test_the_readme_has_of_every_paper_the_claim_with_the_most_questions_whatever_came_out():
    few, many, as_many = named(1, "A", 10, True), named(2, "A", 20, False), named(3, "A", 20, True)

    assert chosen(few, many, as_many, named(4, "B", 5, True)) == ["2", "4"]


def test_the_places_left_are_those_of_the_first_claims_that_do_not_hold():
    first = [named(number, "A", 100 - number, number % 2 == 0) for number in range(20)]

    assert chosen(*first) == ["0", "1", "3", "5", "7", "9", "11", "13"]


def test_nine_papers_still_leave_a_place_for_a_claim_that_does_not_hold():
    papers = [named(number, paper, 10, True) for number, paper in enumerate("ABCDEFGHI")]

    assert chosen(*papers, named("last", "A", 1, False)) == ["0", "1", "2", "3", "4", "5", "6", "last"]


def test_what_does_not_hold_is_seen_at_a_glance():
    fails = {"holds": False, "holds_holm": False}
    nothing = {"value": None, "low": None, "high": None, "n": 0, "holds": False}
    unmeasured = (
        CLAIM | nothing | {"seeds": 0, "why": "not measured", "parts": [PLAIN | nothing | {"why": "not measured"}]}
    )
    unmeasured |= {"p_holm": None}

    assert result_tables.chosen_rows([CLAIM | fails | {"parts": [PLAIN | fails]}])[1][4] == "**no**"
    assert result_tables.chosen_rows([unmeasured])[1][1:6] == ("not measured", "0", "0", "**not measured**", "")


def test_a_claim_of_which_one_part_fails_says_which():
    fails = {"holds": False}

    assert seeds.verdict(CLAIM | fails | {"parts": [PLAIN, FAIR | fails]}) == "no: at equal lengths"
    assert seeds.verdict(CLAIM | fails | {"parts": [PLAIN | fails, FAIR]}) == "no"
    also = {"also": {"of": "flagged under every seed", "holds": False}}
    assert seeds.verdict(CLAIM | fails | also) == "no: flagged under every seed"
    assert seeds.rule(CLAIM | also) == "above 0.5 and flagged under every seed"


def test_too_few_units_stand_where_the_interval_would():
    few = {"value": 0.6, "low": None, "high": None, "n": 3, "why": "too few", "holds": False}
    claim = CLAIM | few | {"parts": [PLAIN | few], "p_holm": None}

    row = ("PPO beats SFT", "0.600 (too few)", "3", "3", "above 0.5", "too few", "", "ALMoST Figure 3")
    assert result_tables.claim_rows([claim])[1] == row
    assert seeds.outcome([claim, CLAIM]).endswith("; 1 too few")


def test_claims_that_no_seed_changes_are_counted_as_of_one_run():
    assert seeds.outcome([CLAIM, CLAIM | {"seeds": 1}, CLAIM | {"seeds": 1}]).endswith("(Holm); 2 of one run")
    assert "of one run" not in seeds.outcome([CLAIM])


def test_a_readme_without_markers_is_refused(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch, readme="# x\n")

    with pytest.raises(UserError, match="README.md needs one line <!-- printed -->"):
        results.main(["--readme"])


def test_without_any_metrics_the_next_step_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "params.yaml").write_text("mine: {target: 48}")

    with pytest.raises(UserError, match="run `make repro`"):
        results.main([])


def test_what_would_end_a_cell_is_escaped():
    assert text_tables.markdown([("a|b", "<script>")]) == "| a\\|b | &lt;script> |\n| --- | --- |"


FIGURES = {
    "value": 1.5, "low": 1.4, "high": 1.6, "n": 400, "harmless": 0.5, "helpful": 0.75, "honest": 0.25, "tokens": 20.4
}  # fmt: skip
RATE = {"value": 0.6, "low": 0.55, "high": 0.65, "n": 400}
REWARD = {"value": 1.53, "low": 1.5, "high": 1.56, "n": 400}
RATING = {"value": 1012.4, "low": 987.6, "high": 1037.2, "n": 400}
COMPARED = {
    "compare_methods": {
        "ratings": {"oracle": {"rloo": RATING}},
        "policies": {
            "rloo": FIGURES | {"against": {"base": {"win_rate": RATE}}},
            "ppo_rlcd": FIGURES | {"against": {}},
        },
    },
    "score_snapshots": {
        "trainers": {"rloo": {"curve": [{"kl": 0.0}, {"kl": 0.97, "reward": REWARD}], "flags": ["kl"]}}
    },
}


def test_methods_stand_in_one_table_with_what_their_trainers_say():
    _, rloo, rlcd = result_tables.method_rows(COMPARED)

    points = ("1.500", "1.400 to 1.600", "0.500", "0.750", "0.250")
    wins = ("0.600", "0.550 to 0.650", "", "")
    assert rloo == ("rloo", *points, *wins, "1012", "988 to 1037", "1.530", "0.97", "1", "20", "", "400", "1")
    assert rlcd == ("ppo_rlcd", *points, "", "", "", "", "", "", "", "", "", "20", "", "400", "1")


def test_the_recorded_table_of_methods_is_shown_instead_of_one_seed():
    other = copy.deepcopy(COMPARED)
    other["compare_methods"]["policies"]["rloo"] |= {"value": 1.4, "low": 1.3, "high": 1.5}
    recorded = method_table.table([COMPARED, other], [{"rloo": 10.0}, {"rloo": 13.0}])

    _, rloo, _ = result_tables.method_rows(COMPARED | {"methods": recorded})

    assert rloo[-3:] == (f"{(10 + 13) / 2:.0f}", "400", "2")
    assert recorded["ppo_rlcd"]["seeds"] == 1  # the same under both


def test_the_page_of_real_models_has_each_question_once_and_leaves_out_what_was_not_measured():
    part = PLAIN | {"value": 0.6, "low": 0.51, "high": 0.69}
    row = {"question": "Who is better?", "claim": "A beats B", "value": 0.6, "n": 48, "parts": [part], "p_holm": 0.06}
    rows = [
        row | {"seeds": 1, "decision": "yes", "decision_holm": "open"},
        row | {"claim": "B beats C", "seeds": 1, "decision": "open", "decision_holm": "open"},
        row | {"claim": "C beats D", "value": None, "seeds": 0, "decision": "not measured"},
    ]

    said = results.real({"of": {}, "claims": rows})

    assert said.startswith("Of 3 rows: 1 not measured, 1 open, 1 yes.")
    assert said.count("Who is better?") == 1
    assert "| 0.600 (0.510 to 0.690) | 48 | 1 | yes | open |" in said
    assert "C beats D" not in said
    assert results.real({}) == "Nothing is recorded yet: run `make pocket`."
