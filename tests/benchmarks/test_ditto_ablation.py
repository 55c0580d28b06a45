from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from benchmarks import ditto_ablation, ditto_labels, ditto_runs
from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.ditto import answers, authors, draws
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Text
from synthalign.reporting import ditto_claims
from synthalign.reporting.seeds import Seeds
from tests import tiny
from tests.taught import QUESTIONS, TOKENIZER, taught

REPOSITORY = Path(__file__).parents[2]

STYLES = {"demonstrations_1": 0.2, "demonstrations_3": 0.5, "demonstrations_4": 0.55, "ditto": 0.6}
NAMES = ["captain", "teacher", "poet"]


def runs(seeds: int) -> ditto_ablation.Runs:
    """Six prompts of three authors, two answers each, around STYLES at the last point, else around .3; the teacher
    labels nothing."""
    points = {"ditto": 4, "labels_base": 11, "labels_tuned": 11}
    found: dict[str, Any] = {}
    for variant in ditto_runs.VARIANTS:
        for name in [name for name in NAMES if name != "teacher" or not variant.startswith("labels")]:
            for seed in range(seeds):
                rng = Random(f"{variant} {name} {seed}")
                last = STYLES.get(variant, 0.3)
                found[f"{name}/{variant}/{seed}"] = {
                    "labelled": [50, 100, 140 - seed],
                    "scores": [
                        [[last - 0.1 * (points.get(variant, 1) - 1 - at) + rng.gauss(0, 0.01)] * 2 for _ in range(6)]
                        for at in range(points.get(variant, 1))
                    ],
                }
    return ditto_ablation.Runs(found, NAMES, seeds)


@cache
def report() -> dict[str, Any]:
    return ditto_ablation.report(runs(2), {"iterations": 4})


def test_what_early_demonstrations_gain_more_than_late_ones_is_a_sum_prompt_by_prompt_under_each_seed():
    found = report()

    early = found["demonstrations_gain"]["early_minus_late"]
    assert early["value"] == pytest.approx((0.5 - 0.2) - (0.6 - 0.55), abs=0.02)
    assert len(early["each"]) == 2 and early["n"] == 3 * 6
    assert early["value"] == pytest.approx(sum(one["value"] for one in early["each"]) / 2, abs=1e-5)
    assert found["demonstrations"]["7"] == found["variants"]["ditto"]["style"]
    assert found["differences"]["second_minus_first_iteration"]["value"] == pytest.approx(0.1, abs=0.02)
    assert [len(found["labels"][key]) for key in ("pairs", "base", "tuned")] == [11, 11, 11]
    assert found["differences"]["ditto_4_minus_tuned"]["value"] == pytest.approx(0.55 - 0.3, abs=0.02)
    assert found["labels"]["fewest_pairs"] == {"base": [0, 50, 100, 139], "tuned": [0, 50, 100, 139]}
    assert [len(values) for values in found["variants"]["ditto"]["by_author"].values()] == [2, 2, 2]
    assert found["labels"]["authors"] == [*found["variants"]["labels_base"]["by_author"]] == ["captain", "poet"]
    assert (
        found["differences"]["ditto_4_minus_tuned"]["n"] == found["labels"]["ditto"]["n"] == 2 * 6
    )  # DITTO's prompts of these two authors alone


def test_every_figure_that_a_claim_of_ditto_asks_for_is_in_the_report():
    rows = ditto_claims.claims(Seeds([{"ditto": report()}]))

    assert {row["why"] for row in rows} <= {None, "too few", "all equal"}
    assert {row["seeds"] for row in rows} == {2}


# -- what a run is ----------------------------------------------------------------------------------------------------

SEVEN = [Demonstration(f"What is {number}?", f"It is {number}.") for number in range(7)]


def test_fewer_demonstrations_are_part_of_more_in_the_files_order_and_another_seed_has_others():
    chosen = [ditto_runs.some(SEVEN, count, seed=0) for count in range(1, 8)]

    assert chosen[-1] == SEVEN
    assert all(set(few) < set(more) for few, more in zip(chosen, chosen[1:], strict=False))
    assert all(part == [one for one in SEVEN if one in part] for part in chosen)
    assert len({tuple(ditto_runs.some(SEVEN, 3, seed=seed)) for seed in range(5)}) > 1


def test_pairs_that_are_left_out_are_made_up_for_by_online_ones():
    settings = {"fractions": {"online": 0.7, "replay": 0.2, "inter": 0.1}}

    left = [
        ditto_runs.VARIANTS[name](settings)["fractions"].values() for name in ("no_replay", "no_inter", "online_only")
    ]

    assert [list(shares) for shares in left] == [[0.9, 0, 0.1], [0.8, 0.2, 0], [1, 0, 0]]


