"""`synthalign export` on a small project: one tiny policy that a recorded stage made, measured by another."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig

from synthalign.commands import cli, export, people
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.generation import adapters, models
from synthalign.reporting import cards, lineage
from synthalign.reporting.licences import Licence
from tests import tiny

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where does the red fox live?"},
    {"role": "assistant", "content": "In the forest."},
    {"role": "user", "content": " And the owl?\n"},
]
ASKED = [{"role": "user", "content": "…"}]
LISTS = Path("data/sources").resolve()
RAW = Path("../shared/data").resolve()
FIGURE = {"value": 0.625, "low": 0.5, "high": 0.75, "n": 40}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """models/base/small → train_dpo on data/comparisons/sft.parquet → models/dpo, and its benchmark scores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    tokenizer = tiny.tokenizer(bos=True)
    for place, seed in (("models/base/small", 0), ("models/dpo", 1), ("source", 0)):
        tiny.save(tmp_path / place, tiny.causal(seed=seed, bos_token_id=2), tokenizer)
    (tmp_path / "source/README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    (tmp_path / "data/comparisons").mkdir(parents=True)
    pq.write_table(pa.table({"chosen": ["a", "b", "c"]}), tmp_path / "data/comparisons/sft.parquet")
    (tmp_path / "data/seeds.txt").write_text("Why?\nWho?\n")
    metrics("score_benchmarks/dpo", {"cloze": {"accuracy": FIGURE}})
    metrics("judge_answers", {"dpo_vs_base": {"win_rate": FIGURE | {"n": 41}}, "ppo_vs_base": {"win_rate": FIGURE}})
    answering = {"temperature": 0.75, "top_p": 0.9, "max_new_tokens": 12}
    policies = {
        name: {"model": model, "demonstrations": "hhh.jsonl", "shots": shots}
        for name, model, shots in (
            ("base", "models/base/small", 2),
            ("dpo", "models/dpo", 0),
            ("ppo", "models/ppo", 0),
            ("far", "data/endpoints/far.yaml", 0),
        )
    }
    write_yaml("params.yaml", {"sample_answers": answering | {"policies": policies}})
    made = "models/base/small"
    known = {"base_models": {"small": {"source": "source", "revision": None, "pad_token": None}}}
    stages = {
        "base_models": stage(["source"], [made], known),
        "pairs": stage(["data/seeds.txt", made], ["data/comparisons/sft.parquet"]),
        "train_dpo": stage(
            ["data/comparisons/sft.parquet", made], ["models/dpo"], {"train_dpo.model": made, "train_dpo.beta": 0.1}
        ),
        "score_benchmarks@dpo": stage(["models/dpo"], ["metrics/score_benchmarks/dpo.json"]),
        "judge_answers": stage(["models/dpo"], ["metrics/judge_answers.json"]),
    }
    write_yaml("dvc.lock", {"schema": "2.0", "stages": stages})
    return tmp_path


def metrics(name: str, content: dict[str, Any]) -> None:
    file = Path("metrics") / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_yaml(file: str, content: dict[str, Any]) -> None:
    Path(file).write_text(yaml.safe_dump(content, sort_keys=False))


def stage(deps: list[str], outs: list[str], params: dict[str, Any] | None = None) -> dict[str, Any]:
    """An entry of dvc.lock with the hashes of what is there."""
    hashed = [[{"path": path, "hash": "md5", "md5": lineage.md5(path)} for path in paths] for paths in (deps, outs)]
    return {"cmd": "x", "deps": hashed[0], "params": {"params.yaml": params or {}}, "outs": hashed[1]}


def test_the_hash_of_a_folder_is_the_one_that_dvc_records() -> None:
    lines = Path("dvc.lock").read_text().splitlines()
    place = lines.index("    - path: data/embedded/models")

    assert lines[place + 2] == f"      md5: {lineage.md5('data/embedded/models')}"


def test_an_export_opens_in_transformers_with_the_same_logits_and_the_tokens_of_training(project: Path) -> None:
    folder = export.export("dpo")

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    whole = [*TALK, {"role": "assistant", "content": "In a tree."}]
    prompt, answer = encoding.encode(models.load_tokenizer("models/dpo"), [whole])[0]
    assert tokenizer.apply_chat_template(whole, return_dict=False) == prompt + answer
    assert asked == prompt
    ids = torch.tensor([asked])
    assert torch.equal(model(ids).logits, models.load_causal("models/dpo")(ids).logits)
    assert folder == Path("exports/dpo")
    assert not list(Path("exports").glob(".*"))


def test_an_export_of_adapters_says_what_their_folder_says_without_their_base(project: Path) -> None:
    base, tokenizer = "models/base/small", models.load_tokenizer("models/base/small")
    lora = adapters.Lora(rank=2, alpha=4.0, dropout=0.0, target_modules=None, merge=False)
    policy = adapters.attach(models.load_causal(base), lora, "CAUSAL_LM", seed=0)
    torch.manual_seed(1)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:  # zero where training begins
            parameter.data.normal_(0, 0.2)
    adapters.save(policy, tokenizer, "models/lora", lora, base)

    folder = export.export("models/lora")

    ids = torch.tensor([tokenizer("Where does the red fox live?").input_ids])
    Path(base).rename("away")
    exported = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    Path("away").rename(base)
    assert torch.equal(exported, models.load_causal("models/lora")(ids).logits)
    assert not torch.allclose(exported, models.load_causal(base)(ids).logits)
    assert not list(folder.glob("adapter*"))


def test_an_export_keeps_the_type_of_the_folders_weights(project: Path) -> None:
    model = tiny.causal(seed=1, bos_token_id=2).to(torch.bfloat16)
    tiny.save(Path("models/half"), model, tiny.tokenizer(bos=True))

    given = AutoModelForCausalLM.from_pretrained(export.export("models/half"), dtype="auto")

    assert {parameter.dtype for parameter in given.parameters()} == {torch.bfloat16}
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in given.state_dict().items())


