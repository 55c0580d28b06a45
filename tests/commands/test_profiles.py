"""Profiles: a base with every setting, overlays with what differs, and one number that scales all counts."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from stages import check_settings
from synthalign.commands import cli, people, profiles, setting_graph
from synthalign.core.errors import UserError

PROFILES = sorted(file for file in Path("profiles").glob("*.yaml") if profiles.is_overlay(file))


@cache
def settings_of(file: Path) -> dict[str, Any]:
    """Those of a profile, to be looked at."""
    return yaml.safe_load(profiles.composed(file).settings)


each_profile = pytest.mark.parametrize("file", PROFILES, ids=lambda file: file.stem)

BASE = """\
# All about this file.

# A stage.
train:
  # Passes.
  epochs: 1
  # Who learns.
  members:
    # The first.
    one: {pairs: 1000, rate: 1.0e-3}  # scales, at least 40
    # The second.
    two:
      # Its model.
      model: small
  # The rate.
  rate: 2.0e-5

# Another stage.
score:
  # The judge.
  oracle: null
"""


def profile(folder: Path, overlay: str, base: str = BASE) -> Path:
    """An overlay beside a base."""
    (folder / "base.yaml").write_text(base)
    (folder / "mine.yaml").write_text(overlay)
    return folder / "mine.yaml"


def at(folder: Path, rows: str, scale: float) -> dict[str, Any]:
    """The settings of one section at this scale."""
    made = profiles.composed(
        profile(folder, "# Mine.\n\n# Why.\ns.last: 2\n", f"# Base.\n\ns:\n{rows}  last: 1\n"), scale
    )
    settings: dict[str, Any] = yaml.safe_load(made.settings)["s"]
    return {key: value for key, value in settings.items() if key != "last"}


def test_an_overlays_values_and_reasons_stand_at_their_places_and_all_else_as_in_base(tmp_path: Path) -> None:
    overlay = """\
# Mine: a try.
# It has two lines.

# Few pairs
# are enough.
train.members.one.pairs: 500
train.rate: 1.0e-3
# We have one.
"*.oracle": data/world
"""

    made = profiles.composed(profile(tmp_path, overlay))

    assert (
        made.settings
        == """\
# `make profile P=mine` composed this from profiles/base.yaml and profiles/mine.yaml.
# Mine: a try.
# It has two lines.

# A stage.
train:
  # Passes.
  epochs: 1
  # Who learns.
  members:
    # The first.
    # Few pairs
    # are enough.
    one: {pairs: 500, rate: 1.0e-3}
    # The second.
    two:
      # Its model.
      model: small
  # The rate.
  # Few pairs
  # are enough.
  rate: 1.0e-3

# Another stage.
score:
  # The judge.
  # We have one.
  oracle: data/world
