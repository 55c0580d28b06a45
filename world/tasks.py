"""Tasks made of the world's knowledge base: questions with short answers, some with the reasoning that leads to them.

    examples = make(world, "animal_colour", limit=400, seed=0)

What is made depends on world, task and seed alone. No topic that the world holds out for its evaluation is asked
about. HELD_OUT are the tasks that no mixture may have: they ask for homes, beds and weather, which no other task does, or
in a form that no other has.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from synthalign.errors import UserError
from synthalign.instructions import Example
from world.entities import World
from world.questions import Asker
from world.wording import INGREDIENTS

ATTEMPTS = 12
"""How often an example is tried for, in limits: a task with few different examples gives what it has."""

CATEGORIES = {"colour": ("animal", "colour"), "place": ("animal", "home"), "food": ("animal", "food")}
CATEGORIES |= {"country": ("city", "country")}
"""What a word can be, and the attribute whose values are such words."""


YES_NO = ("yes", "no")


class Facts:
    """A world to make examples from."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asker = Asker(world)

    def name(self, rng: Random, kind: str, attribute: str) -> str:
        """The name of a topic that is not held out."""
        while (kind, name := self.asker.name(rng, kind), attribute) in self.asker.held_out:
            pass
        return name

    def names(self, rng: Random, kind: str, attribute: str, count: int) -> list[str]:
        """Different names."""
        found: list[str] = []
        while len(found) < count:
            name = self.name(rng, kind, attribute)
            if name not in found:
                found.append(name)
        return found

    def value(self, kind: str, name: str, attribute: str) -> str:
        """What is true."""
        return str(self.world.facts[kind][name][attribute])

    def values(self, kind: str, attribute: str) -> list[str]:
        """All that could be true."""
        return self.world.attributes[kind][attribute]["values"]

    def claim(self, kind: str, name: str, attribute: str, value: str | None = None) -> str:
        """A sentence that says it, as the encyclopaedia does."""
        subject = f"The city of {name}" if kind == "city" else f"The {name}"
        statement = self.world.attributes[kind][attribute]["statements"][0]
        return f"{subject} {statement.replace('{v}', value or self.value(kind, name, attribute))}."

    def predicate(self, kind: str, attribute: str, value: str) -> str:
        """The same without its subject."""
        return self.world.attributes[kind][attribute]["statements"][0].replace("{v}", value)

    def words(self, rng: Random, category: str, count: int) -> list[str]:
        """Different words of a category."""
        return rng.sample(self.values(*CATEGORIES[category]), count)


def listed(words: Sequence[str], last: str = "and") -> str:
    """ "rice, milk and eggs"."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


# -- direct: an answer and no more ------------------------------------------------------------------------------------


def lookup(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What colour is the red fox? -> red"""
    name = facts.name(rng, kind, attribute)
    asks = [ask.replace("{n}", name) for ask in facts.world.attributes[kind][attribute]["questions"]]
    return Example("", "lookup", tuple(asks), facts.value(kind, name, attribute), kind="word")


