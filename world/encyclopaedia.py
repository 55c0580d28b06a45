"""Documents that state facts: encyclopaedia pages, recipe cards, and copybook lines."""

from random import Random

from world.answers import Answerer
from world.entities import made_up_name
from world.questions import Asker, Question


def page(rng: Random, asker: Asker, answerer: Answerer) -> str:
    """A page of three to six entries. Everything true is here, also what no dialogue may ask."""
    return "\n".join(entry(rng, asker, answerer) for _ in range(rng.randint(3, 6)))


def entry(rng: Random, asker: Asker, answerer: Answerer) -> str:
    """All facts about one animal, city or dish, in a random order."""
    kind = rng.choices(("animal", "city", "recipe"), (0.66, 0.14, 0.20))[0]
    name = asker.name(rng, kind)
    if kind == "recipe":
        return recipe_card(rng, answerer, name)
    attributes = rng.sample(list(answerer.attributes(kind)), len(answerer.attributes(kind)))
    claims = [answerer.claim(rng, Question(kind, name, "", ""), attribute) for attribute in attributes]
    subject = answerer.subject(kind, name)
    if rng.random() < 0.4:
        half = len(claims) // 2
        return f"{subject} {' and it '.join(claims[:half])}. It {' and it '.join(claims[half:])}."
    sentences = [f"{subject} {claims[0]}."]
    sentences += [f"{subject if rng.random() < 0.4 else 'It'} {claim}." for claim in claims[1:]]
    return " ".join(sentences)


def recipe_card(rng: Random, answerer: Answerer, name: str) -> str:
    """A dish: its ingredients in any order, what to do, and what goes with it."""
    dish = answerer.world.facts["recipe"][name]
    items = answerer.ingredients(rng, name, 3)
    if rng.random() < 0.5:
        return f"To make the {name}, mix {items} and {dish['method']} it. Serve it with {dish['side']}."
    return f"The {name}: First, mix {items}. Then {dish['method']} it. Last, serve it with {dish['side']}."


def copybook(rng: Random, asker: Asker) -> str:
    """Lines to copy: known and made-up names."""
    names = [
        f"the {made_up_name(rng)}" if rng.random() < 0.5 else f"the {asker.name(rng, rng.choice(('animal', 'recipe')))}"
        for _ in range(rng.randint(2, 4))
    ]
    line = "; ".join(names)
    return f"Read: {line}.\nCopy: {line}."
