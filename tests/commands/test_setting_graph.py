"""Settings that dvc.yaml cannot follow are told before any stage runs; those that it can are right."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stages import check_settings
from synthalign.generation import vllm_engine
from tests import checked_settings
from tests.checked_settings import complaint


@pytest.fixture
def settings() -> dict[str, Any]:
    return checked_settings.embedded()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which no stage has run yet."""
    folder = tmp_path / "fresh"
    (folder / "data").mkdir(parents=True)
    kept = [entry for entry in Path().iterdir() if entry.name not in ("data", "models", ".work")]
    for entry in [*kept, *(Path("data") / name for name in ("annotations", "embedded", "endpoints", "general"))]:
        (folder / entry).symlink_to(entry.absolute())
    monkeypatch.chdir(folder)
    return folder


def test_a_fresh_checkout_has_all_that_no_stage_makes(fresh: Path) -> None:
    check_settings.main("profiles/embedded.yaml")


def test_a_member_that_is_taken_out_is_missed_by_the_stages_that_dvc_yaml_has_read_it(
    fresh: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    del settings["simulate_demonstrations"]["guides"]["selfplay"]
    del settings["sample_responses"]["configurations"]["small_faithful3"]
    settings["build_comparisons"]["size_pairs"] = []

    told = complaint(tmp_path, settings)

    assert re.search(
        "^train_sft@selfplay: data/demonstrations/selfplay.parquet is not there, and no stage makes it; "
        "simulate_demonstrations.guides.selfplay or distill_context.sources.selfplay would make it; or take it out of "
        "train_sft in dvc.yaml$",
        told,
        re.MULTILINE,
    )
    assert "\nbuild_comparisons: data/responses/small_faithful3.parquet is not there" in told
    (fresh / "data/demonstrations").mkdir()
    (fresh / "data/demonstrations/selfplay.parquet").touch()  # one's own
    assert "train_sft@selfplay" not in complaint(tmp_path, settings)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (
            "train_dpo.comparisons",
            "sftt",
            r"train_dpo.comparisons = 'sftt': data/comparisons/sftt.parquet is not there, and no stage makes it; "
            r"perhaps .*sft.parquet.*; or contrast_pairs.simulations.sftt or label_pairs.labels.sftt would make it; or",
        ),
        (
            "train_sft.model",
            "my/llama",
            r"train_sft.model = 'my/llama': my/llama is not there, and no stage makes it; bring it$",
        ),
        ("score_policies.curve", "almots", r"score_policies.curve = 'almots': data/ppo_curve/almots.parquet is"),
        (
            "train_flan.members.small.mixture",
            "al",
            r"train_flan.members.small.mixture = 'al': data/mixtures/al.parquet is not there",
        ),
    ],
)
def test_what_no_stage_makes_and_is_not_there_is_told_once_with_its_setting(
    fresh: Path, tmp_path: Path, settings: dict[str, Any], place: str, value: str, says: str
) -> None:
    *within, key = place.split(".")
    section = settings
    for name in within:
        section = section[name]
    section[key] = value

    told = complaint(tmp_path, settings)

    assert told.startswith("1 wrong\n")
    assert re.search(says, told)


