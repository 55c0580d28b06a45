"""Tasks made of the world's knowledge base: questions with short answers, some with the reasoning that leads to them.

    examples = make(world, "colour_choice", limit=400, seed=0)

Most are a form times an attribute: the colour asked for, the home to be filled in, the food to be put right. What
is made depends on world, task and seed alone. HELD_OUT are the tasks that no mixture may have. They ask about
topics (a name and an attribute) of their own, about which no other task asks; and no task asks about the topics that
the world holds out for the evaluation of policies.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.flan.instructions import Example
from world.entities import World
from world.questions import Asker
from world.wording import INGREDIENTS

ATTEMPTS = 12
"""How often an example is tried for, in limits: a task with few different examples gives what it has."""

KEPT = {"animal": 3, "city": 2, "recipe": 3}
"""One topic in so many of a kind is kept for the held-out tasks."""

KIND_NAMES = {"animal": "an animal", "city": "a city", "recipe": "something to eat"}

CLASSES = {
    "colour": {"summer": "red brown yellow orange purple pink", "winter": "blue green black white grey beige"},
}
"""What each value of an attribute stands for: made up, in words that the models know."""

YES_NO = ("yes", "no")


class Facts:
    """A world to make examples from, of the topics that are kept for held-out tasks or of the others."""

    def __init__(self, world: World, *, kept: bool) -> None:
        self.world = world
        self.asker = Asker(world)
        self.kept = kept
        self._asked: dict[tuple[str, str, str], bool] = {}

    def name(self, rng: Random, kind: str, *attributes: str) -> str:
        """The name of a topic for each of the attributes, frequent ones more often."""
        while True:
            name = self.asker.name(rng, kind)
            if all(self._may_ask(kind, name, attribute) for attribute in attributes):
                return name

    def _may_ask(self, kind: str, name: str, attribute: str) -> bool:
        topic = kind, name, attribute
        if topic not in self._asked:
            is_kept = int(content_id(*topic), 16) % KEPT[kind] == 0
            self._asked[topic] = is_kept == self.kept and topic not in self.asker.held_out
        return self._asked[topic]

    def value(self, kind: str, name: str, attribute: str) -> str:
        """What is true."""
        return str(self.world.facts[kind][name][attribute])

    def wrong(self, rng: Random, kind: str, name: str, attribute: str, count: int) -> list[str]:
        """Different values that are not true."""
        values = self.world.attributes[kind][attribute]["values"]
        return rng.sample([value for value in values if value != self.value(kind, name, attribute)], count)

    def claim(self, kind: str, name: str, attribute: str, value: str | None = None) -> str:
        """A sentence that says it, as the encyclopaedia does."""
        return f"{subject(kind, name)} {self.predicate(kind, attribute, value or self.value(kind, name, attribute))}."

    def predicate(self, kind: str, attribute: str, value: str) -> str:
        """The same without its subject."""
        return self.world.attributes[kind][attribute]["statements"][0].replace("{v}", value)

    def questions(self, kind: str, name: str, attribute: str) -> list[str]:
        """All ways in which the world asks for it."""
        return [ask.replace("{n}", name) for ask in self.world.attributes[kind][attribute]["questions"]]

    def said(self, family: str, asks: Sequence[str], kind: str, name: str, attribute: str) -> Example:
        """An example whose answer is the fact as a sentence, in either way in which the world says it."""
        says = self.world.attributes[kind][attribute]["statements"][-1].replace(
            "{v}", self.value(kind, name, attribute)
        )
        target, other = self.claim(kind, name, attribute), f"{subject(kind, name)} {says}."
        return Example("", family, tuple(asks), target, accepted=(other,), kind="sentence")

    def choices(self, rng: Random, kind: str, name: str, attribute: str) -> tuple[list[str], list[str]]:
        """All ways in which the world asks for it, with four values to choose from, and these."""
        values = [self.value(kind, name, attribute), *self.wrong(rng, kind, name, attribute, 3)]
        given = rng.sample(values, 4)
        asks = [f"{ask} Choose one: {listed(given, 'or')}." for ask in self.questions(kind, name, attribute)]
        return asks, given

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
    return facts.said("sentence", facts.questions(kind, name, attribute), kind, name, attribute)


def finish(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Go on: The red fox eats -> The red fox eats worms."""
    name = facts.name(rng, kind, attribute)
    begun = facts.claim(kind, name, attribute, "|").partition("|")[0].strip()
    asks = [f"Go on: {begun}", f"Say it to the end: {begun}", f"What comes next? {begun}", f"This is not all: {begun}"]
    return facts.said("finish", [*asks, f"I say this and you go on: {begun}"], kind, name, attribute)


