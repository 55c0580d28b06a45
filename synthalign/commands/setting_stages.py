"""Where the settings of several stages do not fit together, so that one of them would refuse what another has made."""

import contextlib
from typing import Any

from synthalign.core.errors import UserError
from synthalign.feedback import contrast, principles


def wrong(settings: dict[str, Any]) -> list[str]:
    """Everything that does not fit, one line each; stdout says what is in doubt."""
    for line in doubts(settings):
        print(line)
    return wrong_configurations(settings) + wrong_principles(settings) + wrong_tasks(settings)


def ranking(settings: dict[str, Any]) -> list[list[str]]:
    """The configurations from best to worst; those of a group are not compared with each other."""
    return [[group] if isinstance(group, str) else group for group in settings["build_comparisons"]["ranking"]]


def doubts(settings: dict[str, Any]) -> list[str]:
    """What may be meant and hardly ever is, one line each."""
    known, simulated = settings["sample_responses"]["configurations"], settings["simulate_demonstrations"]
    speaker, longest, room = simulated["assistant"], simulated["max_new_tokens"], settings["train_sft"]["max_length"]
    strongest = [name for name in ranking(settings)[0] if name in known]
    unlike = [[key for key in speaker if speaker[key] != known[name][key]] for name in strongest]
    lines = []
    if strongest and all(unlike):
        mine = ", ".join(f"{key} = {speaker[key]!r}" for key in unlike[0])
        theirs = ", ".join(repr(known[strongest[0]][key]) for key in unlike[0])
        lines.append(
            f"simulate_demonstrations.assistant: {mine}, and configuration {strongest[0]}, the strongest of "
            f"build_comparisons.ranking, has {theirs}; the policy learns from the assistant's answers"
        )
    if room <= longest:
        lines.append(
            f"train_sft.max_length = {room} is not above simulate_demonstrations.max_new_tokens = {longest}; the "
            "longest demonstrations would be left out, and others lose their questions"
        )
    return lines


def wrong_configurations(settings: dict[str, Any]) -> list[str]:
    """What build_comparisons says of configurations that sample_responses does not bear out."""
    known, pairs = settings["sample_responses"]["configurations"], settings["build_comparisons"]["size_pairs"]
    groups = ranking(settings)
    places = [("ranking", name) for group in groups for name in group]
    places += [("size_pairs", name) for pair in pairs for name in pair]
    lines = [
        f"build_comparisons.{key}: {name!r} is no configuration of sample_responses that answers the split train"
        for key, name in places
        if "train" not in known.get(name, {"splits": []})["splits"]
    ]
    ranked = {name: place for place, group in enumerate(groups) for name in group}
    for larger, smaller in [pair for pair in pairs if set(pair) <= set(known)]:
        if ranked.get(larger, -1) != ranked.get(smaller, -1) and {larger, smaller} <= set(ranked):
            lines.append(f"build_comparisons.size_pairs: {larger} and {smaller} are compared by ranking already")
        for key in ("demonstrations", "shots"):
            one, other = known[larger][key], known[smaller][key]
            if one != other:
                lines.append(f"build_comparisons.size_pairs: {larger} and {smaller} differ in {key}: {one} and {other}")
    return lines


def wrong_principles(settings: dict[str, Any]) -> list[str]:
    """The labels with fewer principles than their pairs have phrases: a pair is judged by the principle in the place of
    its phrase."""
    lines = []
    for name, label in settings["label_pairs"]["labels"].items():
        by = settings["contrast_pairs"]["simulations"].get(label["pairs"], {"contrast": "none"})
        if by["contrast"] == "none":
            continue
        with contextlib.suppress(UserError):  # what is wrong with the files is told by itself
            phrases = len(contrast.load(by["affixes"], by["task"]).positive)
            given = len(principles.load(label["principles"]).of(label["task"], label["principles"]))
            if given < phrases:
                lines.append(
                    f"label_pairs.labels.{name}: {label['principles']} has {given} principles for {label['task']!r}, "
                    f"and {label['pairs']} is made with {phrases} pairs of phrases of {by['affixes']}; write a "
                    "principle for each pair, in the same order"
                )
    return lines


def wrong_tasks(settings: dict[str, Any]) -> list[str]:
    """The held-out tasks of FLAN that a mixture has too, which score_tasks refuses after all training."""
    mixing, asking = settings["build_mixture"], settings["answer_tasks"]
    if mixing["source"] is None or asking["source"] is None:
        return []
    held_out = {task: key for key in ("written", "chosen", "reasoned") for task in asking[key]}
    return [
        f"build_mixture.mixtures.{name}: its task {task!r} is in answer_tasks.{held_out[task]} too, to be measured on; "
        f"take it out of build_mixture.{kind}_tasks and put it on block_list"
        for name, mixture in mixing["mixtures"].items()
        if name in settings["score_tasks"]["mixtures"]
        for kind in ("direct", "cot")
        if mixture[f"{kind}_weight"]
        for task in mixing[f"{kind}_tasks"][: mixture[kind]]
        if task in held_out
    ]