def test_an_export_decodes_as_the_profile_samples(project: Path) -> None:
    given = AutoModelForCausalLM.from_pretrained(export.export("dpo")).generation_config

    assert (given.do_sample, given.temperature, given.top_p, given.top_k) == (True, 0.75, 0.9, 0)
    assert (given.max_new_tokens, given.eos_token_id, given.pad_token_id) == (12, [0], 1)


def test_the_card_says_what_is_recorded_and_nothing_of_other_policies(project: Path) -> None:
    card = ModelCard.load(export.export("dpo") / "README.md")

    assert card.data.to_dict() | {"tags": None} == {
        "license": "cc-by-4.0", "library_name": "transformers", "pipeline_tag": "text-generation", "tags": None,
    }  # fmt: skip
    assert card.data.tags == ["synthalign", "dpo"]
    assert "| models/base/small | source | none | cc-by-4.0 | its weights come from it |" in card.text
    assert "train_dpo.beta: 0.1" in card.text
    assert "| cloze accuracy | 0.625 | 0.5 to 0.75 | 40 | metrics/score_benchmarks/dpo.json |" in card.text
    assert "| dpo_vs_base win_rate | 0.625 | 0.5 to 0.75 | 41 |" in card.text
    assert "ppo_vs_base" not in card.text


def test_a_gguf_file_that_is_gone_is_no_base_model_of_the_hub(project: Path) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["base_models"]["params"]["params.yaml"]["base_models"]["small"]["source"] = "weights/fox.gguf"
    write_yaml("dvc.lock", lock)

    card = ModelCard.load(export.export("dpo") / "README.md")

    assert (card.data.base_model, card.data.license) == (None, "unknown")
    assert "| models/base/small | weights/fox.gguf | none | not known |" in card.text