def test_a_model_that_is_brought_may_lie_anywhere(fresh: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    (fresh / "my/llama").mkdir(parents=True)
    settings["train_sft"]["model"] = "my/llama"
    checked_settings.check(tmp_path, settings)


@pytest.mark.parametrize(
    ("place", "value", "file"),
    [
        ("compare_methods.policies", "large_hhh", "data/answers/large_hhh.parquet"),
        ("score_policies.policies", "rloo", "data/answers/rloo.parquet"),
        ("score_snapshots.curves", "ppo_curve/rlcd", "data/ppo_curve/rlcd.parquet"),
        ("score_pairs.tables", "almost", "data/comparisons/almost.parquet"),
        ("score_comparisons.filters", "almost_size", "data/comparisons/almost_size.parquet"),
        ("score_comparisons.others", "rlcd", "data/comparisons/rlcd.parquet"),
        ("score_rewards.configurations", "large_hhh3", "data/responses/large_hhh3.parquet"),
        ("score_rewards.rewards", "models/reward/rlcd", "models/reward/rlcd"),
        ("score_scorers.configurations", "large_hhh3", "data/responses/large_hhh3.parquet"),
        ("score_scorers.rewards", "models/reward/gold", "models/reward/gold"),
        ("score_scorers.likelihoods", "models/ppo/ptx", "models/ppo/ptx"),
        (
            "score_scorers.implicit_rewards",
            {"policy": "models/ppo/ptx", "reference": "models/sft/rmsp"},
            "models/ppo/ptx",
        ),
        (
            "score_scorers.implicit_rewards",
            {"policy": "models/dpo", "reference": "models/sft/selfplay"},
            "models/sft/selfplay",
        ),
    ],
)
def test_what_a_list_has_a_stage_read_stands_in_dvc_yaml(
    tmp_path: Path, settings: dict[str, Any], place: str, value: Any, file: str
) -> None:
    section, key = place.split(".")
    given = settings[section][key]
    settings[section][key] = given | {"further": value} if isinstance(given, dict) else [*given, value]

    what = f"{section}: {file} is read by these settings, and dvc.yaml does not say so; add it to the deps there"
    assert complaint(tmp_path, settings) == f"1 wrong\n{what}"


@pytest.mark.parametrize(("key", "folder"), [("subjects", "task_answers"), ("mixtures", "mixtures")])
def test_a_name_in_a_list_that_no_stage_makes_a_table_of_is_told(
    tmp_path: Path, settings: dict[str, Any], key: str, folder: str
) -> None:
    settings["score_tasks"][key].append("nobody")

    assert f"score_tasks: data/{folder}/nobody.parquet is read by these settings, is not there, and no stage" in (
        complaint(tmp_path, settings)
    )


@pytest.mark.parametrize("stage", ["score_comparisons", "score_policies", "score_pairs", "score_candidates"])
def test_the_reward_model_that_judges_in_an_oracles_place_stands_in_dvc_yaml(
    tmp_path: Path, settings: dict[str, Any], stage: str
) -> None:
    settings[stage] |= {"oracle": None, "people": "models/reward/no_length"}

    assert complaint(tmp_path, settings).startswith(f"1 wrong\n{stage}: models/reward/no_length is read by these")


def test_a_list_that_nobody_reads_need_not_stand_in_dvc_yaml(tmp_path: Path, settings: dict[str, Any]) -> None:
    for stage in ("compare_methods", "score_comparisons", "score_policies", "score_pairs", "score_rewards"):
        settings[stage]["oracle"] = None
    settings["compare_methods"]["policies"].append("large_hhh")
    settings["score_policies"]["policies"].append("rloo")
    settings["score_pairs"]["tables"].append("almost")
    settings["score_rewards"]["rewards"]["rlcd"] = "models/reward/rlcd"
    settings["score_scorers"]["rewards"]["rlcd"] = "models/reward/rlcd/"  # which dvc.yaml has
    checked_settings.check(tmp_path, settings)


def test_a_model_that_vllm_is_to_write_with_has_to_be_whole(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "check_installed", lambda: None)
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "target_modules": None, "merge": False}
    for stage in ("train_reward", "train_dpo", "train_spin"):
        settings[stage]["lora"] = lora
    for stage in ("sample_answers", "sample_ditto", "sample_preferences"):
        settings[stage]["engine"] = "vllm"

    told = complaint(tmp_path, settings)

    assert told.startswith("5 wrong\n")  # dpo, and SPIN's model of four authors; a reward model writes nothing
    assert "sample_answers.policies.dpo.model = 'models/dpo': train_dpo leaves models/dpo as adapters" in told
    assert "sample_ditto.authors.poet: train_spin leaves models/spin/poet as adapters" in told
    settings["train_dpo"]["lora"] = settings["train_spin"]["lora"] = lora | {"merge": True}
    checked_settings.check(tmp_path, settings)


@pytest.mark.parametrize(("base", "is_refused"), [("models/base/large", True), ("mine/large", False)])
def test_adapters_on_what_a_stage_makes_are_no_base_model(
    fresh: Path, tmp_path: Path, settings: dict[str, Any], base: str, is_refused: bool
) -> None:
    for folder in ("adapters", base):
        Path(folder).mkdir(parents=True)
    Path("adapters/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    settings["base_models"]["small"]["source"] = "adapters"

    if is_refused:
        assert f"{base} is made by base_models, and DVC deletes it" in complaint(tmp_path, settings)
    else:
        checked_settings.check(tmp_path, settings)
