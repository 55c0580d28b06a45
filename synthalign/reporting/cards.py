"""The two cards of an exported policy, README.md and DATA.md: all of it from dvc.lock, settings and metrics.

What is not recorded is said to be not recorded; a figure of another run than the model's is left out and named.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import ModelCard, ModelCardData, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from ruamel.yaml import YAMLError

from synthalign.core.errors import UserError
from synthalign.core.yaml_file import load
from synthalign.dialogue import chat
from synthalign.generation import endpoint, model_folder
from synthalign.reporting import lineage
from synthalign.reporting.recorded import Lock
from synthalign.reporting.text_tables import Rows, markdown

TAG = "synthalign"
"""What an export is known by, on the hub too."""

NOT_KNOWN = "not known"

NAME = re.compile(r"[A-Za-z0-9][\w.+ -]{0,99}")
LINK = re.compile(r"https?://[^\s|<>]{1,300}")
"""What is taken for a licence or its name, and for the address of its text; cards of others are not trusted."""

LIMITS = """\
- Not for decisions about people, nor for advice on health, law or money: nothing here measures that.
- It has learned what its reward models and labellers prefer, their mistakes included.
- It was measured on the questions and by the judges named above, and on nothing else. A win rate says who was
  preferred, not who was right, and no figure here is one of safety.
