"""The model card of an exported policy, README.md: all of it from dvc.lock, settings and metrics.

What is not recorded is said to be not recorded; a figure of another run than the model's is left out and named.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.reporting import licences, lineage, parents
from synthalign.reporting.licences import NOT_KNOWN, Licence, Listed
from synthalign.reporting.recorded import Lock
from synthalign.reporting.text_tables import Rows, markdown

TAG = "synthalign"
"""What an export is known by, on the hub too."""

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


def front_matter(lock: Lock, subject: Subject, listed: Listed, licence_id: str | None) -> ModelCardData:
    """What the hub reads: a base model only where it is one of the hub, a licence only where one is known."""
    sources = parents.bases(lock, subject.folder)
    source = sources.get(parents.ancestor(lock, subject.folder), {}).get("source")
    is_path = isinstance(source, str) and (source.endswith(".gguf") or Path(source).exists())
    on_hub = isinstance(source, str) and source.count("/") == 1 and not is_path
    methods = [name.removeprefix("train_").partition("@")[0] for name in trained(lock, subject)]
    found = Licence(licence_id) if licence_id else parents.inherited(lock, subject.folder, listed) or Licence("unknown")
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
    sources, start = parents.bases(lock, subject.folder), parents.ancestor(lock, subject.folder)
    by_parent = parents.given_under(lock, subject.folder, listed)
    rows: Rows = [("base model", "source", "revision", "licence", "part")]
    for folder, given in sources.items():
        part = "its weights come from it" if folder == start else "wrote or judged data for it"
        part = part if start in sources else "one of its parents"
        revision = given.get("revision") or "none"
        rows.append((folder, str(given["source"]), str(revision), licences.said(by_parent[folder]), part))
    elsewhere = parents.endpoints(lock, subject.folder)
    for file in elsewhere:
        rows.append((file, parents.served(file), "none", NOT_KNOWN, "wrote or judged data for it"))
    table = (
        markdown(rows) if len(rows) > 1 else "dvc.lock has no base model of it, so parents and licences are not known."
    )
    terms = {
        one: [folder for folder, some in by_parent.items() if one in some] for one in parents.special_ones(by_parent)
    }
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


def is_ours(folder: Path) -> bool:
    """Whether a folder is an export: its README.md has our tag."""
    return TAG in (licences.front(folder / "README.md").get("tags") or [])