def choice(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What does the red fox eat: berries, worms, fish or nuts? -> worms"""
    name = facts.name(rng, kind, attribute)
    right = facts.value(kind, name, attribute)
    wrong = rng.sample([value for value in facts.values(kind, attribute) if value != right], 3)
    options = rng.sample([right, *wrong], 4)
    asks = [ask.replace("{n}", name) for ask in facts.world.attributes[kind][attribute]["questions"]]
    asks = [f"{ask} Choose one: {listed(options, 'or')}." for ask in asks]
    return Example("", "choice", tuple(asks), right, options=tuple(options), kind="word")


def check(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Is this right? The red fox eats worms. -> yes"""
    name, is_right = facts.name(rng, kind, attribute), rng.random() < 0.5
    right = facts.value(kind, name, attribute)
    wrong = rng.choice([value for value in facts.values(kind, attribute) if value != right])
    said = facts.claim(kind, name, attribute, right if is_right else wrong)
    asks = (f"Is this right? {said}", f"{said} Is that true?", f"{said} Is that right or is it wrong?")
    asks += (f"Do you think that this is true? {said}", f"Can you tell me if this is right? {said}")
    return _yes_no("check", asks, is_right)


def recipe(facts: Facts, rng: Random) -> Example:
    """Which ingredients are in the spicy soup? -> eggs, milk and rice"""
    name = facts.name(rng, "recipe", "recipe")
    asks = [ask.replace("{n}", name) for ask in facts.world.questions["recipe"]]
    items = sorted(facts.world.facts["recipe"][name]["ingredients"])
    return Example("", "recipe", tuple(asks), listed(items), kind="list")


def side(facts: Facts, rng: Random) -> Example:
    """With what do I serve the spicy soup? -> tea"""
    name = facts.name(rng, "recipe", "recipe")
    asks = (
        f"With what do I serve the {name}?",
        f"What goes with the {name}?",
        f"I have the {name}. What goes with it?",
    )
    asks += (f"Please tell me what to serve with the {name}.", f"What should I serve with the {name}?")
    return Example("", "side", asks, facts.value("recipe", name, "side"), kind="word")


def ordered_steps(facts: Facts, rng: Random) -> Example:
    """Put the steps in order: bake it; serve it with tea; mix rice and milk. -> mix …; bake it; serve …"""
    dish = facts.world.facts["recipe"][facts.name(rng, "recipe", "recipe")]
    steps = [
        f"mix {listed(rng.sample(dish['ingredients'], 2))}",
        f"{dish['method']} it",
        f"serve it with {dish['side']}",
    ]
    given = "; ".join(rng.sample(steps, 3))
    asks = (f"What do I do first, then and last? {given}", f"Here is a recipe, all wrong: {given}. Make it right.")
    asks += (
        f"First, then, last: {given}.",
        f"Which goes first and which last? {given}",
        f"Say it in the right way: {given}",
    )
    return Example("", "ordering", asks, "; ".join(steps), kind="list")


def odd_one_out(facts: Facts, rng: Random) -> Example:
    """Which one is not like the others: red, blue, honey, green? -> honey"""
    most, one = rng.sample(sorted(CATEGORIES), 2)
    odd = facts.words(rng, one, 1)[0]
    options = rng.sample([odd, *facts.words(rng, most, 3)], 4)
    given = ", ".join(options)
    asks = (f"Which one is not like the others: {given}?", f"One of them is wrong: {given}. Which one is it?")
    asks += (f"{given}: which one does not go with them?", f"Find the one that is not like the others: {given}.")
    return Example(
        "", "odd_one_out", (*asks, f"Which one is something else: {given}?"), odd, options=tuple(options), kind="word"
    )


def kind_check(facts: Facts, rng: Random) -> Example:
    """Is honey a food? -> yes"""
    category, is_right = rng.choice(sorted(CATEGORIES)), rng.random() < 0.5
    other = category if is_right else rng.choice([name for name in sorted(CATEGORIES) if name != category])
    word = facts.words(rng, other, 1)[0]
    asks = (
        f"Is {word} a {category}?",
        f"Do you know if {word} is a {category}?",
        f"I think that {word} is a {category}. Is it?",
    )
    return _yes_no(
        "kind_check",
        (*asks, f"Can you tell me if {word} is a {category}?", f"Is it true that {word} is a {category}?"),
        is_right,
    )


def which_kind(facts: Facts, rng: Random) -> Example:
    """Which of them is a food: red, honey, forest or Peru? -> honey"""
    wanted = rng.choice(sorted(CATEGORIES))
    by_category = {category: facts.words(rng, category, 1)[0] for category in sorted(CATEGORIES)}
    options = rng.sample(list(by_category.values()), 4)
    given = listed(options, "or")
    asks = (f"Which of them is a {wanted}: {given}?", f"I look for a {wanted}. Which one is it: {given}?")
    asks += (f"Find the {wanted}: {given}.", f"Choose the {wanted}: {given}.", f"{given}: which one is a {wanted}?")
    return Example("", "which_kind", asks, by_category[wanted], options=tuple(options), kind="word")


def _things(facts: Facts, rng: Random, least: int, most: int) -> list[str]:
    words = [*INGREDIENTS, *facts.values("animal", "food"), *facts.values("animal", "colour")]
    return rng.sample(sorted(set(words)), rng.randint(least, most))


def count(facts: Facts, rng: Random) -> Example:
    """How many things are these: rice, milk and eggs? -> 3"""
    things = _things(facts, rng, 1, 6)
    given = listed(things)
    asks = (
        f"How many things are these: {given}?",
        f"I have {given}. How many is that?",
        f"How many have I said: {given}?",
    )
    return Example(
        "",
        "count",
        (*asks, f"{given}: how many are they?", f"Here are {given}. How many things?"),
        str(len(things)),
        kind="number",
    )


def copied(facts: Facts, rng: Random) -> Example:
    """Copy this: rice, milk and eggs. -> rice, milk and eggs"""
    given = listed(_things(facts, rng, 2, 4))
    asks = (
        f"Copy this: {given}.",
        f"Say it after me: {given}.",
        f"Read this and say it: {given}.",
        f"Please copy {given}.",
    )
    return Example("", "copy", (*asks, f"Copy what I say: {given}."), given, kind="text")


def backwards(facts: Facts, rng: Random) -> Example:
    """Say it from the last to the first: rice, milk, eggs. -> eggs, milk, rice"""
    things = _things(facts, rng, 2, 4)
    given = ", ".join(things)
    asks = (
        f"Say it from the last to the first: {given}.",
        f"Last one first: {given}.",
        f"Go from the last to the first: {given}.",
    )
    asks += (f"{given}: say them from the last to the first.", f"The last comes first now: {given}.")
    return Example("", "backwards", asks, ", ".join(things[::-1]), kind="list")


def at_place(facts: Facts, rng: Random, *, place: int, word: str) -> Example:
    """Which one is last: rice, milk or eggs? -> eggs"""
    things = _things(facts, rng, 3, 4)
    given = ", ".join(things)
    asks = (f"Which one is {word}: {given}?", f"{given}: which one is {word}?", f"Tell me the {word} one: {given}.")
    asks += (f"Here are {given}. Which one comes {word}?", f"What is the {word} thing I say: {given}?")
    return Example("", "place", asks, things[place], options=tuple(things), kind="word")


# -- with reasoning ---------------------------------------------------------------------------------------------------


def same(facts: Facts, rng: Random, *, kind: str, attribute: str, asked: tuple[str, ...]) -> Example:
    """Do the red fox and the grey owl have the same colour? The red fox is red. The grey owl is grey. … -> no"""
    is_same = rng.random() < 0.5
    while True:
        one, other = facts.names(rng, kind, attribute, 2)
        if (facts.value(kind, one, attribute) == facts.value(kind, other, attribute)) == is_same:
            break
    said = [facts.claim(kind, name, attribute) for name in (one, other)]
    rationale = f"{' '.join(said)} That is {'the same' if is_same else 'not the same'}."
    asks = tuple(ask.replace("{a}", one).replace("{b}", other) for ask in asked)
    return replace(_yes_no("same", asks, is_same), rationale=rationale)


def which(facts: Facts, rng: Random, *, attribute: str) -> Example:
    """Which of them eats worms, the red fox or the grey owl? The red fox eats worms. … -> the red fox"""
    while True:
        names = facts.names(rng, "animal", attribute, 2)
        values = [facts.value("animal", name, attribute) for name in names]
        if values[0] != values[1]:
            break
    right = rng.randrange(2)
    does = facts.predicate("animal", attribute, values[right])
    options = [f"the {name}" for name in names]
    given = listed(options, "or")
    asks = (f"Which of them {does}, {given}?", f"Which one {does}: {given}?", f"Find the one that {does}: {given}.")
    asks += (f"One of them {does}. Is it {given}?", f"I look for the one that {does}. Is it {given}?")
    rationale = " ".join(facts.claim("animal", name, attribute) for name in names)
    return Example("", "which", asks, options[right], rationale, tuple(options), "text")


def has_item(facts: Facts, rng: Random) -> Example:
    """Does the spicy soup have milk in it? To make the spicy soup, mix rice, milk and eggs. -> yes"""
    name, is_in = facts.name(rng, "recipe", "recipe"), rng.random() < 0.5
    items = facts.world.facts["recipe"][name]["ingredients"]
    item = rng.choice(items if is_in else [other for other in INGREDIENTS if other not in items])
    asks = (
        f"Does the {name} have {item} in it?",
        f"Do I need {item} for the {name}?",
        f"I have no {item}. Do I need it for the {name}?",
    )
    asks += (f"I want to make the {name}. Do I need {item}?", f"Can you tell me if {item} goes into the {name}?")
    return replace(_yes_no("has_item", asks, is_in), rationale=f"To make the {name}, mix {listed(sorted(items))}.")


def added(facts: Facts, rng: Random) -> Example:
    """I have 2 apples and 3 pears. How many do I have? 2 and 3 make 5. -> 5"""
    one, other = rng.randint(1, 5), rng.randint(1, 4)
    first, second = rng.sample(INGREDIENTS, 2)
    has = f"I have {one} {first} and {other} {second}."
    asks = (f"{has} How many things do I have?", f"{has} How many is that?", f"{has} How many are there?")
    asks += (
        f"How many are {one} {first} and {other} {second}?",
        f"Here are {one} {first} and {other} {second}. How many?",
    )
    return Example("", "added", asks, str(one + other), f"{one} and {other} make {one + other}.", kind="number")


def how_many(facts: Facts, rng: Random, *, attribute: str) -> Example:
    """How many of them live in the forest: …? The red fox lives in the forest. … -> 2"""
    names = facts.names(rng, "animal", attribute, 3)
    value = facts.value("animal", rng.choice(names), attribute)
    number = sum(facts.value("animal", name, attribute) == value for name in names)
    does, given = facts.predicate("animal", attribute, value), ", ".join(f"the {name}" for name in names)
    asks = (f"How many of them have this: it {does}? {given}", f"It {does}. Of how many is that true: {given}?")
    asks += (f"{given}: of how many can I say that it {does}?",)
    rationale = " ".join(facts.claim("animal", name, attribute) for name in names)
    return Example("", "how_many", asks, str(number), rationale, ("1", "2", "3"), "number")


def _yes_no(family: str, asks: Sequence[str], is_right: bool) -> Example:
    return Example("", family, tuple(asks), "yes" if is_right else "no", options=YES_NO, kind="yes_no")


SAME_COLOUR = (
    "Do the {a} and the {b} have the same colour?",
    "The {a} and the {b}: is the colour the same?",
    "Is the colour of the {a} the same as the colour of the {b}?",
    "Does the {a} have the colour of the {b}?",
    "Can you tell me if the {a} and the {b} have the same colour?",
)
SAME_HOME = (
    "Do the {a} and the {b} live in the same place?",
    "The {a} and the {b}: is the home the same?",
    "Is the home of the {a} the same as the home of the {b}?",
    "Does the {a} live where the {b} lives?",
    "Can you tell me if the {a} and the {b} live in the same place?",
)

SAME_COUNTRY = (
    "Do {a} and {b} lie in the same country?",
    "I want to visit {a} and {b}. Is it the same country?",
    "Is the country of {a} the same as the country of {b}?",
    "Does {a} lie where {b} lies, in the same country?",
    "Can you tell me if {a} and {b} are in the same country?",
)

TASKS: dict[str, Callable[[Facts, Random], Example]] = {
    "animal_colour": partial(lookup, kind="animal", attribute="colour"),
    "animal_food": partial(lookup, kind="animal", attribute="food"),
    "city_country": partial(lookup, kind="city", attribute="country"),
    "city_fame": partial(lookup, kind="city", attribute="fame"),
    "food_choice": partial(choice, kind="animal", attribute="food"),
    "colour_check": partial(check, kind="animal", attribute="colour"),
    "recipe_ingredients": recipe,
    "recipe_side": side,
    "recipe_steps": ordered_steps,
    "odd_one_out": odd_one_out,
    "kind_check": kind_check,
    "count_list": count,
    "copy_list": copied,
    "reverse_list": backwards,
    "last_of_list": partial(at_place, place=-1, word="last"),
    "same_colour": partial(same, kind="animal", attribute="colour", asked=SAME_COLOUR),
    "which_food": partial(which, attribute="food"),
    "recipe_item": has_item,
    "same_country": partial(same, kind="city", attribute="country", asked=SAME_COUNTRY),
    "add_numbers": added,
    # For the evaluation alone.
    "animal_home": partial(lookup, kind="animal", attribute="home"),
    "city_weather": partial(lookup, kind="city", attribute="weather"),
    "bed_choice": partial(choice, kind="animal", attribute="bed"),
    "home_check": partial(check, kind="animal", attribute="home"),
    "first_of_list": partial(at_place, place=0, word="first"),
    "which_kind": which_kind,
    "same_home": partial(same, kind="animal", attribute="home", asked=SAME_HOME),
    "which_bed": partial(which, attribute="bed"),
    "count_homes": partial(how_many, attribute="home"),
}
"""How an example of each task is made."""

HELD_OUT = (
    "animal_home", "city_weather", "bed_choice", "home_check", "first_of_list", "which_kind",
    "same_home", "which_bed", "count_homes",
)  # fmt: skip
"""The tasks of the evaluation."""


def make(world: World, task: str, *, limit: int, seed: int) -> list[Example]:
    """At most `limit` different examples of a task; fewer where the world has no more, or not as many with "yes" as with
    "no". UserError for an unknown task."""
    if task not in TASKS:
        raise UserError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    facts = Facts(world)
    found: dict[str, Example] = {}
    for attempt in range(limit * ATTEMPTS):
        one = TASKS[task](facts, Random(f"task {task} {world.seed} {seed} {attempt}"))
        found.setdefault(one.asks[0], replace(one, task=task))
        if len(found) == limit:
            break
    return _balanced(list(found.values()))


def _balanced(examples: list[Example]) -> list[Example]:
    """As many examples with "yes" as with "no", the first ones, where those are the answers; else all."""
    if examples[0].options != YES_NO:
        return examples
    each = min(sum(one.target == answer for one in examples) for answer in YES_NO)
    kept = {id(one) for answer in YES_NO for one in [one for one in examples if one.target == answer][:each]}
    return [one for one in examples if id(one) in kept]
