import copy
import json

import pytest

from synthalign.core.errors import UserError
from synthalign.reporting import claims, own_seeds
from tests.reporting.test_claims import METRICS, figure


def known():
    """Four claims recorded over two seeds, in another order, one of them of an experiment that has been run again."""
    wanted = ("ditto_vs_sft", "shots_effect", "rrhf_rank_loss", "reward_rankings")
    other = copy.deepcopy(METRICS)
    other["score_snapshots"]["differences"]["rank_loss"]["reward"] = figure(0.12)
    return [claim for claim in reversed(claims.claims([METRICS, other])) if claim["id"] in wanted]


def test_an_experiments_claims_are_decided_anew_and_those_of_several_runs_stay():
    now = copy.deepcopy(METRICS)
    now["ditto"]["differences"]["ditto_minus_sft"] = {"each": [figure(0.9, half=0.01)] * 2}
    now["score_snapshots"]["differences"]["rank_loss"]["reward"] = figure(0.9)

    found = {claim["id"]: claim for claim in own_seeds.renewed(known(), now)}

    assert found["ditto_vs_sft"]["value"] == 0.9
    rank = found["rrhf_rank_loss"]
    assert (rank["value"], rank["seeds"]) == (pytest.approx(0.11), 2)  # of `make claims`, not of now
    assert "demonstration_effect" not in found  # of runs of the graph, and not recorded
    assert "reward_large" in found  # of an experiment, and not recorded before
    order = [claim["id"] for claim in claims.claims([METRICS])]
    assert [*found] == [name for name in order if name in found]


def test_all_claims_are_corrected_together_again():
    found = own_seeds.renewed(known(), METRICS)

    decided = sorted((claim["p"], claim["p_holm"]) for claim in found if claim["p"] is not None)
    smallest, adjusted = decided[0]
    assert adjusted == pytest.approx(min(1.0, len(decided) * smallest), rel=0.01)


def test_the_files_are_written_with_the_figures_of_the_experiments_as_they_are_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, values in METRICS.items():
        file = tmp_path / "metrics" / f"{name}.json"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(json.dumps(values))
    (tmp_path / "metrics/claims.json").write_text(json.dumps(known()))
    before = {"lock": "aaaa", "settings": "bbbb", "seeds": 2, "figures": {"shots_effect": [9, 8, 10, 7]}}
    (tmp_path / "metrics/recorded.json").write_text(json.dumps(before))

    own_seeds.main()

    assert json.loads((tmp_path / "metrics/claims.json").read_text()) == own_seeds.renewed(known(), METRICS)
    of = json.loads((tmp_path / "metrics/recorded.json").read_text())
    assert (of["lock"], of["seeds"], of["figures"]["shots_effect"]) == ("aaaa", 2, [9, 8, 10, 7])
    [rankings] = [claim for claim in claims.claims([METRICS]) if claim["id"] == "reward_rankings"]
    assert of["figures"]["reward_rankings"] == [rankings[key] for key in ("value", "low", "high", "n")]


def test_without_recorded_claims_the_command_is_named(tmp_path):
    with pytest.raises(UserError, match="claims.json: no recorded claims; `make claims` makes them"):
        own_seeds.main(tmp_path)