- A licence or a source that is "not known" below has to be found out before the model is passed on."""


@dataclass(frozen=True)
class Subject:
    """The policy that the cards are about.

    name            as it is exported
    names           what metrics files call it
    folder          where its model is
    md5             of the folder; where a stage of dvc.lock made it, the one there
    shown           by name, the number and the file of the dialogues that stood in front of its questions
    tables          of its answers
    decoding        temperature, top_p, max_new_tokens
    sampled         whether its own answers were sampled so; else it is what the profile samples others with
    exact_template  whether the chat template gives the tokens of training
    """

    name: str
    names: frozenset[str]
    folder: str
    md5: str
    shown: Mapping[str, tuple[int, str]]
    tables: frozenset[str]
    decoding: Mapping[str, Any]
    sampled: bool
    exact_template: bool


@dataclass(frozen=True)
class Licence:
    """What a model or a file is given under.

    id    as the hub has it: an SPDX id in lower case, a name of the hub's own, or `other` for other terms
    name  of those
    link  to their text
    of    the file that it is of, where what is at hand was made out of that
    """

    id: str
    name: str | None = None
    link: str | None = None
    of: str | None = None

    @property
    def called(self) -> str:
        return self.name or self.id

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.called, self.link])) + (f" ({self.of})" if self.of else "")


Listed = Mapping[str, Sequence[Licence]]
"""The licences of files by their sha256: those that the lists of data/sources/ name, and what is made out of them."""


def licences(path: str, revision: str | None, listed: Listed) -> Sequence[Licence]:
    """Those of the file whose SHA-256 the revision is; else what the card of a folder, of a file's folder, or of a
    model of the hub that was fetched here at this commit says; empty where none is known."""
    if revision is not None and revision in listed:
        return listed[revision]
    place = Path(path)
    if place.exists():
        card = str((place if place.is_dir() else place.parent) / "README.md")
    else:
        try:
            card = str(try_to_load_from_cache(path, "README.md", revision=revision))
        except HFValidationError:  # neither a path nor a name on the hub
            return []
    front = _front(Path(card))
    named, name, link = (front.get(key) for key in ("license", "license_name", "license_link"))
    if not isinstance(named, str) or not NAME.fullmatch(named) or named == "unknown":
        return []
    if named != "other":
        return [Licence(named)]
    if isinstance(link, str) and re.fullmatch(r"LICENSE(\.\w+)?", link) and not place.exists():
        link = f"https://huggingface.co/{path}/blob/main/{link}"
    is_name = isinstance(name, str) and NAME.fullmatch(name)
    is_link = isinstance(link, str) and LINK.fullmatch(link)
    return [Licence(named, name if is_name else None, link if is_link else None)]


def is_special(licence: Licence) -> bool:
    """Whether it is no SPDX id: terms of its owner, as Gemma's or Llama's, which may reach what its words made."""
    try:
        canonicalize_license_expression(licence.id)
    except InvalidLicenseExpression:
        return True
    return False


def inherited(lock: Lock, subject: Subject, listed: Listed) -> Licence | None:
    """What the licences of the parents come to: that of the weights, and each special one of a model that wrote data.

    Several are `other` by their names, with the link of the first that has one.  None where none is known.
    """
    start, by_parent = ancestor(lock, subject.folder), parents_licences(lock, subject, listed)
    own = by_parent.get(start, [])
    special = _special(by_parent)
    if len({*own}) <= 1 and not {*special} - {*own}:
        return own[0] if own else None
    held = [*(own or [Licence("unknown")]), *special]
    name = "-and-".join(dict.fromkeys(one.called.lower().replace(" ", "-") for one in held))
    return Licence("other", name, next((one.link for one in held if one.link), None))


def parents_licences(lock: Lock, subject: Subject, listed: Listed) -> dict[str, Sequence[Licence]]:
    """The licences of every base model of `bases`, of adapters those of their base too; a GGUF file's revision is its
    sha256."""
    return {
        folder: [
            *dict.fromkeys(
                one
                for source in _chain(str(given["source"]))
                for one in licences(source, given.get("revision"), listed)
            )
        ]
        for folder, given in bases(lock, subject).items()
    }


def _chain(source: str) -> list[str]:
    """A source with what the adapters in it are for, and so on; alone where these are not here any more."""
    try:
        return [str(one) for one in model_folder.chain(source)] if Path(source).is_dir() else [source]
    except UserError:
        return [source]


def _endpoints(lock: Lock, subject: Subject) -> list[str]:
    """The endpoint files that settings of the stages above name: models elsewhere that wrote or judged data for it."""
    stages = lineage.above(lock, subject.folder)
    texts = [pair for name in stages for pair in _flat(lineage.settings(lock[name]))]
    return sorted(
        {text for key, text in texts if endpoint.is_endpoint(text) and (key == "model" or "endpoints" in text)}
    )


def _special(by_parent: Mapping[str, Sequence[Licence]]) -> list[Licence]:
    return [*dict.fromkeys(one for some in by_parent.values() for one in some if is_special(one))]


def _said(some: Sequence[Licence]) -> str:
    return "; ".join(map(str, some)) or NOT_KNOWN


def bases(lock: Lock, subject: Subject) -> dict[str, dict[str, Any]]:
    """The base models that the policy was trained from: folder, and its source with revision as base_models had it.

    A parent is a model that a stage above reads and that base_models made; those that only wrote data for it too.
    """
    found: dict[str, dict[str, Any]] = {}
    if "base_models" not in lock:
        return found
    known = lineage.settings(lock["base_models"]).get("base_models") or {}
    made = {out["path"] for out in lineage.outs(lock["base_models"])}
    stages = lineage.above(lock, subject.folder)
    read = {dep["path"] for name in stages for dep in lineage.deps(lock[name])} | {subject.folder}
    for folder in sorted(made & read):
        given = known.get(Path(folder).name)
        if isinstance(given, Mapping):
            found[folder] = dict(given)
    return found


def ancestor(lock: Lock, folder: str) -> str:
    """The model from which the weights of this one were trained: from stage to stage, the model that the stage names.

    A stage says in its settings or its member's which model it starts from, as `model` or `policy`, or reads one alone.
    """
    seen = set()
    while folder not in seen:
        seen.add(folder)
        name = lineage.maker(lock, folder)
        if name is None:
            break
        starts = {value for key, value in _flat(lineage.settings(lock[name])) if key in ("model", "policy")}
        read = {dep["path"] for dep in lineage.deps(lock[name]) if dep["path"].startswith("models/")}
        parents = read & starts or read
        if len(parents) == 1:
            folder = parents.pop()
    return folder


def _flat(settings: Any, key: str = "") -> list[tuple[str, Any]]:
    """The settings with the last word of each key."""
    if isinstance(settings, Mapping):
        return [pair for name, value in settings.items() for pair in _flat(value, str(name).rpartition(".")[2])]
    return [(key, settings)] if isinstance(settings, str) else []


def front_matter(lock: Lock, subject: Subject, listed: Listed, licence_id: str | None) -> ModelCardData:
    """What the hub reads: a base model only where it is one of the hub, a licence only where one is known."""
    sources = bases(lock, subject)
    source = sources.get(ancestor(lock, subject.folder), {}).get("source")
    is_path = isinstance(source, str) and (source.endswith(".gguf") or Path(source).exists())
    on_hub = isinstance(source, str) and source.count("/") == 1 and not is_path
    methods = [name.removeprefix("train_").partition("@")[0] for name in trained(lock, subject)]
    found = Licence(licence_id) if licence_id else inherited(lock, subject, listed) or Licence("unknown")
    return ModelCardData(
        license=found.id,
        license_name=found.name,
        license_link=found.link,
        base_model=source if on_hub else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=[TAG, *dict.fromkeys(methods)],
    )


def trained(lock: Lock, subject: Subject) -> list[str]:
    """The stages above the policy that made models of others, base models aside."""
    return [
        name
        for name in lineage.above(lock, subject.folder)
        if name != "base_models" and any(out["path"].startswith("models/") for out in lineage.outs(lock[name]))
    ]


def model_card(lock: Lock, subject: Subject, listed: Listed, licence_id: str | None = None) -> str:
    """README.md; raises UserError where its front matter is none that huggingface_hub reads."""
    data = front_matter(lock, subject, listed, licence_id)
    parts = [
        f"# {subject.name}",
        f"A policy: `{subject.folder}`, MD5 {subject.md5}, exported by synthalign.",
        "## Base models and licences",
        _bases(lock, subject, listed, data),
        "## How it was trained",
        _training(lock, subject),
        "## What was measured",
        _figures(lock, subject),
        "## How it was asked",
        _asked(subject),
        "## What it is not for",
        LIMITS,
        "## How to load it",
        LOADING.format(
            stops=json.dumps(chat.STOPS),
            whose="its answers were sampled with"
            if subject.sampled
            else "the profile samples answers of policies with",
            **subject.decoding,
        ),
    ]
    text = f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"
    try:
        ModelCard(text)
    except ValueError as error:
        raise UserError(f"README.md: its front matter is not valid ({error})") from error
    return text


LOADING = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
asked = [{{"role": "user", "content": "…"}}]
tokens = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
stops = {stops}
written = model.generate(**tokens, stop_strings=stops, tokenizer=tokenizer)[0, tokens["input_ids"].shape[1] :]
text = tokenizer.decode(written, skip_special_tokens=True)
print(min((text.split(stop)[0] for stop in stops), key=len).strip())
```

An answer ends by itself or where another turn begins, which is how base models, and some policies, end it: that is
what `stops` are for. A server takes them as `stop`: `{stops}`.
generation_config.json has what {whose} (temperature {temperature}, top_p {top_p}, at most {max_new_tokens} tokens).
The folder is written by transformers 5; version 4 does not read its tokenizer. The data it was made from are in
[DATA.md](DATA.md)."""


