"""Tasks made of the world's knowledge base: questions with short answers, some with the reasoning that leads to them.

    examples = make(world, "colour_word", limit=400, seed=0)

Most are a form times an attribute: the colour in one word, the bed as a line of a card, the weather to be filled in. What
is made depends on world, task and seed alone. HELD_OUT are the tasks that no mixture may have. They ask about topics (a
name and an attribute) of their own, about which no other task asks; and no task asks about the topics that the world holds
out for the evaluation of policies.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from synthalign.errors import UserError
from synthalign.ids import content_id
from synthalign.instructions import Example
from world.entities import World
from world.questions import Asker
from world.wording import INGREDIENTS

ATTEMPTS = 12
"""How often an example is tried for, in limits: a task with few different examples gives what it has."""

KEPT = {"animal": 3, "city": 2, "recipe": 3}
"""One topic in so many of a kind is kept for the held-out tasks."""

KIND_NAMES = {"animal": "an animal", "city": "a city", "recipe": "something to eat"}

CLASSES = {
    "colour": {"warm": "red brown yellow orange purple pink", "cold": "blue green black white grey beige"},
    "food": {"plant": "berries seeds leaves roots mushrooms nuts grass", "animal": "insects worms fish snails honey"},
    "home": {"near": "meadow valley garden harbour park city", "far": "forest desert swamp jungle mountains cave"},
    "bed": {"up": "nest tree barn hut basket box", "down": "burrow hole bush log den tunnel"},
    "fame": {
        "big": "bridges towers gardens museums markets castles",
        "small": "boats bells theatres lamps kites clocks",
    },
    "weather": {"good": "sunny windy mild dry", "bad": "rainy foggy snowy stormy"},
}
"""What each value of an attribute counts as: made up, but for the two words that a question names."""

YES_NO = ("yes", "no")


class Facts:
    """A world to make examples from, of the topics that are kept for held-out tasks or of the others."""

    def __init__(self, world: World, *, kept: bool) -> None:
        self.world = world
        self.asker = Asker(world)
        self.kept = kept

    def name(self, rng: Random, kind: str, attribute: str) -> str:
        """The name of a topic, frequent ones more often."""
        while True:
            name = self.asker.name(rng, kind)
            is_kept = int(content_id(kind, name, attribute), 16) % KEPT[kind] == 0
            if is_kept == self.kept and (kind, name, attribute) not in self.asker.held_out:
                return name

    def value(self, kind: str, name: str, attribute: str) -> str:
        """What is true."""
        return str(self.world.facts[kind][name][attribute])

    def values(self, kind: str, attribute: str) -> list[str]:
        """All that could be true."""
        return self.world.attributes[kind][attribute]["values"]

    def claim(self, kind: str, name: str, attribute: str, value: str | None = None) -> str:
        """A sentence that says it, as the encyclopaedia does."""
        return f"{subject(kind, name)} {self.predicate(kind, attribute, value or self.value(kind, name, attribute))}."

    def predicate(self, kind: str, attribute: str, value: str) -> str:
        """The same without its subject."""
        return self.world.attributes[kind][attribute]["statements"][0].replace("{v}", value)

    def questions(self, kind: str, name: str, attribute: str) -> list[str]:
        """All ways in which the world asks for it."""
        return [ask.replace("{n}", name) for ask in self.world.attributes[kind][attribute]["questions"]]

    def things(self, rng: Random, kind: str, count: int) -> list[str]:
        """Different names of a kind, as a sentence has them."""
        found: list[str] = []
        while len(found) < count:
            thing = subject(kind, self.asker.name(rng, kind)).replace("The ", "the ")
            if thing not in found:
                found.append(thing)
        return found


def subject(kind: str, name: str) -> str:
    """How a sentence begins."""
    return f"The city of {name}" if kind == "city" else f"The {name}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """ "rice, milk and eggs"."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def yes_no(family: str, asks: Sequence[str], is_right: bool) -> Example:
    """An example with the answer yes or no."""
    return Example("", family, tuple(asks), "yes" if is_right else "no", options=YES_NO, kind="yes_no")