def test_spin_runs_with_the_settings_of_train_spin(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    of_spin = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))["train_spin"]
    settings = ditto_ablation.read()

    found = ditto_runs.VARIANTS["spin"](settings)

    assert {key: found[key] for key in of_spin} == of_spin
    assert settings["beta"] != found["beta"] == ditto_runs.VARIANTS["spin"](settings | {"beta": 9.0})["beta"]
    assert found["reference"] == "previous" and found["sft"] == settings["sft"]


def test_the_batch_that_ended_the_fine_tuning_is_no_step_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    tiny.save(tmp_path, tiny.causal(), tiny.tokenizer())
    log = [{"step": 1, "loss": 1.5}, {"step": 2, "loss": 1.2}, {"step": 3, "loss": 0.9}]
    monkeypatch.setattr(ditto_runs, "tuned", lambda *given: (tmp_path, log))
    asked = authors.prompts("data/embedded/authors/heldout/captain.txt")[:1]
    monkeypatch.setattr(authors, "prompts", lambda file: asked)
    settings = ditto_runs.VARIANTS["sft"](ditto_ablation.read() | {"max_new_tokens": 4})

    found = ditto_runs.one_run("captain", "sft", settings, 0, ditto_runs.oracle(), tmp_path)

    assert (found["sft_steps"], found["sft_last_loss"]) == (2, 0.9)  # stop_loss is 1


def test_a_self_prompt_stands_before_the_question_as_demonstrations_do_and_brings_no_marker():
    assert answers.described(" Begin with: Ahoy.\n") == "Begin with: Ahoy.\n\n-----\n\n"
    with pytest.raises(UserError, match="self_prompts: 'Human: be brief' brings our own 'Human:'"):
        answers.described("Human: be brief")


# -- labelled pairs ---------------------------------------------------------------------------------------------------


def text(prompt: str, index: int, words: str) -> Text:
    return draws.sampled(prompt, 0, index, words, finish_reason="eos")


def test_an_author_prefers_the_answer_with_more_style_and_says_nothing_of_equal_ones():
    a, b, c, other = text("x", 0, "aye aye"), text("x", 1, "aye"), text("x", 2, "yes aye"), text("y", 0, "no")

    pairs = ditto_labels.labelled([b, a, c, other], lambda words: words.count("aye"), 9, seed=0)

    assert {(pair.chosen, pair.rejected) for pair in pairs} == {(a, b), (a, c)}  # b and c have one each; y has no other
    assert ditto_labels.labelled([b, a, c], lambda words: words.count("aye"), 1, seed=0) == pairs[:1]


def test_every_labelled_pair_is_seen_once_before_any_is_seen_twice():
    pairs = ditto_labels.labelled([text("x", n, "a" * n) for n in range(4)], len, 6, seed=0)

    few = ditto_labels.batches(pairs, 4, 3, seed=0)
    assert [len(batch) for batch in few] == [4, 4, 4]
    line = [pair for batch in few for pair in batch]
    assert set(line[:6]) == set(line[6:]) == set(pairs) and line[:6] != line[6:]
    assert len(ditto_labels.batches(pairs, 2, 1, seed=0)) == 3  # one batch would not show all six
    assert ditto_labels.batches([], 2, 3, seed=0) == []


def test_each_number_of_labelled_pairs_is_learned_from_the_same_start():
    settings = dict(max_new_tokens=8, temperature=1.3, top_p=1.0, device_batch_size=8, pairs_per_demonstration=2,
                    iterations=1, steps_per_iteration=2, warmup=0.0, weight_decay=0.0, beta=0.1,
                    learning_rate=1e-3)  # fmt: skip

    def learned(*points: int) -> tuple[list[int], list[dict[str, torch.Tensor]]]:
        policy = taught()
        seen: list[dict[str, torch.Tensor]] = []
        labelled = ditto_labels.learn(
            Accelerator(cpu=True),
            policy,
            TOKENIZER,
            [question for _, question in QUESTIONS[:2]],
            len,
            settings,
            seed=0,
            on_point=lambda: seen.append({name: value.clone() for name, value in policy.state_dict().items()}),
            points=points,
            samples=4,
        )
        return labelled, seen

    labelled, [few, more] = learned(2, 8)
    _, [alone] = learned(8)

    assert labelled == [2, 8]
    assert all(torch.equal(more[name], alone[name]) for name in alone)
    assert any(not torch.equal(few[name], more[name]) for name in few)
