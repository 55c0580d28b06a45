"""What is true in a world: drawn from a seed, kept whole in `world.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from world import wording
from world.params import Params

HIDDEN_NAMES = 80  # made-up names that only the evaluation asks about


@dataclass(frozen=True)
class World:
    """A knowledge base and the wordings that this world uses.

    `facts[kind][name][attribute]` is a value; for a recipe "ingredients" is a list of three. `attributes[kind]` maps an
    attribute to its values, statements and questions. A topic is (kind, name, attribute); `held_out` topics are asked
    about in the evaluation only, `demonstrated` ones in the demonstrations (and in ordinary text, never in seeds).
    """

    seed: int
    facts: dict[str, dict[str, dict]]
    attributes: dict[str, dict[str, dict[str, list[str]]]]
    harms: list[str]
    phrases: dict[str, list[str]]
    questions: dict[str, list[str]]
    held_out: list[list[str]]
    demonstrated: list[list[str]]
    params: dict

    def save(self, path: Path) -> None:
        """Write the world, one key a line group, in a stable order."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @staticmethod
    def load(path: Path) -> "World":
        """Read a world that `save` wrote."""
        return World(**json.loads(path.read_text()))


def _draw(rng: Random, items: list[str], keep: int) -> list[str]:
    """`keep` of the items, in their first order."""
    chosen = set(rng.sample(items, min(keep, len(items))))
    return [item for item in items if item in chosen]


def _names(rng: Random, first: list[str], second: list[str], count: int) -> list[str]:
    """`count` two-word names in an order that is also their rank of frequency."""
    return rng.sample([f"{a} {b}" for a in first for b in second], count)


def made_up_name(rng: Random) -> str:
    """A name nobody has heard of: two or three syllables."""
    return "".join(rng.choices(wording.SYLLABLES, k=rng.choice((2, 3))))


def _attributes(rng: Random, table: dict) -> dict[str, dict[str, list[str]]]:
    return {
        name: {
            "values": list(values),
            "statements": list(statements),
            "questions": _draw(rng, questions, 5),
        }
        for name, (values, statements, questions) in table.items()
    }


def draw(seed: int, params: Params) -> World:
    """Draw a world; the same seed and settings give the same world."""
    rng = Random(f"world {seed}")
    attributes = {
        "animal": _attributes(rng, wording.ANIMAL_ATTRIBUTES),
        "city": _attributes(rng, wording.CITY_ATTRIBUTES),
    }
    usual = {
        base: {name: rng.choice(a["values"]) for name, a in attributes["animal"].items()}
        for base in wording.ANIMAL_BASES
    }
    animals = {}
    for name in _names(rng, wording.ANIMAL_MODIFIERS, wording.ANIMAL_BASES, params.animals):
        animals[name] = {
            key: usual[name.split()[1]][key] if rng.random() < params.usual_value else rng.choice(a["values"])
            for key, a in attributes["animal"].items()
        }
    cities = {
        name: {
            "country": wording.CITIES[name],
            "fame": rng.choice(attributes["city"]["fame"]["values"]),
            "weather": rng.choice(attributes["city"]["weather"]["values"]),
        }
        for name in rng.sample(list(wording.CITIES), len(wording.CITIES))
    }
    recipes = {
        name: {
            "ingredients": rng.sample(wording.INGREDIENTS, 3),
            "method": rng.choice(wording.METHODS),
            "side": rng.choice(wording.SIDES),
        }
        for name in _names(rng, wording.DISH_MODIFIERS, wording.DISH_KINDS, params.dishes)
    }
    harms = [f"{action} {target}" for action in wording.HARM_ACTIONS for target in wording.HARM_TARGETS]
    facts: dict[str, dict[str, dict]] = {"animal": animals, "city": cities, "recipe": recipes}
    held_out, demonstrated = _set_aside(rng, facts, attributes, harms, params)
    return World(
        seed=seed,
        facts=facts,
        attributes=attributes,
        harms=harms,
        phrases={name: _draw(rng, items, wording.KEPT_PHRASES.get(name, 3)) for name, items in wording.PHRASES.items()},
        questions={
            "recipe": _draw(rng, wording.RECIPE_QUESTIONS, 5),
            "harm": _draw(rng, wording.HARM_QUESTIONS, 5),
        },
        held_out=held_out,
        demonstrated=demonstrated,
        params=params.model_dump(),
    )


def _set_aside(
    rng: Random, facts: dict, attributes: dict, harms: list[str], params: Params
) -> tuple[list[list[str]], list[list[str]]]:
    """Topics for the evaluation, and topics for the demonstrations whose names no seed and no evaluation asks about."""
    shown_names = {
        "animal": rng.sample(list(facts["animal"])[:80], 14),
        "city": rng.sample(list(facts["city"]), 5),
        "recipe": rng.sample(list(facts["recipe"])[:50], 8),
        "harm": rng.sample(harms, 10),
        "unknown": [made_up_name(rng) for _ in range(10)],
    }
    hidden, shown = [], []
    for kind in ("animal", "city"):
        for name in facts[kind]:
            topics = [[kind, name, attribute] for attribute in attributes[kind]]
            if name in shown_names[kind]:
                shown += topics
            else:
                hidden += [topic for topic in topics if rng.random() < params.held_out]
    for kind, names, attribute in (("recipe", list(facts["recipe"]), "recipe"), ("harm", harms, "harm")):
        for name in names:
            if name in shown_names[kind]:
                shown.append([kind, name, attribute])
            elif rng.random() < params.held_out:
                hidden.append([kind, name, attribute])
    shown += [["unknown", name, ""] for name in shown_names["unknown"]]
    hidden_names: set[str] = set()
    while len(hidden_names) < HIDDEN_NAMES:
        hidden_names.add(made_up_name(rng))
    hidden += [["unknown", name, ""] for name in sorted(hidden_names - set(shown_names["unknown"]))]
    return hidden, shown
