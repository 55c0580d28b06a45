"""What each kind of stage needs on a device: decoding, scoring, training, and the loops that do all three."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from synthalign.commands import memory, memory_counts
from synthalign.commands.memory import Held, Need, Shape
from synthalign.commands.memory_shapes import Unknown, base_of, is_adapters, is_probe, shape_of
from synthalign.commands.memory_way import Way, width
from synthalign.core import hardware

QUESTION = 64
"""Tokens that a question is taken to have where no setting bounds it."""

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

Plan = Callable[[Way], Need]
"""What a stage needs, held in some way; raises Unknown."""


@dataclass(frozen=True)
class Kinds:
    """The kinds of stage of a profile; each of them makes a plan."""

    params: Mapping[str, Any]

    def of(self, folder: str) -> Shape:
        return shape_of(folder, self.params)

    def held_of(self, way: Way, section: Mapping[str, Any], member: Mapping[str, Any], folder: str) -> Held:
        return way.held(section, member, adapted=is_adapters(folder, self.params))

    def read_in(self, way: Way, folder: str, use: hardware.Use = "reading") -> int:
        """Bytes of a weight of a folder that is not trained."""
        return width("fp32" if is_adapters(folder, self.params) else getattr(way.hardware.weights, use))

    def samples(
        self,
        section: Mapping[str, Any],
        model: str,
        rows: int | None,
        shown: str | None = None,
        shots: int = 0,
        **given: Any,
    ) -> Plan:
        """Decoding; one call asks for so many rows, None being any number. A `judge` waits beside it on the CPU."""

        def plan(way: Way) -> Need:
            model_shape = self.of(model)
            if section.get("engine") == "vllm":
                raise Unknown("vLLM takes a fixed share of a GPU and fits its caches in it")
            need = memory.sampling(
                model_shape,
                w=self.read_in(way, model),
                prefix=memory_counts.prefix_tokens(shown, shots),
                own=given.get("own", QUESTION),
                new=given.get("new") or section["max_new_tokens"],
                device=way.device,
                **way.decoders(rows, SLOTS),
            )
            if way.device == "cpu" and (judge := given.get("judge")):
                return replace(
                    need, weights=need.weights + self.read_in(way, judge) * self.of(judge).as_reward().parameters
                )
            return need

        return plan

    def scores(
        self,
        section: Mapping[str, Any],
        model: str,
        *,
        reward: bool,
        words: int = 0,
        use: hardware.Use = "reading",
    ) -> Plan:
        """A model that reads texts; `words` tokens of each have logits."""

        def plan(way: Way) -> Need:
            rows = way.hardware.device_rows.scoring or section.get("batch_size", SCORED)
            found = self.of(model).as_reward() if reward else self.of(model)
            tokens, workers = section.get("max_length", TEXT), way.workers
            w = self.read_in(way, model, use)
            return memory.scoring(found, w=w, rows=rows, tokens=tokens, workers=workers, words=words)

        return plan

    def asks(self, way: Way, section: Mapping[str, Any], policy: Shape, w: int, weights: float) -> Need:
        """`answering.before_and_after`: the evaluation questions answered, and the answers read by two policies.

        w        bytes of a weight of the policies
        weights  bytes of those of all models that are there
        """
        rows = memory_counts.queries(self.params, ["eval"])
        prompt, new = section["max_prompt_tokens"], section["max_new_tokens"]
        mine = way.workers * ASKED if rows is None else max(1, -(-rows // way.processes))
        readers = min(way.workers, -(-mine // ASKED))
        decoding = memory.sampling(
            policy, w=w, prefix=0, own=prompt, new=new, device=way.device, **way.decoders(rows, 4 * ASKED)
        )
        reading = memory.scoring(policy, w=w, rows=min(ASKED, mine), tokens=prompt + new, workers=readers, words=new)
        return replace(largest(decoding, reading), weights=weights)

    def snapshot(self, section: Mapping[str, Any]) -> Plan:
        """Three models of their own answer: a policy before and after, and a reward model."""

        def plan(way: Way) -> Need:
            policy, judge = self.of(section["policy"]), self.of(section["reward"]).as_reward()
            before, after = (self.read_in(way, section[name]) for name in ("start", "policy"))
            weights = (before + after) * policy.parameters + self.read_in(way, section["reward"]) * judge.parameters
            return self.asks(way, section, policy, max(before, after), weights)

        return plan

    def on_one_base(self, way: Way, held: Held, policy: str, reward: str) -> bool:
        """Whether a reward model is adapters on the policy's base (`one_base.reward_of`)."""
        base = base_of(policy, self.params)
        shared = base_of(reward, self.params) == base and not is_probe(reward, self.params)
        merged = policy != base and not is_adapters(policy, self.params)  # in the type that it is read in
        rounded = merged and self.read_in(way, policy, "training") < 4
        return held.rank is not None and not way.sharded and shared and not rounded

    def trains(
        self, section: Mapping[str, Any], model: str, *, texts: int = 1, reward: bool = False, **given: Any
    ) -> Plan:
        """A trainer of TRL, with `texts` to a row of the batch; with all weights a frozen `reference` may be beside."""

        def plan(way: Way) -> Need:
            member = given.get("member", {})
            held, shape_ = (
                self.held_of(way, section, member, model),
                self.of(model).as_reward() if reward else self.of(model),
            )
            share = max(1, (given.get("rows") or section["batch_size"]) // way.processes)
            rows = memory_counts.held_rows(share, way.hardware.device_rows.training)
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

    def group_rl(self, section: Mapping[str, Any], member: Mapping[str, Any]) -> Plan:
        """RLOO or GRPO: a step, the decoding before it, and the evaluation questions after all of them."""
        folder, reward = member["policy"], member["reward"]
        prompt, new = section["max_prompt_tokens"], section["max_new_tokens"]
        trained = self.trains(
            section, folder, member=member, rows=section["minibatch"], tokens=prompt + new, reference=True
        )

        def plan(way: Way) -> Need:
            if way.sharded:
                raise Unknown(WHOLE)
            held, policy, judge = (
                self.held_of(way, section, member, folder),
                self.of(folder),
                self.of(reward).as_reward(),
            )
            apart = 0 if self.on_one_base(way, held, folder, reward) else judge.parameters
            step = trained(way)
            step = replace(step, weights=step.weights + self.read_in(way, reward, "training") * apart)
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
            w = self.read_in(way, folder)
            after = width(way.hardware.weights.reading) if held.rank is None else 0  # else adapters on what was before
            weights = (w + after) * policy.parameters + self.read_in(way, reward) * apart
            return largest(step, written, self.asks(way, section, policy, w, weights))

        return plan

    def loops(self, section: Mapping[str, Any], policy: str, reward: str | None, *, value: bool, **given: Any) -> Plan:
        """A loop of ours: with all weights a reference beside; with adapters one base, and the reward model's own.

        batch  texts of an update, or pairs of them: `pairs` have two texts each, with logits of the prompts too
        asked  sequences that one call of its decoding asks for, over all processes; None is any number
        slots  that a worker has at most, where they are not four times the rows
        """

        def plan(way: Way) -> Need:
            if way.sharded:
                raise Unknown(WHOLE)
            held, found = self.held_of(way, section, given.get("member", {}), policy), self.of(policy)
            judge = self.of(reward).as_reward() if reward else None
            beside = 0.0 if held.rank is not None else held.w * found.parameters
            if judge is not None and reward is not None:
                judging = self.read_in(way, reward, "training") * judge.parameters
                beside += 0 if self.on_one_base(way, held, policy, reward) else judging
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


def largest(*needs: Need) -> Need:
    """Of parts of a stage that follow each other the one that needs most."""
    return max(needs, key=lambda need: need.peak)