"""
    )
    assert made.changed == 3


def test_a_replaced_mapping_has_the_overlays_members_alone_and_the_next_key_keeps_its_sentence(tmp_path: Path) -> None:
    overlay = "# Mine.\n\n# Others.\ntrain.members: !replace\n  # Mine too.\n  three:\n    model: large\n"

    text = profiles.composed(profile(tmp_path, overlay)).settings

    assert (
        "  # Who learns.\n  # Others.\n  members:\n    # Mine too.\n    three:\n      model: large\n  # The rate.\n"
        in text
    )
    assert yaml.safe_load(text)["train"]["members"] == {"three": {"model": "large"}}


@pytest.mark.parametrize("written", ["[\n  1, 2,\n  3\n]", "\n- 1\n- 2\n# Three.\n- 3", "\n  - 1\n  - 2\n  - 3"])
@pytest.mark.parametrize("key", ["train.rate", "score.oracle"])
def test_a_list_over_several_lines_arrives_whole(tmp_path: Path, key: str, written: str) -> None:
    text = profiles.composed(profile(tmp_path, f"# Mine.\n\n# Why.\n{key}: {written}\n")).settings

    section, name = key.split(".")
    assert yaml.safe_load(text)[section][name] == [1, 2, 3]


def test_a_later_line_wins_and_what_comes_out_as_in_base_gets_no_reason(tmp_path: Path) -> None:
    made = profiles.composed(profile(tmp_path, "# Mine.\n\n# All.\ntrain.*: 3\n# But.\ntrain.epochs: 1\n", BASE.replace(
        "  # Who learns.\n  members:\n    # The first.\n    one: {pairs: 1000, rate: 1.0e-3}  # scales, at least 40\n"
        "    # The second.\n    two:\n      # Its model.\n      model: small\n", "")))  # fmt: skip

    assert yaml.safe_load(made.settings)["train"] == {"epochs": 1, "rate": 3}
    assert made.settings.count("# All.") == 1 and "# But." not in made.settings


def test_a_line_within_what_another_replaces_is_refused(tmp_path: Path) -> None:
    overlay = "# Mine.\n\n# Why.\ntrain.members: !replace\n  one: {pairs: 2}\ntrain.members.one.pairs: 3\n"

    with pytest.raises(UserError, match="mine.yaml: train.members.one.pairs is within train.members, which another"):
        profiles.composed(profile(tmp_path, overlay))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train.epoch: 3", "mine.yaml: train.epoch = 3: base.yaml beside it has no such key"),
        ("trian.*.pairs: 3", "mine.yaml: trian.*.pairs = 3: base.yaml beside it has no such key"),
        ("train.members: 3", "mine.yaml: train.members = 3: train.members is a mapping; name one of its keys"),
        ("train: {epochs: 3}", "mine.yaml: train is a mapping; give its keys lines, as train.epochs, or"),
        ("- train.epochs", "mine.yaml has no keys; compare with profiles/smollm.yaml"),
        ("train.epochs: [", "mine.yaml cannot be read: "),
    ],
)
def test_a_line_that_base_does_not_know_is_refused_with_file_key_and_value(
    tmp_path: Path, line: str, says: str
) -> None:
    file = profile(tmp_path, f"# Mine.\n\n# Why.\n{line}\n")

    with pytest.raises(UserError) as composing:
        profiles.composed(file)
    with pytest.raises(UserError) as checking:
        check_settings.main(str(file))

    assert says in str(composing.value)
    assert str(checking.value) == str(composing.value)


# -- the scale --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "scale", "expected"),
    [
        (1000, 0.25, 250),
        (1000, 0.0996, 100),  # 99.6
        (1000, 0.001, 40),  # 1, raised to the least number
        (30, 0.5, 30),  # 15 would be raised to 40, which is more than unscaled
        (1000, 1.0, 1000),
    ],
)
def test_a_count_is_multiplied_rounded_and_bounded_below(
    tmp_path: Path, count: int, scale: float, expected: int
) -> None:
    assert at(tmp_path, f"  rows: {count}  # scales, at least 40\n", scale) == {"rows": expected}


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0.5, {"batch": 64, "part": 32}),
        (0.9, {"batch": 116, "part": 58}),  # 115.2 and 57.6: the nearest multiple of 58
        (0.99, {"batch": 126, "part": 63}),  # 126.7 and 63.4: 127 is nearest to 126; 189 would be more than unscaled
        (0.01, {"batch": 16, "part": 8}),
    ],
)
def test_a_batch_stays_a_multiple_of_its_parts(tmp_path: Path, scale: float, expected: dict[str, int]) -> None:
    rows = "  batch: 128  # scales, at least 16, a multiple of part\n  part: 64  # scales, at least 8\n"

    assert at(tmp_path, rows, scale) == expected


def test_a_multiple_of_a_number_is_never_more_than_unscaled(tmp_path: Path) -> None:
    rows = "  a: 128  # scales, at least 8, a multiple of 8\n  b: 6  # scales, at least 8, a multiple of 8\n"

    assert at(tmp_path, rows, 0.3) == {"a": 40, "b": 6}  # 38.4


def test_every_whole_number_of_a_line_scales_and_nothing_else(tmp_path: Path) -> None:
    rows = (
        "  one: {pairs: 1000, other: 500, rate: 0.5}  # scales, at least 1\n"
        "  all: null  # scales, at least 1\n"
        "  as_is: 1000\n"
    )

    expected = {"one": {"pairs": 100, "other": 50, "rate": 0.5}, "all": None, "as_is": 1000}
    assert at(tmp_path, rows, 0.1) == expected


def test_an_overlays_count_is_scaled_by_the_rule_in_base(tmp_path: Path) -> None:
    file = profile(tmp_path, "# Mine.\n\n# Why.\ntrain.members.one.pairs: 500\n")

    made = profiles.composed(file, 0.1)

    assert yaml.safe_load(made.settings)["train"]["members"]["one"] == {"pairs": 50, "rate": 0.001}
    assert made.settings.startswith("# `make profile P=mine SCALE=0.1` composed this")
    assert "scales" not in made.settings


def test_a_file_of_questions_is_cut_to_lines_that_are_evenly_spaced(tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("".join(f"{number}?\n" for number in range(10)))
    base = f"# Base.\n\ns:\n  asked: {questions}  # scales, at least 2\n  last: 1\n"
    file = profile(tmp_path, "# Mine.\n\n# Why.\ns.last: 2\n", base)

    made = profiles.composed(file, 0.4)

    assert yaml.safe_load(made.settings)["s"]["asked"] == "data/scaled/questions.txt"
    assert made.files == {Path("data/scaled/questions.txt"): "0?\n2?\n5?\n7?\n"}  # 0, 2.5, 5, 7.5
    assert profiles.composed(file).files == {}


def test_a_cut_file_has_the_lines_that_mining_reads(tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_bytes("\ufeffone\u2028line?\r\ntwo\u0085lines?\r\n\ufeffthree\x0cpages?\rfour?".encode())
    base = f"# Base.\n\ns:\n  asked: {questions}  # scales, at least 2\n  last: 1\n"

    made = profiles.composed(profile(tmp_path, "# Mine.\n\n# Why.\ns.last: 2\n", base), 0.5)

    assert made.files == {Path("data/scaled/questions.txt"): "one\u2028line?\nthree\x0cpages?\n"}


def test_a_byte_order_mark_and_ends_of_lines_from_elsewhere_leave_the_settings_as_they_are(tmp_path: Path) -> None:
    overlay = "# Mine.\n\n# Why\n# so.\ntrain.epochs: 2\n"
    made = profiles.composed(profile(tmp_path, overlay))
    for name, text in (("mine.yaml", overlay), ("base.yaml", BASE)):
        (tmp_path / name).write_bytes(f"\ufeff{text}".replace("\n", "\r\n").encode())

    assert profiles.composed(tmp_path / "mine.yaml") == made
    assert "# Mine.\n\n" in made.settings
    assert "  # Why\n  # so.\n  epochs: 2\n" in made.settings


def test_a_value_that_is_not_of_its_type_is_refused_with_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine.yaml: train.epochs = 2024-13-45 cannot be read: '2024-13-45' is no"):
        profiles.composed(profile(tmp_path, "# Mine.\n\n# Why.\ntrain.epochs: 2024-13-45\n"))


@pytest.mark.parametrize("wrong", ["scales", "scales, at least few", "scales, at least 8, a multiple"])
def test_a_rule_that_cannot_be_read_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UserError, match=f"base.yaml: rows: '{wrong}' is no rule"):
        at(tmp_path, f"  rows: 100  # {wrong}\n", 0.5)


# -- the profiles of the project --------------------------------------------------------------------------------------


def test_the_settings_in_force_are_the_embedded_profile() -> None:
    assert Path("params.yaml").read_text() == profiles.composed(Path("profiles/embedded.yaml")).settings


@each_profile
def test_an_overlay_holds_nothing_but_what_differs_each_line_with_its_reason(file: Path) -> None:
    base = Path("profiles/base.yaml").read_text(encoding="utf-8")
    settings = profiles.places(profiles.parsed(base, file))
    lines = profiles.overlay(file)[1]

    in_force = {place: line for line in lines for place in profiles.matching(line, settings, file)}
    differ = {line for place, line in in_force.items() if not profiles.same(line, base, settings[place], file)}

    assert [line.place for line in lines if line not in differ] == []
    assert [line.place for line in lines if not line.reason] == []


@pytest.fixture(scope="module")
def root_with_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout, with the files that `python -m synthalign people` makes."""
    root = tmp_path_factory.mktemp("root")
    made = root / "data/people"
    made.mkdir(parents=True)
    for one in (*Path().iterdir(), *Path("data").iterdir()):
        if one not in (Path("data"), Path("data/people")):
            (root / one).symlink_to(one.absolute())
    (made / "raw").symlink_to(Path("../shared/data").absolute())
    people.make(made)
    return root


