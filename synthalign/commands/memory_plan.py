"""What every stage of the profile in force takes on a device, for `synthalign plan --memory` (`memory_card`).

Texts are taken as long as the settings let them be, and as many at once as one call has. Shapes are those of the base
models that params.yaml names, from their folders, GGUF files or the hub's cache; nothing is downloaded and no weights
are opened.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthalign.commands import memory
from synthalign.commands.memory import Held, Need, Shape
from synthalign.commands.memory_shapes import Unknown, base_of, is_adapters, is_probe, shape_of
from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.dialogue import demonstrations
from synthalign.ditto import authors

QUESTION = 64
"""Tokens that a question is taken to have where no setting bounds it."""

CHARACTERS = 4
"""Characters that a token of a few-shot prefix is taken to have."""

SLOTS, SCORED, PROBED = 256, 64, 16
"""Sequences that are decoded, and texts that are scored, or read for a probe, at once where no setting says."""

TEXT = 512
"""Tokens of a text that is scored, where no setting bounds it."""

ASKED = 32
"""Answers to the evaluation questions that are read at once after a training; four times as many are decoded."""


WHOLE = (
    "refuses FSDP, as it keeps whole models on every device; where those do not fit, take accelerate/gpu.yaml and a "
    "`lora` block: then one base is on every device"
)

WITH_ADAPTERS = (
    "DPO with a `lora` block refuses FSDP, as the reference reads the comparisons before models are sharded; take "
    "accelerate/gpu.yaml"
)


@dataclass(frozen=True)
class Way:
    """How a device holds a stage: what hardware.yaml and accelerate.yaml say, and a change of the `lora` of params."""

    hardware: hardware.Hardware
    processes: int = 1
    sharded: bool = False
    mixed: bool = False
    device: str = "gpu"
    workers: int = 1
    """Threads of a process that decode or read texts beside each other: its free cores where there is no GPU."""

    rank: int | None = None
    """In place of what params.yaml says, where that is null."""

    def held(self, section: Mapping[str, Any], member: Mapping[str, Any], *, adapted: bool) -> Held:
        """adapted  whether what is trained is loaded from a folder of adapters"""
        lora = member.get("lora") or section.get("lora")
        w = width("fp32" if adapted else self.hardware.weights.training)
        return Held(
            w=w,
            a=2 if self.mixed else w,
            recomputed=self.hardware.gradient_checkpointing,
            rank=lora["rank"] if lora else self.rank,
            device=self.device,
        )

    def decoders(self, rows: int | None, held: int) -> dict[str, int]:
        """The workers and slots of `memory.sampling` for a call that asks all processes together for so many rows.

        rows  None is any number
        held  slots of a worker at most, where hardware.yaml says nothing
        """
        mine = None if rows is None else -(-rows // self.processes)
        workers, slots = memory.dealt(mine, self.hardware.device_rows.sampling or held, self.workers)
        return {"workers": workers, "slots": slots}


def width(dtype: str) -> int:
    """Bytes of a weight; what a folder has (auto) is taken for two, as most are bf16."""
    return 4 if dtype == "fp32" else 2


# -- stages -----------------------------------------------------------------------------------------------------------

Plan = Callable[[Way], Need]
"""What a stage needs, held in some way; raises Unknown."""


def stages(params: Mapping[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Every stage that holds a model, by name, and how to tell what it needs."""

    def of(folder: str) -> Shape:
        return shape_of(folder, params)

    def held_of(way: Way, section: Mapping[str, Any], member: Mapping[str, Any], folder: str) -> Held:
        return way.held(section, member, adapted=is_adapters(folder, params))

    def read_in(way: Way, folder: str, use: hardware.Use = "reading") -> int:
        """Bytes of a weight of a folder that is not trained."""
        return width("fp32" if is_adapters(folder, params) else getattr(way.hardware.weights, use))

    def samples(
        section: Mapping[str, Any], model: str, rows: int | None, shown: str | None = None, shots: int = 0, **given: Any
    ) -> Plan:
        """Decoding; one call asks for so many rows, None being any number. A `judge` waits beside it on the CPU."""

        def plan(way: Way) -> Need:
            model_shape = of(model)
            if section.get("engine") == "vllm":
                raise Unknown("vLLM takes a fixed share of a GPU and fits its caches in it")
            need = memory.sampling(
                model_shape,
                w=read_in(way, model),
                prefix=prefix_tokens(shown, shots),
                own=given.get("own", QUESTION),
                new=given.get("new") or section["max_new_tokens"],
                device=way.device,
                **way.decoders(rows, SLOTS),
            )
            if way.device == "cpu" and (judge := given.get("judge")):
                return replace(need, weights=need.weights + read_in(way, judge) * of(judge).as_reward().parameters)
            return need

        return plan

    def scores(
        section: Mapping[str, Any],
        model: str,
        *,
        reward: bool,
        words: int = 0,
        threads: bool = True,
        use: hardware.Use = "reading",
    ) -> Plan:
        """A model that reads texts; `words` tokens of each have logits."""

        def plan(way: Way) -> Need:
            rows = way.hardware.device_rows.scoring or section.get("batch_size", SCORED)
            found = of(model).as_reward() if reward else of(model)
            tokens, workers = section.get("max_length", TEXT), way.workers if threads else 1
            w = read_in(way, model, use)
            return memory.scoring(found, w=w, rows=rows, tokens=tokens, workers=workers, words=words)

        return plan

    def asks(way: Way, section: Mapping[str, Any], policy: Shape, w: int, weights: float) -> Need:
        """`answering.before_and_after`: the evaluation questions answered, and the answers read by two policies.

        w        bytes of a weight of the policies
        weights  bytes of those of all models that are there
        """
        rows = queries(params, ["eval"])
        prompt, new = section["max_prompt_tokens"], section["max_new_tokens"]
        mine = way.workers * ASKED if rows is None else max(1, -(-rows // way.processes))
        readers = min(way.workers, -(-mine // ASKED))
        decoding = memory.sampling(
            policy, w=w, prefix=0, own=prompt, new=new, device=way.device, **way.decoders(rows, 4 * ASKED)
        )
        reading = memory.scoring(policy, w=w, rows=min(ASKED, mine), tokens=prompt + new, workers=readers, words=new)
        return replace(largest(decoding, reading), weights=weights)

    def snapshot(section: Mapping[str, Any]) -> Plan:
        """Three models of their own answer: a policy before and after, and a reward model."""

        def plan(way: Way) -> Need:
            policy, judge = of(section["policy"]), of(section["reward"]).as_reward()
            before, after = (read_in(way, section[name]) for name in ("start", "policy"))
            weights = (before + after) * policy.parameters + read_in(way, section["reward"]) * judge.parameters
            return asks(way, section, policy, max(before, after), weights)

        return plan

    def on_one_base(way: Way, held: Held, policy: str, reward: str) -> bool:
        """Whether a reward model is adapters on the policy's base (`one_base.reward_of`)."""
        shared = base_of(reward, params) == base_of(policy, params) and not is_probe(reward, params)
        return held.rank is not None and not way.sharded and shared

    def trains(section: Mapping[str, Any], model: str, *, texts: int = 1, reward: bool = False, **given: Any) -> Plan:
        """A trainer of TRL, with `texts` to a row of the batch; with all weights a frozen `reference` may be beside."""

        def plan(way: Way) -> Need:
            member = given.get("member", {})
            held, shape_ = held_of(way, section, member, model), of(model).as_reward() if reward else of(model)
            share = max(1, (given.get("rows") or section["batch_size"]) // way.processes)
            rows = held_rows(share, way.hardware.device_rows.training)
            need = memory.training(
                held,
                shape_,
                rows=texts * rows,
                tokens=given.get("tokens") or section["max_length"],
                accumulates=rows < share,
                words=not reward,
                beside=held.w * shape_.parameters if given.get("reference") and held.rank is None else 0,
            )
            if not way.sharded:
                return need
            if given.get("reads_first") and held.rank is not None:
                raise Unknown(WITH_ADAPTERS)
            parts = way.processes
            return replace(
                need,
                weights=need.weights / parts,
                gradients=need.gradients / parts,
                optimizer=need.optimizer / parts,
                activations=need.activations - memory.copies(held, shape_),  # which FSDP makes of a layer at a time
            )

        return plan

    def group_rl(section: Mapping[str, Any], member: Mapping[str, Any]) -> Plan:
        """RLOO or GRPO: a step, the decoding before it, and the evaluation questions after all of them."""
        folder, reward = member["policy"], member["reward"]
        prompt, new = section["max_prompt_tokens"], section["max_new_tokens"]
        trained = trains(section, folder, member=member, rows=section["minibatch"], tokens=prompt + new, reference=True)

        def plan(way: Way) -> Need:
            if way.sharded:
                raise Unknown(WHOLE)
            held, policy, judge = held_of(way, section, member, folder), of(folder), of(reward).as_reward()
            apart = 0 if on_one_base(way, held, folder, reward) else judge.parameters
            step = trained(way)
            step = replace(step, weights=step.weights + read_in(way, reward, "training") * apart)
            decoding = memory.sampling(
                policy,
                w=held.w,
                prefix=0,
                own=prompt,
                new=new,
                device=way.device,
                **way.decoders(section["rollout_batch"], SLOTS),
            )
            written = replace(decoding, weights=step.weights, optimizer=step.optimizer)
            w = read_in(way, folder)
            after = width(way.hardware.weights.reading) if held.rank is None else 0  # else adapters on what was before
            weights = (w + after) * policy.parameters + read_in(way, reward) * apart
            return largest(step, written, asks(way, section, policy, w, weights))

        return plan

    def loops(section: Mapping[str, Any], policy: str, reward: str | None, *, value: bool, **given: Any) -> Plan:
        """A loop of ours: with all weights a reference beside; with adapters one base, and the reward model's own.

        batch  texts of an update, or pairs of them: `pairs` have two texts each, with logits of the prompts too
        asked  sequences that one call of its decoding asks for, over all processes; None is any number
        slots  that a worker has at most, where they are not four times the rows
        """

        def plan(way: Way) -> Need:
            if way.sharded:
                raise Unknown(WHOLE)
            held, found = held_of(way, section, given.get("member", {}), policy), of(policy)
            judge = of(reward).as_reward() if reward else None
            beside = 0.0 if held.rank is not None else held.w * found.parameters
            if judge is not None and reward is not None:
                judging = read_in(way, reward, "training") * judge.parameters
                beside += 0 if on_one_base(way, held, policy, reward) else judging
                beside += judging if value and held.rank is None else 0
            rows = way.hardware.device_rows.training or section["device_batch_size"]
            groups = -(-given["batch"] // (way.processes * rows))
            threads = way.workers if reward and way.processes == 1 else 1  # DITTO's groups come one after the other
            prompt, new, pairs = (
                section.get("max_prompt_tokens", QUESTION),
                section["max_new_tokens"],
                given.get("pairs"),
            )
            return memory.loop(
                held,
                found,
                beside=beside,
                value=judge if value else None,
                rows=2 * rows if pairs else rows,
                prompt=prompt,
                new=new,
                words=prompt + new if pairs else None,
                accumulates=groups > 1,
                threads=min(threads, groups * (2 if value else 1)),
                **way.decoders(given["asked"], given.get("slots", 4 * rows)),
            )

        return plan

    p = params
    train, evaluated = queries(params, ["train"]), queries(params, ["eval"])
    section = p["mine_queries"]
    rows = section["round_size"] * section["completions"]
    yield "mine_queries", samples(section, section["model"], rows, own=QUESTION * section["shots"])
    for name, one in p["sample_responses"]["configurations"].items():
        rows, new = queries(params, one["splits"]), one["max_new_tokens"]
        yield (
            f"sample_responses@{name}",
            samples(p["sample_responses"], one["model"], rows, one["demonstrations"], one["shots"], new=new),
        )
    yield "train_asis_reward", trains(p["train_asis_reward"], p["train_asis_reward"]["model"], texts=2, reward=True)
    for name, one in p["contrast_pairs"]["simulations"].items():
        prompts = train if one["prompts"] == "data/queries.parquet" else lines(one["prompts"])
        rows = times(least(prompts, p["contrast_pairs"]["max_prompts"]), 2)  # one of each side
        yield f"contrast_pairs@{name}", samples(p["contrast_pairs"], one["model"], rows)
    for name, one in p["label_pairs"]["labels"].items():
        yield f"label_pairs@{name}", scores(p["label_pairs"], one["labeller"], reward=False)
    section, ranking = p["train_reward"], p["build_comparisons"]["ranking"]
    of_query = sum(1 if isinstance(group, str) else len(group) for group in ranking)  # people's rankings may have more
    for name, one in section["feedback"].items():
        texts = 2 if (one.get("loss") or section["loss"]) == "pairs" else of_query
        plan = trains(section, section["model"], texts=texts, reward=True, member=one)
        if one.get("probe") is not None:  # nothing of the body is trained
            plan = scores(section | {"batch_size": PROBED}, section["model"], reward=True, use="training")
        yield f"train_reward@{name}", plan
    section = p["simulate_demonstrations"]
    speaker = section["assistant"]
    for name, guide in section["guides"].items():
        rows = times(train, guide["candidates"])
        yield (
            f"simulate_demonstrations@{name}",
            samples(section, speaker["model"], rows, speaker.get("demonstrations"), speaker.get("shots", 0)),
        )
    section = p["revise_answers"]
    yield "revise_answers", samples(section, section["model"], least(train, section["max_queries"]))
    yield "train_sft", trains(p["train_sft"], p["train_sft"]["model"])
    section = p["sample_preferences"]
    rows = times(train, section["samples"])
    yield "sample_preferences", samples(section, section["model"], rows, judge=section["reward"])
    yield "train_dpo", trains(p["train_dpo"], p["train_dpo"]["model"], texts=2, reads_first=True)
    for family in ("train_ditto", "train_spin"):
        section = p[family]
        for name, one in section["authors"].items():
            model = section["model"] if family == "train_ditto" else f"models/ditto_sft/{name}"
            shown = lines(one["demonstrations"])
            batch = section["pairs_per_demonstration"] * (shown or authors.AT_MOST)
            given = {"batch": batch, "pairs": True, "slots": SLOTS, "asked": times(shown, section["negatives"])}
            yield f"{family}@{name}", loops(section, model, None, value=False, **given)
    section = p["sample_ditto"]
    for name, one in section["authors"].items():
        rows = times(lines(one["prompts"]), section["samples"])
        yield f"sample_ditto@{name}", samples(section, section["model"], rows)
    for name, one in p["train_ppo"]["policies"].items():
        section = p["train_ppo"]
        asked = most(evaluated, section["rollout_batch"])
        yield (
            f"train_ppo@{name}",
            loops(
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
        own = 0 if one["source"] == "candidates" else least(train, one["queries"])
        asked = most(evaluated, times(own, len(section["temperatures"])))
        yield (
            f"train_rrhf@{name}",
            loops(section, one["policy"], one["reward"], value=False, member=one, batch=batch, asked=asked),
        )
    for name, one in p["train_group_rl"]["policies"].items():
        yield f"train_group_rl@{name}", group_rl(p["train_group_rl"], one)
    section = p["sample_answers"]
    rows = times(evaluated, section["samples"])
    for name, one in section["policies"].items():
        yield f"sample_answers@{name}", samples(section, one["model"], rows, one["demonstrations"], one["shots"])
    yield "validate_comparisons", scores(p["validate_comparisons"], "models/asis_reward", reward=True)
    for family in ("score_rewards", "score_scorers"):
        section = p[family]
        each = [scores(section, model, reward=True) for model in section["rewards"].values()]
        liked = section.get("likelihoods", {}).values()  # policies, whose answers are read in one thread
        each += [scores(section, model, reward=False, words=TEXT, threads=False) for model in liked]
        if each:
            yield family, one_by_one(each)
    yield "snapshot_dpo", snapshot(p["snapshot_dpo"])
    for name in ("judge_answers", "score_comparisons", "score_policies", "score_candidates", "score_pairs"):
        if judge := p[name].get("reward") or p[name]["people"]:  # else an oracle alone judges, which is no model
            yield name, scores(p[name], judge, reward=True)
    for name, one in p["score_benchmarks"]["subjects"].items():
        is_reward = one["kind"] != "policy"
        yield (
            f"score_benchmarks@{name}",
            scores(p["score_benchmarks"], one["model"], reward=is_reward, words=0 if is_reward else TEXT),
        )
    for name, one in p["train_flan"]["members"].items():
        yield f"train_flan@{name}", trains(p["train_flan"], one["model"], member=one)
    section = p["answer_tasks"]
    rows = section["items"] * len(section["shots"]) * len([*section["written"], *section["reasoned"]])
    for name, one in section["subjects"].items() if section["source"] else ():  # without, no model is loaded
        yield f"answer_tasks@{name}", samples(section, one["model"], rows, own=4 * QUESTION)


def one_by_one(plans: Sequence[Plan]) -> Plan:
    """Models that are there one after the other: what the largest needs."""
    return lambda way: largest(*(plan(way) for plan in plans))


def largest(*needs: Need) -> Need:
    """Of parts of a stage that follow each other the one that needs most."""
    return max(needs, key=lambda need: need.peak)


def queries(params: Mapping[str, Any], splits: Sequence[str]) -> int | None:
    """At most so many queries of these splits: seeds and what is mined to train on, and the evaluation questions.

    None where their file is not there yet.
    """
    section = params["mine_queries"]
    seeds, questions = lines(section["seed_queries"]), lines(section["eval_questions"])
    found = {"train": None if seeds is None else seeds + section["target"], "eval": questions}
    counts = [count for split in splits if (count := found[split]) is not None]
    return sum(counts) if len(counts) == len(splits) else None


def lines(file: str) -> int | None:
    """How many lines of a file have something in them; None where it is not there yet."""
    path = Path(file)
    return sum(bool(line.strip()) for line in path.read_text("utf-8").splitlines()) if path.is_file() else None


def times(count: int | None, each: int) -> int | None:
    return None if count is None else count * each


def least(*counts: int | None) -> int | None:
    """The smallest of those that are known."""
    return min((count for count in counts if count is not None), default=None)


def most(*counts: int | None) -> int | None:
    """The largest; None where one is not known."""
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def held_rows(rows: int, most: int | None) -> int:
    """As `training.held_rows`, which needs torch: the largest number up to `most` that divides the rows."""
    return max(size for size in range(1, min(rows, most or rows) + 1) if rows % size == 0)


def prefix_tokens(file: str | None, shots: int) -> int:
    """About how many tokens a few-shot prefix has; 0 where its file is not there yet."""
    try:
        return len(demonstrations.prefix(file, shots)) // CHARACTERS if file else 0
    except UserError:
        return 0
