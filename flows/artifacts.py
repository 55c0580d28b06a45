"""What a run shows in Prefect's UI, as text.  The last lines of stages may quote models, so they are escaped."""

import html
import re
from collections.abc import Mapping, Sequence

from flows.gates import Figure, Verdict


def cell(text: str) -> str:
    """Untrusted text within a line of Markdown, or a cell of a table."""
    shown = html.escape(" ".join(text.split()), quote=True)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", lambda found: f"&#{ord(found[0])};", shown)


def block(text: str) -> str:
    """Untrusted text of several lines; an empty line would end the block, so none is left."""
    return "<pre>" + html.escape("\n".join(line for line in text.splitlines() if line.strip()), quote=True) + "</pre>"


def number(found: Figure | None) -> str:
    """A figure with its interval and n."""
    if found is None:
        return ""
    shown = f"{found['value']:.4g}"
    if found.get("low") is not None and found.get("high") is not None:
        shown += f" ({found['low']:.4g} to {found['high']:.4g})"
    return shown + (f", n = {found['n']:,}" if found.get("n") is not None else "")


def change(now: Figure | None, before: Figure | None) -> str:
    """How far a value has moved; `±0` where it has not."""
    if now is None or before is None or now["value"] is None or before["value"] is None:
        return ""
    moved = now["value"] - before["value"]
    return f"{moved:+.4g}" if moved else "±0"


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, str]]:
    """The table of figures."""
    return [
        {
            "figure": verdict.name,
            "now": number(verdict.now),
            "since the last run": change(verdict.now, verdict.last),
            "since the baseline": change(verdict.now, verdict.accepted),
            "gate": verdict.colour,
            "why": verdict.why,
        }
        for verdict in verdicts
    ]


def markdown_table(table: Sequence[Mapping[str, str]]) -> str:
    if not table:
        return ""
    lines = [list(table[0]), ["---"] * len(table[0]), *([cell(text) for text in row.values()] for row in table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(
    ended: Mapping[str, str],
    failures: Mapping[str, str],
    verdicts: Sequence[Verdict],
    published: str,
) -> str:
    """The run on one page.

    ended: how every stage ended (`ran`, `restored or unchanged`, `unchanged`, `failed`, `not started`, `cancelled`);
    failures: the message of each that failed.
    """
    counts = {how: sum(other == how for other in ended.values()) for how in dict.fromkeys(ended.values())}
    parts = ["# " + ", ".join(f"{count} {how}" for how, count in counts.items())]
    for how in ("ran", "restored or unchanged", "not started", "cancelled"):
        names = [name for name, other in ended.items() if other == how]
        parts += [f"**{how}**: {', '.join(map(cell, names))}"] * bool(names)
    for name, message in failures.items():
        first, _, rest = message.partition("\n")
        parts += [f"## {cell(name)} failed", cell(first), block(rest)]
    if verdicts:
        red = [verdict.name for verdict in verdicts if verdict.colour == "red"]
        parts += ["## Gates", f"**red**: {', '.join(map(cell, red))}" if red else "None is red."]
        parts.append(markdown_table(rows(verdicts)))
    return "\n\n".join([*parts, cell(published)]) + "\n"