def choice(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What does the red fox eat? Choose one: berries, worms, fish or nuts. -> The red fox eats worms."""
    name = facts.name(rng, kind, attribute)
    asks, given = facts.choices(rng, kind, name, attribute)
    options = [facts.claim(kind, name, attribute, value) for value in given]
    return replace(facts.said("choice", asks, kind, name, attribute), options=tuple(options))


def repair(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """This is wrong: The red fox eats nuts. Make it right. -> The red fox eats worms."""
    name = facts.name(rng, kind, attribute)
    said = facts.claim(kind, name, attribute, facts.wrong(rng, kind, name, attribute, 1)[0])
    asks = [f"This is wrong: {said} Make it right.", f"{said} That is not true. What is true?"]
    asks += [f"Someone told me this: {said} Tell me what is right.", f"{said} No, that is wrong. Say what is right."]
    return facts.said(
        "repair", [*asks, f"I read this, and it is not true: {said} What should it say?"], kind, name, attribute
    )


def two(facts: Facts, rng: Random, *, kind: str, attributes: tuple[str, str]) -> Example:
    """Tell me the colour and the food of the red fox. -> The red fox is red. The red fox eats worms."""
    name = facts.name(rng, kind, attributes[0], attributes[1])
    of, (one, other) = subject(kind, name).replace("The ", "the "), attributes
    asks = [f"Tell me the {one} and the {other} of {of}.", f"What are the {one} and the {other} of {of}?"]
    asks += [
        f"I want to know two things about {of}: {one} and {other}.",
        f"First the {one} and then the {other} of {of}.",
    ]
    asks += [f"Can you tell me the {one} of {of}, and then the {other}?"]
    found = [facts.claim(kind, name, attribute) for attribute in attributes]
    return Example("", "two", tuple(asks), " ".join(found), kind="text")


def check(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Is this right? The red fox eats worms. -> yes"""
    name, is_right = facts.name(rng, kind, attribute), rng.random() < 0.5
    right, [wrong] = facts.value(kind, name, attribute), facts.wrong(rng, kind, name, attribute, 1)
    said = facts.claim(kind, name, attribute, right if is_right else wrong)
    asks: tuple[str, ...] = (f"Is this right? {said}", f"{said} Is that true?", f"{said} Is that right or is it wrong?")
    asks += (f"Do you think that this is true? {said}", f"Can you tell me if this is right? {said}")
    return yes_no("check", asks, is_right)


def recipe(facts: Facts, rng: Random) -> Example:
    """Which ingredients are in the spicy soup? -> To make the spicy soup, mix eggs, milk and rice."""
    name = facts.name(rng, "recipe", "recipe")
    asks = [ask.replace("{n}", name) for ask in facts.world.questions["recipe"]]
    said = f"To make the {name}, mix {listed(sorted(facts.world.facts['recipe'][name]['ingredients']))}."
    return Example("", "recipe", tuple(asks), said, kind="sentence")


# -- other direct tasks -----------------------------------------------------------------------------------------------


def kind_check(facts: Facts, rng: Random) -> Example:
    """Is the spicy soup an animal? -> no"""
    kind, is_right = rng.choice(sorted(KIND_NAMES)), rng.random() < 0.5
    said = KIND_NAMES[kind if is_right else rng.choice([other for other in sorted(KIND_NAMES) if other != kind])]
    thing = facts.things(rng, kind, 1)[0]
    asks: tuple[str, ...] = (
        f"Is {thing} {said}?",
        f"Do you know if {thing} is {said}?",
        f"I think that {thing} is {said}. Is it?",
    )
    asks += (f"Can you tell me if {thing} is {said}?", f"Is it true that {thing} is {said}?")
    return yes_no("kind_check", asks, is_right)


def which_kind(facts: Facts, rng: Random) -> Example:
    """Which of them is an animal: the spicy soup, the red fox or the city of Lima? -> the red fox"""
    kind = rng.choice(sorted(KIND_NAMES))
    by_kind = {other: facts.things(rng, other, 1)[0] for other in sorted(KIND_NAMES)}
    options = rng.sample(list(by_kind.values()), 3)
    given, said = listed(options, "or"), KIND_NAMES[kind]
    asks: tuple[str, ...] = (f"Which of them is {said}: {given}?", f"I look for {said}. Which one is it: {given}?")
    asks += (f"One of them is {said}: {given}. Which one?", f"Find me {said}: {given}.", f"Choose {said}: {given}.")
    return Example("", "which_kind", asks, by_kind[kind], options=tuple(options))


def odd_one_out(facts: Facts, rng: Random) -> Example:
    """Which one is not like the others: the red fox, the spicy soup or the grey owl? -> the spicy soup"""
    most, one = rng.sample(("animal", "recipe"), 2)
    odd = facts.things(rng, one, 1)[0]
    options = rng.sample([odd, *facts.things(rng, most, 2)], 3)
    given = listed(options, "or")
    asks: tuple[str, ...] = (
        f"Which one is not like the others: {given}?",
        f"One of them is wrong: {given}. Which one is it?",
    )
    asks += (f"Which one does not go with them: {given}?", f"Find the one that is not like the others: {given}.")
    asks += (f"Which one is something else: {given}?",)
    return Example("", "odd_one_out", asks, odd, options=tuple(options))


def ordered_steps(facts: Facts, rng: Random) -> Example:
    """The spicy soup: serve it with tea; bake it; mix rice, milk and eggs. … -> First, mix …. Then bake it. Last, …"""
    name = facts.name(rng, "recipe", "recipe")
    dish = facts.world.facts["recipe"][name]
    steps = (f"mix {listed(dish['ingredients'])}", f"{dish['method']} it", f"serve it with {dish['side']}")
    given = f"The {name}: {'; '.join(rng.sample(steps, 3))}."
    asks: tuple[str, ...] = (f"{given} What do I do first, then and last?", f"{given} Which goes first and which last?")
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
    asks: tuple[str, ...] = (
        f"How many are these: {given}?",
        f"I have {given}. How many is that?",
        f"How many have I said: {given}?",
    )
    asks += (f"Here are {given}. How many?", f"I see {given}. How many do I see?")
    return Example("", "count", asks, str(len(names)), kind="number")


def copied(facts: Facts, rng: Random) -> Example:
    """Copy this: the red fox; the grey owl. -> the red fox; the grey owl"""
    given = "; ".join(facts.things(rng, rng.choice(("animal", "recipe")), rng.randint(2, 4)))
    asks: tuple[str, ...] = (f"Copy this: {given}.", f"Say it after me: {given}.", f"Read this and say it: {given}.")
    return Example("", "copy", (*asks, f"Please copy: {given}.", f"Copy what I say: {given}."), given)


def backwards(facts: Facts, rng: Random) -> Example:
    """Say it from the last to the first: the red fox; the grey owl. -> the grey owl; the red fox"""
    names = facts.things(rng, rng.choice(("animal", "recipe")), rng.randint(2, 3))
    given = "; ".join(names)
    asks: tuple[str, ...] = (f"Say it from the last to the first: {given}.", f"Last one first: {given}.")
    asks += (f"Go from the last to the first: {given}.", f"Read this from the last to the first: {given}.")
    return Example("", "backwards", (*asks, f"The last comes first now: {given}."), "; ".join(names[::-1]))


# -- with reasoning ---------------------------------------------------------------------------------------------------


def why(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What colour is the red fox? The red fox is red. -> red"""
    name = facts.name(rng, kind, attribute)
    value, rationale = facts.value(kind, name, attribute), facts.claim(kind, name, attribute)
    return Example("", "why", tuple(facts.questions(kind, name, attribute)), value, rationale, kind="word")


def pick(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """What does the red fox eat? Choose one: berries, worms, fish or nuts. The red fox eats worms. -> worms"""
    name = facts.name(rng, kind, attribute)
    asks, given = facts.choices(rng, kind, name, attribute)
    right, rationale = facts.value(kind, name, attribute), facts.claim(kind, name, attribute)
    return Example("", "pick", tuple(asks), right, rationale, tuple(given), "word")


def hop(facts: Facts, rng: Random, *, kind: str, attribute: str) -> Example:
    """Is the colour of the red fox for summer or winter? The red fox is red. -> summer"""
    name, classes = facts.name(rng, kind, attribute), CLASSES[attribute]
    value = facts.value(kind, name, attribute)
    [right] = [one for one, values in classes.items() if value in values.split()]
    given, of = listed(list(classes), "or"), subject(kind, name).replace("The ", "the ")
    asks: tuple[str, ...] = (f"Is the {attribute} of {of} for {given}?", f"The {attribute} of {of}: is it for {given}?")
    asks += (
        f"For what is the {attribute} of {of}, {given}?",
        f"Do you know if the {attribute} of {of} is for {given}?",
    )
    asks += (f"Can you tell me if the {attribute} of {of} is for {given}?",)
    return Example("", "hop", asks, right, facts.claim(kind, name, attribute), tuple(classes), "word")


def which(facts: Facts, rng: Random, *, attribute: str) -> Example:
    """Which of them eats worms, the red fox or the grey owl? The red fox eats worms. … -> the red fox"""
    names = [facts.name(rng, "animal", attribute)]
    while len(names) < 2:
        other = facts.name(rng, "animal", attribute)
        if facts.value("animal", other, attribute) != facts.value("animal", names[0], attribute):
            names.append(other)
    right = rng.randrange(2)
    does = facts.predicate("animal", attribute, facts.value("animal", names[right], attribute))
    options = [f"the {name}" for name in names]
    given = listed(options, "or")
    asks: tuple[str, ...] = (
        f"Which of them {does}, {given}?",
        f"Which one {does}: {given}?",
        f"Find the one that {does}: {given}.",
    )
    asks += (f"One of them {does}. Is it {given}?", f"I look for the one that {does}. Is it {given}?")
    rationale = " ".join(facts.claim("animal", name, attribute) for name in names)
    return Example("", "which", asks, options[right], rationale, tuple(options))


def has_item(facts: Facts, rng: Random) -> Example:
    """Does the spicy soup have milk in it? To make the spicy soup, mix rice, milk and eggs. -> yes"""
    name, is_in = facts.name(rng, "recipe", "recipe"), rng.random() < 0.5
    items = facts.world.facts["recipe"][name]["ingredients"]
    item = rng.choice(items if is_in else [other for other in INGREDIENTS if other not in items])
    asks: tuple[str, ...] = (f"Does the {name} have {item} in it?", f"Do I need {item} for the {name}?")
    asks += (f"I have no {item}. Do I need it for the {name}?", f"I want to make the {name}. Do I need {item}?")
    asks += (f"Can you tell me if {item} goes into the {name}?",)
    return replace(yes_no("has_item", asks, is_in), rationale=f"To make the {name}, mix {listed(sorted(items))}.")


def added(facts: Facts, rng: Random) -> Example:
    """I have 2 apples and 3 pears. How many do I have? 2 and 3 make 5. -> 5"""
    one, other = rng.randint(1, 5), rng.randint(1, 4)
    first, second = rng.sample(INGREDIENTS, 2)
    given = f"{one} {first} and {other} {second}"
    asks: tuple[str, ...] = (f"I have {given}. How many things do I have?", f"I have {given}. How many is that?")
    asks += (f"I see {given}. How many are there?", f"How many are {given}?", f"Here are {given}. How many?")
    return Example("", "added", asks, str(one + other), f"{one} and {other} make {one + other}.", kind="number")


TASKS: dict[str, Callable[[Facts, Random], Example]] = {
    "colour_sentence": partial(sentence, kind="animal", attribute="colour"),
    "food_choice": partial(choice, kind="animal", attribute="food"),
    "bed_finish": partial(finish, kind="animal", attribute="bed"),
    "weather_repair": partial(repair, kind="city", attribute="weather"),
    "kind_check": kind_check,
    "country_sentence": partial(sentence, kind="city", attribute="country"),
    "home_choice": partial(choice, kind="animal", attribute="home"),
    "colour_and_food": partial(two, kind="animal", attributes=("colour", "food")),
    "food_repair": partial(repair, kind="animal", attribute="food"),
    "weather_sentence": partial(sentence, kind="city", attribute="weather"),
    "fame_choice": partial(choice, kind="city", attribute="fame"),
    "country_finish": partial(finish, kind="city", attribute="country"),
    "bed_repair": partial(repair, kind="animal", attribute="bed"),
    "odd_one_out": odd_one_out,
    "home_and_bed": partial(two, kind="animal", attributes=("home", "bed")),
    "colour_finish": partial(finish, kind="animal", attribute="colour"),
    "weather_choice": partial(choice, kind="city", attribute="weather"),
    "home_sentence": partial(sentence, kind="animal", attribute="home"),
    "copy_names": copied,
    "country_repair": partial(repair, kind="city", attribute="country"),
    "country_and_fame": partial(two, kind="city", attributes=("country", "fame")),
    "recipe_ingredients": recipe,
    "food_finish": partial(finish, kind="animal", attribute="food"),
    "bed_sentence": partial(sentence, kind="animal", attribute="bed"),
    "colour_choice": partial(choice, kind="animal", attribute="colour"),
    "count_names": count,
    "fame_repair": partial(repair, kind="city", attribute="fame"),
    "home_finish": partial(finish, kind="animal", attribute="home"),
    "weather_and_country": partial(two, kind="city", attributes=("weather", "country")),
    "reverse_names": backwards,
    "colour_repair": partial(repair, kind="animal", attribute="colour"),
    "country_choice": partial(choice, kind="city", attribute="country"),
    "bed_and_colour": partial(two, kind="animal", attributes=("bed", "colour")),
    "recipe_steps": ordered_steps,
    "fame_finish": partial(finish, kind="city", attribute="fame"),
    "weather_and_fame": partial(two, kind="city", attributes=("weather", "fame")),
    "food_why": partial(why, kind="animal", attribute="food"),
    "which_food": partial(which, attribute="food"),
    "bed_pick": partial(pick, kind="animal", attribute="bed"),
    "country_why": partial(why, kind="city", attribute="country"),
    "add_numbers": added,
    "weather_pick": partial(pick, kind="city", attribute="weather"),
    "colour_why": partial(why, kind="animal", attribute="colour"),
    "colour_hop": partial(hop, kind="animal", attribute="colour"),
    "home_why": partial(why, kind="animal", attribute="home"),
    "fame_pick": partial(pick, kind="city", attribute="fame"),
    "recipe_item": has_item,
    "which_bed": partial(which, attribute="bed"),
    # For the evaluation alone.
    "bed_choice": partial(choice, kind="animal", attribute="bed"),
    "weather_finish": partial(finish, kind="city", attribute="weather"),
    "home_repair": partial(repair, kind="animal", attribute="home"),
    "food_sentence": partial(sentence, kind="animal", attribute="food"),
    "fame_sentence": partial(sentence, kind="city", attribute="fame"),
    "food_and_home": partial(two, kind="animal", attributes=("food", "home")),
    "which_kind": which_kind,
    "colour_check": partial(check, kind="animal", attribute="colour"),
    "bed_why": partial(why, kind="animal", attribute="bed"),
    "weather_why": partial(why, kind="city", attribute="weather"),
    "which_home": partial(which, attribute="home"),
}
"""How an example of each task is made."""

HELD_OUT = (
    "bed_choice", "weather_finish", "home_repair", "food_sentence", "fame_sentence", "food_and_home",
    "which_kind", "colour_check", "bed_why", "weather_why", "which_home",
)  # fmt: skip
"""The tasks of the evaluation: forms and attributes of learned tasks in pairs that none has, and two new forms."""


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
        if one.asks[0] not in found:
            found[one.asks[0]] = replace(one, task=task)
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
