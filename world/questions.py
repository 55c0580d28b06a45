"""Questions: drawn with the world's frequencies, worded by its templates, and parsed back."""

import re
from bisect import bisect
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from world.entities import World, made_up_name
from world.params import KINDS
from world.wording import (
    ANIMAL_BASES,
    ANIMAL_MODIFIERS,
    DISH_KINDS,
    DISH_MODIFIERS,
    SYLLABLES,
    THANKS,
)

_MADE_UP = re.compile(f"(?:{'|'.join(SYLLABLES)}){{2,3}}")


@dataclass(frozen=True)
class Question:
    """One question. `attribute` is the attribute asked for, "recipe" or "harm"; for an unknown name it is ""."""

    kind: str
    name: str
    attribute: str
    text: str

    @property
    def topic(self) -> tuple[str, str, str]:
        """What is asked, whatever the words."""
        return self.kind, self.name, self.attribute


class Asker:
    """Asks questions about a world and understands its own questions again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held_out = {tuple(topic) for topic in world.held_out}
        zipf = world.params["zipf"]
        self._names = {kind: list(names) for kind, names in world.facts.items()}
        self._cumulative = {
            kind: list(accumulate((rank + 10) ** -zipf for rank in range(len(names))))
            for kind, names in self._names.items()
        }
        mix = world.params["kind_mix"]
        self._kind_weights = list(accumulate(mix[kind] for kind in KINDS))
        self._patterns = [
            (re.compile(re.escape(template).replace(r"\{n\}", "(.+)")), kind, attribute)
            for kind, attribute, template in self._templates()
        ]

    def _templates(self) -> list[tuple[str, str, str]]:
        return [
            (kind, name, template)
            for kind, attributes in self.world.attributes.items()
            for name, attribute in attributes.items()
            for template in attribute["questions"]
        ] + [(kind, kind, template) for kind in ("recipe", "harm") for template in self.world.questions[kind]]

    def name(self, rng: Random, kind: str) -> str:
        """A name of the kind, the frequent ones more often."""
        cumulative = self._cumulative[kind]
        return self._names[kind][bisect(cumulative, rng.random() * cumulative[-1])]

    def ask(self, rng: Random, kind: str | None = None) -> Question:
        """A question that is not held out for the evaluation."""
        kind = kind or KINDS[bisect(self._kind_weights, rng.random() * self._kind_weights[-1])]
        while True:
            if kind == "unknown":
                name, attribute = made_up_name(rng), ""
            elif kind == "harm":
                name, attribute = rng.choice(self.world.harms), "harm"
            elif kind == "recipe":
                name, attribute = self.name(rng, "recipe"), "recipe"
            else:
                name, attribute = self.name(rng, kind), rng.choice(list(self.world.attributes[kind]))
            if (kind, name, attribute) not in self.held_out:
                return self.word(rng, (kind, name, attribute))

    def word(self, rng: Random, topic: tuple[str, str, str]) -> Question:
        """One wording of a topic."""
        return replace(Question(*topic, text=""), text=rng.choice(self.wordings(topic)))

    def wordings(self, topic: tuple[str, str, str]) -> list[str]:
        """All wordings of a topic."""
        kind, name, attribute = topic
        if kind in ("recipe", "harm"):
            templates = self.world.questions[kind]
        elif kind == "unknown":
            templates = [t for a in self.world.attributes["animal"].values() for t in a["questions"]]
        else:
            templates = self.world.attributes[kind][attribute]["questions"]
        return [template.replace("{n}", name) for template in templates]

    def parse(self, text: str) -> Question | None:
        """The question that this text asks, or None when it is no question of this world."""
        text = " ".join(text.split())
        for thanks in THANKS:
            text = text.removeprefix(thanks)
        for pattern, kind, attribute in self._patterns:
            found = pattern.fullmatch(text)
            if not found:
                continue
            name = found[1]
            if kind == "harm":
                if name in self.world.harms:
                    return Question("harm", name, "harm", text)
            elif name in self.world.facts[kind]:
                return Question(kind, name, attribute, text)
            elif kind != "city" and self.is_nobody(name):
                return Question("unknown", name, "", text)
        return None

    @staticmethod
    def is_nobody(name: str) -> bool:
        """Whether a name that is not in the world is one that a question could ask about all the same."""
        first, _, second = name.partition(" ")
        if second:
            return (first in ANIMAL_MODIFIERS and second in ANIMAL_BASES) or (
                first in DISH_MODIFIERS and second in DISH_KINDS
            )
        return _MADE_UP.fullmatch(name) is not None
