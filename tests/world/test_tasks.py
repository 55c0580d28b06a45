"""The tasks of the embedded world: true, of its words, and none of the evaluation in what is learned from (F1)."""

import re
from pathlib import Path

import pytest
import yaml

from stages import build_mixture
from synthalign.commands import profiles
from synthalign.core.errors import UserError
from synthalign.flan import mixture, templates
from synthalign.generation import models
from world import tasks
from world.entities import World

WORLD = World.load(Path("data/embedded/world.json"))
SETTINGS = yaml.safe_load(profiles.composed(Path("profiles/embedded.yaml")).settings)
FEW = re.compile("country|fame|weather|food_and_home")
"""Of cities there are 64; and two attributes of an animal are seldom both kept for the held-out tasks."""
LEARNED = [name for name in tasks.TASKS if name not in tasks.HELD_OUT]


def made(task, limit=60, seed=0):
    return tasks.make(WORLD, task, limit=limit, seed=seed)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_gives_different_examples_in_its_own_wordings(task):
    examples = made(task)

    assert len(examples) >= (10 if FEW.search(task) else 40)
    assert len({one.asks[0] for one in examples}) == len(examples)
    for one in examples:
        assert one.task == task and one.kind in templates.DIRECT
        assert len(set(one.asks)) == len(one.asks) >= 3
        assert one.target.strip() and all(ask.strip() for ask in one.asks)
        assert not one.options or one.target in one.options


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_is_a_function_of_world_and_seed(task):
    assert made(task, 20) == made(task, 20)
    assert made(task, 20) != made(task, 20, seed=1)


def test_there_are_a_dozen_families_and_held_out_ones():
    learned = {made(task, 9)[0].family for task in LEARNED}
    held_out = {made(task, 9)[0].family for task in tasks.HELD_OUT}

    assert len(learned) >= 12
    assert held_out - learned == {"check", "which_kind"}  # the other held-out tasks are known forms with other facts


def test_answers_are_true():
    animals, cities, recipes = WORLD.facts["animal"], WORLD.facts["city"], WORLD.facts["recipe"]
    for one in made("colour_sentence") + made("colour_choice"):
        [name] = [name for name in animals if f" {name}" in one.asks[0]]
        assert one.target == f"The {name} is {animals[name]['colour']}."
        assert one.accepted == (f"The {name} has a {animals[name]['colour']} coat.",)
    for one in made("weather_finish"):
        name = re.fullmatch(r"Go on: The city of (.+) has", one.asks[0])[1]
        assert one.target == f"The city of {name} has {cities[name]['weather']} weather."
    for one in made("home_repair"):
        name, said = re.fullmatch(r"This is wrong: The (.+) lives in the (.+)\. Make it right\.", one.asks[0]).groups()
        assert said != animals[name]["home"]
        assert one.target == f"The {name} lives in the {animals[name]['home']}."
    for one in made("home_and_bed"):
        name = re.fullmatch(r"Tell me the home and the bed of the (.+)\.", one.asks[0])[1]
        animal = animals[name]
        assert one.target == f"The {name} lives in the {animal['home']}. The {name} sleeps in a {animal['bed']}."
    for one in made("colour_hop"):
        name = re.fullmatch(r"Is the colour of the (.+) for summer or winter\?", one.asks[0])[1]
        assert one.rationale == f"The {name} is {animals[name]['colour']}."
        assert animals[name]["colour"] in tasks.CLASSES["colour"][one.target].split()
    for one in made("which_home"):
        does, first, second = re.fullmatch(r"Which of them (.+), the (.+) or the (.+)\?", one.asks[0]).groups()
        lives = {f"the {name}": f"lives in the {animals[name]['home']}" for name in (first, second)}
        assert [name for name, home in lives.items() if home == does] == [one.target]
    for one in made("recipe_item"):
        name, item = re.fullmatch(r"Does the (.+) have (.+) in it\?", one.asks[0]).groups()
        assert one.target == ("yes" if item in recipes[name]["ingredients"] else "no")
    for one in made("add_numbers"):
        first, second = map(int, re.findall(r"\d", one.asks[0]))
        assert (one.target, one.rationale) == (str(first + second), f"{first} and {second} make {first + second}.")