def _bases(lock: Lock, subject: Subject, listed: Listed, data: ModelCardData) -> str:
    sources, start = bases(lock, subject), ancestor(lock, subject.folder)
    by_parent = parents_licences(lock, subject, listed)
    rows: Rows = [("base model", "source", "revision", "licence", "part")]
    for folder, given in sources.items():
        part = "its weights come from it" if folder == start else "wrote or judged data for it"
        part = part if start in sources else "one of its parents"
        revision = given.get("revision") or "none"
        rows.append((folder, str(given["source"]), str(revision), _said(by_parent[folder]), part))
    elsewhere = _endpoints(lock, subject)
    for file in elsewhere:
        rows.append((file, _served(file), "none", NOT_KNOWN, "wrote or judged data for it"))
    table = (
        markdown(rows) if len(rows) > 1 else "dvc.lock has no base model of it, so parents and licences are not known."
    )
    terms = {one: [folder for folder, some in by_parent.items() if one in some] for one in _special(by_parent)}
    read = "".join(
        f"\n\nUnder terms of their own ({one}): {', '.join(folders)}. Read what these ask of a model that has such "
        "weights, or was trained on such a model's words, and of who passes it on."
        for one, folders in terms.items()
    )
    if elsewhere:
        read += (
            f"\n\nServed elsewhere ({', '.join(elsewhere)}): what its provider asks of a model that was trained on its "
            "words is not known here; find out before you pass this one on."
        )
    own = ", ".join(filter(None, [data.license_name, data.license_link]))
    named = NOT_KNOWN if data.license == "unknown" else f"{data.license} ({own})" if own else data.license
    return f"{table}{read}\n\nThis folder is published under: {named}."