def test_a_policy_on_words_of_a_model_with_terms_of_its_own_names_them_as_the_list_of_its_file_does(
    project: Path,
) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    large = "models/base/large"
    tiny.save(Path(large), tiny.causal(seed=2, bos_token_id=2), tiny.tokenizer(bos=True))
    hashes = {"small": "1" * 64, "large": "2" * 64}
    sources = {
        size: {"source": f"models/gguf/{size}.gguf", "revision": sha, "pad_token": None} for size, sha in hashes.items()
    }
    lock["stages"]["base_models"] = stage(["source"], ["models/base/small", large], {"base_models": sources})
    lock["stages"]["pairs"] = stage(["data/seeds.txt", large], ["data/comparisons/sft.parquet"])
    write_yaml("dvc.lock", lock)
    one, other = ({"path": f"models/gguf/{size}", "sha256": sha, "url": "https://x"} for size, sha in hashes.items())
    terms = "https://x.example/terms"
    listed("mine", [one | {"licence": "apache-2.0", "terms": "https://x"}, other | {"licence": "fox", "terms": terms}])

    card = ModelCard.load(export.export("dpo") / "README.md")

    assert (card.data.license, card.data.license_name, card.data.license_link) == ("other", "apache-2.0-and-fox", terms)
    assert f"| models/gguf/small.gguf | {'1' * 64} | apache-2.0 | its weights come from it |" in card.text
    assert f"| models/gguf/large.gguf | {'2' * 64} | fox, {terms} | wrote or judged data for it |" in card.text
    assert f"This folder is published under: other (apache-2.0-and-fox, {terms})." in card.text


def listed(name: str, entries: list[dict[str, Any]]) -> None:
    """A list in data/sources/ as `synthalign bring` reads it."""
    Path("data/sources").mkdir(exist_ok=True)
    Path(f"data/sources/{name}.yaml").write_text(yaml.safe_dump(entries))


def test_a_list_with_a_wrong_licence_is_told_before_anything_is_written(project: Path) -> None:
    listed("mine", [{"path": "models/x", "sha256": "0" * 64, "url": "https://x", "licence": 2.0}])

    with pytest.raises(UserError, match=r"data/sources/mine.yaml: 0.licence = 2.0: Input should be a valid string"):
        export.export("dpo")
    assert not Path("exports").exists()


def test_what_is_made_of_peoples_files_is_under_the_licences_of_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not RAW.is_dir():
        pytest.skip(f"{RAW} is not here")
    monkeypatch.chdir(tmp_path)
    people.FOLDER.mkdir(parents=True)
    (people.FOLDER / "raw").symlink_to(RAW)
    Path("data/sources").symlink_to(LISTS)
    people.make()

    made = {file.name: str(lineage.sha256(file)) for file in people.FOLDER.iterdir() if file.is_file()}
    known = export.listed_licences()

    assert {*made} == {*export.MADE_FROM}
    assert known[made["people_train.jsonl"]] == [Licence("apache-2.0", of="pandalm_testset.json")]
    assert known[made["hh_heldout.jsonl"]] == [Licence("mit", of="hh_harmless_test.jsonl.gz")]
    assert {name: [one.of for one in known[sha]] for name, sha in made.items()} == {
        name: [*raw] for name, raw in export.MADE_FROM.items()
    }


def test_what_lies_where_people_writes_has_no_licence_where_the_raw_file_is_not_the_listed_one(
    project: Path,
) -> None:
    raw = people.FOLDER / "raw" / people.VICUNA
    raw.parent.mkdir(parents=True)
    raw.write_text("listed")
    (people.FOLDER / "seed_queries.txt").write_text("Why?\n")
    entry = {"path": str(raw), "sha256": lineage.sha256(raw), "url": "https://x", "licence": "mit"}
    listed("mine", [entry])
    seeds = lineage.sha256(people.FOLDER / "seed_queries.txt")

    assert export.listed_licences() == {entry["sha256"]: [Licence("mit")], seeds: [Licence("mit", of=people.VICUNA)]}
    raw.write_text("another")
    assert export.listed_licences() == {entry["sha256"]: [Licence("mit")]}


def test_the_data_card_counts_rows_and_says_that_a_licence_is_not_known(project: Path) -> None:
    text = (export.export("dpo") / "DATA.md").read_text()

    assert f"| data/seeds.txt | 2 | not known | {lineage.md5('data/seeds.txt')} |" in text
    assert "| data/comparisons/sft.parquet | 3 | pairs | data/seeds.txt, models/base/small |" in text


