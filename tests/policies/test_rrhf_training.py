"""RRHF on a tiny world: a policy that was taught a few answers, and a reward model that counts words it likes."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from accelerate import Accelerator
from transformers import PreTrainedModel

from stages import train_rrhf
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.feedback import simulation
from synthalign.generation import models
from synthalign.judging import likelihoods
from synthalign.policies import answering, rrhf_sources, rrhf_training
from synthalign.policies.answering import Answer, Row
from synthalign.policies.rrhf_settings import Settings, Variant
from synthalign.policies.rrhf_sources import Query
from synthalign.policies.rrhf_training import State
from tests import tiny
from tests.taught import QUESTIONS, TOKENIZER, fond_of, loss_on, prompts, taught

REPOSITORY = Path(__file__).parents[2]

VARIANT: dict[str, Any] = dict(
    rounds=1, queries=None, epochs=2, rank_weight=1.0, kl_coefficient=0.0, learning_rate=1e-3
)

SETTINGS: dict[str, Any] = dict(
    seed=0,
    temperatures=[1.0, 1.0, 1.3],
    beams=None,
    batch_size=2,
    warmup_steps=1,
    missing_stop_penalty=-1.0,
    max_new_tokens=24,
    max_gradient_norm=1.0,
    snapshot_every=0,
    checkpoint_every=1,
    device_batch_size=8,
)


def run(
    folder: Path,
    *,
    policy: PreTrainedModel | None = None,
    given: list[Query] | None = None,
    reward_model: PreTrainedModel | None = None,
    report: Callable[[Row], None] | None = None,
    **changes: Any,
) -> tuple[PreTrainedModel, State]:
    policy = policy or taught()
    state = rrhf_training.train(
        Accelerator(cpu=True),
        policy,
        reward_model or fond_of(" forest"),
        TOKENIZER,
        Settings(**SETTINGS | {key: value for key, value in changes.items() if key in SETTINGS}),
        Variant(**VARIANT | {key: value for key, value in changes.items() if key in VARIANT}),
        prompts=prompts(),
        questions=prompts(),
        given=given,
        folder=folder,
        report=report,
    )
    return policy, state


def query(*responses: tuple[str, float]) -> Query:
    prompt = prompts()[0]
    rows = [row(prompt.query_id, text, reward) for text, reward in responses]
    [found] = rrhf_sources.from_table(rows, [prompt], TOKENIZER).values()
    return found


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def losses_of(model: PreTrainedModel, *queries: Query, together: int = 8) -> list[float]:
    given: dict[str, Any] = {"pad": TOKENIZER.pad_token_id, "device": torch.device("cpu"), "dtype": torch.float32}
    with torch.no_grad():
        found = rrhf_training.losses(model, queries, **given, together=together)
    return [float(one) for one in found]


# ------------------------------------------------------------------------------------------------ losses of real models

FOREST, RIGA, SKY = ("The red fox lives in the forest.", "The red fox lives in Riga.", "The red fox lives in the sky.")


def test_r2_a_query_with_one_response_costs_what_fine_tuning_on_it_costs() -> None:
    alone = query((RIGA, -3.0))

    rank, tuning, wrong, apart = losses_of(taught(), alone)

    text = alone.prompt + alone.responses[0]
    with torch.no_grad():
        of_all = float(loss_on(taught(), [text])) * (len(text) - 1)
        of_prompt = float(loss_on(taught(), [alone.prompt])) * (len(alone.prompt) - 1)
    assert (rank, wrong, apart) == (0.0, 0.0, 0.0)
    assert tuning == pytest.approx(of_all - of_prompt, rel=1e-4)


def test_r4_a_batch_costs_the_sum_of_its_queries() -> None:
    one, other = query((FOREST, 1.0), (RIGA, 0.0), (SKY, 2.0)), query((SKY, 0.5), (FOREST, 0.1))

    together = losses_of(taught(), one, other)

    apart = zip(losses_of(taught(), one), losses_of(taught(), other), strict=True)
    assert together == pytest.approx([first + second for first, second in apart])


def test_responses_behind_one_copy_of_their_prompt_cost_what_they_cost_apart() -> None:
    policy, places = taught(), ("the forest", "Riga", "a city", "the sky", "the red forest")
    queries = [
        query(*((f"The red fox lives in {place}.", float(number)) for number, place in enumerate(places))),
        query((SKY, 1.0), (FOREST, 2.0)),
    ]

    apart = losses_of(policy, *queries, together=1)

    assert min(apart[:2]) > 0
    for together in (2, 8):
        assert losses_of(policy, *queries, together=together) == pytest.approx(apart, rel=1e-5)


def test_r1_responses_of_one_reward_rank_nothing_and_the_first_is_learned() -> None:
    rank, tuning, _, apart = losses_of(taught(), query((FOREST, 0.5), (RIGA, 0.5)))

    assert (rank, apart) == (0.0, 0.0)
    assert tuning == pytest.approx(losses_of(taught(), query((FOREST, 0.5)))[1], rel=1e-5)


def test_a_policy_ranks_answers_as_the_losses_do() -> None:
    said = {"role": "user", "content": QUESTIONS[0][1]}
    dialogues = [[said, {"role": "assistant", "content": text.strip()}] for text in (FOREST, SKY)]

    one, other = likelihoods.logprobs(taught(), TOKENIZER, dialogues, batch_size=1, per_token=True)

    rank, *_ = losses_of(taught(), query((FOREST, 0.0), (SKY, 1.0)))
    assert rank == pytest.approx(max(0.0, one - other), abs=1e-5)


# ------------------------------------------------------------------------------------------------ what is ranked


def row(query_id: str, text: str, reward: float | None, finish_reason: str = "eos") -> Row:
    return {"query_id": query_id, "text": text, "reward": reward, "finish_reason": finish_reason}


def test_r5_rows_without_a_reward_are_left_out_and_counted_and_queries_may_differ_in_number() -> None:
    rows = [
        row("q0", "One.", 0.5),
        row("q0", "Two.", math.nan),
        row("q0", "Three.", None),
        row("q0", " ", 0.1),
        row("q0", "One. ", 0.5),
        row("q1", "One.", -0.5),
        row("q1", "Four.", math.inf),
        row("q1", "Five.", 0.0),
    ]

    kept, dropped = rrhf_sources.usable(rows)

    assert [(one["query_id"], one["text"]) for one in kept] == [("q0", "One."), ("q1", "One."), ("q1", "Five.")]
    assert dropped == {"without_reward": 3, "empty": 1, "repeated": 1}


def test_an_own_answer_is_ranked_by_its_reward_or_the_penalty_less_its_distance() -> None:
    def answer(finish_reason: str, text: str) -> Answer:
        return Answer(prompts()[0], text, [5, 0], finish_reason, 0.8, 3.0)

    settings = dict(missing_stop_penalty=-1.0, kl_coefficient=0.1)
    assert rrhf_training.ranked(answer("eos", "Yes."), **settings) == pytest.approx(0.8 - 0.1 * 3.0)
    assert rrhf_training.ranked(answer("length", "Yes."), **settings) == pytest.approx(-1.0 - 0.1 * 3.0)
    assert rrhf_training.ranked(answer("eos", " "), **settings) == pytest.approx(-1.0 - 0.1 * 3.0)


def test_answers_of_all_processes_come_turn_by_turn_in_the_order_of_the_prompts() -> None:
    def said(*texts: str) -> list[Answer]:
        return [Answer(prompts()[0], text, [1], "eos", 0.0, 0.0) for text in texts]

    of_processes = [said("q0 cold", "q1 cold", "q0 warm", "q1 warm"), said("q2 cold", "q2 warm"), []]

    found = answering.by_turn(of_processes, 2)

    assert [[one.text for one in turn] for turn in found] == [
        ["q0 cold", "q1 cold", "q2 cold"],
        ["q0 warm", "q1 warm", "q2 warm"],
    ]


def test_an_own_answer_that_was_penalised_is_no_target_and_never_the_better_of_two() -> None:
    prompt, end = prompts()[0], TOKENIZER.eos_token_id
    marker = TOKENIZER("\n\nHuman:").input_ids
    ran_on = Answer(prompt, FOREST, TOKENIZER(f" {FOREST}").input_ids + marker, "stop", 0.9, 1.0)
    cut_off = Answer(prompt, "The red", TOKENIZER(" The red").input_ids, "length", 0.8, 2.0)
    ended = Answer(prompt, RIGA, [*TOKENIZER(f" {RIGA}").input_ids, end], "eos", -3.0, 0.0)

    # all penalised: ranked by their distance alone, they taught the policy to write the next turn's marker
    none, some = rrhf_sources.own([[ran_on, cut_off], [ran_on, cut_off, ended]], [[-1.1, -1.2], [-1.1, -1.2, -3.0]])

    assert losses_of(taught(), none) == [0.0, 0.0, 0.0, 0.0]
    rank, tuning, _, apart = losses_of(taught(), some)
    [alone] = rrhf_sources.own([[ended]], [[-3.0]])
    assert (rank, apart) == (0.0, 0.0)
    assert tuning == pytest.approx(losses_of(taught(), alone)[1], rel=1e-4)
    assert (none.whole, some.whole) == ([False, False], [False, False, True])


def test_a_candidate_that_was_cut_off_has_no_end_and_one_that_ran_on_has_one() -> None:
    prompt, end = prompts()[0], TOKENIZER.eos_token_id
    rows = [row(prompt.query_id, FOREST, 0.1, reason) for reason in ("eos", "stop", "length")]

    [found] = rrhf_sources.from_table(rows, [prompt], TOKENIZER).values()

    words = TOKENIZER(f" {FOREST}").input_ids
    assert found.responses == [[*words, end], [*words, end], words]
    assert found.whole == [True, True, False]
    given = [one | {"sample_index": 0} for one in rows]
    assert [one["tokens"] for one in rrhf_sources.table(given, TOKENIZER)] == [len(words) + 1] * 2 + [len(words)]


def test_of_the_candidates_the_best_and_the_worst_are_ranked_beside_own_answers() -> None:
    rows = [row("q0", text, reward) for text, reward in (("b", 0.2), ("a", 0.9), ("c", -0.4), ("d", 0.9))]

    assert [one["text"] for one in rrhf_sources.extremes([*rows, row("q1", "alone", 0.0)])] == ["a", "c", "alone"]


def test_the_best_candidate_is_one_that_ended_where_any_did() -> None:
    cut, whole, worst = row("q0", "Cut of", 0.9, "length"), row("q0", "Ended.", 0.5), row("q0", "Bad.", -0.4)

    assert rrhf_sources.extremes([cut, whole, worst]) == [whole, worst]
    assert rrhf_sources.extremes([cut, cut | {"reward": 0.1}]) == [cut, cut | {"reward": 0.1}]  # none did


def test_r1_the_order_of_rewards_counts_at_any_scale() -> None:
    near = [query((RIGA, low), (FOREST, high)) for low, high in ((16777216.0, 16777217.0), (0.0, 1.0))]

    assert losses_of(taught(), near[0]) == losses_of(taught(), near[1])


def test_own_answers_come_first_and_what_both_sources_said_counts_once() -> None:
    prompt, end = prompts()[0], TOKENIZER.eos_token_id
    forest, riga = ([*TOKENIZER(f" {text}").input_ids, end] for text in (FOREST, RIGA))
    mine = Query(prompt.token_ids, [forest, [5, 6]], [0.3, -1.0], [True, False])
    other = Query(prompt.token_ids, [forest, riga], [0.8, 0.5], [True, True])

    [both, alone] = rrhf_sources.joined([mine, mine], [other, None])

    assert both == Query(prompt.token_ids, [forest, [5, 6], riga], [0.3, -1.0, 0.5], [True, False, True])
    assert alone == mine


def test_what_others_wrote_is_ranked_by_the_model_that_ranks_own_answers() -> None:
    rows = [row("q1", "Nothing.", 9.0), row("q1", "The forest forest.", -9.0, "length"), row("none", "Lost.", 1.0)]

    [(name, found)] = rrhf_sources.beside(rows, prompts(), fond_of(" forest"), TOKENIZER, after=3).items()

    plain, fond = found.query.rewards
    assert (name, found.query.whole) == ("q1", [True, False])
    assert plain < fond and [one["reward"] for one in found.rows] == [plain, fond]  # by words, not as they came
    assert [(one["sample_index"], one["kl"]) for one in found.rows] == [(3, None), (4, None)]
    with pytest.raises(UserError, match="none of 0 responses"):
        rrhf_sources.beside(rows[2:], prompts(), fond_of(" forest"), TOKENIZER, after=3)


def test_queries_without_an_answer_that_ended_are_counted_and_a_round_of_them_is_refused(tmp_path: Path) -> None:
    whole, half = query((FOREST, 1.0), (RIGA, 0.0)), query((FOREST, 1.0), (RIGA, 0.0))._replace(whole=[False, False])

    _, state = run(tmp_path / "some", given=[whole, half])
    assert state.without_target == 1

    with pytest.raises(UserError, match="none of 1 queries has an answer that ends by itself"):
        run(tmp_path / "none", given=[half])
    with pytest.raises(UserError, match="round 0: none of 4 queries .* raise max_new_tokens"):
        run(tmp_path / "own", max_new_tokens=1)


def test_batches_hold_whole_queries_of_at_most_so_many_responses() -> None:
    sizes = [(3, 4), (1, 4), (9, 9), (2, 2)]
    queries = [Query([1] * size, [[2]] * count, [0.0] * count, [True] * count) for size, count in sizes]

    def counts(together: int) -> list[list[int]]:
        return [[len(one.responses) for one in batch] for batch in rrhf_training.packed(queries, 6, together=together)]

    assert counts(together=8) == [[2, 4], [4], [9]]  # rows of 4, 5, 7 and 17 tokens
    assert counts(together=1) == [[4, 2], [4], [9]]  # of 2, 3, 4 and 10


def test_sample_rewards_are_means_over_queries() -> None:
    rows = [row("q0", "a", 1.0), row("q0", "b", 3.0), row("q1", "c", 5.0), row("q1", "d", 5.0)]

    assert rrhf_training.sample_rewards(rows) == {"mean": (2 + 5) / 2, "deviation": (1 + 0) / 2, "best": (3 + 5) / 2}


# ------------------------------------------------------------------------------------------------ training


def test_rrhf_on_its_own_answers_raises_the_reward_and_a_second_round_ranks_new_answers(tmp_path: Path) -> None:
    _, state = run(tmp_path, rounds=2, epochs=6)

    summary = rrhf_training.summary(state, state.samples)
    assert summary["after"]["reward"] > summary["before"]["reward"]
    assert summary["before"]["kl"] == 0.0 < abs(summary["after"]["kl"])
    assert {row["kl"] for row in state.samples if row["round"] == 0} == {0.0}, "the policy is the reference still"
    assert 0.0 not in {row["kl"] for row in state.samples if row["round"] == 1}
    assert summary["samples"]["last_round"]["mean"] > summary["samples"]["first_round"]["mean"]
    assert {row["round"] for row in state.samples} == {0, 1}
    assert len(state.samples) == 2 * len(prompts()) * 3


def test_the_rank_loss_puts_given_answers_in_the_order_of_their_rewards(tmp_path: Path) -> None:
    texts = [f"The red fox lives in {place}." for place in ("the forest", "Riga", "a city", "the sky")]
    given = [query(*((text, float(place)) for place, text in enumerate(texts)))]

    _, state = run(tmp_path, given=given, epochs=40, batch_size=1, rank_weight=10.0, learning_rate=3e-3)

    assert state.log[0]["pairs_in_order"] < 1.0 == state.log[-1]["pairs_in_order"]
    assert state.samples == []


def test_a_run_that_was_cut_off_in_a_round_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    settings = dict(rounds=2, snapshot_every=2, kl_coefficient=0.1)
    whole, state = run(tmp_path / "whole", **settings)

    class Cut(Exception):
        pass

    def stop(entry: Row) -> None:
        if entry["step"] == 3:
            raise Cut

    with pytest.raises(Cut):
        run(tmp_path / "cut", report=stop, **settings)
    assert [one.name for one in (tmp_path / "cut").iterdir()] == ["step-00000003"]
    again, other = run(tmp_path / "cut", **settings)

    assert {name: tensor.tolist() for name, tensor in weights(whole).items()} == {
        name: tensor.tolist() for name, tensor in weights(again).items()
    }
    assert (state.log, state.curve, state.samples) == (other.log, other.curve, other.samples)


def test_rows_on_a_device_change_nothing_but_rounding(tmp_path: Path) -> None:
    one, _ = run(tmp_path / "one", device_batch_size=3)
    other, _ = run(tmp_path / "other", device_batch_size=64)

    for name, tensor in weights(one).items():
        assert torch.allclose(tensor, weights(other)[name], atol=1e-4), name


def test_a_reward_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    broken = fond_of(" forest")
    broken.score.weight.data.fill_(float("nan"))

    with pytest.raises(UserError, match="scores .* with nan"):
        run(tmp_path, reward_model=broken)


# ------------------------------------------------------------------------------------------------ the stage

MEMBER: dict[str, Any] = VARIANT | dict(policy="models/sft/rmsp", reward="models/reward/almost", source="policy")
FAMILY: dict[str, Any] = SETTINGS | {"candidates": "rmsp", "max_prompt_tokens": 60}


def params(**changes: Any) -> train_rrhf.Params:
    family = {key: value for key, value in changes.items() if key in FAMILY}
    member = {key: value for key, value in changes.items() if key not in FAMILY}
    return train_rrhf.Params.model_validate(FAMILY | family | {"policies": {"test": MEMBER | member}})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy, a reward model, and queries of which one is an evaluation question."""
    monkeypatch.chdir(tmp_path)
    tiny.save(Path("models/sft/rmsp"), taught(), TOKENIZER)
    tiny.save(Path("models/reward/almost"), fond_of(" forest"), TOKENIZER)
    queries = [{"query_id": query_id, "text": question, "split": "train"} for query_id, question in QUESTIONS]
    queries[0]["split"] = "eval"
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "text", "split")])
    tables.write(queries, "queries", key="query_id", schema=schema)
    return tmp_path


