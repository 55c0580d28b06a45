"""DITTO's comparisons (Shaikh et al. 2024, section 3.3): a demonstration beats every sample, a later sample an earlier.

    demonstration  >  samples of the latest policy  >  samples of earlier policies  >  samples of the first, D_0

Three pools of pairs follow from that order, each keyed by demonstration, so that two demonstrations of one prompt are
both used.  A batch draws from them in fixed shares.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from synthalign.core.ids import content_id
from synthalign.dialogue import endings
from synthalign.ditto.authors import Demonstration

Kind = Literal["online", "replay", "inter"]
KINDS: tuple[Kind, ...] = ("online", "replay", "inter")


class Fractions(BaseModel, frozen=True, extra="forbid", strict=True):
    """Shares of a batch by kind of pair; the paper has 0.7, 0.2 and 0.1."""

    online: float = Field(ge=0, le=1)
    """A demonstration over a sample of the latest set."""

    replay: float = Field(ge=0, le=1)
    """A demonstration over a sample of an earlier set."""

    inter: float = Field(ge=0, le=1)
    """A sample of a later set over one of an earlier set."""


@dataclass(frozen=True)
class Text:
    """A demonstration or a sample, which answers the prompt of a demonstration.

    rank           infinity for the demonstration, else the iteration whose policy wrote it: the higher is the better
    finish_reason  how the text ended (`endings`), None for the demonstration
    prompt         of a demonstration
    """

    text_id: str
    demonstration_id: str
    rank: float
    text: str
    finish_reason: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two texts of one demonstration; `chosen` has the higher rank."""

    kind: Kind
    chosen: Text
    rejected: Text

    @property
    def pair_id(self) -> str:
        return content_id("comparison", self.chosen.text_id, self.rejected.text_id)


def demonstrated(demonstration: Demonstration) -> Text:
    """A demonstration as the text that no sample beats."""
    name = demonstration.demonstration_id
    return Text(name, name, math.inf, demonstration.output, prompt=demonstration.prompt)


def sampled(demonstration_id: str, iteration: int, index: int, text: str, *, finish_reason: str) -> Text:
    """One sample of the policy at the start of an iteration."""
    text_id = content_id("ditto sample", demonstration_id, iteration, index, text)
    return Text(text_id, demonstration_id, float(iteration), text, finish_reason)


def pools(demonstrations: Sequence[Text], sets: Sequence[Sequence[Text]]) -> dict[Kind, list[Pair]]:
    """Every pair that the order allows, by kind.

    demonstrations  one text for each demonstration
    sets            D_0, D_1, …: the samples of each iteration so far, the latest last

    online  the demonstration over each sample of the latest set
    replay  the demonstration over each sample of the earlier sets
    inter   each sample of set a over each of set b, for all a > b: M^2 pairs for every (a, b) with M samples each

    A sample that says what a demonstration of its prompt says is left out, and so is a pair of equal texts: there is
    nothing to tell apart.  (The paper's code keeps them.)  A sample that was cut off, or says nothing, is never the
    better one.
    """
    found: dict[Kind, list[Pair]] = {kind: [] for kind in KINDS}
    said: dict[str | None, set[str]] = {}
    for one in demonstrations:
        said.setdefault(one.prompt, set()).add(one.text)
    for best in demonstrations:
        own = [
            [one for one in given if one.demonstration_id == best.demonstration_id and _differs(one, said[best.prompt])]
            for given in sets
        ]
        for later, samples in enumerate(own):
            kind: Kind = "online" if later == len(own) - 1 else "replay"
            found[kind] += [Pair(kind, best, sample) for sample in samples]
            found["inter"] += [
                Pair("inter", better, worse)
                for earlier in own[:later]
                for better in samples
                if endings.is_whole(better.finish_reason) and better.text.strip()
                for worse in earlier
                if better.text != worse.text
            ]
    return found


def _differs(sample: Text, said: Set[str]) -> bool:
    return sample.text not in said


def sizes(pairs: int, fractions: Fractions) -> dict[Kind, int]:
    """How many pairs of each kind a batch of `pairs` asks for: round(fraction * pairs), halves to the even number.

    With the paper's 3 pairs a demonstration and 7 demonstrations: round(.7 * 21) = 15, round(.2 * 21) = 4 and
    round(.1 * 21) = 2.
    """
    return {kind: round(getattr(fractions, kind) * pairs) for kind in KINDS}


def draw(found: Mapping[Kind, Sequence[Pair]], pairs: int, fractions: Fractions, *, seed: int, step: int) -> list[Pair]:
    """The pairs of one step: from each pool its share, without replacement, by a hash of (seed, step, pair).

    A pool that is smaller than its share is taken whole, and no other pool makes up for it: in the first iteration,
    which has online pairs alone, a batch has the online share and no more.  So does the paper's code; a first batch
    that was filled up would weigh the first samples more than the later ones.
    """
    wanted = sizes(pairs, fractions)
    drawn: list[Pair] = []
    for kind in KINDS:
        order = sorted(found[kind], key=lambda pair: content_id("ditto draw", seed, step, pair.pair_id))
        drawn += order[: wanted[kind]]
    return drawn


def in_order(found: Mapping[Kind, Sequence[Pair]], rewards: Mapping[str, float]) -> float | None:
    """The share of all pairs whose better text has the higher reward; None without pairs.

    rewards  of each text by its id
    """
    right = [
        rewards[pair.chosen.text_id] > rewards[pair.rejected.text_id] for pairs in found.values() for pair in pairs
    ]
    return sum(right) / len(right) if right else None
