import hashlib
import json
from pathlib import Path

import pytest
import yaml

from synthalign.core.errors import UserError
from synthalign.reporting import claims, real_claims, run_record
from synthalign.reporting.real_claims import rows


def figure(value, spread=0.05):
    return {"value": value, "low": value - spread, "high": value + spread, "n": 300}


def measured(accuracy, win=0.6):
    """The metrics of one run as far as these rows need them."""
    scorer = {"accuracy": figure(accuracy), "minus_longer": figure(accuracy - 0.6)}
    scorers = {"almost": scorer, "gold": {"accuracy": figure(0.9)}}
    return {
        "score_rewards": {"human_pairs": {"scorers": scorers}, "votes": {"alpha": {"people": figure(0.8)}}},
        "judge_answers": {"ppo_vs_base": {"people": {"win_rate": figure(win)}}},
        "score_comparisons": {"people": {"differences": {"size": figure(-0.2)}}},
    }


def run(folder, accuracy, seed=0, seeds="Where?\n"):
    """The folder of a run: metrics, settings, lock, and a file of people's."""
    for name, found in measured(accuracy).items():
        (folder / "metrics").mkdir(parents=True, exist_ok=True)
        (folder / f"metrics/{name}.json").write_text(json.dumps(found))
    (folder / "seeds.txt").write_text(seeds)
    settings = {
        "base_models": {"small": {"source": "models/m.gguf", "revision": "a" * 40}},
        "mine_queries": {"seed_queries": "seeds.txt", "seed": seed},
        "label_gold": {"human_pairs": None},
        "score_rewards": {"votes": "gone.jsonl"},
        "score_ditto": {"texts": {"austen": "seeds.txt"}},
        "sample_ditto": {"authors": {"austen": {"demonstrations": "gone.jsonl"}}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    outs = [{"path": "models/base/small", "md5": "5.dir"}]
    deps = [{"path": "seeds.txt", "md5": "7"}]
    stale = [{"path": "models/base/small", "md5": "old"}, {"path": "seeds.txt", "md5": "old"}]
    lock = {
        "base_models": {"outs": outs},
        "mine_queries": {"deps": deps},
        "score_ditto": {"deps": deps},
        "train_flan@small": {"deps": stale},  # of a run before, of other settings
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    return str(folder / "metrics")


def accuracy(found):
    metrics = {"score_rewards": {"human_pairs": {"scorers": {"almost": {"accuracy": found}}}}}
    return {row["id"]: row for row in rows([metrics])}["human_pairs_synthetic"]


def test_a_decision_is_the_side_of_the_bound_on_which_the_whole_interval_is():
    assert accuracy(figure(0.6, 0.05))["decision"] == "yes"
    assert accuracy(figure(0.4, 0.05))["decision"] == "no"
    assert accuracy(figure(0.6, 0.15))["decision"] == "open"
    assert accuracy(None)["decision"] == "not measured"
    assert accuracy({"value": 0.9, "low": None, "high": None, "n": 3, "why": "too few"})["decision"] == "too few"


def judge(**accuracies):
    """How often the model of people's pairs is right on held-out pairs of each kind."""
    return {"score_rewards": {kind: {"scorers": {"gold": {"accuracy": figure(at)}}} for kind, at in accuracies.items()}}


def duel(plain, fair):
    figures = {"win_rate": figure(plain, 0.05), "length_controlled": figure(fair, 0.05)}
    metrics = {"judge_answers": {"ppo_vs_base": {"people": figures}}} | judge(votes=0.9)
    return {row["id"]: row for row in rows([metrics])}["ppo_vs_base"]


def test_a_win_has_to_be_one_at_equal_lengths_too_and_both_figures_stand_in_its_row():
    assert [duel(0.6, 0.6)["decision"], duel(0.6, 0.52)["decision"], duel(0.6, 0.4)["decision"]] == [
        "yes",
        "open",
        "no",
    ]
    assert [part["value"] for part in duel(0.6, 0.52)["parts"]] == [0.6, 0.52]


def test_a_no_of_one_of_two_figures_has_to_be_clear_enough_for_two():
    # .448 [.398, .498] alone would be below even with p = .042; either of two could have been
    assert accuracy(figure(0.448, 0.05))["decision"] == "no"
    assert duel(0.6, 0.448)["decision"] == "open"


def test_a_figure_that_was_not_measured_decides_nothing_beside_one_that_was():
    # one seed has no win rate at equal lengths: that part is not measured, and no second chance of a no either
    def of_two(value):
        runs = [
            {"win_rate": figure(value, 0.01), "length_controlled": figure(value)},
            {"win_rate": figure(value, 0.01)},
        ]
        metrics = [{"judge_answers": {"ppo_vs_base": {"people": one}}} | judge(votes=0.9) for one in runs]
        return {row["id"]: row for row in rows(metrics)}["ppo_vs_base"]

    assert [part["why"] for part in of_two(0.45)["parts"]] == [None, "not measured"]
    assert [of_two(value)["decision"] for value in (0.45, 0.505, 0.6)] == ["no", "open", "not measured"]


def test_a_yes_and_a_no_that_are_not_clear_enough_for_all_rows_are_open_among_them():
    metrics = {
        "score_rewards": {
            kind: {"scorers": {"almost": {"accuracy": figure(value, 0.05)}}}
            for kind, value in (("human_pairs", 0.551), ("votes", 0.3))
        }
    }
    found = {row["id"]: row for row in rows([metrics])}
    weak, clear = found["human_pairs_synthetic"], found["votes_synthetic"]

    assert (weak["decision"], weak["decision_holm"]) == ("yes", "yes")  # the larger of two p-values stays as it is
    assert (clear["decision"], clear["decision_holm"]) == ("no", "no")
    metrics["score_ditto"] = {"ditto_minus": {"sft": figure(0.0), "spin": figure(0.0)}, "classifier": figure(0.8)}
    weak = {row["id"]: row for row in rows([metrics])}["human_pairs_synthetic"]
    assert (weak["decision"], weak["decision_holm"]) == ("yes", "open")


@pytest.mark.parametrize(
    ("accuracies", "decision"),
    [
        ({"votes": 0.6, "human_pairs": 0.4}, "no"),  # ordinary questions are what it is asked about
        ({"human_pairs": 0.6}, "no"),
        ({"votes": 0.52, "human_pairs": 0.9}, "judge not shown"),
        ({"votes": 0.3}, "judge not shown"),
        ({}, "judge not shown"),
    ],
)
def test_what_a_judge_says_is_decided_where_people_are_shown_to_agree_with_it(accuracies, decision):
    differences = {"size": figure(-0.2), "shots": figure(0.0)}
    metrics = {"score_comparisons": {"people": {"differences": differences}}} | judge(**accuracies)

    found = {row["id"]: row for row in rows([metrics])}
    row = found["order_size"]

    assert (row["decision"], row["decision_holm"], row["value"]) == (decision, decision, -0.2)
    assert (row["p"] is None, row["holds"]) == (decision == "judge not shown", False)
    assert found["order_shots"]["decision"] == ("open" if decision == "no" else decision)
    assert found["order_a_e"]["decision"] == "not measured"


def test_seeds_are_put_together_as_the_papers_claims_are_and_each_is_there_by_itself():
    found = {row["id"]: row for row in rows([measured(0.7), measured(0.8)])}
    row = found["human_pairs_synthetic"]

    assert row["value"] == pytest.approx(0.75)
    assert [one["value"] for one in row["parts"][0]["each"]] == [0.7, 0.8]
    assert (row["n"], row["seeds"]) == (300, 2)
    assert row["source"] == "people's data; metrics/score_rewards.json: human_pairs.scorers.almost.accuracy"
    # Two seeds .1 apart leave much doubt, as Student's t has it.
    assert (row["decision"], row["holds"]) == ("open", False)
    assert (found["order_size"]["decision"], found["order_size"]["holds"]) == ("no", False)
    assert (found["ppo_vs_base"]["decision"], found["ppo_vs_base"]["holds"]) == ("yes", True)
    assert (found["alpha_people"]["decision"], found["alpha_people"]["holds"]) == ("a figure", False)
    assert (found["order_a_e"]["decision"], found["order_a_e"]["parts"][0]["each"]) == ("not measured", None)


def test_every_row_has_a_name_of_its_own_and_the_keys_of_the_papers_claims():
    found = rows([{}])

    assert len({row["id"] for row in found}) == len(found)
    paper = claims.claims([{}])[0]
    assert all(row.keys() == {*paper, "question", "decision", "decision_holm"} for row in found)


def test_a_coins_share_of_a_weak_upper_bound_bears_out_no_claim():
    scorer = {"accuracy": figure(0.5), "ratio_to_upper_bound": figure(0.97, 0.02)}
    metrics = {"score_rewards": {"human_pairs": {"scorers": {"almost": scorer}}}}

    found = {row["id"]: row for row in rows([metrics])}

    assert found["human_pairs_share"]["decision"] == "a figure"
    assert found["human_pairs_synthetic"]["decision"] == "open"


def by_classifier(value):
    return {
        "ditto_minus": {other: figure(value) for other in ("sft", "few_shot", "zero_shot", "spin")},
        "classifier": figure(0.8) | {"chance": 0.5, "by_class": {"austen": 0.8}},
    }


def test_ditto_is_judged_by_a_classifier_against_each_of_the_others():
    found = {row["id"]: row for row in rows([{"score_ditto": by_classifier(0.3)}])}

    assert found["ditto_over_sft"]["decision"] == found["ditto_over_zero_shot"]["decision"] == "yes"
    assert found["ditto_over_spin"]["source"] == "people's data; metrics/score_ditto.json: ditto_minus.spin"
    assert (found["author_classifier"]["decision"], found["author_classifier"]["value"]) == ("a figure", 0.8)


def test_what_an_oracle_says_of_a_worlds_authors_is_no_row_of_real_text():
    of_world = {"score_ditto": {"ditto_minus": {"sft": figure(0.3)}}}

    assert {row["decision"] for row in rows([of_world])} == {"not measured"}


def test_how_far_ppo_went_and_how_long_policies_answer_are_figures_and_no_claims():
    people = {"kl": {"ppo": figure(3.0)}, "policies": {"dpo": {"lengths": {"tokens": figure(40.0)}}}}

    found = {row["id"]: row for row in rows([{"score_policies": {"people": people}}])}

    assert (found["kl_ppo"]["decision"], found["kl_ppo"]["value"]) == ("a figure", 3.0)
    assert (found["tokens_dpo"]["decision"], found["tokens_dpo"]["value"]) == ("a figure", 40.0)
    assert found["tokens_ppo"]["decision"] == "not measured"


def test_the_file_says_of_which_models_and_files_it_is(tmp_path, monkeypatch, capsys):
    folders = [run(tmp_path / f"seed-{seed}", 0.7, seed) for seed in range(2)]
    monkeypatch.chdir(tmp_path)

    real_claims.main(folders)

    written = json.loads(Path("metrics/real_claims.json").read_text())
    assert written["of"]["models"] == {"small": {"source": "models/m.gguf", "revision": "a" * 40, "md5": "5.dir"}}
    assert written["of"]["files"] == {
        "mine_queries.seed_queries": {
            "path": "seeds.txt",
            "sha256": hashlib.sha256(b"Where?\n").hexdigest(),
            "md5": "7",
        },
        "score_rewards.votes": {"path": "gone.jsonl", "sha256": None, "md5": None},
        "sample_ditto.authors.austen.demonstrations": {"path": "gone.jsonl", "sha256": None, "md5": None},
        "score_ditto.texts.austen": {
            "path": "seeds.txt",
            "sha256": hashlib.sha256(b"Where?\n").hexdigest(),
            "md5": "7",
        },
    }
    assert len(written["claims"]) == len(rows([{}]))
    assert "over 2 seeds" in capsys.readouterr().out
    # What it writes is no metrics of a run.
    assert "real_claims" not in run_record.metrics_in(Path("metrics"))


def test_one_run_does_not_take_the_place_of_several_seeds_of_the_same_models_and_files(tmp_path, monkeypatch, capsys):
    folders = [run(tmp_path / f"seed-{seed}", 0.7 + seed / 100, seed) for seed in range(2)]
    other = run(tmp_path / "other", 0.7, seeds="Who?\n")
    monkeypatch.chdir(tmp_path)
    file = Path("metrics/real_claims.json")

    real_claims.main(folders)
    two = file.read_bytes()
    real_claims.main(folders[:1])
    assert file.read_bytes() == two
    assert "stays as it is, of 2 seeds of the same models and files" in capsys.readouterr().out
    real_claims.main([other])

    assert file.read_bytes() != two


def test_runs_of_other_files_are_no_seeds_of_one(tmp_path):
    folders = [run(tmp_path / "one", 0.7), run(tmp_path / "other", 0.7, 1, seeds="Who?\n")]

    with pytest.raises(UserError, match=r"other/metrics: \S*seed_queries is .*, and in .*one/metrics it is "):
        real_claims.main(folders)


def test_metrics_without_anything_of_people_and_without_settings_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(run(tmp_path / "run", 0.7))
    for file in folder.glob("*.json"):
        file.write_text("{}")
    (folder / "score_benchmarks").mkdir()
    (folder / "score_benchmarks/base.json").write_text(
        json.dumps({"heldout_text": {"loss_per_token": figure(3.0)}})  # of texts of a world
    )
    with pytest.raises(UserError, match="nothing in them is measured with people's data"):
        real_claims.main([str(folder)])
    (folder.parent / "params.yaml").unlink()
    with pytest.raises(UserError, match="no such file; a metrics folder lies beside"):
        real_claims.main([str(folder)])
    assert not Path("metrics/real_claims.json").exists()
