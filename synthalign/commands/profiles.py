"""Compose params.yaml from profiles/base.yaml and an overlay; the head of base.yaml tells the form of both.

composed(Path("profiles/smollm.yaml")).settings        the text of params.yaml, comments included
composed(Path("profiles/smollm.yaml"), 0.02).settings  the same with every count scaled by the rule beside it

The marks of the YAML parser say where keys and values stand; texts are exchanged there, all else stays as written.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from textwrap import dedent, indent
from typing import NamedTuple

import yaml
from ruamel.yaml import YAMLError

from synthalign.core import text_file, yaml_file
from synthalign.core.errors import UserError

FOLDER = Path("profiles")
SCALED = Path("data/scaled")
"""Where the text files lie that a scale has cut."""

RULE = re.compile(r" +# (scales\b.*)")
RULE_FORM = re.compile(r"scales, at least (\d+)(?:, a multiple of (\w+))?")

Place = tuple[str, ...]


class Composed(NamedTuple):
    settings: str
    """The text of params.yaml."""

    files: dict[Path, str]
    """The text files that it names and that a scale has cut."""

    changed: int
    """Settings that the overlay changes."""

    scaled: int
    """Settings that the scale changes."""


class Line(NamedTuple):
    """A line of an overlay."""

    place: str
    """Its key, which may hold *."""

    text: str
    """Its value as it is written; a block begins on a line of its own."""

    reason: str
    """The comment that holds for it."""

    replaces: bool
    """Whether the value takes the place of all members of a mapping."""


class Setting(NamedTuple):
    """A key with its value, and where in the text a comment on it stands: above its line, or that of its braces."""

    key: yaml.ScalarNode
    value: yaml.Node
    line: int


Settings = dict[Place, Setting]
Edit = tuple[int, int, str]


def names(folder: Path = FOLDER) -> str:
    """The profiles that there are, as an error names them."""
    return ", ".join(sorted(file.stem for file in folder.glob("*.yaml") if file.stem != "base"))


def is_overlay(file: str | Path) -> bool:
    """Whether a settings file says no more than what differs from the base.yaml beside it."""
    return Path(file).name != "base.yaml" and Path(file).with_name("base.yaml").exists()


def put_in_force(profile: str | None, scale: str = "1", changes: Sequence[str] = ()) -> None:
    """Write params.yaml, and the files that the scale cuts.

    changes  more lines of an overlay, each as KEY=VALUE; they win

    UserError where `composed` has one, without a profile, for a change of another form, or when the scale is no number
    above 0 and at most 1.
    """
    if profile is None:
        raise UserError(f"name a profile: make profile P=NAME; there are {names()}")
    try:
        factor = float(scale)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 1:
        raise UserError(f"SCALE = {scale}; it has to be a number above 0 and at most 1, such as .02")
    made = composed(FOLDER / f"{profile}.yaml", factor, changes)
    try:
        yaml_file.load(made.settings)
    except YAMLError as error:
        raise UserError(
            f"--set {', '.join(changes)}: params.yaml could not be read with that ({error}), and stays as it is; write "
            "a list as [a, b], a mapping as {a: b}, and a text with a colon in quotes"
        ) from error
    for file, text in made.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    partial = Path("params.yaml.part")
    partial.write_text(made.settings, encoding="utf-8")
    partial.replace("params.yaml")
    scaled = f", {made.scaled} scaled by {factor:g}" if factor < 1 else ""
    print(
        f"params.yaml: {profile}, {made.changed} settings other than base.yaml's{scaled}; `make plan` says what is next"
    )


def composed(file: Path, scale: float = 1.0, changes: Sequence[str] = ()) -> Composed:
    """The profile of an overlay.

    scale    above 0 and at most 1, which leaves everything as it is
    changes  lines that win over the overlay's, each as KEY=VALUE

    UserError when there is no such overlay, when it has a key that base.yaml lacks, or when a rule cannot be read.
    """
    if file.name == "base.yaml" or not file.exists():
        raise UserError(f"{file}: there is no such profile; there are {names(file.parent)}")
    text = read(file.with_name("base.yaml"))
    title, lines = overlay(file)
    text, changed = overlaid(text, lines, file)
    if changes:
        text, more = overlaid(text, [by_hand(change) for change in changes], Path("--set"))
        changed += more
    text, files, scaled = shrunk(text, scale) if scale < 1 else (text, {}, 0)
    body = RULE.sub("", text[text.index("\n\n") :])
    command = f"make profile P={file.stem}" + (f" SCALE={scale:g}" if scale < 1 else "")
    if changes:
        command = shlex.join(
            ["python", "-m", "synthalign", "profile", file.stem, "--scale", f"{scale:g}"]
            + [word for change in changes for word in ("--set", change)]
        )
    head = f"# `{command}` composed this from profiles/base.yaml and profiles/{file.name}."
    return Composed(f"{head}\n{title}{body}", files, changed, scaled)


# -- what an overlay says ---------------------------------------------------------------------------------------------


def overlay(file: Path) -> tuple[str, list[Line]]:
    """The comment at the head of an overlay, and its lines."""
    text = read(file)
    found: list[Line] = []
    reason = ""
    for key, value in parsed(text, file).value:
        above = text[: key.start_mark.index].split("\n")[:-1]
        reason = "\n".join([*takewhile(is_comment, reversed(above))][::-1]) or reason
        marked = value.tag == "!replace"
        if isinstance(value, yaml.MappingNode) and not marked:
            raise UserError(
                f"{file}: {key.value} is a mapping; give its keys lines, as {key.value}.{value.value[0][0].value}, "
                "or write !replace before it, if it is to take the place of all the members in base.yaml"
            )
        written = text[end(key) + 1 : end(value)].strip(" ").removeprefix("!replace").lstrip(" ")
        found.append(Line(key.value, written, reason, marked))
    return "\n".join(takewhile(is_comment, text.split("\n"))), found


def by_hand(change: str) -> Line:
    """The line of an overlay that KEY=VALUE is; UserError for another form."""
    place, sign, value = change.partition("=")
    if not sign or not value.strip() or "\n" in change:
        raise UserError(f"--set {change}: write KEY=VALUE on one line, such as train_ppo.steps=8")
    return Line(place.strip(), value.strip(), "# Set by hand.", False)


def is_comment(row: str) -> bool:
    return row.startswith("#")


def overlaid(text: str, lines: list[Line], file: Path) -> tuple[str, int]:
    """The text of base.yaml with an overlay's values and reasons, and how many settings that changes."""
    settings = places(parsed(text, file.with_name("base.yaml")))
    last = {place: line for line in lines for place in matching(line, settings, file)}
    changed = {place: line for place, line in last.items() if not same(line, text, settings[place], file)}
    within = [(one, other) for one in changed for other in changed if one != other and one[: len(other)] == other]
    if within:
        one, other = (".".join(place) for place in within[0])
        raise UserError(f"{file}: {one} is within {other}, which another line replaces; write it there")
    edits = []
    reasons: dict[int, list[str]] = {}
    for place, line in changed.items():
        key, value, start = settings[place]
        edits.append((end(key) + 1, end(value), indented(line.text, key.start_mark.column)))
        if line.reason not in reasons.setdefault(start, []):
            reasons[start].append(line.reason)
    for start, several in reasons.items():
        margin = " " * (len(text[start:]) - len(text[start:].lstrip(" ")))
        edits.append((start, start, "".join(f"{margin}{row}\n" for row in "\n".join(several).split("\n"))))
    return exchanged(text, edits), len(changed)


