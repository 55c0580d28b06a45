"""A profile is checked as a whole: every wrong line at once, with its key, its value and what is allowed."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from stages import check_settings
from synthalign.commands import profiles, setting_stages
from synthalign.core.errors import UserError
from tests import checked_settings
from tests.checked_settings import complaint

DVC = [sys.executable, "-m", "dvc"]
HHH, FAITHFUL = (f"data/embedded/demonstrations/{name}.jsonl" for name in ("hhh", "faithful"))


@pytest.fixture
def settings() -> dict[str, Any]:
    return checked_settings.embedded()


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


def test_a_keyword_that_every_query_holds_is_told_with_its_key(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["mine_queries"]["keywords"] = ["image", "", "\u00ad"]

    told = complaint(tmp_path, settings)

    assert told.startswith("2 wrong")
    assert "mine_queries.keywords.1 = '': Value error, '' is blank, and every text holds it" in told
    assert "mine_queries.keywords.2 = " in told


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


def test_an_assistant_that_is_not_the_strongest_configuration_is_said_and_not_refused(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings["simulate_demonstrations"]["assistant"] |= {"demonstrations": HHH, "shots": 2}

    checked_settings.check(tmp_path, settings)

    assert (
        f"simulate_demonstrations.assistant: demonstrations = {HHH!r}, shots = 2, and configuration a, the strongest "
        f"of build_comparisons.ranking, has {FAITHFUL!r}, 3; the policy learns from the assistant's answers"
    ) in capsys.readouterr().out


def test_the_assistant_may_be_any_of_the_strongest_configurations(settings: dict[str, Any]) -> None:
    settings["build_comparisons"]["ranking"] = [["a", "b"], "c"]
    settings["simulate_demonstrations"]["assistant"] |= {"demonstrations": HHH, "shots": 5}

    assert setting_stages.doubts(settings) == []


@pytest.mark.parametrize(("longest", "is_said"), [(64, True), (65, False)])
def test_demonstrations_as_long_as_what_training_reads_are_said(
    settings: dict[str, Any], longest: int, is_said: bool
) -> None:
    settings["simulate_demonstrations"]["max_new_tokens"] = 64
    settings["train_sft"]["max_length"] = longest

    assert setting_stages.doubts(settings) == is_said * [
        "train_sft.max_length = 64 is not above simulate_demonstrations.max_new_tokens = 64; the longest "
        "demonstrations would be left out, and others lose their questions"
    ]


@pytest.mark.parametrize("profile", sorted(Path("profiles").glob("*.yaml")), ids=lambda file: file.stem)
def test_nothing_is_doubted_of_a_profile_of_ours(profile: Path) -> None:
    overlay = profiles.is_overlay(profile)
    text = profiles.composed(profile).settings if overlay else profile.read_text(encoding="utf-8")

    assert setting_stages.doubts(yaml.safe_load(text)) == []


def test_demonstrations_named_as_data_md_says_reach_the_assistant() -> None:
    said = re.findall(r"^ {4}(\S+demonstrations): (data/mine/\S+)$", Path("docs/data.md").read_text(), re.MULTILINE)
    named = [f"{key}={file}" for key, file in said]

    settings = yaml.safe_load(profiles.composed(Path("profiles/smollm.yaml"), changes=named).settings)

    assert settings["simulate_demonstrations"]["assistant"]["demonstrations"] == "data/mine/faithful.jsonl"
    assert {one["demonstrations"] for one in settings["sample_answers"]["policies"].values()} == {"data/mine/hhh.jsonl"}
    assert setting_stages.doubts(settings) == [] and setting_stages.wrong_configurations(settings) == []


def test_the_stages_of_ditto_agree_about_their_authors(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["train_spin"]["authors"].pop("poet")
    settings["score_ditto"] |= {"oracle": None, "authors": ["captain", "nobody"]}

    told = complaint(tmp_path, settings)

    assert told.startswith("2 wrong")
    assert "train_spin.authors: " in told
    assert "score_ditto.authors: 'nobody' is no author of sample_ditto" in told


def test_the_files_of_an_author_are_checked_before_any_training(tmp_path: Path, settings: dict[str, Any]) -> None:
    file = tmp_path / "captain.jsonl"
    file.write_text('{"prompt": "Where?", "output": ""}\n')
    for section in ("train_ditto", "train_spin", "sample_ditto"):
        settings[section]["authors"]["captain"]["demonstrations"] = str(file)

    told = complaint(tmp_path, settings)

    assert f"sample_ditto.authors.captain: {file}, line 1: output is ''" in told


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("a: [")
    with pytest.raises(UserError, match="mine.yaml cannot be read"):
        check_settings.main(str(file))


ENDPOINT = Path("data/endpoints/example.yaml")


def with_endpoint(tmp_path: Path, settings: dict[str, Any], **changes: Any) -> str:
    """A configuration that asks the example endpoint, changed."""
    file = tmp_path / "server.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(ENDPOINT.read_text(encoding="utf-8")) | changes))
    settings["sample_responses"]["configurations"]["a"]["model"] = str(file)
    return str(file)


def test_an_endpoint_in_a_models_place_is_right(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_endpoint(tmp_path, settings, api_key_env="SERVER_KEY", max_cost=5, prompt_price=0.2)
    settings["mine_queries"]["model"] = settings["simulate_demonstrations"]["user"]["model"] = str(ENDPOINT)
    monkeypatch.setenv("SERVER_KEY", "abc")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))

    check_settings.main(str(tmp_path / "mine.yaml"))


def test_an_endpoint_that_judges_is_checked_too(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["judge_answers"] |= {"endpoint": "data/endpoints/none.yaml", "prompt": "scores"}

    assert "judge_answers.endpoint: data/endpoints/none.yaml: cannot be read" in complaint(tmp_path, settings)

    settings["judge_answers"] |= {"endpoint": "elsewhere.yaml", "prompt": "numbers"}
    told = complaint(tmp_path, settings)
    assert "judge_answers.endpoint = 'elsewhere.yaml': String should match" in told
    assert "judge_answers.prompt = 'numbers': Input should be 'scores' or 'letters'" in told


def test_all_that_is_wrong_with_an_endpoint_is_told_at_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    file = with_endpoint(
        tmp_path, settings, url="localhost:8000", concurrency=0, timeout="60", max_cots=3, completion_price=-1
    )

    told = complaint(tmp_path, settings)

    assert told.startswith("5 wrong")
    for line in (
        "url = 'localhost:8000': Value error, allowed: an address that begins with http:// or https://",
        "concurrency = 0: Input should be greater than 0",
        "timeout = '60': Input should be a valid number",
        "max_cots = 3: Extra inputs are not permitted",
        "completion_price = -1: Input should be greater than or equal to 0",
    ):
        assert f"sample_responses.configurations.a.model: {file}: {line}" in told


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"url": "https://me:hunter2@host/v1"}, "url: Value error, no user, password or query belongs in it"),
        ({"url": "https://host/v1?key=hunter2@"}, "url: Value error, no user, password or query belongs in it"),
        ({"url": "https://host/v1/completions"}, "leave /completions out"),
        ({"url": None, "urls": ["https://host/v1", "https://me:hunter2@host/v1"]}, "urls.1: Value error, no user"),
        ({"url": None, "urls_env": "NOT_SET_HERE"}, "urls_env: NOT_SET_HERE = []: Value error, no address; name those"),
        ({"api_key_env": "sk-hunter2"}, "api_key_env: String should match pattern"),
        ({"api_key": "hunter2"}, "api_key: Extra inputs are not permitted"),
        ({"max_cost": 3}, "max_cost can never be reached with prices of 0"),
        ({"api_key_env": "NOT_SET_HERE"}, "api_key_env = 'NOT_SET_HERE': this environment variable is not set"),
    ],
)
def test_an_endpoint_is_refused_without_its_secrets_being_shown(
    tmp_path: Path, settings: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    file = with_endpoint(tmp_path, settings, **changes)

    told = complaint(tmp_path, settings)

    assert words in told and file in told
    assert "hunter2" not in told


def test_a_key_that_no_header_can_hold_is_refused_unseen(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_endpoint(tmp_path, settings, api_key_env="SERVER_KEY")
    monkeypatch.setenv("SERVER_KEY", "hunter2\nhunter3")

    told = complaint(tmp_path, settings)

    assert "the variable's value is no key" in told
    assert "hunter" not in told


def test_a_missing_endpoint_and_one_where_weights_are_needed_are_told(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["mine_queries"]["model"] = "data/endpoints/nobody.yaml"
    settings["train_reward"]["model"] = str(ENDPOINT)

    told = complaint(tmp_path, settings)

    assert "mine_queries.model: data/endpoints/nobody.yaml: cannot be read" in told
    assert f"train_reward.model: {ENDPOINT} is an endpoint, which can be asked for texts alone" in told


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_engine_that_is_not_installed_is_told_with_its_extra(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["sample_answers"]["engine"] = "vllm"

    told = complaint(tmp_path, settings)

    assert told == (
        "1 wrong\nsample_answers: engine = vllm, but vLLM is not installed; it is an extra: pip install '.[vllm]'"
    )


def test_an_engine_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["mine_queries"]["engine"] = "vlm"

    assert "mine_queries.engine = 'vlm': Input should be 'transformers' or 'vllm'" in complaint(tmp_path, settings)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("train_ppo.missing_stop_penalty", float("nan"), "train_ppo.missing_stop_penalty = nan: write a finite number"),
        ("train_sft.learning_rate", float("inf"), "train_sft.learning_rate = inf: write a finite number"),
        ("train_rrhf.temperatures", [1.0, float("inf")], "train_rrhf.temperatures.1 = inf: write a finite number"),
        ("train_ppo.kl_target", 0.5, "kl_horizon = .* lets one step of 128 answers turn the coefficient negative"),
        (
            "judge_answers.pairs",
            [["ppo", "base"], ["base", "ppo"]],
            r"\['ppo', 'base'\] is there twice; each pair is judged in both orders, so name it once",
        ),
        ("judge_answers.pairs", [["ppo", "ppo"]], r"\['ppo', 'ppo'\] is no pair; a pair is two different policies"),
        (
            "judge_answers.pairs",
            [["ppo", "rloo"]],
            "judge_answers: data/answers/rloo.parquet is read by these settings",
        ),
        ("judge_answers.reward", None, "judge_answers.reward is null, and dvc.yaml needs it"),
        ("simulate_demonstrations.guides.selfplay.reward", None, "simulate_demonstrations.selfplay: reward is null"),
        ("build_comparisons.ranking", ["a", "b", "c", "d", "small_faithful3"], "are compared by ranking already"),
        ("build_comparisons.ranking", ["a", "b", "a"], "the configuration 'a' is twice in the ranking"),
        ("build_comparisons.ranking", ["a"], "has fewer than two places, so it makes no pair"),
        ("build_comparisons.size_pairs", [["a", "a"]], r"\['a', 'a'\] is no pair"),
        ("mine_queries.min_characters", 900, "min_characters = 900 is above max_characters = 120"),
        ("contrast_pairs.simulations.rlcd.matching", "(", r"matching = '\(': .* is no regular expression"),
        (
            "score_comparisons.configurations",
            ["a", "b", "c", "d", "e", "small_hhh5", "small_faithful3"],
            r"score_comparisons: .*differences.size = \['large_hhh3', 'd'\]; a difference is between two of",
        ),
        ("score_comparisons.differences.size", ["a", "b", "c"], r"size = \['a', 'b', 'c'\]; a difference is"),
        ("score_policies.differences.ppo_sft", ["ppo"], r"differences.ppo_sft = \['ppo'\]; a difference is between"),
        ("score_snapshots.differences.ptx", ["ppo", "x"], r"differences.ptx = \['ppo', 'x'\]; .* curves: ppo, ppo_ptx"),
        ("score_tasks.differences.small", ["small", "x"], r"differences.small = \['small', 'x'\]; .*two of subjects"),
        ("compare_methods.differences.rlcd_rlaif", ["ppo", "x"], r"rlcd_rlaif = \['ppo', 'x'\]; .* baselines and"),
        ("score_pairs.gap_differences.rlcd_over_iid", ["rlcd", "x"], r"over_iid = \['rlcd', 'x'\]; allowed: two or"),
        ("score_rewards.subject", "almots", "subject = 'almots' is none of rewards: almost, almost_size"),
        ("score_scorers.likelihoods", {"dpo": "models/dpo"}, "score_scorers.likelihoods.base is not there, and"),
        ("label_pairs.orders", "first", "both_orders: rlaif_single_order needs .* and label_pairs.orders is 'first'"),
        (
            "score_pairs.label_differences.both_orders",
            ["rlcd", "rlcd_single_order"],
            "rlcd_single_order needs labels of rlcd by both orders .*, and contrast_pairs asks no labeller",
        ),
        ("label_gold.oracle", None, "label_gold: oracle and human_pairs are both null, so there is nothing to label"),
        *(
            (f"train_{method}.lora.dropout", 0.1, f"train_{method}.lora: Value error, dropout = 0.1; .*to 0")
            for method in ("ppo", "rrhf", "group_rl", "ditto", "spin")
        ),
        ("score_ditto.authors", ["captain", "anna"], "score_ditto: .*'anna' is none of the world's, who are captain"),
        ("sample_ditto.self_prompts", {"captian": "Hm."}, "'captian' is no author there, .* they are captain"),
        ("label_pairs.labels.rlaif.labeller", str(ENDPOINT), "rlaif.labeller: .* asked for texts alone"),
        ("simulate_demonstrations.guides.rmsp.reward", str(ENDPOINT), "rmsp.reward: .* asked for texts alone"),
        ("score_scorers.likelihoods.dpo", str(ENDPOINT), "likelihoods.dpo: .* asked for texts alone"),
        ("score_scorers.implicit_rewards.dpo.reference", str(ENDPOINT), "dpo.reference: .* asked for texts alone"),
        ("train_dpo.label_smoothing", 0.5, "train_dpo.label_smoothing = 0.5: Input should be less than 0.5"),
        ("train_ppo.policies.ptx.policy", str(ENDPOINT), "ptx.policy: .* asked for texts alone"),
        ("snapshot_dpo.start", str(ENDPOINT), "start: .* asked for texts alone"),
        ("judge_answers.people", str(ENDPOINT), "people: .* asked for texts alone"),
        (
            "base_models.small.source",
            "models/base/small",
            "small.source = 'models/base/small': models/base/small is made by base_models, and DVC deletes it",
        ),
        ("base_models.small.source", "models/sft/rmsp/old", "models/sft/rmsp is made by train_sft, and DVC deletes it"),
        ("build_mixture.block_list", [], "mixtures.three: its task 'bed_choice' is in answer_tasks.written too"),
    ],
)
def test_what_would_go_wrong_later_is_told_now(
    tmp_path: Path, settings: dict[str, Any], place: str, value: Any, says: str
) -> None:
    *within, key = place.split(".")
    section = settings
    if "lora" in within:
        settings[within[0]]["lora"] = {"rank": 2, "alpha": 4.0, "target_modules": None, "merge": True}
    for name in within:
        section = section[name]
    section[key] = value
    if key == "kl_target":
        section["kl_horizon"] = 20.0
    if key == "block_list":
        settings["build_mixture"]["direct_tasks"].insert(0, "bed_choice")

    assert re.search(says, complaint(tmp_path, settings))


def test_the_files_that_people_bring_are_opened_and_all_that_is_wrong_is_told(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    def brought(section: str, key: str, content: str) -> str:
        file = tmp_path / f"{section}.{key}.jsonl"
        file.write_text(content)
        settings[section][key] = str(file)
        return f"{section}.{key}: {file}"

    pair = '{"prompt": "q", "chosen": "a", "rejected": [{"role": "bot", "content": "b"}]}\n'
    expected = {
        brought("label_gold", "human_pairs", 2 * pair): "line 1: rejected, message 1: role is 'bot'",
        brought("score_benchmarks", "hhh", '{"chosen": null}'): "line 1: chosen is None",
        brought("score_benchmarks", "truthfulqa", '{"question": "q"}'): "line 1: mc1_targets: 'None'",
        brought("score_benchmarks", "cloze", "{}"): "line 1: distractors is None",
        brought("score_benchmarks", "heldout_text", '{"text": "\\ud83e"}'): "line 1: .* half a character",
        brought("train_ppo", "ptx_texts", "{}"): "line 1: '{}' is not of the form",
        brought("train_asis_reward", "community_qa", "{}"): "line 1: not a community file: answers is 'None'",
        brought("build_mixture", "source", "{}"): "line 1: task is None",
    }

    told = complaint(tmp_path, settings)

    assert told.startswith(f"{len(expected) + 1} wrong")  # both lines of human_pairs
    for place, says in expected.items():
        assert re.search(f"^{re.escape(place)}, {says}", told, re.MULTILINE), (place, told)


def test_a_pair_that_is_both_trained_on_and_measured_with_is_told(tmp_path: Path, settings: dict[str, Any]) -> None:
    def brought(name: str, *rows: dict[str, Any]) -> str:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    shared, own = ({"prompt": f"Where is {name}?", "chosen": "Here.", "rejected": "Away."} for name in ("Riga", "Oslo"))
    turned = shared | {"chosen": "Away.", "rejected": "Here."}
    settings["label_gold"] |= {"oracle": None, "human_pairs": brought("train.jsonl", shared)}
    settings["score_rewards"]["human_pairs"] = brought("held.jsonl", turned, own)
    settings["train_asis_reward"]["community_qa"] = brought(
        "qa.jsonl",
        {"question": "Why?", "answers": [{"text": text, "votes": 1, "accepted": False} for text in ("A.", "B.", "C.")]},
    )
    vote = {"question": "Why?", "answers": ["C.", "A."], "verdicts": [1]}
    settings["score_scorers"]["votes"] = brought("votes.jsonl", vote)
    settings["score_rewards"]["votes"] = brought("others.jsonl", vote | {"answers": ["C.", "D."]})

    told = complaint(tmp_path, settings)

    assert told.startswith("2 wrong")
    assert re.search(r"score_rewards.human_pairs: 1 pairs of \S*held.jsonl are in \S*train.jsonl too, which "
                     r"label_gold.human_pairs trains on \(one is about 'Where is Riga\?'\)", told)  # fmt: skip
    assert "score_scorers.votes: 1 pairs" in told


def test_a_demonstration_that_marks_turns_and_a_seed_that_is_an_evaluation_question_are_told(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    shown = tmp_path / "shown.jsonl"
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Human: why not."}]
    shown.write_text(json.dumps({"messages": messages}))
    settings["sample_responses"]["configurations"]["e"] |= {"demonstrations": str(shown), "shots": 1}
    questions = Path(settings["mine_queries"]["eval_questions"]).read_text().splitlines()
    seeds = tmp_path / "seeds.txt"
    seeds.write_text(f"\ufeff{questions[0]}\n", encoding="utf-8")
    settings["mine_queries"]["seed_queries"] = str(seeds)

    told = complaint(tmp_path, settings)

    assert told.startswith("2 wrong")
    assert f"sample_responses.configurations.e: {shown}, line 1, message 2: the text holds 'Human:'" in told
    assert f"mine_queries: {seeds}: {questions[0]!r} is also in" in told


@pytest.mark.parametrize("name", ["smollm2-1.7b", "my model", "org/model", "-x", "7b", "1e5", "née", "a@b", "$a", ""])
def test_a_name_that_dvc_the_shell_or_a_file_would_not_keep_is_refused(
    tmp_path: Path, settings: dict[str, Any], name: str
) -> None:
    members = settings["sample_answers"]["policies"]
    members[name] = members["ppo"]

    told = complaint(tmp_path, settings)

    assert told.startswith(f"1 wrong\nsample_answers.policies: {name!r} is no name for a member; allowed: ")


def test_names_that_work_everywhere_are_right(tmp_path: Path, settings: dict[str, Any]) -> None:
    members = settings["sample_answers"]["policies"]
    for name in ("smollm2-1_7b", "_x", "no", "on", "null", "True", "a-"):
        members[name] = members["ppo"]
    checked_settings.check(tmp_path, settings)


@pytest.mark.slow
def test_the_names_that_are_allowed_name_a_stage_a_file_and_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("init", "config user.name Anna", "config user.email anna@example.org"):
        subprocess.run(["git", *command.split()], check=True)
    for command in ("init --quiet", "config core.analytics false"):
        subprocess.run([*DVC, *command.split()], check=True)
    family = {
        "foreach": "${train.members}",
        "do": {"cmd": "echo ${item.rate} > ${key}.out", "params": ["train.members.${key}"], "outs": ["${key}.out"]},
    }
    names = ["smollm2-1_7b", "_x", "no", "on", "null", "True", "a-"]
    YAML().dump({"stages": {"train": family}}, Path("dvc.yaml"))
    YAML().dump({"train": {"members": {name: {"rate": 10} for name in names}}}, Path("params.yaml"))
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", "commit", "--quiet", "-m", "a family"], check=True)

    changes = [word for place, name in enumerate(names) for word in ("-S", f"train.members.{name}.rate={place}")]
    subprocess.run([*DVC, "exp", "run", *changes], check=True)

    assert [Path(f"{name}.out").read_text() for name in names] == [f"{place}\n" for place in range(len(names))]
    assert "up to date" in subprocess.run([*DVC, "status"], check=True, capture_output=True, text=True).stdout


def test_a_name_that_yaml_reads_as_no_text_is_told_to_be_put_in_quotes(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    members = settings["sample_answers"]["policies"]
    members[None] = members.pop("ppo")

    assert "sample_answers.policies.None: YAML reads no text here; write it in quotes" in complaint(tmp_path, settings)


def test_a_gguf_file_needs_its_hash_and_need_not_be_there_yet(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings["base_models"]["small"] |= {"source": "models/gguf/x.gguf", "revision": "0" * 40}
    settings["base_models"]["large"] |= {"source": "models/gguf/y.gguf", "revision": "0" * 64}

    told = complaint(tmp_path, settings)

    assert told.startswith("1 wrong\nbase_models.small: models/gguf/x.gguf needs `revision`, the 64 hex digits of its")
    assert (
        "base_models.large: models/gguf/y.gguf is not there yet; `python -m synthalign bring LIST`"
        in capsys.readouterr().out
    )


def test_a_model_that_no_stage_makes_is_told_with_the_nearest_that_one_makes(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings["train_ppo"]["policies"]["almost"]["reward"] = "models/reward/almost_sizee"
    settings["base_models"]["small"] |= {"source": "owner/name", "revision": "main"}

    told = complaint(tmp_path, settings)

    assert told.startswith("2 wrong\nbase_models.small: owner/name is not a folder here, and as a hub model it needs")
    assert "train_ppo.policies.almost.reward = 'models/reward/almost_sizee': no stage makes it; perhaps" in told
    assert "models/reward/almost_size or " in told


@pytest.mark.parametrize(("label", "is_refused"), [("rescore", True), ("rlaif", False)])
def test_pairs_of_a_contrast_need_a_principle_for_each_pair_of_phrases(
    tmp_path: Path, settings: dict[str, Any], label: str, is_refused: bool
) -> None:
    few = yaml.safe_load(Path(settings["label_pairs"]["labels"][label]["principles"]).read_text())
    few["tasks"]["harmless"] = few["tasks"]["harmless"][:1]
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(few))
    settings["label_pairs"]["labels"][label]["principles"] = str(tmp_path / "few.yaml")

    if is_refused:
        told = complaint(tmp_path, settings)
        assert f"labels.{label}: {tmp_path}/few.yaml has 1 principles for 'harmless', and rlcd is made with" in told
    else:  # of pairs without phrases a principle is drawn
        checked_settings.check(tmp_path, settings)


def test_a_task_of_no_mixture_may_be_held_out_without_a_block_list(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["build_mixture"]["block_list"] = []
    settings["build_mixture"]["direct_tasks"].append("bed_choice")  # behind those that a mixture takes
    checked_settings.check(tmp_path, settings)