def test_the_data_card_counts_dialogues_and_leaves_out_base_models_that_no_policy_is_of(project: Path) -> None:
    Path("data/demonstrations.jsonl").write_text('{"system": "Be kind."}\n{"messages": []}\n')
    Path("data/embedded/models").mkdir(parents=True)
    Path("data/embedded/models/x").write_text("x")
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    made, known = "models/base/small", lock["stages"]["base_models"]["params"]["params.yaml"]
    lock["stages"]["base_models"] = stage(["source", "data/embedded/models"], [made], known)
    lock["stages"]["pairs"] = stage(["data/demonstrations.jsonl", made], ["data/comparisons/sft.parquet"])
    write_yaml("dvc.lock", lock)

    text = (export.export("dpo") / "DATA.md").read_text()

    assert "| data/demonstrations.jsonl | 1 |" in text
    assert "| source |" in text and "data/embedded/models" not in text


def test_a_figure_of_another_run_is_left_out_and_named(project: Path) -> None:
    metrics("judge_answers", {"dpo_vs_base": {"win_rate": FIGURE | {"value": 0.9}}})

    text = (export.export("dpo") / "README.md").read_text()

    assert "dpo_vs_base" not in text
    assert "Left out, as they are of another run than this model: metrics/judge_answers.json." in text


def test_a_folder_that_the_lock_is_not_about_is_refused_before_its_weights_are_read(project: Path) -> None:
    tiny.save(Path("models/dpo"), tiny.causal(seed=7, bos_token_id=2), tiny.tokenizer(bos=True))

    with pytest.raises(UserError, match="models/dpo is not the model that dvc.lock records"):
        export.export("dpo")
    assert not Path("exports").exists()


def test_a_folder_that_no_stage_made_is_exported_without_figures(project: Path) -> None:
    tiny.save(Path("models/mine"), tiny.causal(seed=7), tiny.tokenizer())

    text = (export.export("models/mine") / "README.md").read_text()

    assert f"`models/mine`, MD5 {lineage.md5('models/mine')}, exported by synthalign" in text
    assert "no figure in metrics/ is known to be of it" in text
    assert "license: unknown" in text


@pytest.mark.parametrize(
    ("key", "was"),
    [
        ("sample_answers.temperature", 1.0),
        ("sample_answers.policies.dpo", {"model": "models/dpo", "demonstrations": "hhh.jsonl", "shots": 3}),
        ("sample_answers.policies.dpo", {"model": "models/other", "demonstrations": "hhh.jsonl", "shots": 0}),
    ],
)
def test_figures_of_answers_that_were_sampled_otherwise_are_in_no_card(project: Path, key: str, was: Any) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["sample_answers@dpo"] = stage(["models/dpo"], [], {key: was})
    write_yaml("dvc.lock", lock)

    with pytest.raises(UserError, match=rf"params.yaml: {key} is .*, and the answers of dpo .* were sampled with"):
        export.export("dpo")
    assert not Path("exports").exists()


def test_a_folder_is_the_same_however_its_name_is_written(project: Path) -> None:
    assert "dpo_vs_base" in (export.export("models//dpo/") / "README.md").read_text()


def test_what_stood_in_front_of_the_questions_is_in_the_card(project: Path) -> None:
    text = (export.export("base") / "README.md").read_text()

    assert "2 dialogues of hhh.jsonl stood before every question" in text


