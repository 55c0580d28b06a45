"""A policy as a folder to give away: weights, decoding, tokenizer, cards; a GGUF where llama.cpp's tools are at hand.

    export("dpo")                         # exports/dpo
    export("models/ppo/ptx", gguf=True, push="kim/fox")

The folder is written beside its place and moved there when it is whole. All checks come before any weight is read.
"""

import json
import os
import posixpath
import shutil
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from synthalign.commands import bring, llama_cpp, people
from synthalign.core import stage
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.generation import endpoint, model_folder, models
from synthalign.reporting import cards, data_card, licences, lineage, recorded
from synthalign.reporting.cards import Subject
from synthalign.reporting.licences import Licence

FOLDER = Path("exports")
"""Where a policy goes that is not told where."""

DECODING = ("temperature", "top_p", "max_new_tokens")
"""Keys of `sample_answers` by which a policy's answers were sampled."""

SOURCES = Path("data/sources")
"""The lists that say where files come from, and what they are given under."""

MADE_FROM = {
    "people_train.jsonl": (people.PANDALM,),
    "hh_heldout.jsonl": (people.HH,),
    "pandalm_community.jsonl": (people.PANDALM,),
    "pandalm_heldout.jsonl": (people.PANDALM,),
    "seed_queries.txt": (people.VICUNA,),
    "eval_questions.txt": (people.USER_ORIENTED,),
    "heldout_text.jsonl": (people.USER_ORIENTED,),
    "hhh.jsonl": (people.HHH,),
    "truthfulqa.jsonl": (people.TRUTHFULQA,),
}
"""What `people` makes, and the raw files whose words are in it."""


