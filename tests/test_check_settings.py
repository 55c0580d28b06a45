"""A profile is checked as a whole: every wrong line at once, with its key, its value and what is allowed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import check_settings
from synthalign.errors import UserError

EMBEDDED = Path("profiles/embedded.yaml")


def complaint(tmp_path: Path, settings: dict[str, Any]) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError) as caught:
        check_settings.main(str(file))
    return str(caught.value)


@pytest.fixture
def settings() -> dict[str, Any]:
    return yaml.safe_load(EMBEDDED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("profile", sorted(Path("profiles").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_profile_is_right(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_settings.main(str(profile))

    assert "all right" in capsys.readouterr().out


def test_unknown_missing_and_mistyped_keys_are_told_at_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["train_sft"]["learning_rat"] = settings["train_sft"].pop("learning_rate")
    settings["train_ppo"]["steps"] = "60"
    del settings["judge_answers"]
    settings["train_pro"] = {}

    told = complaint(tmp_path, settings)

    assert told.startswith("5 wrong")
    for line in (
        "train_sft.learning_rat = 0.001: Extra inputs are not permitted",
        "train_sft.learning_rate: Field required",
        "train_ppo.steps = '60': Input should be a valid integer",
        "judge_answers: the section is missing",
        "train_pro: no stage has this name",
    ):
        assert line in told


def test_more_shots_than_the_file_has_are_told_with_their_place(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["sample_responses"]["configurations"]["b"]["shots"] = 99

    assert "sample_responses.configurations.b: " in complaint(tmp_path, settings)


def test_a_ranked_configuration_has_to_answer_training_queries(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["build_comparisons"]["ranking"] = ["a", ["b", "large_hhh3"], "z"]

    told = complaint(tmp_path, settings)

    assert told.startswith("2 wrong")  # large_hhh3 answers the evaluation alone, z is nowhere
    assert "build_comparisons.ranking: 'large_hhh3' is no configuration" in told
    assert "build_comparisons.ranking: 'z' is no configuration" in told


def test_a_pair_of_sizes_may_differ_in_the_model_alone(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["build_comparisons"]["size_pairs"] = [["b", "e"]]

    told = complaint(tmp_path, settings)

    assert "build_comparisons.size_pairs: b and e differ in shots: 5 and 1" in told


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("a: [")
    with pytest.raises(UserError, match="mine.yaml cannot be read"):
        check_settings.main(str(file))