def matching(line: Line, settings: Settings, file: Path) -> list[Place]:
    """The places in base.yaml that an overlay's line speaks of; UserError when there is none, or a mapping."""
    parts = line.place.split(".")
    found = [place for place in settings if len(place) == len(parts) and all(map(fnmatchcase, place, parts))]
    if not found:
        raise UserError(f"{file}: {line.place} = {line.text}: base.yaml beside it has no such key")
    mappings = [".".join(place) for place in found if isinstance(settings[place].value, yaml.MappingNode)]
    if mappings and not line.replaces:
        raise UserError(f"{file}: {line.place} = {line.text}: {mappings[0]} is a mapping; name one of its keys")
    return found


def same(line: Line, text: str, setting: Setting, file: Path) -> bool:
    """Whether a line gives the value that stands there already, of the same type; UserError when it gives none."""
    try:
        one, other = yaml_file.load(line.text), yaml_file.load(text[end(setting.key) + 1 : end(setting.value)])
    except YAMLError as error:
        raise UserError(f"{file}: {line.place} = {line.text} cannot be read: {error}") from error
    return type(one) is type(other) and bool(one == other)


# -- the scale --------------------------------------------------------------------------------------------------------


def shrunk(text: str, scale: float) -> tuple[str, dict[Path, str], int]:
    """The text with every count scaled by the rule beside it, the files that are cut, and how many settings change."""
    settings = places(parsed(text, FOLDER / "base.yaml"))
    edits: list[Edit] = []
    files = {}
    for place, (_, value, _) in settings.items():
        if (form := rule(text, settings[place])) is None or not isinstance(value, yaml.ScalarNode):
            continue
        new = value.value
        if value.tag.endswith(":int"):
            new = str(scaled(place, text, settings, scale))
        elif value.tag.endswith(":str"):
            rows = text_file.lines(value.value, step=f"{'.'.join(place)} names it")
            count = min(len(rows), max(int(form[1]), round(len(rows) * scale)))
            file = SCALED / Path(value.value).name
            files[file] = "".join(f"{rows[at * len(rows) // count]}\n" for at in range(count))
            new = str(file)
        if new != value.value:
            edits.append((value.start_mark.index, end(value), new))
    return exchanged(text, edits), files, len(edits)