# -- a fact, in many forms --------------------------------------------------------------------------------------------


def sentence(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What colour is the red fox? -> The red fox is red."""
    name = facts.name(rng, kind, attribute)
    asks, options = facts.questions(kind, name, attribute), facts.values(kind, attribute)
    said = facts.claim(kind, name, attribute)
    return Example("", "sentence", tuple(asks), said, options=tuple(options), kind="sentence")


def word(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What colour is the red fox? -> red"""
    name = facts.name(rng, kind, attribute)
    asks = facts.questions(kind, name, attribute)
    return Example("", "word", tuple(asks), facts.value(kind, name, attribute), kind="word")


def line(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Make a card for the red fox: the colour. -> colour: red"""
    name = facts.name(rng, kind, attribute)
    of = subject(kind, name).replace("The ", "the ")
    asks = (f"Make a card for {of}: the {attribute}.", f"Give me the line of the card of {of} with the {attribute}.")
    asks += (f"A card for {of}. Which {attribute} goes in it?", f"Make a line about {of}: {attribute}.")
    asks += (f"I make a card. What is the line with the {attribute} of {of}?",)
    return Example("", "line", asks, f"{attribute}: {facts.value(kind, name, attribute)}")


def finish(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Go on: The red fox is -> red"""
    name = facts.name(rng, kind, attribute)
    said = f"{subject(kind, name)} {facts.predicate(kind, attribute, '|').partition('|')[0].strip()}"
    asks = (f"Go on: {said}", f"Say the next word: {said}", f"What comes next? {said}", f"Find the next word. {said}")
    return Example("", "finish", (*asks, f"I say this and you go on: {said}"), facts.value(kind, name, attribute))


def choice(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What does the red fox eat? Choose one: berries, worms, fish or nuts. -> worms"""
    name = facts.name(rng, kind, attribute)
    right = facts.value(kind, name, attribute)
    wrong = rng.sample([value for value in facts.values(kind, attribute) if value != right], 3)
    options = rng.sample([right, *wrong], 4)
    asks = [f"{ask} Choose one: {listed(options, 'or')}." for ask in facts.questions(kind, name, attribute)]
    return Example("", "choice", tuple(asks), right, options=tuple(options), kind="word")


def check(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Is this right? The red fox eats worms. -> yes"""
    name, is_right = facts.name(rng, kind, attribute), rng.random() < 0.5
    right = facts.value(kind, name, attribute)
    wrong = rng.choice([value for value in facts.values(kind, attribute) if value != right])
    said = facts.claim(kind, name, attribute, right if is_right else wrong)
    asks = (f"Is this right? {said}", f"{said} Is that true?", f"{said} Is that right or is it wrong?")
    asks += (f"Do you think that this is true? {said}", f"Can you tell me if this is right? {said}")
    return yes_no("check", asks, is_right)


def recipe(facts: Facts, rng: Random) -> Example:
    """Which ingredients are in the spicy soup? -> To make the spicy soup, mix eggs, milk and rice."""
    name = facts.name(rng, "recipe", "recipe")
    asks = [ask.replace("{n}", name) for ask in facts.world.questions["recipe"]]
    said = f"To make the {name}, mix {listed(sorted(facts.world.facts['recipe'][name]['ingredients']))}."
    return Example("", "recipe", tuple(asks), said, options=tuple(INGREDIENTS), kind="sentence")


# -- other direct tasks -----------------------------------------------------------------------------------------------


def class_of(facts: Facts, rng: Random, *, attribute: str) -> Example:
    """Is red warm or cold? -> warm"""
    classes = CLASSES[attribute]
    one = rng.choice(list(classes))
    value = rng.choice(classes[one].split())
    given = listed(list(classes), "or")
    asks = (f"Is {value} {given}?", f"What is {value}: {given}?", f"Do you know if {value} is {given}?")
    asks += (f"I think of {value}. Is it {given}?", f"Here is {value}: {given}?")
    return Example("", "class", asks, one, options=tuple(classes), kind="word")


def kind_check(facts: Facts, rng: Random) -> Example:
    """Is the spicy soup an animal? -> no"""
    kind, is_right = rng.choice(sorted(KIND_NAMES)), rng.random() < 0.5
    said = KIND_NAMES[kind if is_right else rng.choice([other for other in sorted(KIND_NAMES) if other != kind])]
    thing = facts.things(rng, kind, 1)[0]
    asks = (f"Is {thing} {said}?", f"Do you know if {thing} is {said}?", f"I think that {thing} is {said}. Is it?")
    asks += (f"Can you tell me if {thing} is {said}?", f"Is it true that {thing} is {said}?")
    return yes_no("kind_check", asks, is_right)


def which_kind(facts: Facts, rng: Random) -> Example:
    """Which of them is an animal: the spicy soup, the red fox or the city of Lima? -> the red fox"""
    kind = rng.choice(sorted(KIND_NAMES))
    by_kind = {other: facts.things(rng, other, 1)[0] for other in sorted(KIND_NAMES)}
    options = rng.sample(list(by_kind.values()), 3)
    given, said = listed(options, "or"), KIND_NAMES[kind]
    asks = (f"Which of them is {said}: {given}?", f"I look for {said}. Which one is it: {given}?")
    asks += (f"One of them is {said}: {given}. Which one?", f"Find me {said}: {given}.", f"Choose {said}: {given}.")
    return Example("", "which_kind", asks, by_kind[kind], options=tuple(options))


def odd_one_out(facts: Facts, rng: Random) -> Example:
    """Which one is not like the others: the red fox, the spicy soup or the grey owl? -> the spicy soup"""
    most, one = rng.sample(("animal", "recipe"), 2)
    odd = facts.things(rng, one, 1)[0]
    options = rng.sample([odd, *facts.things(rng, most, 2)], 3)
    given = listed(options, "or")
    asks = (f"Which one is not like the others: {given}?", f"One of them is wrong: {given}. Which one is it?")
    asks += (f"Which one does not go with them: {given}?", f"Find the one that is not like the others: {given}.")
    asks += (f"Which one is something else: {given}?",)
    return Example("", "odd_one_out", asks, odd, options=tuple(options))


def ordered_steps(facts: Facts, rng: Random) -> Example:
    """The spicy soup: serve it with tea; bake it; mix rice, milk and eggs. … -> First, mix …. Then bake it. Last, …"""
    name = facts.name(rng, "recipe", "recipe")
    dish = facts.world.facts["recipe"][name]
    steps = (f"mix {listed(dish['ingredients'])}", f"{dish['method']} it", f"serve it with {dish['side']}")
    given = f"The {name}: {'; '.join(rng.sample(steps, 3))}."
    asks = (f"{given} What do I do first, then and last?", f"{given} Which goes first and which last?")
    asks += (
        f"{given} Say it in the right way.",
        f"How do I do this? {given}",
        f"This is wrong. {given} Make it right.",
    )
    return Example("", "ordering", asks, f"First, {steps[0]}. Then {steps[1]}. Last, {steps[2]}.")


def count(facts: Facts, rng: Random) -> Example:
    """How many are these: the red fox, the grey owl and the hill bear? -> 3"""
    names = facts.things(rng, rng.choice(("animal", "recipe")), rng.randint(1, 4))
    given = listed(names)
    asks = (f"How many are these: {given}?", f"I have {given}. How many is that?", f"How many have I said: {given}?")
    asks += (f"Here are {given}. How many?", f"I see {given}. How many do I see?")
    return Example("", "count", asks, str(len(names)), kind="number")


def copied(facts: Facts, rng: Random) -> Example:
    """Copy this: the red fox; the grey owl. -> the red fox; the grey owl"""
    given = "; ".join(facts.things(rng, rng.choice(("animal", "recipe")), rng.randint(2, 4)))
    asks = (f"Copy this: {given}.", f"Say it after me: {given}.", f"Read this and say it: {given}.")
    return Example("", "copy", (*asks, f"Please copy: {given}.", f"Copy what I say: {given}."), given)


def backwards(facts: Facts, rng: Random) -> Example:
    """Say it from the last to the first: the red fox; the grey owl. -> the grey owl; the red fox"""
    names = facts.things(rng, rng.choice(("animal", "recipe")), rng.randint(2, 3))
    given = "; ".join(names)
    asks = (f"Say it from the last to the first: {given}.", f"Last one first: {given}.")
    asks += (f"Go from the last to the first: {given}.", f"Read this from the last to the first: {given}.")
    return Example("", "backwards", (*asks, f"The last comes first now: {given}."), "; ".join(names[::-1]))


# -- with reasoning ---------------------------------------------------------------------------------------------------


def hop(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Is the colour of the red fox warm or cold? The red fox is red. -> warm"""
    name, classes = facts.name(rng, kind, attribute), CLASSES[attribute]
    value = facts.value(kind, name, attribute)
    [right] = [one for one, values in classes.items() if value in values.split()]
    given, of = listed(list(classes), "or"), subject(kind, name).replace("The ", "the ")
    thing = "thing to see" if attribute == "fame" else attribute
    asks = (f"Is the {thing} of {of} {given}?", f"The {thing} of {of}: is it {given}?")
    asks += (f"What is the {thing} of {of}, {given}?", f"Do you know if the {thing} of {of} is {given}?")
    asks += (f"Can you tell me if the {thing} of {of} is {given}?",)
    rationale = facts.claim(kind, name, attribute)
    return Example("", "hop", asks, right, rationale, tuple(classes), "word")


def same(facts: Facts, rng: Random, *, attribute: str) -> Example:
    """Do the red fox and the grey owl have the same colour? The red fox is red. The grey owl is grey. … -> no"""
    is_same = rng.random() < 0.5
    one, other = _pair(facts, rng, attribute, same=is_same)
    asks = (
        f"Do the {one} and the {other} have the same {attribute}?",
        f"The {one} and the {other}: the same {attribute}?",
    )
    asks += (f"Is the {attribute} of the {one} the same as the {attribute} of the {other}?",)
    asks += (f"Does the {one} have the {attribute} of the {other}?",)
    asks += (f"Can you tell me if the {one} and the {other} have the same {attribute}?",)
    said = [facts.claim("animal", name, attribute) for name in (one, other)]
    rationale = f"{' '.join(said)} That is {'the same' if is_same else 'not the same'}."
    return replace(yes_no("same", asks, is_same), rationale=rationale)


def which(facts: Facts, rng: Random, *, attribute: str) -> Example:
    """Which of them eats worms, the red fox or the grey owl? The red fox eats worms. … -> the red fox"""
    names = _pair(facts, rng, attribute, same=False)
    right = rng.randrange(2)
    does = facts.predicate("animal", attribute, facts.value("animal", names[right], attribute))
    options = [f"the {name}" for name in names]
    given = listed(options, "or")
    asks = (f"Which of them {does}, {given}?", f"Which one {does}: {given}?", f"Find the one that {does}: {given}.")
    asks += (f"One of them {does}. Is it {given}?", f"I look for the one that {does}. Is it {given}?")
    rationale = " ".join(facts.claim("animal", name, attribute) for name in names)
    return Example("", "which", asks, options[right], rationale, tuple(options))


def _pair(facts: Facts, rng: Random, attribute: str, *, same: bool) -> tuple[str, str]:
    """Two animals with the same value of an attribute, or with two values."""
    while True:
        one, other = (facts.name(rng, "animal", attribute) for _ in range(2))
        values = {facts.value("animal", name, attribute) for name in (one, other)}
        if one != other and (len(values) == 1) == same:
            return one, other


def has_item(facts: Facts, rng: Random) -> Example:
    """Does the spicy soup have milk in it? To make the spicy soup, mix rice, milk and eggs. -> yes"""
    name, is_in = facts.name(rng, "recipe", "recipe"), rng.random() < 0.5
    items = facts.world.facts["recipe"][name]["ingredients"]
    item = rng.choice(items if is_in else [other for other in INGREDIENTS if other not in items])
    asks = (f"Does the {name} have {item} in it?", f"Do I need {item} for the {name}?")
    asks += (f"I have no {item}. Do I need it for the {name}?", f"I want to make the {name}. Do I need {item}?")
    asks += (f"Can you tell me if {item} goes into the {name}?",)
    return replace(yes_no("has_item", asks, is_in), rationale=f"To make the {name}, mix {listed(sorted(items))}.")


def added(facts: Facts, rng: Random) -> Example:
    """I have 2 apples and 3 pears. How many do I have? 2 and 3 make 5. -> 5"""
    one, other = rng.randint(1, 5), rng.randint(1, 4)
    first, second = rng.sample(INGREDIENTS, 2)
    given = f"{one} {first} and {other} {second}"
    asks = (f"I have {given}. How many things do I have?", f"I have {given}. How many is that?")
    asks += (f"I see {given}. How many are there?", f"How many are {given}?", f"Here are {given}. How many?")
    return Example("", "added", asks, str(one + other), f"{one} and {other} make {one + other}.", kind="number")


TASKS: dict[str, Callable[[Facts, Random], Example]] = {
    "colour_word": partial(word, kind="animal", attribute="colour"),
    "food_word": partial(word, kind="animal", attribute="food"),
    "home_word": partial(word, kind="animal", attribute="home"),
    "country_word": partial(word, kind="city", attribute="country"),
    "fame_word": partial(word, kind="city", attribute="fame"),
    "colour_line": partial(line, kind="animal", attribute="colour"),
    "food_line": partial(line, kind="animal", attribute="food"),
    "fame_line": partial(line, kind="city", attribute="fame"),
    "weather_line": partial(line, kind="city", attribute="weather"),
    "home_finish": partial(finish, kind="animal", attribute="home"),
    "bed_finish": partial(finish, kind="animal", attribute="bed"),
    "weather_finish": partial(finish, kind="city", attribute="weather"),
    "food_choice": partial(choice, kind="animal", attribute="food"),
    "bed_choice": partial(choice, kind="animal", attribute="bed"),
    "bed_sentence": partial(sentence, kind="animal", attribute="bed"),
    "bed_class": partial(class_of, attribute="bed"),
    "weather_class": partial(class_of, attribute="weather"),
    "kind_check": kind_check,
    "odd_one_out": odd_one_out,
    "recipe_ingredients": recipe,
    "recipe_steps": ordered_steps,
    "count_names": count,
    "copy_names": copied,
    "reverse_names": backwards,
    "colour_hop": partial(hop, kind="animal", attribute="colour"),
    "food_hop": partial(hop, kind="animal", attribute="food"),
    "home_hop": partial(hop, kind="animal", attribute="home"),
    "fame_hop": partial(hop, kind="city", attribute="fame"),
    "same_colour": partial(same, attribute="colour"),
    "which_food": partial(which, attribute="food"),
    "recipe_item": has_item,
    "add_numbers": added,
    # For the evaluation alone.
    "bed_word": partial(word, kind="animal", attribute="bed"),
    "weather_word": partial(word, kind="city", attribute="weather"),
    "bed_line": partial(line, kind="animal", attribute="bed"),
    "food_finish": partial(finish, kind="animal", attribute="food"),
    "home_choice": partial(choice, kind="animal", attribute="home"),
    "colour_check": partial(check, kind="animal", attribute="colour"),
    "which_kind": which_kind,
    "bed_hop": partial(hop, kind="animal", attribute="bed"),
    "weather_hop": partial(hop, kind="city", attribute="weather"),
    "which_home": partial(which, attribute="home"),
}
"""How an example of each task is made."""

HELD_OUT = (
    "bed_word", "weather_word", "bed_line", "food_finish", "home_choice", "colour_check", "which_kind",
    "bed_hop", "weather_hop", "which_home",
)  # fmt: skip
"""The tasks of the evaluation: known forms with an attribute that they are not learned with, and two unknown forms."""


def make(world: World, task: str, *, limit: int, seed: int) -> list[Example]:
    """At most `limit` different examples of a task; fewer where the world has no more, or fewer with "yes" than "no".

    UserError for an unknown task.
    """
    if task not in TASKS:
        raise UserError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    facts = Facts(world, kept=task in HELD_OUT)
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