@each_profile
@pytest.mark.parametrize("scale", [0.005, 0.02, 0.37, 0.999])
def test_every_profile_is_right_at_every_scale(
    file: Path, scale: float, tmp_path: Path, root_with_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root_with_people)
    composed = profiles.composed(file, scale)
    text = composed.settings
    for cut, content in composed.files.items():  # which `make profile` writes
        (tmp_path / cut.name).write_text(content)
        text = text.replace(str(cut), str(tmp_path / cut.name))
    settings = yaml.safe_load(text)

    assert check_settings.wrong_sections(settings, str(file)) == []
    assert check_settings.wrong_together(settings) == []


@each_profile
@pytest.mark.parametrize("key", ["max_new_tokens", "max_prompt_tokens"])
def test_answers_that_trainers_write_for_one_table_are_as_long(file: Path, key: str) -> None:
    settings = settings_of(file)
    trainers = ("train_ppo", "train_rrhf", "train_group_rl", "snapshot_dpo")

    assert len({settings[name][key] for name in trainers}) == 1


@each_profile
def test_who_brings_peoples_pairs_is_judged_by_them(file: Path) -> None:
    settings = settings_of(file)
    judged = [section for section in settings.values() if {"oracle", "people"} <= section.keys()]

    assert len(judged) == 5
    if settings["judge_answers"]["oracle"] is None and settings["label_gold"]["human_pairs"] is not None:
        assert {section["people"] for section in judged} == {"models/reward/gold"}