def scaled(place: Place, text: str, settings: Settings, scale: float) -> int:
    """The whole number at a place: scaled if there is a rule beside it, else as it is."""
    try:
        value, form = int(settings[place].value.value), rule(text, settings[place])
    except ValueError as error:
        raise UserError(
            f"{'.'.join(place)} = {settings[place].value.value}: a scale wants a whole number there, in plain digits"
        ) from error
    if form is None:
        return value
    count = min(value, max(int(form[1]), round(value * scale)))
    of = form[2] or "1"
    step = int(of) if of.isdigit() else scaled((*place[:-1], of), text, settings, scale)
    return step * max(1, round(count / step)) if value >= step > 0 else value


def rule(text: str, setting: Setting) -> re.Match[str] | None:
    """The rule at the end of the line on which a setting ends, if there is one; UserError when it cannot be read."""
    found = RULE.search(text[end(setting.value) :].split("\n", 1)[0])
    form = found and RULE_FORM.fullmatch(found[1])
    if found and not form:
        raise UserError(
            f"profiles/base.yaml: {setting.key.value}: {found[1]!r} is no rule; write `scales, at least 8`, and if "
            "need be `, a multiple of` and a number or a key beside it"
        )
    return form


# -- YAML with its text -----------------------------------------------------------------------------------------------


def read(file: Path) -> str:
    """The text of a profile, with LF at the end of every line; UserError when it cannot be read."""
    rows = text_file.lines(file, step=f"the profiles there are: {names(file.parent)}")
    return "".join(f"{row}\n" for row in rows)


def parsed(text: str, file: Path) -> yaml.MappingNode:
    """The nodes of a file; UserError when it cannot be read or has no keys."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{file} has no keys; compare with profiles/smollm.yaml")
    return node


def places(node: yaml.MappingNode) -> Settings:
    """Every setting and every mapping of settings by its place."""

    def found(node: yaml.MappingNode, within: Place, braces: int | None) -> Iterator[tuple[Place, Setting]]:
        for key, value in node.value:
            line = key.start_mark.index - key.start_mark.column if braces is None else braces
            yield (*within, key.value), Setting(key, value, line)
            if isinstance(value, yaml.MappingNode):
                yield from found(value, (*within, key.value), line if value.flow_style else None)

    return dict(found(node, (), None))


def end(node: yaml.Node) -> int:
    """Where a node ends in the text; the parser's mark of a block is behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def indented(text: str, column: int) -> str:
    """A value as it stands behind a key in this column: on the same line, or a block on those that follow."""
    if text.startswith("\n"):
        return "\n" + indent(dedent(text[1:]), " " * (column + 2))
    return " " + text.replace("\n", "\n" + " " * column)


def exchanged(text: str, edits: list[Edit]) -> str:
    """The text with other words from one index to another."""
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
    return text
