import json

import pytest

from synthalign.core.errors import UserError
from synthalign.reporting import method_table, results

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
CLAIM = {
    "id": "ppo_vs_sft",
    "claim": "PPO beats SFT",
    "source": "Figure 3; metrics/judge_answers.json",
    "value": 0.61,
    "low": 0.56,
    "high": 0.66,
    "n": 400,
    "seeds": 3,
    "holds": True,
}


def in_folder(
    folder, monkeypatch, readme="# x\n\n<!-- results -->\nstale words\n<!-- /results -->\n\nend\n", recorded=(CLAIM,)
):
    monkeypatch.chdir(folder)
    for name, values in METRICS.items():
        file = folder / "metrics" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    if recorded:
        (folder / "metrics/claims.json").write_text(json.dumps(list(recorded)))
    (folder / "README.md").write_text(readme)


def test_the_terminal_says_who_wins_and_where_things_are(tmp_path, monkeypatch, capsys):
    in_folder(tmp_path, monkeypatch)

    results.main([])

    said = capsys.readouterr().out
    assert "ppo against sft_rmsp  oracle  0.600  0.550 to 0.650  0.520 (0.480 to 0.560)  0.200  94 / 90     400" in said
    assert "ppo     2.500   2.400 to 2.600  94          0.010    1.250" in said
    assert "data/, models in models/, all figures in metrics/" in said


def test_this_runs_figure_is_held_against_the_recorded_interval():
    now = [CLAIM | {"value": 0.56}, CLAIM | {"id": "sft_vs_base", "value": 0.5}, CLAIM | {"id": "x", "value": None}]
    recorded = [CLAIM, CLAIM | {"id": "sft_vs_base"}]

    assert results.against_recorded(now, recorded)[1:] == [
        ("ppo_vs_sft", "0.560", "0.560 to 0.660", "yes"),
        ("sft_vs_base", "0.500", "0.560 to 0.660", "NO"),
        ("x", "not measured", "", ""),
    ]


def test_the_readme_is_written_between_its_markers_and_then_checks(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch)

    with pytest.raises(UserError, match="says other numbers"):
        results.main(["--check"])
    results.main(["--readme"])
    results.main(["--check"])

    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# x\n\n<!-- results -->") and text.endswith("<!-- /results -->\n\nend\n")
    assert "stale words" not in text
    assert "| PPO beats SFT | 0.610 | 0.560 to 0.660 | 400 | 3 | yes | Figure 3 |" in text
    assert "| ppo | hhh accuracy | 0.700 | 0.600 to 0.800 | 221 |" in text


def test_a_changed_metric_makes_the_readme_stale(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch)
    results.main(["--readme"])

    (tmp_path / "metrics/claims.json").write_text(json.dumps([CLAIM | {"value": 0.62}]))

    with pytest.raises(UserError, match="says other numbers"):
        results.main(["--check"])


def test_a_readme_without_markers_is_refused(tmp_path, monkeypatch):
    in_folder(tmp_path, monkeypatch, readme="# x\n")

    with pytest.raises(UserError, match="needs one line <!-- results -->"):
        results.main(["--readme"])


def test_without_any_metrics_the_next_step_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()

    with pytest.raises(UserError, match="run `make repro`"):
        results.main([])


def test_what_would_end_a_cell_is_escaped():
    assert results.markdown([("a|b", "<script>")]) == "| a\\|b | &lt;script> |\n| --- | --- |"


FIGURES = {
    "value": 1.5, "low": 1.4, "high": 1.6, "n": 400, "harmless": 0.5, "helpful": 0.75, "honest": 0.25, "tokens": 20.4
}  # fmt: skip
RATE = {"value": 0.6, "low": 0.55, "high": 0.65, "n": 400}
REWARD = {"value": 1.53, "low": 1.5, "high": 1.56, "n": 400}
COMPARED = {
    "compare_methods": {
        "policies": {
            "rloo": FIGURES | {"against": {"base": {"win_rate": RATE}}},
            "ppo_rlcd": FIGURES | {"against": {}},
        }
    },
    "score_snapshots": {
        "trainers": {"rloo": {"curve": [{"kl": 0.0}, {"kl": 0.97, "reward": REWARD}], "flags": ["kl"]}}
    },
}


def test_methods_stand_in_one_table_with_what_their_trainers_say():
    _, rloo, rlcd = results.method_rows(COMPARED)

    points = ("1.500", "1.400 to 1.600", "0.500", "0.750", "0.250")
    assert rloo == (*("rloo", *points, "0.600", "0.550 to 0.650", "", "", "1.530", "0.97", "1", "20", "", "400", "1"),)
    assert rlcd == ("ppo_rlcd", *points, "", "", "", "", "", "", "", "20", "", "400", "1")


def test_the_recorded_table_of_methods_is_shown_instead_of_one_seed():
    recorded = method_table.table([COMPARED, COMPARED], [{"rloo": 10.0}, {"rloo": 13.0}])

    _, rloo, _ = results.method_rows(COMPARED | {"methods": recorded})

    assert rloo[-3:] == (f"{(10 + 13) / 2:.0f}", "400", "2")
