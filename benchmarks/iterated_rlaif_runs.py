"""The runs of `benchmarks.iterated_rlaif`: settings, and what each round leaves in the journal."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from accelerate import Accelerator
from pydantic import BaseModel, Field
from transformers import PreTrainedModel

from benchmarks import own_answers
from benchmarks.dpo_frontier_runs import divergences, of_almost
from synthalign.core import stage, statistics, tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue import chat, endings
from synthalign.feedback import comparisons, contrast, option_tokens, principles
from synthalign.feedback.comparisons import Pair, Response
from synthalign.feedback.labelling import Verdict
from synthalign.generation import generate, models
from synthalign.generation.generate import Generation
from synthalign.judging import verdicts, win_rates
from synthalign.judging.verdicts import Answer
from synthalign.policies import dpo_training, ppo_settings, ppo_training, prompting
from synthalign.policies.prompting import Prompt
from synthalign.reward import pairwise, training, training_settings
from world.oracle import Oracle

Settings = dict[str, Any]
Record = dict[str, Any]
Method = Literal["dpo", "ppo"]


class Scale(BaseModel, frozen=True, extra="forbid", strict=True):
    """How much is asked, labelled and trained."""

    learned: float = Field(default=0.67, gt=0, lt=1)
    """Share of the training queries that are learned from."""

    queries: int = Field(default=1200, gt=0)
    """Of these, at most so many a round; each is answered four times, which makes two pairs of different answers."""

    measured: int = Field(default=600, ge=2)
    """Of the others that the oracle knows, at most so many are asked afterwards."""

    dpo_rounds: int = Field(default=3, gt=0)
    ppo_rounds: int = Field(default=2, gt=0)

    steps: int | None = Field(default=None, gt=0)
    """Of PPO; None for those of params.yaml."""

    def rounds(self, method: Method) -> int:
        return self.dpo_rounds if method == "dpo" else self.ppo_rounds


TINY = Scale(queries=24, measured=12, dpo_rounds=2, ppo_rounds=1, steps=2)
"""A minute or two, which show nothing."""


class Job(NamedTuple):
    """All rounds of a method under a seed."""

    method: Method
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}/{self.seed}"


class Given(BaseModel, frozen=True):
    """What all runs start from: folders, and sections of params.yaml."""

    policy: str
    labeller: str
    principles: str
    task: str
    world: str
    reward: Settings
    """Of train_reward."""
    dpo: Settings
    """Of train_dpo."""
    ppo: Settings
    """Of train_ppo."""
    scale: Scale


def read_settings(world: str, scale: Scale) -> Given:
    """The settings of params.yaml; UserError where DPO and PPO have not one policy to start from."""
    everything = stage.read("params.yaml")
    dpo, group, asked = (everything[name] for name in ("train_dpo", "train_ppo", "label_pairs"))
    member, labels = group["policies"]["almost"], asked["labels"]["rlaif_large"]
    if dpo["model"] != member["policy"]:
        raise UserError(
            f"params.yaml: train_dpo.model = {dpo['model']}, train_ppo.policies.almost.policy = {member['policy']}; "
            "both are compared with the policy that they start from, so give both the same"
        )
    if dpo["lora"] or group["lora"] or everything["train_reward"]["lora"]:
        raise UserError(
            "params.yaml: lora of train_dpo, train_ppo or train_reward is set; here all weights are trained"
        )
    return Given(
        policy=dpo["model"],
        labeller=labels["labeller"],
        principles=labels["principles"],
        task=labels["task"],
        world=world,
        reward={name: value for name, value in everything["train_reward"].items() if name != "feedback"},
        dpo=dpo,
        ppo=of_almost(group),
        scale=scale,
    )


def divided(prompts: Sequence[Prompt], oracle: Oracle, scale: Scale) -> tuple[list[Prompt], list[Prompt]]:
    """The queries to learn from and those to ask afterwards, which the oracle knows, by a hash of their ids."""
    drawn = sorted(prompts, key=lambda one: content_id("iterated", one.query_id))
    bound = round(scale.learned * len(drawn))
    known = [one for one in drawn[bound:] if oracle.kind(one.question) is not None]
    learned, measured = drawn[:bound][: scale.queries], known[: scale.measured]
    if len(learned) < 2 or len(measured) < 2:
        raise UserError(
            f"data/queries.parquet: {len(learned)} training queries to learn from and {len(measured)} to ask, of "
            f"{len(drawn)}; raise the counts of mine_queries"
        )
    return learned, measured


class Task:
    """The models and texts of one process."""

    def __init__(self, given: Given) -> None:
        models.fix_rounding("training")
        self.given, self.oracle = given, Oracle.load(given.world)
        self.tokenizer = models.load_tokenizer(given.policy)
        self.start = models.load_causal(given.policy)
        self.labeller, self.asked = models.load_causal(given.labeller), principles.load(given.principles)
        queries = [(row["query_id"], row["text"]) for row in tables.rows("queries") if row["split"] == "train"]
        prompts = prompting.make_prompts(queries, self.tokenizer, longest=given.ppo["max_prompt_tokens"])
        self.learned, self.measured = divided(prompts, self.oracle, given.scale)

    # -- a round ------------------------------------------------------------------------------------------------------

    def write(
        self, policy: PreTrainedModel, prompts: Sequence[Prompt], names: str, seed: int, samples: int, top_p: float
    ) -> list[list[Generation]]:
        """Answers at temperature 1; names and seed alone draw the random numbers."""
        return generate.generate(
            policy,
            self.tokenizer,
            prefix="",
            suffixes=[chat.prompt([{"role": "user", "content": one.question}]) for one in prompts],
            row_ids=[f"{names}/{one.query_id}" for one in prompts],
            samples=samples,
            seed=seed,
            max_new_tokens=self.given.ppo["max_new_tokens"],
            temperature=1.0,
            top_p=top_p,
            stops=chat.STOPS,
        )

    def pairs(self, policy: PreTrainedModel, turn: int, seed: int) -> list[Row]:
        """Two comparisons of each query's four answers, without labels yet: p_chosen is 1/2."""
        found = []
        made = self.write(policy, self.learned, f"round {turn}", seed, samples=4, top_p=1.0)
        for prompt, given in zip(self.learned, made, strict=True):
            answers = [
                Response(
                    content_id("response", "own", turn, seed, prompt.query_id, place),
                    f"round {turn}", place, chat.clean(one.text), finish_reason=one.finish_reason,
                )
                for place, one in enumerate(given)
            ]  # fmt: skip
            for first, second in (answers[:2], answers[2:]):
                if first.text.strip() and second.text.strip() and first.text != second.text:
                    pair = Pair(first, second)
                    found.append(
                        comparisons.row(
                            pair, query_id=prompt.query_id, question=prompt.question, feedback="own", p_chosen=0.5
                        )
                    )
        return found

    def verdicts(self, pairs: Sequence[Row], seed: int) -> list[Verdict]:
        """What the labeller says of each pair, asked in both orders by a principle that the pair's id draws."""
        choices = self.asked.of(self.given.task, self.given.principles)
        prompts = []
        for pair in pairs:
            principle = choices[contrast.draw(len(choices), seed=seed, row=pair["comparison_id"])]
            one, other = comparisons.text_of(pair["chosen"]), comparisons.text_of(pair["rejected"])
            prompts += [self.asked.prompt(principle, pair["prompt"], *shown) for shown in ((one, other), (other, one))]
        tokenizer = models.load_tokenizer(self.given.labeller)
        first = [
            found[0] for found in option_tokens.probabilities(self.labeller, tokenizer, prompts, self.asked.options)
        ]
        return [Verdict(ab, 1 - ba) for ab, ba in zip(first[::2], first[1::2], strict=True)]

    @staticmethod
    def labelled(pairs: Sequence[Row], found: Sequence[Verdict]) -> tuple[list[Row], list[bool]]:
        """The pairs with the preferred answer as the chosen one, and which are labelled alike in both orders."""
        rows, alike = [], []
        for pair, verdict in zip(pairs, found, strict=True):
            assert verdict.first_shown_second is not None, "both orders are asked"
            alike.append((verdict.first_shown_first - 0.5) * (verdict.first_shown_second - 0.5) > 0)
            row = pair if verdict.p_first >= 0.5 else comparisons.swapped(pair)
            rows.append(row | {"p_chosen": max(verdict.p_first, 1 - verdict.p_first)})
        return rows, alike

    def agreement(self, rows: Sequence[Row]) -> dict[str, Any] | None:
        """The share of labels that the oracle agrees with, of the pairs that it decides."""
        right, queries = [], []
        for row in rows:
            question = comparisons.text_of(row["prompt"])
            sides = [self.oracle.score(question, comparisons.text_of(row[side])) for side in ("chosen", "rejected")]
            if None not in sides and sides[0].total != sides[1].total:
                right.append(float(sides[0].total > sides[1].total))
                queries.append(row["query_id"])
        return statistics.mean_interval(right, queries, seed=0).metrics() if right else None

    def round(self, policy: PreTrainedModel, turn: int, seed: int) -> tuple[list[Row], list[bool], Record]:
        """What one round has labelled, and figures of it."""
        pairs = self.pairs(policy, turn, seed)
        found = self.verdicts(pairs, seed)
        rows, alike = self.labelled(pairs, found)
        kept = [row for row, same in zip(rows, alike, strict=True) if same]
        record = comparisons.summary(rows)
        return rows, alike, record | {"right": self.agreement(rows), "right_alike": self.agreement(kept)}

    def measure(self, policy: PreTrainedModel, seed: int) -> Record:
        """The policy against SFT on queries that DPO and PPO did not learn from, two answers each at top-p .9, and its
        KL."""
        answers: dict[str, list[Answer]] = {}
        for name, model in (("tuned", policy), ("sft", self.start)):
            made = self.write(model, self.measured, f"measured {name}", seed, samples=2, top_p=0.9)
            answers[name] = [
                Answer(prompt.query_id, place, chat.clean(one.text), len(one.token_ids))
                for prompt, given in zip(self.measured, made, strict=True)
                for place, one in enumerate(given)
            ]
        questions = {one.query_id: one.question for one in self.measured}
        duels = verdicts.duels(answers, [("tuned", "sft")], questions)
        rows = verdicts.judgements(duels, "oracle", verdicts.by_score(partial(own_answers.points, self.oracle)))
        whole = [one for [one] in self.write(policy, self.measured, "kl", seed, samples=1, top_p=1.0)]
        kl = divergences(
            policy, self.start, [one.token_ids for one in self.measured], [one.token_ids for one in whole],
            pad=self.tokenizer.pad_token_id,
        )  # fmt: skip
        nats = statistics.mean_interval(kl, list(questions), seed=0).metrics()
        return {"against_sft": win_rates.summary(rows, seed=0), "kl": nats}

    # -- runs ---------------------------------------------------------------------------------------------------------

    def run(self, job: Job, folder: Path) -> list[Record]:
        """The record of every round; `folder` is for its scratch files."""
        return list((self.dpo if job.method == "dpo" else self.ppo)(job.seed, folder))

    def dpo(self, seed: int, folder: Path) -> Iterator[Record]:
        given, base = self.given.dpo, self.given.policy
        own = {name: given[name] for name in training_settings.Settings.model_fields} | {"seed": seed}
        for turn in range(self.given.scale.dpo_rounds):
            rows, alike, record = self.round(models.load_causal(base), turn, seed)
            taught = [
                row
                for row, same in zip(rows, alike, strict=True)
                if same and endings.is_whole(row["chosen_finish_reason"])
            ]
            made = folder / f"policy{turn}"
            _, used = dpo_training.train(
                training.draw(taught, given["max_pairs"], seed=seed),
                base_model=base,
                folder=made,
                work=folder / f"work{turn}",
                beta=given["beta"],
                loss=given["loss"],
                label_smoothing=given["label_smoothing"],
                learning_rate=given["learning_rate"],
                settings=training_settings.Settings.model_validate(own),
            )
            base = str(made)
            yield record | {"used": used} | self.measure(models.load_causal(base), seed)

    def ppo(self, seed: int, folder: Path) -> Iterator[Record]:
        given, chosen = self.given, dict(self.given.ppo)
        policy, every = self.start, list[Row]()
        fields = set(ppo_settings.Settings.model_fields)
        if given.scale.steps:
            chosen |= {"steps": given.scale.steps}
        chosen |= {"seed": seed, "snapshot_every": 0, "checkpoint_every": chosen["steps"]}
        settings = ppo_settings.Settings.model_validate({name: chosen[name] for name in fields})
        of_reward = {name: given.reward[name] for name in training_settings.Settings.model_fields} | {"seed": seed}
        for turn in range(given.scale.ppo_rounds):
            rows, _, record = self.round(policy, turn, seed)
            every += rows
            train, held_out = pairwise.choose(every, max_pairs=len(every), held_out=given.reward["held_out"], seed=seed)
            reward, own = folder / f"reward{turn}", training_settings.Settings.model_validate(of_reward)
            pairwise.train(
                train,
                base_model=given.reward["model"],
                folder=reward,
                work=folder / f"work{turn}",
                learning_rate=given.reward["learning_rate"],
                settings=own,
            )
            judged = pairwise.finish(reward, held_out, max_length=own.max_length)
            accuracy = statistics.mean_interval(judged.correct, judged.queries, seed=0).metrics()
            policy = models.load_causal(given.policy, "training").requires_grad_(True)
            ppo_training.train(
                Accelerator(cpu=True),
                policy,
                models.load_reward(reward, "training"),
                self.tokenizer,
                settings,
                prompts=self.learned,
                questions=self.measured[:1],
                ptx_texts=[],
                folder=folder / f"ppo{turn}",
            )
            policy.eval()
            yield record | {"used": len(train), "held_out_accuracy": accuracy} | self.measure(policy, seed)