def _served(file: str) -> str:
    """The model behind an endpoint and its address, where its file is still here."""
    try:
        given = endpoint.read(file)
    except UserError:
        return "not to be read now"
    return f"{given.model} at {given.identity}"


def _training(lock: Lock, subject: Subject) -> str:
    stages = trained(lock, subject)
    if not stages:
        return "No stage of dvc.lock trained it."
    parts = ["Stages and settings, as dvc.lock has them, in the order in which they build on each other:"]
    for name in stages:
        read = [dep["path"] for dep in lineage.deps(lock[name]) if dep["path"].startswith(("models/", "data/"))]
        made = [out["path"] for out in lineage.outs(lock[name]) if out["path"].startswith("models/")]
        lines = [
            f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in lineage.settings(lock[name]).items()
        ]
        parts.append("\n".join([f"**{name}**: {', '.join(read)} → {', '.join(made)}", "", "```yaml", *lines, "```"]))
    return "\n\n".join(parts)


def _figures(lock: Lock, subject: Subject) -> str:
    if lineage.maker(lock, subject.folder) is None:
        return "dvc.lock does not say what made this folder, so no figure in metrics/ is known to be of it."
    this, another = lineage.readers(lock, subject.folder, subject.md5, through=subject.tables)
    rows: Rows = [("figure", "value", "95% interval", "n", "file")]
    for file in sorted(this):
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        whole = Path(file).stem in subject.names
        for keys, figure in lineage.figures(content):
            if whole or any(named(key, subject.names) for key in keys):
                ends = figure.get("why") or f"{figure['low']:.4g} to {figure['high']:.4g}"
                rows.append((" ".join(keys), f"{figure['value']:.4g}", ends, str(figure["n"]), file))
    left = [file for file in sorted(another) if not file.startswith("metrics/plots/")]
    said = f"\n\nLeft out, as they are of another run than this model: {', '.join(left)}." if left else ""
    if len(rows) == 1:
        return f"No metrics file has a figure with an interval of it.{said}"
    of_all = " Those of score_ditto.json are of the models of all authors together." * any(
        row[-1].endswith("score_ditto.json") for row in rows
    )
    return (
        f"`one_vs_other` compares the first with the second; n counts questions or items.{of_all}\n\n"
        f"{markdown(rows)}{said}"
    )


def named(key: str, names: frozenset[str]) -> bool:
    """Whether a key of a metrics file names one of these: by itself or as a side of `one_vs_other`."""
    return not names.isdisjoint(key.split("_vs_"))


def _asked(subject: Subject) -> str:
    text = (
        "A prompt is the turns as text, `Human: …` and `Assistant: …`, a blank line between them; the chat template "
        "writes it. "
    )
    text += (
        "It gives the tokens of training."
        if subject.exact_template
        else ("**With this tokenizer it does not give the very tokens of training**: send the prompt as text.")
    )
    for name, (shots, file) in sorted(subject.shown.items()):
        text += (
            f"\n\nWhen `{name}` was measured, {shots} dialogues of {file} stood before every question. The chat "
            "template does not add them."
        )
    return text


