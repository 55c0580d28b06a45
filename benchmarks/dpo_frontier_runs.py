"""The runs of `benchmarks.dpo_frontier`: how much of what, from which settings, and what each leaves in the journal."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator
from pydantic import BaseModel, Field
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import chat, endings
from synthalign.generation import models
from synthalign.generation.generate import Generation
from synthalign.policies import answering, batching, dpo_training, ppo, ppo_settings, ppo_training, prompting
from synthalign.policies.prompting import Prompt
from synthalign.reward import training, training_settings
from world.oracle import Oracle

Settings = dict[str, Any]
Record = dict[str, Any]
Method = Literal["sft", "dpo", "ppo"]


class Sweep(BaseModel, frozen=True, extra="forbid", strict=True):
    """How much is trained and asked; docs/methods/dpo.md says why so much."""

    betas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0)
    """DPO's prices of a nat."""

    dpo_learning_rate: float = Field(default=1e-4, gt=0)
    """Of the sweep over beta: PPO's. With that of params.yaml, 3e-5, DPO ends at .2 nats."""

    pairs: int = Field(default=1000, gt=0)
    """Comparisons that DPO learns; the others are held out, and their chosen answers are what it is held against."""

    kl_coefficients: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.4)
    """PPO's prices."""

    steps: int = Field(default=32, gt=0)
    """Of the sweep over them, with so many answers in a step and in an update: a quarter of params.yaml's answers."""
    rollout_batch: int = Field(default=64, gt=0)
    minibatch: int = Field(default=32, gt=0)

    whole: bool = True
    """Whether PPO with the price of params.yaml has the steps of params.yaml as well."""

    looks: int = Field(default=4, gt=0)
    """Policies of one training that are points of the frontier: after this many equal parts of its steps."""

    frontier_questions: int = Field(default=240, ge=2)
    """Evaluation questions of the frontier."""

    questions: int = Field(default=485, ge=2)
    """Evaluation questions of the win rates, at most."""

    temperatures: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """0 and 1, and others between."""

    opponents: int = Field(default=4, gt=0)
    """Answers of SFT at temperature 1 that every answer is held against."""

    candidates: int = Field(default=128, gt=0)
    """Answers of SFT to every question, of which the best of 1, 2, 4, … is taken; so many at each temperature above 0,
    where all would be one."""


TINY = Sweep(
    betas=(0.1, 0.5), pairs=12, kl_coefficients=(0.05, 0.5), steps=2, rollout_batch=8, minibatch=8, looks=2,
    whole=False, frontier_questions=10, questions=10, temperatures=(0.0, 1.0), opponents=1, candidates=4,
)  # fmt: skip
"""Seconds, too small to show anything."""


class Job(NamedTuple):
    """One run: SFT's answers, or a training under a seed.

    at   SFT's temperature; of a training the price of a nat
    own  whether its settings are those of params.yaml, as `Given.own`; else those of `Sweep`
    """

    method: Method
    at: float
    own: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.method}/{'own' if self.own else f'{self.at:g}'}/{self.seed}"


class Given(BaseModel, frozen=True):
    """What all runs start from: folders, tables and sections of params.yaml."""

    policy: str
    reward: str
    comparisons: str
    samples: int
    """Answers to a query of which sample_preferences made a pair."""
    world: str
    dpo: Settings
    """Of train_dpo."""
    ppo: Settings
    """Of train_ppo."""
    sweep: Sweep

    def trainings(self, method: Method) -> list[tuple[float, bool]]:
        """(price, own) of all trainings of a method; the first is its own."""
        own = self.dpo["beta"] if method == "dpo" else self.ppo["kl_coefficient"]
        swept = self.sweep.betas if method == "dpo" else self.sweep.kl_coefficients
        return [(own, True), *((price, False) for price in swept)]

    def own(self, method: Method, seed: int) -> Job:
        """The training as params.yaml has it, but for DPO's pairs and the seed: of it the win rates are."""
        return Job(method, *self.trainings(method)[0], seed)

    def jobs(self, seeds: int) -> list[Job]:
        """All runs, seed after seed, so that the first seeds are whole first; the longest run is the first."""
        methods: tuple[Method, ...] = ("ppo", "dpo")
        trained = [
            Job(method, *how, seed) for seed in range(seeds) for method in methods for how in self.trainings(method)
        ]
        return [*(Job("sft", heat) for heat in self.sweep.temperatures), *trained]


