"""The tasks of the embedded world: true, of its words, and none of the evaluation in what is learned from (F1)."""

import re
from pathlib import Path

import pytest
import yaml

from stages import build_mixture
from synthalign import instructions, mixture, models, templates
from synthalign.errors import UserError
from world import tasks
from world.entities import World

WORLD = World.load(Path("data/embedded/world.json"))
SETTINGS = yaml.safe_load(Path("profiles/embedded.yaml").read_text(encoding="utf-8"))
LEARNED = [name for name in tasks.TASKS if name not in tasks.HELD_OUT]


def made(task, limit=60, seed=0):
    return tasks.make(WORLD, task, limit=limit, seed=seed)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_gives_different_examples_in_its_own_wordings(task):
    examples = made(task)

    assert len(examples) >= 40  # of the cities 54 are not held out
    assert len({one.asks[0] for one in examples}) == len(examples)
    for one in examples:
        assert one.task == task and one.kind in instructions.KINDS
        assert len(set(one.asks)) == len(one.asks) >= 3
        assert one.target.strip() and all(ask.strip() for ask in one.asks)
        assert not one.options or one.target in one.options


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_is_a_function_of_world_and_seed(task):
    assert made(task, 20) == made(task, 20)
    assert made(task, 20) != made(task, 20, seed=1)


def test_there_are_a_dozen_families_and_held_out_ones():
    learned = {made(task, 1)[0].family for task in LEARNED}
    held_out = {made(task, 1)[0].family for task in tasks.HELD_OUT}

    assert len(learned) >= 12
    assert held_out - learned == {
        "which_kind",
        "how_many",
    }  # the other held-out tasks ask for other facts in a known form


def test_answers_are_true():
    animals, recipes = WORLD.facts["animal"], WORLD.facts["recipe"]
    for one in made("animal_colour"):
        [name] = [name for name in animals if f" {name}" in one.asks[0]]
        assert one.target == animals[name]["colour"]
    for one in made("same_home"):
        first, second = re.fullmatch(r"Do the (.+) and the (.+) live in the same place\?", one.asks[0]).groups()
        assert one.target == ("yes" if animals[first]["home"] == animals[second]["home"] else "no")
        assert one.rationale.startswith(
            f"The {first} lives in the {animals[first]['home']}. The {second} lives in the "
        )
    for one in made("which_food"):
        does, first, second = re.fullmatch(r"Which of them (.+), the (.+) or the (.+)\?", one.asks[0]).groups()
        eats = {f"the {name}": f"eats {animals[name]['food']}" for name in (first, second)}
        assert [name for name, food in eats.items() if food == does] == [one.target]
    for one in made("count_homes"):
        does, *names = re.fullmatch(r"How many .*: it (.+)\? the (.+), the (.+), the (.+)", one.asks[0]).groups()
        assert one.target == str(sum(f"lives in the {animals[name]['home']}" == does for name in names))
    for one in made("recipe_item"):
        name, item = re.fullmatch(r"Does the (.+) have (.+) in it\?", one.asks[0]).groups()
        assert one.target == ("yes" if item in recipes[name]["ingredients"] else "no")
    for one in made("add_numbers"):
        first, second = map(int, re.findall(r"\d", one.asks[0]))
        assert (one.target, one.rationale) == (str(first + second), f"{first} and {second} make {first + second}.")


def test_lists_are_counted_turned_and_pointed_into():
    for one in made("count_list"):
        given = re.fullmatch(r"How many things are these: (.+)\?", one.asks[0])[1]
        assert one.target == str(len(re.split(", | and ", given)))
    for one in made("reverse_list"):
        given = one.asks[0].removeprefix("Say it from the last to the first: ").removesuffix(".")
        assert one.target.split(", ") == given.split(", ")[::-1]
    for task, place in (("first_of_list", 0), ("last_of_list", -1)):
        for one in made(task):
            assert one.target == one.asks[1].split(": which")[0].split(", ")[place]


@pytest.mark.parametrize("task", [name for name in tasks.TASKS if made(name, 1)[0].options == ("yes", "no")])
def test_yes_is_right_as_often_as_no(task):
    examples = made(task, 400)

    assert 2 * sum(one.target == "yes" for one in examples) == len(examples) > 100


def test_f1_no_topic_of_the_evaluation_is_asked_about():
    attributes = {"animal_colour": "colour", "animal_food": "food", "food_choice": "food", "colour_check": "colour",
                  "same_colour": "colour", "which_food": "food"}  # fmt: skip
    held_out = {(name, attribute) for kind, name, attribute in WORLD.held_out if kind == "animal"}
    assert held_out
    for task, attribute in attributes.items():
        for one in made(task, 400):
            asked = re.sub("[?,]", " ", one.asks[0])
            assert not [name for name, about in held_out if about == attribute and f"the {name} " in asked]
    recipes = {name for kind, name, _ in WORLD.held_out if kind == "recipe"}
    for task in ("recipe_ingredients", "recipe_item", "recipe_side"):
        assert not {name for name in recipes for one in made(task, 400) if f"the {name}" in one.asks[0]}


@pytest.mark.parametrize("task", LEARNED)
def test_f1_what_the_held_out_tasks_ask_for_is_in_no_task_that_is_learned(task):
    forbidden = re.compile(r"\b(lives?|home|sleeps?|rests?|bed|weather)\b")

    for one in made(task, 200):
        for text in (*one.asks, one.rationale or ""):
            assert not forbidden.search(text), text


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
    assert whole / len(used) > 0.95
    assert tokenizer.unk_token is None


def test_an_unknown_task_is_named():
    with pytest.raises(UserError, match="there is no task 'animal_age'; there are animal_colour, "):
        made("animal_age")


def test_few_shot_of_a_task_with_too_few_examples_is_refused():
    pool = {"animal_home": made("animal_home", 2)}

    with pytest.raises(UserError, match="'animal_home' has 2 examples; 3 in front of another need at least 4"):
        mixture.check_shots(pool, ["animal_home"], 3)