def write_candidates(*rewards: float | None) -> None:
    rows = [
        {"query_id": "q1", "turn": 1, "sample_index": place, "text": f"Answer {place}.", "reward": reward}
        | {"finish_reason": "stop", "is_best": False}
        for place, reward in enumerate(rewards)
    ]
    file = tables.path("candidates/rmsp")
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=simulation.CANDIDATES), file)  # another program wrote it


def metrics(name: str = "test") -> dict[str, Any]:
    return yaml.safe_load(Path(f"metrics/train_rrhf/{name}.json").read_text())


def test_the_stage_writes_policy_samples_curve_and_metrics_and_leaves_no_scratch(workspace: Path) -> None:
    train_rrhf.main(params(), "test")

    before, after = models.load_causal("models/sft/rmsp"), models.load_causal("models/rrhf/test")
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    samples = tables.rows("rrhf_samples/test")
    assert len(samples) == 3 * 3 == metrics()["answers"]  # the evaluation question is not among them
    assert "q0" not in {one["query_id"] for one in samples}
    assert {one["question_id"] for one in tables.rows("rrhf_curve/test")} == {"q0"}
    assert metrics()["tokens_sampled"] == sum(one["tokens"] for one in samples)
    assert list(Path(".work/train_rrhf").iterdir()) == []