def read(world: str, sweep: Sweep) -> Given:
    """The settings of params.yaml; UserError where DPO and PPO have not one policy to start from and one reward."""
    everything = stage.read("params.yaml")
    dpo, group, sampled = (everything[name] for name in ("train_dpo", "train_ppo", "sample_preferences"))
    member = group["policies"]["almost"]
    for key, found in (
        ("policy", {"train_dpo.model": dpo["model"], "sample_preferences.model": sampled["model"]}),
        ("reward", {"sample_preferences.reward": sampled["reward"]}),
    ):
        found |= {f"train_ppo.policies.almost.{key}": member[key]}
        if len(set(found.values())) > 1:
            said = ", ".join(f"{name} = {value}" for name, value in found.items())
            raise UserError(f"params.yaml: {said}; DPO and PPO are compared from one {key}, so give all the same")
    if dpo["lora"] or group["lora"]:
        raise UserError("params.yaml: train_dpo.lora or train_ppo.lora is set; all weights are trained here, set null")
    ppo = of_almost(group)
    kept = {*ppo_settings.Settings.model_fields, "max_prompt_tokens"}
    return Given(
        policy=dpo["model"],
        reward=member["reward"],
        comparisons=dpo["comparisons"],
        samples=sampled["samples"],
        world=world,
        dpo=dpo,
        ppo={name: value for name, value in ppo.items() if name in kept},
        sweep=sweep,
    )


def of_almost(group: Settings) -> Settings:
    """The settings of the member `almost` of train_ppo; UserError where it learns pre-training texts beside."""
    found = {**group, **group["policies"]["almost"]}
    if found["ptx_coefficient"]:
        raise UserError(
            f"params.yaml: train_ppo.ptx_coefficient is {found['ptx_coefficient']} for policies.almost, but here no "
            "pre-training texts are read; set it on another member, or 0"
        )
    return found