@each_profile
def test_no_profile_but_the_worlds_own_reads_its_words(file: Path) -> None:
    settings = settings_of(file)

    assert ("data/embedded" in json.dumps(settings)) == (file.stem == "embedded")


def test_make_pocket_waits_for_no_file_but_those_that_it_fetches() -> None:
    settings, graph = settings_of(Path("profiles/pocket.yaml")), setting_graph.stages()
    outs = setting_graph.made(settings, graph)
    made = {*outs, *(str(folder) for out in outs for folder in Path(out).parents)}
    read = {dep.path for dep in setting_graph.dependencies(settings, graph)}

    missing = {one for one in read - made if not (Path(one).exists() or outs.keys() & {*map(str, Path(one).parents)})}
    assert {one for one in missing if not one.startswith(("data/people/", "models/gguf/"))} == set()


@each_profile
def test_a_demonstration_of_full_length_has_room_for_its_question(file: Path) -> None:
    settings = settings_of(file)

    assert settings["train_sft"]["max_length"] >= settings["simulate_demonstrations"]["max_new_tokens"] + 64


@each_profile
def test_scale_1_is_no_scale(file: Path) -> None:
    assert profiles.composed(file, 1.0) == profiles.composed(file)


def test_dvc_changes_a_setting_and_keeps_the_others_and_their_sentences(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(profiles.composed(Path("profiles/embedded.yaml")).settings)
    before = yaml.safe_load(file.read_text())
    comments = [line.strip() for line in file.read_text().splitlines() if line.strip().startswith("#")]

    apply_overrides(file, ["train_ppo.kl_coefficient=0.1"])  # what `dvc exp run -S` does

    before["train_ppo"]["kl_coefficient"] = 0.1
    assert yaml.safe_load(file.read_text()) == before
    assert [line.strip() for line in file.read_text().splitlines() if line.strip().startswith("#")] == comments


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_params_and_the_questions_that_it_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profiles").mkdir()
    profile(tmp_path / "profiles", "# Mine.\n\n# Why.\ns.n: 50\n", "# Base.\n\ns:\n  n: 100  # scales, at least 1\n"
            "  asked: few.txt  # scales, at least 1\n")  # fmt: skip
    (tmp_path / "few.txt").write_text("a\nb\nc\nd\n")
    monkeypatch.chdir(tmp_path)

    cli.main(["profile", "mine", "--scale", ".5"])

    assert yaml.safe_load(Path("params.yaml").read_text()) == {"s": {"n": 25, "asked": "data/scaled/few.txt"}}
    assert Path("data/scaled/few.txt").read_text() == "a\nc\n"
    assert "params.yaml: mine, 1 settings other than base.yaml's, 2 scaled by 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a profile: make profile P=NAME; there are embedded, llama-paper, pocket, qwen, smollm"),
        (
            ["smolm"],
            "profiles/smolm.yaml: there is no such profile; there are embedded, llama-paper, pocket, qwen, smollm",
        ),
        (["base"], "profiles/base.yaml: there is no such profile"),
        (["qwen", "--set", "mine_queries.keywords=- bomb"], "params.yaml could not be read with that"),
        (["qwen", "--set", "mine_queries.model=a: b"], "params.yaml could not be read with that"),
        (["qwen", "--set", "mine_queries.keywords=[a,\nb]"], "write KEY=VALUE on one line"),
        (["qwen", "--scale", ".1", "--set", "train_ppo.minibatch=null"], "train_ppo.minibatch = null: a scale wants"),
        (["qwen", "--scale", "few"], "SCALE = few; it has to be a number above 0 and at most 1, such as .02"),
        (["qwen", "--scale", "0"], "SCALE = 0; it has to be"),
        (["qwen", "--scale", "1.5"], "SCALE = 1.5; it has to be"),
        (["qwen", "--scale", "nan"], "SCALE = nan; it has to be"),
    ],
)
def test_what_is_no_profile_or_no_scale_is_refused_and_params_stays(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("params.yaml").read_bytes()

    with pytest.raises(SystemExit):
        cli.main(["profile", *words])

    assert says in capsys.readouterr().err
    assert Path("params.yaml").read_bytes() == before


def test_a_change_by_hand_wins_over_the_overlay_and_is_in_the_command_of_the_head(tmp_path: Path) -> None:
    file = profile(tmp_path, "# Mine.\n\n# Why.\ntrain.rate: 1.0e-3\n")

    made = profiles.composed(file, changes=["train.rate=5.0e-4", "*.oracle=data/world"])

    settings = yaml.safe_load(made.settings)
    assert (settings["train"]["rate"], settings["score"]["oracle"]) == (5.0e-4, "data/world")
    assert made.settings.startswith(
        "# `python -m synthalign profile mine --scale 1 --set train.rate=5.0e-4 --set '*.oracle=data/world'` composed"
    )
    assert "# Set by hand.\n  rate: 5.0e-4\n" in made.settings


@pytest.mark.parametrize(
    ("change", "said"),
    [("train.rate", "--set train.rate: write KEY=VALUE"), ("train.rates=1", "--set: train.rates = 1: base.yaml")],
)
def test_a_change_by_hand_of_no_key_or_no_value_is_told(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        profiles.composed(profile(tmp_path, "# Mine.\n\n# Why.\ntrain.rate: 1.0e-3\n"), changes=[change])