def test_the_stage_learns_from_candidates_and_counts_those_it_cannot_rank(workspace: Path) -> None:
    write_candidates(0.5, math.nan, None, 0.7)

    train_rrhf.main(params(source="candidates"), "test")

    assert metrics()["dropped"] == {"without_reward": 2, "empty": 0, "repeated": 0}
    assert (metrics()["responses"], metrics()["answers"]) == (2, 0)
    assert metrics()["samples"]["last_round"]["best"] == 0.7


def test_the_stage_ranks_two_candidates_beside_own_answers_in_every_round(workspace: Path) -> None:
    write_candidates(0.5, 0.7, 0.1, math.nan)

    train_rrhf.main(params(source="mixed", rounds=2), "test")

    samples = tables.rows("rrhf_samples/test")
    others = [(one["round"], one["sample_index"], one["text"]) for one in samples if one["kl"] is None]
    assert sorted(others) == [(r, i, text) for r in (0, 1) for i, text in ((3, "Answer 1."), (4, "Answer 2."))]
    assert {one["query_id"] for one in samples if one["kl"] is None} == {"q1"}  # the only one with candidates
    assert metrics()["answers"] == len(samples) - 4 == 2 * 3 * 3
    assert metrics()["dropped"]["without_reward"] == 1


def test_candidates_beside_more_beams_than_temperatures_have_places_of_their_own(workspace: Path) -> None:
    write_candidates(0.5, 0.7)

    train_rrhf.main(params(source="mixed", beams=5, epochs=1), "test")

    samples = tables.rows("rrhf_samples/test")
    assert sorted(one["sample_index"] for one in samples if one["kl"] is None) == [5, 6]


