"""What every stage of the profile in force takes on a device, for `synthalign plan --memory` (`memory_card`).

Texts are taken as long as the settings let them be, and as many at once as one call has. Shapes are those of the base
models that params.yaml names, from their folders, GGUF files or the hub's cache; nothing is downloaded and no weights
are opened.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synthalign.commands import memory_counts
from synthalign.commands.memory_kinds import PROBED, QUESTION, SLOTS, TEXT, Kinds, Plan, largest
from synthalign.ditto import authors


def stages(params: Mapping[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Every stage that holds a model, by name, and how to tell what it needs."""
    p, kinds = params, Kinds(params)
    train, evaluated = memory_counts.queries(params, ["train"]), memory_counts.queries(params, ["eval"])
    section = p["mine_queries"]
    rows = section["round_size"] * section["completions"]
    yield "mine_queries", kinds.samples(section, section["model"], rows, own=QUESTION * section["shots"])
    for name, one in p["sample_responses"]["configurations"].items():
        rows, new = memory_counts.queries(params, one["splits"]), one["max_new_tokens"]
        yield (
            f"sample_responses@{name}",
            kinds.samples(p["sample_responses"], one["model"], rows, one["demonstrations"], one["shots"], new=new),
        )
    yield (
        "train_asis_reward",
        kinds.trains(p["train_asis_reward"], p["train_asis_reward"]["model"], texts=2, reward=True),
    )
    for name, one in p["contrast_pairs"]["simulations"].items():
        prompts = train if one["prompts"] == "data/queries.parquet" else memory_counts.lines(one["prompts"])
        rows = memory_counts.times(
            memory_counts.least(prompts, p["contrast_pairs"]["max_prompts"]), 2
        )  # one of each side
        yield f"contrast_pairs@{name}", kinds.samples(p["contrast_pairs"], one["model"], rows)
    for name, one in p["label_pairs"]["labels"].items():
        yield f"label_pairs@{name}", kinds.scores(p["label_pairs"], one["labeller"], reward=False)
    section, ranking = p["train_reward"], p["build_comparisons"]["ranking"]
    of_query = sum(1 if isinstance(group, str) else len(group) for group in ranking)  # people's rankings may have more
    for name, one in section["feedback"].items():
        texts = 2 if (one.get("loss") or section["loss"]) == "pairs" else of_query
        plan = kinds.trains(section, section["model"], texts=texts, reward=True, member=one)
        if one.get("probe") is not None:  # nothing of the body is trained
            plan = kinds.scores(section | {"batch_size": PROBED}, section["model"], reward=True, use="training")
        yield f"train_reward@{name}", plan
    section = p["simulate_demonstrations"]
    speaker = section["assistant"]
    for name, guide in section["guides"].items():
        rows = memory_counts.times(train, guide["candidates"])
        yield (
            f"simulate_demonstrations@{name}",
            kinds.samples(section, speaker["model"], rows, speaker.get("demonstrations"), speaker.get("shots", 0)),
        )
    section = p["revise_answers"]
    yield "revise_answers", kinds.samples(section, section["model"], memory_counts.least(train, section["max_queries"]))
    yield "train_sft", kinds.trains(p["train_sft"], p["train_sft"]["model"])
    section = p["sample_preferences"]
    rows = memory_counts.times(train, section["samples"])
    yield "sample_preferences", kinds.samples(section, section["model"], rows, judge=section["reward"])
    yield "train_dpo", kinds.trains(p["train_dpo"], p["train_dpo"]["model"], texts=2, reads_first=True)
    for family in ("train_ditto", "train_spin"):
        section = p[family]
        for name, one in section["authors"].items():
            model = section["model"] if family == "train_ditto" else f"models/ditto_sft/{name}"
            shown = memory_counts.lines(one["demonstrations"])
            batch = section["pairs_per_demonstration"] * (shown or authors.AT_MOST)
            given = {
                "batch": batch,
                "pairs": True,
                "slots": SLOTS,
                "asked": memory_counts.times(shown, section["negatives"]),
            }
            yield f"{family}@{name}", kinds.loops(section, model, None, value=False, **given)
    section = p["sample_ditto"]
    for name, one in section["authors"].items():
        rows = memory_counts.times(memory_counts.lines(one["prompts"]), section["samples"])
        yield f"sample_ditto@{name}", kinds.samples(section, section["model"], rows)
    for name, one in p["train_ppo"]["policies"].items():
        section = p["train_ppo"]
        asked = memory_counts.most(evaluated, section["rollout_batch"])
        yield (
            f"train_ppo@{name}",
            kinds.loops(
                section,
                one["policy"],
                one["reward"],
                value=True,
                member=one,
                batch=section["minibatch"],
                asked=asked,
            ),
        )
    for name, one in p["train_rrhf"]["policies"].items():
        section = p["train_rrhf"]
        each = (section["beams"] or len(section["temperatures"])) + 2 * (one["source"] == "mixed")
        batch = section["batch_size"] * each
        own = 0 if one["source"] == "candidates" else memory_counts.least(train, one["queries"])
        asked = memory_counts.most(evaluated, memory_counts.times(own, len(section["temperatures"])))
        yield (
            f"train_rrhf@{name}",
            kinds.loops(section, one["policy"], one["reward"], value=False, member=one, batch=batch, asked=asked),
        )
    for name, one in p["train_group_rl"]["policies"].items():
        yield f"train_group_rl@{name}", kinds.group_rl(p["train_group_rl"], one)
    section = p["sample_answers"]
    rows = memory_counts.times(evaluated, section["samples"])
    for name, one in section["policies"].items():
        yield f"sample_answers@{name}", kinds.samples(section, one["model"], rows, one["demonstrations"], one["shots"])
    yield "validate_comparisons", kinds.scores(p["validate_comparisons"], "models/asis_reward", reward=True)
    for family in ("score_rewards", "score_scorers"):
        section = p[family]
        each = [kinds.scores(section, model, reward=True) for model in section["rewards"].values()]
        tuned = section.get("implicit_rewards", {}).values()  # a policy and its reference, one after the other
        liked = [*section.get("likelihoods", {}).values(), *(model for one in tuned for model in one.values())]
        each += [kinds.scores(section, model, reward=False, words=TEXT) for model in liked]
        if each:
            yield family, one_by_one(each)
    yield "snapshot_dpo", kinds.snapshot(p["snapshot_dpo"])
    for name in ("judge_answers", "score_comparisons", "score_policies", "score_candidates", "score_pairs"):
        if judge := p[name].get("reward") or p[name]["people"]:  # else an oracle alone judges, which is no model
            yield name, kinds.scores(p[name], judge, reward=True)
    for name, one in p["score_benchmarks"]["subjects"].items():
        is_reward = one["kind"] != "policy"
        yield (
            f"score_benchmarks@{name}",
            kinds.scores(p["score_benchmarks"], one["model"], reward=is_reward, words=0 if is_reward else TEXT),
        )
    for name, one in p["train_flan"]["members"].items():
        yield f"train_flan@{name}", kinds.trains(p["train_flan"], one["model"], member=one)
    section = p["answer_tasks"]
    rows = section["items"] * len(section["shots"]) * len([*section["written"], *section["reasoned"]])
    for name, one in section["subjects"].items() if section["source"] else ():  # without, no model is loaded
        yield f"answer_tasks@{name}", kinds.samples(section, one["model"], rows, own=4 * QUESTION)


def one_by_one(plans: Sequence[Plan]) -> Plan:
    """Models that are there one after the other: what the largest needs."""
    return lambda way: largest(*(plan(way) for plan in plans))