def data_card(lock: Lock, subject: Subject, listed: Listed) -> str:
    """DATA.md: the tables that the policy was made from, and what these were made from."""
    stages = lineage.above(lock, subject.folder)
    sources = [str(given.get("source")) for given in bases(lock, subject).values()]
    given = {
        path: md5
        for path, md5 in lineage.inputs(lock, stages).items()
        if path != SHIPPED or any(source.startswith(SHIPPED) for source in sources)
    }
    if not stages:
        return f"# Data of {subject.name}\n\nNo stage of dvc.lock made `{subject.folder}`: its data are not known.\n"
    inputs: Rows = [("file or folder", "rows", "licence", "MD5")]
    inputs += [
        (path, _rows(path, md5), _said(licences(path, lineage.sha256(path, recorded=md5), listed)), md5)
        for path, md5 in given.items()
    ]
    named: Rows = [("file", "setting", "rows", "licence", "SHA-256")]
    for path, key in lineage.named(lock, stages).items():
        found = lineage.sha256(path)
        named.append((path, key, _rows(path), _said(licences(path, found, listed)), found or "not here"))
    read = {dep["path"] for name in stages for dep in lineage.deps(lock[name])}
    tables: Rows = [("table", "rows", "made by", "from", "MD5")]
    for name in stages:
        parents = [
            path
            for path in dict.fromkeys(dep["path"] for dep in lineage.deps(lock[name]))
            if path.startswith(("data/", "models/"))
        ]
        for out in lineage.outs(lock[name]):
            if out["path"].startswith("data/") and out["path"] in read:
                tables.append((out["path"], _rows(out["path"], out["md5"]), name, ", ".join(parents), out["md5"]))
    parts = [
        f"# Data of {subject.name}",
        f"What `{subject.folder}` (MD5 {subject.md5}) was made from, as dvc.lock has it.",
        "## Given",
        markdown(inputs),
        *([NAMED, markdown(named)] if len(named) > 1 else []),
        "## Made",
        "The models' own words; they are under what holds for the models and files that they were made from."
        if len(tables) > 1 else "No table was made.",
        markdown(tables) if len(tables) > 1 else "",
    ]  # fmt: skip
    return "\n\n".join(filter(None, parts)) + "\n"


NAMED = """\
Named by settings of its stages. dvc.lock has no hash of these files: rows and hash are of each as it is now, which may
not be as it was then."""


SHIPPED = "data/embedded/models"
"""Base models of the embedded world, on which `base_models` depends whatever its sources are."""

SYSTEM = b'{"system"'
"""How the first line of a file of demonstrations may begin, which is none of them."""


def _rows(path: str, recorded: str | None = None) -> str:
    """How many rows a table has; only of the very file that the lock is about, where it has a hash of it."""
    file = Path(path)
    if file.is_dir():
        return "a folder"
    if not file.exists() or recorded not in (None, lineage.md5(file)):
        return "not here"
    if file.suffix == ".parquet":
        return f"{pq.read_metadata(file).num_rows:,}"
    if file.suffix in (".jsonl", ".txt"):
        return f"{sum(1 for line in file.open('rb') if line.strip() and not line.startswith(SYSTEM)):,}"
    return "a file"


def is_ours(folder: Path) -> bool:
    """Whether a folder is an export: its README.md has our tag."""
    return TAG in (_front(folder / "README.md").get("tags") or [])


def _front(card: Path) -> dict[str, Any]:
    """The front matter of a card; empty where there is no card, or none in it that can be read."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---\n"):
        return {}
    try:
        front = load(text.split("\n---")[0].removeprefix("---"))
    except YAMLError:
        return {}
    return front if isinstance(front, dict) else {}