@pytest.mark.parametrize("rewards", [(0.5,), (0.5, 0.5)], ids=["one response", "equal rewards"])
def test_groups_that_rank_nothing_are_fine_tuned_on(workspace: Path, rewards: tuple[float, ...]) -> None:
    write_candidates(*rewards)

    train_rrhf.main(params(source="candidates", epochs=8), "test")

    assert metrics()["first"]["rank_loss"] == 0.0
    assert metrics()["last"]["fine_tuning_loss"] < metrics()["first"]["fine_tuning_loss"]


@pytest.mark.parametrize("rewards", [(), (None, math.nan)], ids=["an empty table", "no reward in it"])
def test_candidates_without_a_reward_are_refused_by_name(workspace: Path, rewards: tuple[float | None, ...]) -> None:
    write_candidates(*rewards)

    with pytest.raises(UserError, match=r"data/candidates/rmsp\.parquet: none of 0 responses"):
        train_rrhf.main(params(source="candidates"), "test")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: train_rrhf.main(params(), "other"), "train_rrhf has no policy 'other'; it has test"),
        (lambda: train_rrhf.main(params(max_prompt_tokens=2), "test"), "raise train_rrhf.max_prompt_tokens"),
        (lambda: train_rrhf.main(params(reward="models/none"), "test"), "models/none: no such model folder"),
    ],
    ids=["member", "prompts", "reward"],
)
def test_what_is_wrong_is_named(workspace: Path, make: Callable[[], None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", 3)

    with pytest.raises(UserError, match=r"train_rrhf\.batch_size = 2 does not divide among 3 processes"):
        run(tmp_path)


def everything() -> dict[str, bytes]:
    files = [file for folder in ("models/rrhf", "data", "metrics") for file in Path(folder).rglob("*")]
    return {str(file): file.read_bytes() for file in sorted(files) if file.is_file()}


@pytest.mark.slow
def test_kill_9_and_again_makes_the_same_bytes(workspace: Path) -> None:
    section = params(rounds=3, epochs=8, snapshot_every=4).model_dump()
    Path("params.yaml").write_text(yaml.safe_dump({"train_rrhf": section}))
    command = [sys.executable, "-m", "stages.train_rrhf", "test"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=600)
    undisturbed = everything()

    process = subprocess.Popen(command, env=environment)
    while not list(Path(".work/train_rrhf").glob("*/step-*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command, env=environment, check=True, timeout=600)

    assert everything() == undisturbed