def endless(tokenizer: Any) -> Any:
    """A policy that ends an answer by another turn, as RLCD's do: asked "…" it says "In the forest." and writes on."""
    prompt = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_dict=False)
    turn = "\n\nHuman: And the owl?\n\nAssistant: In a tree."
    ids = torch.tensor([prompt + tokenizer(f" In the forest.{turn}{turn}", add_special_tokens=False).input_ids])
    model = tiny.causal(seed=1, bos_token_id=2, initializer_range=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(60):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    return model


def test_the_cards_own_code_prints_no_other_turn_of_a_policy_that_writes_on(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tiny.tokenizer(bos=True)
    tiny.save(Path("models/mine"), endless(tokenizer), tokenizer)
    given = yaml.safe_load(Path("params.yaml").read_text())
    given["sample_answers"] |= {"temperature": 0, "max_new_tokens": 40}
    write_yaml("params.yaml", given)
    folder = export.export("models/mine")
    monkeypatch.chdir(folder)
    prompt = torch.tensor([tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_dict=False)])
    written = AutoModelForCausalLM.from_pretrained(".").generate(prompt)[0, prompt.shape[1] :]
    code = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    capsys.readouterr()

    assert code is not None
    exec(code[1], {})

    assert tokenizer.decode(written).startswith(" In the forest.\n\nHuman: And the owl?\n\nAssistant:")
    assert capsys.readouterr().out == "In the forest.\n"


def test_the_card_names_what_a_server_is_to_stop_at(project: Path) -> None:
    text = (export.export("dpo") / "README.md").read_text()

    assert r'A server takes them as `stop`: `["\n\nHuman:", "\n\nAssistant:", "\n\n-----"]`.' in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nobody"], r"no policy 'nobody'; .*\(base, dpo\)"),
        (["ppo"], "its model models/ppo is not there; .*there are base, dpo"),
        (["far"], "far is an endpoint, data/endpoints/far.yaml"),
        (["models/reward"], "models/reward is a reward model"),
        (["dpo", "--to", "data"], "--to data: it holds something that is no export; .*--force"),
        (["dpo", "--to", ".", "--force"], "that would replace models/dpo or the project"),
        (["dpo", "--to", "models", "--force"], "that would replace models/dpo or the project"),
        (["dpo", "--to", "models/dpo/out"], "that would replace models/dpo or the project"),
        (["dpo", "--to", "params.yaml"], "it is there and no folder"),
        (["dpo", "--gguf"], "there is no convert_hf_to_gguf.py; .*LLAMA_CPP"),
        (["dpo", "--private"], "add --push owner/name"),
        (["dpo", "--push", "kim"], "write owner/name"),
        (["dpo", "--push", "kim/-fox-"], "no name of a model on the hub"),
        (["dpo", "--push", "kim/fox"], "there is no token of the hub; `hf auth login`"),
    ],
)
def test_what_cannot_be_exported_is_told_before_anything_is_written(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(project / "no_token"))
    tiny.save(Path("models/reward"), tiny.reward(), tiny.tokenizer())
    before = sorted(Path().rglob("*"))
    capsys.readouterr()

    with pytest.raises(SystemExit):
        cli.main(["export", *arguments])

    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("export: ")
    assert re.search(told, said), said
    assert sorted(Path().rglob("*")) == before


def test_a_folder_of_somebody_is_replaced_with_force_and_an_export_without(project: Path) -> None:
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("Dear Kim")

    export.export("dpo", to="mine", force=True)
    export.export("dpo", to="mine")

    assert not Path("mine/letter.txt").exists()


CONVERTER = """
import argparse, gguf, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outfile", type=pathlib.Path)
parser.add_argument("--outtype", choices=["f32", "f16"])
given = parser.parse_args()
if (given.model / "config.json").stat().st_size == 0 or {fails}:
    raise NotImplementedError("BPE pre-tokenizer was not recognized")
writer = gguf.GGUFWriter(given.outfile, "llama")
writer.add_tokenizer_model("llama")
writer.add_token_list(["<unk>", "a", "b", "c", "ab", "bc"])
writer.add_token_scores([0.0, -9.0, -9.0, -9.0, *{scores}])
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
"""


