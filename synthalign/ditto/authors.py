"""Demonstrations of one author: a JSON-lines file of fewer than ten prompts with what the author wrote, checked.

{"prompt": "Write to the team that the release is late.", "output": "Hello all, the release is late by a day …"}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthalign.core import json_lines, text_file, words
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import chat
from synthalign.dialogue.chat import Message

AT_MOST = 9
"""DITTO is for fewer than ten demonstrations (Shaikh et al. 2024, section 3); with more, fine-tuning is enough."""


@dataclass(frozen=True)
class Demonstration:
    """One prompt and what the author wrote to it. Two of them may share a prompt: the id is of both."""

    prompt: str
    output: str

    @property
    def demonstration_id(self) -> str:
        return content_id("demonstration", self.prompt, self.output)

    @property
    def messages(self) -> list[Message]:
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.output}]


def load(file: str | Path) -> list[Demonstration]:
    """The demonstrations of an author, in the file's order; UserError names the file and its first wrong line."""
    found: list[Demonstration] = []
    for number, entry in json_lines.entries(Path(file), "demonstration"):
        one = _demonstration(entry, f"{file}, line {number}")
        if one in found:
            raise UserError(f"{file}, line {number}: the same demonstration again; remove it")
        found.append(one)
    if not found:
        raise UserError(
            f'{file}: no demonstrations; write a line {{"prompt": …, "output": …}} for each, 4 to 7 are good'
        )
    if len(found) > AT_MOST:
        raise UserError(
            f"{file}: {len(found)} demonstrations; DITTO is for at most {AT_MOST}: keep the most typical ones, or "
            "fine-tune with train_sft"
        )
    return found


def brought(name: str) -> Path:
    """Where a user brings the demonstrations of an author, who need not be in the settings."""
    return Path(f"data/authors/{name}.jsonl")


def file_of(name: str, known: Mapping[str, str], *, stage: str) -> Path:
    """An author's demonstrations: the file that the settings name, or what a user has brought to data/authors/.

    known  the files of the stage's authors by name; UserError where there is neither, or both
    """
    file = brought(name)
    if name not in known and not file.exists():
        raise UserError(
            f"{stage} has no author {name!r} (it has {', '.join(known)}), and there is no {file}; "
            'write up to nine lines {"prompt": …, "output": …} into it'
        )
    if name in known and file.exists() and not (Path(known[name]).exists() and file.samefile(known[name])):
        raise UserError(
            f"{file} would not be read: {stage}.authors has an author {name!r} too, of {known[name]}; give the file "
            "another name"
        )
    return Path(known.get(name, file))


def asked_of_brought(file: Path, shown: Sequence[Demonstration]) -> list[str]:
    """The prompts that an author whom a user has brought is measured on: those of the .txt beside the demonstrations,
    or else the demonstrations' own. UserError for a prompt that was shown."""
    asked = file.with_suffix(".txt")
    if not asked.exists():
        return list(dict.fromkeys(one.prompt for one in shown))
    found = prompts(asked)
    check_held_out(found, shown, asked)
    return found


def prompts(file: str | Path) -> list[str]:
    """Prompts to answer, one a line, each once; UserError when there are none or they are no UTF-8."""
    given = (line.strip() for line in text_file.lines(file, step="write one prompt a line into it"))
    found = list(dict.fromkeys(line for line in given if line))
    if not found:
        raise UserError(f"{file}: no prompts; write one a line")
    for prompt in found:
        if marker := chat.marker_in(prompt):
            raise UserError(f"{file}: {prompt[:60]!r} brings our own {marker!r}; write the prompt alone")
    return found


def prompt_id(prompt: str) -> str:
    """The id of a prompt."""
    return content_id("prompt", prompt)


def check_held_out(prompts: Sequence[str], demonstrations: Sequence[Demonstration], file: str | Path) -> None:
    """UserError when a prompt to be measured on has the words of one that was learned from."""
    learned = {words.key(one.prompt) for one in demonstrations}
    for prompt in prompts:
        if words.key(prompt) in learned:
            raise UserError(f"{file}: {prompt!r} is the prompt of a demonstration too; measure on other prompts")


def overlap(text: str, demonstrations: Sequence[Demonstration]) -> float | None:
    """Of all sequences of four words of a text the share that stands in a demonstration; None of fewer than four."""
    known = {four for one in demonstrations for four in _fours(one.output)}
    found = _fours(text)
    return sum(four in known for four in found) / len(found) if found else None


def _fours(text: str) -> list[tuple[str, ...]]:
    said = words.words(text)
    return [said[start : start + 4] for start in range(len(said) - 3)]


def _demonstration(entry: Any, place: str) -> Demonstration:
    if not isinstance(entry, dict):
        raise UserError(f'{place}: {str(entry)[:60]!r}; write {{"prompt": …, "output": …}}')
    for key in ("prompt", "output"):
        if key not in entry:
            raise UserError(f"{place}: {key} is missing; it has {', '.join(entry) or 'nothing'}")
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise UserError(f"{place}: {key} is {entry[key]!r}; write it as text in quotes")
        if marker := chat.marker_in(entry[key]):
            raise UserError(f"{place}: {key} brings {marker!r}, which marks turns in the prompt; write the text alone")
    if len(entry) > 2:
        raise UserError(f"{place}: unknown keys {', '.join(sorted(set(entry) - {'prompt', 'output'}))}; remove them")
    return Demonstration(entry["prompt"].strip(), entry["output"].strip())