def export(
    policy: str,
    *,
    to: str | None = None,
    gguf: bool = False,
    push: str | None = None,
    private: bool = False,
    licence: str | None = None,
    force: bool = False,
) -> Path:
    """Write a policy's folder and return its place.

    policy   a name of sample_answers.policies, or a folder below models/
    gguf     also convert it with llama.cpp's tools
    push     owner/name on the hub, to upload the folder to; `private` makes a new one there private
    licence  under which the folder is published, as the hub names it; else what those of its parents come to
    force    write over a folder, or a place on the hub, that is no export

    Raises UserError before anything is read or written for a policy that is not there, a folder that dvc.lock is not
    about, a place that holds something else, no converter, no token, or a list in data/sources/ with wrong keys; and
    after it where the converter or the hub refuses, and then the folder stays.
    """
    settings = stage.read("params.yaml")
    subject_of = _named(settings, policy)
    folder = Path(subject_of["folder"])
    target = Path(to) if to else FOLDER / policy.removeprefix("models/").strip("/").replace("/", "-")
    _check_target(target, folder, force=force)
    if private and push is None:
        raise UserError("--private is about the place that --push makes; add --push owner/name")
    tools = llama_cpp.find() if gguf else None
    if push is not None:
        _check_push(push)
    model_folder.check(folder)
    _check_kind(folder)
    lock = recorded.read_lock(Path("."))
    known, found = lineage.recorded_md5(lock, subject_of["folder"]), lineage.md5(folder)
    if known is not None and known != found:
        raise UserError(
            f"{folder} is not the model that dvc.lock records (MD5 {found}, there {known}), so its figures would be "
            f"of another run; `dvc checkout {folder}` brings that one back, `dvc repro` measures anew"
        )
    _check_sampled(lock, settings, subject_of["names"])

    listed = listed_licences()
    print(f"{folder}: reading the tokenizer, then the weights", flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a template is not exact is said in the card and below
        tokenizer = models.load_tokenizer(folder)
    exact = encoding.is_exact(tokenizer)
    if not exact:
        print(f"{folder}: no chat template gives the very tokens of training with this tokenizer; the card says so")
    subject = Subject(**subject_of, md5=found, exact_template=exact)
    texts = {
        "README.md": cards.model_card(lock, subject, listed, licence),
        "DATA.md": data_card.data_card(lock, subject, listed),
    }
    model = models.load_causal(folder, "copying")
    set_decoding(model, tokenizer, subject.decoding)

    part = target.with_name(f".{target.name}.part")
    print(f"{target}: writing {sum(one.numel() for one in model.parameters()) / 1e6:.1f} M parameters", flush=True)
    models.save(model, tokenizer, part)
    for_older_readers(part / "config.json")
    for name, text in texts.items():
        (part / name).write_text(text, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    print(f"{target}: {sum(file.stat().st_size for file in target.iterdir()) / 1e6:.1f} MB", flush=True)
    if tools:
        llama_cpp.convert(target, tools, subject.decoding)
    if push is not None:
        _upload(target, push, private=private, force=force)
    return target


def for_older_readers(file: Path) -> None:
    """Write into a config.json what transformers 4 reads of rotary positions, beside the key that transformers 5 has.

    That one (`rope_parameters`) they pass over without a word, and turn by a base of 10,000 whatever it says; so do
    tools of that time, llama.cpp's converter among them.
    """
    config = json.loads(file.read_text(encoding="utf-8"))
    for block in (config, config.get("text_config") or {}):
        rope = block.get("rope_parameters") or {}
        whole, local = rope.get("full_attention", rope), rope.get("sliding_attention") or {}
        block |= {key: whole[key] for key in ("rope_theta", "partial_rotary_factor") if key in whole}
        if block.get("model_type") == "gpt_neox":  # which has names of its own
            named = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
            block |= {old: whole[key] for old, key in named.items() if key in whole}
        if "rope_theta" in local:
            block["rope_local_base_freq"] = local["rope_theta"]
        if whole.get("rope_type", "default") != "default":
            apart = ("rope_theta", "partial_rotary_factor")
            block["rope_scaling"] = {key: value for key, value in whole.items() if key not in apart}
    file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def listed_licences() -> dict[str, Sequence[Licence]]:
    """What files are given under, by their sha256: those that a list in data/sources/ names with a licence, and what
    `people` made out of such.

    A file where `people` writes one counts as made by it, of the raw files there, if each has the hash that is listed.
    """
    files = [file for listed in sorted(SOURCES.glob("*.yaml")) for file in bring.read(listed)]
    known: dict[str, Sequence[Licence]] = {file.sha256: [_licence(file)] for file in files if file.licence}
    for name, raw in MADE_FROM.items():
        made = lineage.sha256(people.FOLDER / name)
        hashes = {one: lineage.sha256(people.FOLDER / "raw" / one) for one in raw}
        if made and {*hashes.values()} <= {*known}:
            known[made] = [replace(licence, of=one) for one, found in hashes.items() for licence in known[found or ""]]
    return known


def _licence(file: bring.File) -> Licence:
    assert file.licence is not None
    own = Licence(file.licence)
    return Licence("other", file.licence, file.terms) if file.terms and licences.is_special(own) else own


def _named(settings: Mapping[str, Any], policy: str) -> dict[str, Any]:
    """What params.yaml says of a policy: name, what metrics call it, folder, how it was asked."""
    answering = settings.get("sample_answers") or {}
    policies = answering.get("policies") or {}
    subjects = (settings.get("score_benchmarks") or {}).get("subjects") or {}
    name = posixpath.normpath(policy)
    if name in policies:
        folder, names = policies[name]["model"], {name}
    elif name.startswith("models/") and Path(name).is_dir():
        folder, names = name, {one for one, given in policies.items() if given["model"] == name}
    else:
        there = [one for one, given in policies.items() if Path(given["model"]).is_dir()]
        raise UserError(
            f"there is no policy {policy!r}; name one of sample_answers.policies whose model is there "
            f"({', '.join(there) or 'none is yet: `dvc repro` makes them'}), or a folder below models/"
        )
    if endpoint.is_endpoint(folder):
        raise UserError(
            f"{policy} is an endpoint, {folder}: its weights are not here; export a policy with a model folder"
        )
    if not Path(folder).is_dir():
        there = [one for one, given in policies.items() if Path(given["model"]).is_dir()]
        raise UserError(
            f"{policy}: its model {folder} is not there; `dvc repro` makes it, or `dvc checkout` brings it back; there "
            f"are {', '.join(there) or 'none yet'}"
        )
    names |= {one for one, given in subjects.items() if given["model"] == folder}
    elsewhere = _asked_elsewhere(settings, folder)
    asked = {one: policies[one] for one in names & {*policies}}
    return {
        "name": name,
        "names": frozenset(names),
        "folder": folder,
        "shown": {one: (given["shots"], given["demonstrations"]) for one, given in asked.items() if given["shots"]},
        "tables": frozenset(f"data/answers/{one}.parquet" for one in names),
        "decoding": {key: answering[key] for key in DECODING},
        "sampled": bool(asked),
        **(elsewhere if elsewhere and not asked else {}),
    }


def _asked_elsewhere(settings: Mapping[str, Any], folder: str) -> dict[str, Any] | None:
    """What `_named` says of a policy that other stages than sample_answers ask: an author's, or one of FLAN."""
    kind, _, name = folder.removeprefix("models/").partition("/")
    authors, tasks = settings.get("sample_ditto") or {}, settings.get("answer_tasks") or {}
    if kind in ("ditto", "ditto_sft", "spin") and name in (authors.get("authors") or {}):
        return {
            "names": frozenset({kind.removeprefix("ditto_")}),  # all authors together: no figure is of one of them
            "tables": frozenset({f"data/ditto_answers/{name}.parquet"}),
            "decoding": {key: authors[key] for key in DECODING},
            "sampled": True,
        }
    asked = {one for one, given in (tasks.get("subjects") or {}).items() if given["model"] == folder}
    if kind == "flan" and asked:
        return {
            "names": frozenset(asked),
            "tables": frozenset(f"data/task_answers/{one}.parquet" for one in asked),
            "decoding": {"temperature": 0, "top_p": 1.0, "max_new_tokens": tasks["max_new_tokens"]},
            "sampled": True,
        }
    return None


def _check_target(target: Path, source: Path, *, force: bool) -> None:
    """UserError where the folder to write holds something else, or is one that must not be replaced at all."""
    place, kept = target.resolve(), [Path.cwd().resolve(), source.resolve()]
    if any(one.is_relative_to(place) or place.is_relative_to(kept[1]) for one in kept):
        raise UserError(f"--to {target}: that would replace {source} or the project; name a folder of its own")
    if target.exists() and not (target.is_dir() and not target.is_symlink()):
        raise UserError(f"--to {target}: it is there and no folder; name another")
    if target.is_dir() and any(target.iterdir()) and not cards.is_ours(target) and not force:
        raise UserError(f"--to {target}: it holds something that is no export; name another folder, or add --force")
    above = next(one for one in place.parents if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"--to {target}: {above} is no folder that can be written to; name another")


def _check_sampled(lock: recorded.Lock, now: Mapping[str, Any], names: Set[str]) -> None:
    """UserError where the answers that the figures are of were sampled otherwise than params.yaml says now."""
    told = ("sample_answers.policies", *(f"sample_answers.{key}" for key in DECODING))
    for name in sorted(names):
        for key, was in lineage.settings(lock.get(f"sample_answers@{name}") or {}).items():
            if key.startswith(told) and recorded.at(now, key) != was:
                raise UserError(
                    f"params.yaml: {key} is {recorded.at(now, key)!r}, and the answers of {name} that its figures are "
                    f"of were sampled with {was!r}; set that back, or `dvc repro` samples and measures anew"
                )


def _check_kind(folder: Path) -> None:
    """UserError for a reward model, which transformers would open as a language model without a word."""
    files = {name: folder / name for name in ("config.json", "adapter_config.json")}
    given = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
    kinds = given.get("config.json", {}).get("architectures") or []
    has_head = any(kind.endswith("ForSequenceClassification") for kind in kinds)
    if has_head or given.get("adapter_config.json", {}).get("task_type") == "SEQ_CLS":
        raise UserError(f"{folder} is a reward model; export writes policies")


def set_decoding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, decoding: Mapping[str, Any]) -> None:
    """Let the model's generation_config say what the profile samples with, and every token that ends a text.

    transformers cuts to the 50 most probable tokens where nothing is said; this project does not, so 0 stands there.
    """
    ends = sorted(models.end_tokens(model, tokenizer))
    greedy = decoding["temperature"] == 0
    sampling = {} if greedy else {"temperature": decoding["temperature"], "top_p": decoding["top_p"], "top_k": 0}
    model.generation_config = GenerationConfig(
        do_sample=not greedy,
        max_new_tokens=decoding["max_new_tokens"],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        **sampling,
    )


def _check_push(name: str) -> None:
    """UserError where the hub takes no such name, or there is no token; nothing is sent."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--push {name}: no name of a model on the hub ({error})") from error
    if name.count("/") != 1:
        raise UserError(f"--push {name}: write owner/name")
    if not get_token():
        raise UserError(
            "--push: there is no token of the hub; `hf auth login` keeps one, or set HF_TOKEN to one that may write"
        )


def _upload(folder: Path, name: str, *, private: bool, force: bool) -> None:
    """Upload an export in the place of what is there; UserError where the hub cannot be reached or refuses, or has
    something there that is no export; the folder stays."""
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        known = api.model_info(name)  # with the tags of its card
        there = {one.rfilename for one in known.siblings or ()} - {".gitattributes"}
        if there and not force and cards.TAG not in (known.tags or ()):
            raise UserError(
                f"--push {name}: it holds something that is no export ({', '.join(sorted(there)[:3])}), and nothing "
                f"was sent; name another place, or add --force. {folder} is whole"
            )
        message = f"Export of {folder.name}"  # what an earlier export had, as a GGUF, is of other weights
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, delete_patterns=["*"])
    except UserError:
        raise
    except Exception as error:  # the client's own, those of its connection and of the file system share no class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--push {name}: not uploaded ({type(error).__name__}: {reason}); {folder} is whole, so "
            f"`hf upload {name} {folder}` can do it later"
        ) from error
    print(f"{name}: uploaded ({done.commit_url})", flush=True)