def test_every_value_has_one_class():
    attributes = {**WORLD.attributes["animal"], **WORLD.attributes["city"]}
    for attribute, classes in tasks.CLASSES.items():
        values = [value for found in classes.values() for value in found.split()]
        assert sorted(values) == sorted(attributes[attribute]["values"])


def test_lists_are_counted_and_turned():
    for one in made("count_names"):
        given = re.fullmatch(r"How many are these: (.+)\?", one.asks[0])[1]
        assert one.target == str(len(re.split(", | and ", given)))
    for one in made("reverse_names"):
        given = one.asks[0].removeprefix("Say it from the last to the first: ").removesuffix(".")
        assert one.target.split("; ") == given.split("; ")[::-1]


@pytest.mark.parametrize("task", [name for name in tasks.TASKS if made(name, 9)[0].options == ("yes", "no")])
def test_yes_is_right_as_often_as_no(task):
    examples = made(task, 400)

    assert 2 * sum(one.target == "yes" for one in examples) == len(examples) > 100


def topics(task):
    """(name, attribute) of all that the examples of a task ask about."""
    known = {"colour", "food", "home", "bed", "country", "fame", "weather"}
    about = set(task.split("_")) & known or ({"recipe"} if task.startswith("recipe") else set())
    names = {name for kind in WORLD.facts.values() for name in kind}
    found = set()
    for one in made(task, 400) if about else []:
        words = f" {re.sub('[^A-Za-z-]+', ' ', one.asks[0])} "
        found |= {name for name in names if f" {name} " in words}
    return {(name, attribute) for name in found for attribute in about}


def test_f1_the_topics_of_held_out_tasks_are_in_no_other_task_and_those_of_the_policies_evaluation_in_none():
    held_out = {(name, attribute) for kind, name, attribute in WORLD.held_out}
    learned = set().union(*(topics(task) for task in LEARNED))
    evaluated = set().union(*(topics(task) for task in tasks.HELD_OUT))

    assert len(learned) > 500 and len(evaluated) > 150
    assert not learned & evaluated
    assert not (learned | evaluated) & held_out


def test_f1_the_embedded_profile_keeps_the_evaluation_out_of_every_mixture():
    built, asked = SETTINGS["build_mixture"], SETTINGS["answer_tasks"]
    evaluated = asked["written"] + asked["chosen"] + asked["reasoned"]

    assert sorted(evaluated) == sorted(tasks.HELD_OUT) == sorted(built["block_list"])
    assert sorted(built["direct_tasks"] + built["cot_tasks"]) == sorted(LEARNED)
    assert set(SETTINGS["score_tasks"]["mixtures"]) == set(built["mixtures"])


def test_f4_no_item_of_the_evaluation_is_in_a_mixture_shown_or_asked():
    params = build_mixture.Params(**SETTINGS["build_mixture"])
    pool = build_mixture.examples(params, params.direct_tasks + params.cot_tasks)
    learned = {ask for examples in pool.values() for one in examples for ask in one.asks}

    for task in tasks.HELD_OUT:
        assert not learned & {ask for one in made(task, 400) for ask in one.asks}


def test_every_text_survives_the_tokenizer_and_is_made_of_its_words():
    tokenizer = models.load_tokenizer("data/embedded/models/medium")
    words = {token.removeprefix("Ġ") for token in tokenizer.get_vocab()}
    texts = [
        ask for task in tasks.TASKS for one in made(task, 20) for ask in (*one.asks, one.target, one.rationale or "")
    ]
    frames = [*(text for found in templates.DIRECT.values() for text in found), *templates.COT, templates.COT_TARGET]
    texts += [frame.format(question="What?", rationale="It is.", answer="no") for frame in frames]

    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    used = [word for text in texts for word in re.findall(r"[A-Za-z-]+", text)]
    whole = sum(word in words or word.lower() in words for word in used)
    assert whole / len(used) > 0.94
    assert tokenizer.unk_token is None


def test_an_unknown_task_is_named():
    with pytest.raises(UserError, match="there is no task 'animal_age'; there are colour_sentence, "):
        made("animal_age")


def test_few_shot_of_a_task_with_too_few_examples_is_refused():
    pool = {"bed_why": made("bed_why", 2)}

    with pytest.raises(UserError, match="'bed_why' has 2 examples; 3 in front of another need at least 4"):
        mixture.check_shots(pool, ["bed_why"], 3)