def test_a_gguf_comes_from_the_converter_with_a_modelfile_that_asks_as_the_profile_does(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("llama.cpp").mkdir()
    Path("llama.cpp/convert_hf_to_gguf.py").write_text(CONVERTER.format(fails=False, scores=[-1.0, -2.0]))
    monkeypatch.setenv("LLAMA_CPP", "llama.cpp")

    folder = export.export("dpo", gguf=True)

    asked = (folder / "Modelfile").read_text()
    assert (folder / "model-F16.gguf").read_bytes().startswith(b"GGUF")
    assert asked.startswith("FROM ./model-F16.gguf\n")
    assert {"PARAMETER temperature 0.75", "PARAMETER num_predict 12", "PARAMETER top_k 0"} <= {*asked.splitlines()}
    assert 'PARAMETER stop "\n\nHuman:"\n' in asked


def test_a_gguf_whose_scores_are_lost_is_not_left_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("llama.cpp").mkdir()
    Path("llama.cpp/convert_hf_to_gguf.py").write_text(CONVERTER.format(fails=False, scores=[-1000.0, -1000.0]))
    monkeypatch.setenv("LLAMA_CPP", "llama.cpp")

    with pytest.raises(UserError, match="'ab' and 'bc' have one score .* Put the base model's tokenizer.model into"):
        export.export("dpo", gguf=True)

    assert Path("exports/dpo/model.safetensors").is_file()
    assert not list(Path("exports/dpo").glob("*.gguf"))


def test_what_the_converter_says_is_passed_on_and_the_folder_stays(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("llama.cpp").mkdir()
    Path("llama.cpp/convert_hf_to_gguf.py").write_text(CONVERTER.format(fails=True, scores=[]))
    monkeypatch.setenv("LLAMA_CPP", "llama.cpp")

    with pytest.raises(UserError, match="convert_hf_to_gguf.py ended with 1 .* BPE pre-tokenizer was not recognized"):
        export.export("dpo", gguf=True)

    assert Path("exports/dpo/model.safetensors").is_file()


def test_where_the_hub_cannot_be_reached_the_folder_stays_and_the_next_step_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(UserError, match="kim/fox: not uploaded .*`hf upload kim/fox exports/dpo`"):
        export.export("dpo", push="kim/fox")

    assert cards.is_ours(Path("exports/dpo"))


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload asks: what is in one repository, the tags of its card, and a commit."""

    held: list[str]
    tags: list[str]
    commits: list[list[dict[str, Any]]]

    def say(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            self.say([{"type": "file", "path": one, "size": 1, "oid": "1"} for one in self.held])
        else:
            siblings = [{"rfilename": one} for one in self.held]
            self.say({"id": "kim/fox", "sha": "1" * 40, "siblings": siblings, "tags": self.tags})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "/preupload/" in self.path:
            given = json.loads(text)["files"]
            self.say(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in given]}
            )
        elif "/commit/" in self.path:
            self.commits.append([json.loads(line) for line in text.splitlines()])
            self.say({"commitUrl": "https://huggingface.co/kim/fox/commit/1", "commitOid": "1" * 40, "success": True})
        else:
            self.say({"url": "https://huggingface.co/kim/fox", "errors": [], "warnings": []})

    def log_message(self, *said: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.held, Hub.tags, Hub.commits = [], [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # it keeps what it is told
        yield Hub
        server.shutdown()


def test_a_second_push_leaves_nothing_of_the_first_beside_the_new_card(project: Path, hub: type[Hub]) -> None:
    hub.held, hub.tags = [".gitattributes", "README.md", "model-Q4_K_M.gguf"], ["transformers", "synthalign"]

    export.export("dpo", push="kim/fox")

    [commit] = hub.commits
    told = {key: {one["value"]["path"] for one in commit if one["key"] == key} for key in ("file", "deletedFile")}
    assert told["deletedFile"] == {"model-Q4_K_M.gguf"}
    assert {"README.md", "model.safetensors"} <= told["file"]


def test_a_place_on_the_hub_that_holds_something_else_is_left_alone_but_with_force(
    project: Path, hub: type[Hub]
) -> None:
    hub.held, hub.tags = [".gitattributes", "README.md", "weights.bin"], ["mine"]

    with pytest.raises(UserError, match=r"kim/fox: it holds something that is no export .*exports/dpo is whole"):
        export.export("dpo", push="kim/fox")
    assert hub.commits == []

    export.export("dpo", push="kim/fox", force=True)
    assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("rope", "older"),
    [
        ({"rope_type": "default", "rope_theta": 5e5}, {"rope_theta": 5e5}),
        (
            {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0},
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        ),
    ],
)
def test_a_configuration_says_how_positions_turn_in_the_words_of_older_readers_too(
    project: Path, rope: dict[str, Any], older: dict[str, Any]
) -> None:
    model = tiny.causal(seed=1, bos_token_id=2, rope_parameters=rope)
    tiny.save(Path("models/far"), model, tiny.tokenizer(bos=True))

    folder = export.export("models/far")

    config = json.loads((folder / "config.json").read_text())
    assert {key: config[key] for key in older} == older
    assert config["rope_parameters"] == rope
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(AutoModelForCausalLM.from_pretrained(folder)(ids).logits, model(ids).logits)


def test_a_gpt_neox_says_it_by_the_names_that_it_had(tmp_path: Path) -> None:
    GPTNeoXConfig(rotary_pct=0.5, rotary_emb_base=50000).save_pretrained(tmp_path)

    export.for_older_readers(tmp_path / "config.json")

    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["rotary_pct"], config["rotary_emb_base"], config["partial_rotary_factor"]) == (0.5, 50000, 0.5)
    again = AutoConfig.from_pretrained(tmp_path).rope_parameters
    assert again == GPTNeoXConfig(rotary_pct=0.5, rotary_emb_base=50000).rope_parameters


def asked_by(section: str, model: str, table: str, scored: str, asked: dict[str, Any], scores: dict[str, Any]) -> Path:
    """The export of a model that a stage trained, another one asked as `asked` says, and a third one scored."""
    write_yaml("params.yaml", yaml.safe_load(Path("params.yaml").read_text()) | {section: asked})
    tiny.save(Path(model), tiny.causal(seed=3, bos_token_id=2), tiny.tokenizer(bos=True))
    Path(table).parent.mkdir()
    pq.write_table(pa.table({"text": ["a"]}), table)
    metrics(scored, scores)
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"] |= {
        "train": stage(["models/base/small"], [model]),
        "ask": stage([model], [table]),
        scored: stage([table], [f"metrics/{scored}.json"]),
    }
    write_yaml("dvc.lock", lock)
    return export.export(model)


def test_the_card_of_an_authors_model_has_its_own_decoding_and_the_figures_of_all_authors(project: Path) -> None:
    asked = {"authors": {"anna": {}}, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 96}
    scores = {"head_to_head": {"ditto_vs_sft": {"win_rate": FIGURE}, "spin_vs_sft": {"win_rate": FIGURE}}}

    folder = asked_by(
        "sample_ditto", "models/ditto/anna", "data/ditto_answers/anna.parquet", "score_ditto", asked, scores
    )

    text = (folder / "README.md").read_text()
    assert "| head_to_head ditto_vs_sft win_rate | 0.625 |" in text and "spin_vs_sft" not in text
    assert "of the models of all authors together" in text
    assert "what its answers were sampled with (temperature 1.0, top_p 1.0, at most 96 tokens)" in text
    given = AutoModelForCausalLM.from_pretrained(folder).generation_config
    assert (given.temperature, given.top_p, given.max_new_tokens) == (1.0, 1.0, 96)


def test_the_card_of_a_model_of_flan_is_greedy_and_has_its_scores(project: Path) -> None:
    asked = {"subjects": {"tuned": {"model": "models/flan/tuned"}}, "max_new_tokens": 48}
    scores = {"subjects": {"tuned": {"all": FIGURE}, "other": {"all": FIGURE}}}

    folder = asked_by(
        "answer_tasks", "models/flan/tuned", "data/task_answers/tuned.parquet", "score_tasks", asked, scores
    )

    text = (folder / "README.md").read_text()
    assert "| subjects tuned all | 0.625 | 0.5 to 0.75 | 40 | metrics/score_tasks.json |" in text
    assert "subjects other" not in text
    given = AutoModelForCausalLM.from_pretrained(folder).generation_config
    assert (given.do_sample, given.max_new_tokens) == (False, 48)


def test_a_policy_that_nobody_asked_is_not_said_to_have_been_sampled(project: Path) -> None:
    tiny.save(Path("models/mine"), tiny.causal(seed=3, bos_token_id=2), tiny.tokenizer(bos=True))

    text = (export.export("models/mine") / "README.md").read_text()

    assert "what the profile samples answers of policies with (temperature 0.75," in text


def test_an_export_opens_in_lm_evaluation_harness(project: Path) -> None:
    harness = pytest.importorskip("lm_eval.models.huggingface")
    folder = export.export("dpo")

    opened = harness.HFLM(pretrained=str(folder), device="cpu")

    assert opened.apply_chat_template(TALK) == "<bos>Be kind.\n\nHuman: Where does the red fox live?\n\n" + (
        "Assistant: In the forest.\n\nHuman: And the owl?\n\nAssistant:"
    )
    assert opened.tok_encode("Why?")[-1:] == opened.tokenizer("Why?")["input_ids"][-1:]