class Task:
    """The models and texts of one process."""

    def __init__(self, given: Given) -> None:
        models.fix_rounding("training")
        self.given, self.oracle = given, Oracle.load(given.world)
        self.tokenizer = prompting.tokenizer_of(given.policy, given.reward)
        self.start, self.reward_model = models.load_causal(given.policy), models.load_reward(given.reward)
        self.accelerator = Accelerator(cpu=True)
        queries = [row for row in tables.rows("queries") if row["split"] == "train" or self.knows(row["text"])]
        self.prompts, questions = prompting.prompts_of(
            queries, self.tokenizer, longest=given.ppo["max_prompt_tokens"], stage="train_ppo"
        )
        self.questions = sorted(questions, key=lambda one: content_id("question", one.query_id))
        self.pairs, self.held_out = self.divided()

    def knows(self, question: str) -> bool:
        return self.oracle.kind(question) is not None

    def divided(self) -> tuple[list[tables.Row], list[tables.Row]]:
        """The comparisons that are learned, and those held out that the oracle knows, by a hash of their ids alone."""
        table = f"comparisons/{self.given.comparisons}"
        rows = [row for row in tables.rows(table) if endings.is_whole(row["chosen_finish_reason"])]
        drawn = training.draw(rows, len(rows), seed=0)
        learned, rest = drawn[: self.given.sweep.pairs], drawn[self.given.sweep.pairs :]
        rest = [row for row in rest if self.knows(row["prompt"][-1]["content"])]
        if not rest:
            raise UserError(
                f"data/{table}.parquet: none of {len(rows)} comparisons is left to be held out when {len(learned)} are "
                "learned; lower `pairs` of Sweep, or raise samples of sample_preferences"
            )
        return learned, rest

    # -- asking -------------------------------------------------------------------------------------------------------

    def write(
        self, policy: PreTrainedModel, prompts: Sequence[Prompt], names: str, seed: int, temperature: float = 1.0
    ) -> list[Generation]:
        """One answer to each prompt; names and seed alone draw the random numbers, whatever the policy is."""
        return answering.written(
            policy,
            self.tokenizer,
            prompts,
            [f"{names}/{one.query_id}" for one in prompts],
            seed=seed,
            temperature=temperature,
            max_new_tokens=self.given.ppo["max_new_tokens"],
            device_batch_size=answering.DEVICE_BATCH,
        )

    def rewards(self, prompts: Sequence[Prompt], made: Sequence[Generation]) -> list[float]:
        """The rewards of answers, equal ones scored once."""
        keys = [(prompt.query_id, one.text) for prompt, one in zip(prompts, made, strict=True)]
        distinct = {key: (prompt, one) for key, prompt, one in zip(keys, prompts, made, strict=True)}
        scores = answering.scored(
            self.reward_model, self.tokenizer, [prompt for prompt, _ in distinct.values()],
            [one for _, one in distinct.values()], device_batch_size=answering.DEVICE_BATCH,
        )  # fmt: skip
        known = dict(zip(distinct, scores, strict=True))
        return [round(known[key], 6) for key in keys]

    def points(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        """What the oracle gives each answer."""
        found = (self.oracle.score(prompt.question, text) for prompt, text in zip(prompts, texts, strict=True))
        return [scores.total for scores in found if scores is not None]

    def judged(self, prompts: Sequence[Prompt], made: Sequence[Generation]) -> Record:
        """The oracle's points and the length of each answer."""
        texts = [chat.clean(one.text) for one in made]
        return {"oracle": self.points(prompts, texts), "characters": [len(text) for text in texts]}

    def look(self, policy: PreTrainedModel, seed: int, step: int) -> Record:
        """The policy's answers at temperature 1 to the questions of the frontier, as a point of it."""
        questions = self.questions[: self.given.sweep.frontier_questions]
        made = self.write(policy, questions, "question", seed)
        return {
            "step": step,
            "kl": divergences(
                policy, self.start, [one.token_ids for one in questions], [one.token_ids for one in made],
                pad=self.tokenizer.pad_token_id,
            ),
            "reward": self.rewards(questions, made),
            "oracle": self.points(questions, [chat.clean(one.text) for one in made]),
            "tokens": round(fmean(len(one.token_ids) for one in made), 3),
        }  # fmt: skip

    def at_temperatures(self, policy: PreTrainedModel, seed: int) -> dict[str, Record]:
        questions = self.questions[: self.given.sweep.questions]
        return {
            f"{heat:g}": self.judged(questions, self.write(policy, questions, "question", seed, heat))
            for heat in self.given.sweep.temperatures
        }

    # -- runs ---------------------------------------------------------------------------------------------------------

    def run(self, job: Job, folder: Path) -> Record:
        """Everything that is asked of one run; `folder` is for its scratch files."""
        return {"sft": self.sft, "dpo": self.dpo, "ppo": self.ppo}[job.method](job, folder)

    def sft(self, job: Job, folder: Path) -> Record:
        """What SFT answers at a temperature; above 0 its candidates too, and at 1 what others are held against."""
        sweep, questions = self.given.sweep, self.questions[: self.given.sweep.questions]
        found: Record = {
            "answers": self.judged(questions, self.write(self.start, questions, "question", job.seed, job.at))
        }
        if job.at > 0:
            found["candidates"] = self.candidates(job.seed, job.at)
        if job.at == 1:
            found["opponents"] = [
                self.judged(questions, self.write(self.start, questions, f"opponent {turn}", job.seed))["oracle"]
                for turn in range(sweep.opponents)
            ]
        return found

    def candidates(self, seed: int, temperature: float) -> dict[str, list[list[float]]]:
        """What reward model and oracle make of SFT's candidates, and their lengths: (N, Q) each."""
        sweep, questions = self.given.sweep, self.questions[: self.given.sweep.questions]
        turns = [
            self.write(self.start, questions, f"candidate {turn}", seed, temperature)
            for turn in range(sweep.candidates)
        ]
        rewards = iter(self.rewards([*questions] * len(turns), [one for made in turns for one in made]))
        found: dict[str, list[list[float]]] = {"reward": [], "oracle": [], "characters": []}
        for made in turns:
            one = self.judged(questions, made) | {"reward": [next(rewards) for _ in made]}
            for name, values in found.items():
                values.append(one[name])
        return found

    def dpo(self, job: Job, folder: Path) -> Record:
        """A policy by DPO, at every look, and at the price of params.yaml at every temperature."""
        given = self.given.dpo
        looks = [self.look(self.start, job.seed, 0)]
        own = {name: given[name] for name in training_settings.Settings.model_fields} | {"seed": job.seed}
        dpo_training.train(
            self.pairs,
            base_model=self.given.policy,
            folder=folder / "policy",
            work=folder / "work",
            beta=job.at,
            loss=given["loss"],
            label_smoothing=given["label_smoothing"],
            learning_rate=given["learning_rate"] if job.own else self.given.sweep.dpo_learning_rate,
            settings=training_settings.Settings.model_validate(own),
            callbacks=[Looking(self, job.seed, looks)],
        )
        if not job.own:
            return {"looks": looks}
        policy = models.load_causal(folder / "policy")
        texts = [row["prompt"][-1]["content"] for row in self.held_out]
        prompts = prompting.make_prompts(
            [(row["comparison_id"], text) for row, text in zip(self.held_out, texts, strict=True)],
            self.tokenizer, longest=self.given.ppo["max_prompt_tokens"],
        )  # fmt: skip
        chosen = {row["comparison_id"]: row["chosen"][-1]["content"] for row in self.held_out}
        preferred = [chosen[one.query_id] for one in prompts]
        return {
            "looks": looks,
            "temperatures": self.at_temperatures(policy, job.seed),
            "held_out": self.judged(prompts, self.write(policy, prompts, "held out", job.seed)),
            "chosen": {
                "oracle": self.points(prompts, preferred),
                "characters": [len(text) for text in preferred],
            },
        }

    def ppo(self, job: Job, folder: Path) -> Record:
        """A policy by PPO, likewise."""
        given, sweep = self.given.ppo, self.given.sweep
        looks = [self.look(self.start, job.seed, 0)]
        chosen = {name: given[name] for name in ppo_settings.Settings.model_fields}
        if not (job.own and sweep.whole):
            chosen |= {name: getattr(sweep, name) for name in ("steps", "rollout_batch", "minibatch")}
        chosen |= {"seed": job.seed, "kl_coefficient": job.at}
        settings = ppo_settings.Settings.model_validate(
            chosen | {"snapshot_every": 0, "checkpoint_every": chosen["steps"]}
        )
        policy = models.load_causal(self.given.policy, "training").requires_grad_(True)
        at = steps_of(settings.steps, sweep.looks)

        def report(row: Record) -> None:
            if row["step"] in at:
                looks.append(self.look(policy, job.seed, row["step"]))

        ppo_training.train(
            self.accelerator,
            policy,
            models.load_reward(self.given.reward, "training"),
            self.tokenizer,
            settings,
            prompts=self.prompts,
            questions=self.questions[:1],
            ptx_texts=[],
            folder=folder,
            report=report,
        )
        if not job.own:
            return {"looks": looks}
        return {"looks": looks, "temperatures": self.at_temperatures(policy, job.seed)}


class Looking(TrainerCallback):
    """Looks at DPO's policy on its way."""

    def __init__(self, task: Task, seed: int, looks: list[Record]) -> None:
        self.task, self.seed, self.looks = task, seed, looks

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **others: Any,
    ) -> None:
        if state.global_step in steps_of(state.max_steps, self.task.given.sweep.looks):
            model.eval()
            self.looks.append(self.task.look(model, self.seed, state.global_step))
            model.train()


def steps_of(steps: int, looks: int) -> list[int]:
    """The steps after which a training is looked at: the last of each of so many equal parts."""
    return sorted({max(1, round(steps * part / looks)) for part in range(1, looks + 1)})


@torch.no_grad()
def divergences(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    given: Sequence[list[int]],
    chosen: Sequence[list[int]],
    *,
    pad: int,
) -> list[float]:
    """Of each answer of the policy the sum over its tokens of KL(pi(. | s_t) || pi_ref(. | s_t)), in nats.

    Its mean over sampled answers is KL(pi || pi_ref) of whole answers, as is that of `ppo.answer_kl`, with less noise:
    every next token counts by its probability, not the sampled one alone.
    """
    found: dict[int, float] = {}
    lengths = [len(before) + len(after) for before, after in zip(given, chosen, strict=True)]
    for group in batching.alike(lengths, answering.DEVICE_BATCH):
        batch = batching.collate(
            [given[place] for place in group], [chosen[place] for place in group], pad=pad, device=policy.device
        )
        ours, theirs = (ppo.log_probabilities(batching.state_logits(model, batch)) for model in (policy, reference))
        every = batching.by_answer((ours.exp() * (ours - theirs)).sum(-1), batch.mask).sum(-1)
        found.update(zip(group, every.tolist(), strict=True))
    return [round(found[place], 6) for place in range(len(given))]
