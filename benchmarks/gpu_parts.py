"""One part of `benchmarks.gpu` in a process of its own: its figures as a line of JSON.

    python -m benchmarks.gpu_parts dpo 1.5b work_folder       # after the part `model`, which writes the model there

Decoding is compared with transformers' `generate` and with the floor that reading every weight once a step sets;
scoring and training with the rate of a large matrix product (2 FLOP a weight and token forwards, 6 in training). The
trainers are those of the stages, with LoRA on every linear layer; seconds are those between two optimizer steps.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from trl import SFTConfig, SFTTrainer

from benchmarks.contrastive import prefix
from synthalign.commands import memory, memory_shapes
from synthalign.commands.memory import Held, Need, Shape
from synthalign.dialogue import chat
from synthalign.generation import adapters, generate, models
from synthalign.generation.adapters import Lora
from synthalign.policies import dpo_training, one_base, ppo_training, prompting
from synthalign.policies.ppo_settings import Settings as PPOSettings
from synthalign.reward import scoring, training
from synthalign.reward.training_settings import Settings

SIZES: dict[str, dict[str, Any]] = {
    "1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "toy": {
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 2000,
    },
}
TOKENIZER = "data/embedded/models/large"
"""Its words are as good as any to a model that knows none."""

LORA = Lora(rank=16, alpha=32.0, dropout=0.0, target_modules=None, merge=False)
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
RUNS = 3
STEPS = 6
"""Of an optimizer; the seconds are the median of those between two, without the first."""

NEW_TOKENS, ROWS, BATCH = (64, 512, 256) if ON_GPU else (8, 16, 16)
TRAINED, LENGTH = (8, 512) if ON_GPU else (2, 64)
"""Rows of a training batch (pairs in DPO, answers in PPO), and tokens of one."""

SCORED = 256 if ON_GPU else 16
"""Dialogues that are scored."""


# -- measuring --------------------------------------------------------------------------------------------------------


def synchronise() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def timed(run: Callable[[], Any]) -> float:
    """Median seconds of RUNS runs after one that does not count."""
    seconds = []
    for _ in range(RUNS + 1):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def bandwidth() -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.empty(2**28 if ON_GPU else 2**22, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source))


def product_rate() -> float:
    """FLOP a second of a large matrix product in bf16."""
    size = 8192 if ON_GPU else 256
    one = torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16)
    return 2 * size**3 / timed(lambda: one @ one)


def memory_used() -> int:
    """Bytes: the most of a GPU that PyTorch had given out, or the process's largest resident set."""
    return torch.cuda.max_memory_allocated() if ON_GPU else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def trained(train: Callable[[], Any], need: Need, tokens: int, shape: Shape) -> dict[str, float]:
    """Seconds of an optimizer's step, its share of the product rate, and memory beside the plan's."""
    ends: list[float] = []

    def note(*_: Any) -> None:
        synchronise()
        ends.append(time.perf_counter())

    before = 0 if ON_GPU else memory_used()
    hook = register_optimizer_step_post_hook(note)
    train()
    hook.remove()
    gaps = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    seconds, used = median(gaps[1:] or gaps), memory_used() - before
    return {
        "seconds_a_step": seconds,
        "tokens_a_second": tokens / seconds,
        "flops_per_second": 6 * shape.parameters * tokens / seconds,
        "peak_bytes": used,
        "planned_bytes": round(need.peak),
        "planned_to_peak": need.peak / used if used else 0.0,
    }


# -- parts ------------------------------------------------------------------------------------------------------------


def words(count: int) -> str:
    return " ".join(["the", "red", "fox", "of", "old", "Riga"][place % 6] for place in range(count))


def asked(count: int) -> list[str]:
    return [f"Where is number {place}?" for place in range(count)]


def held() -> Held:
    return Held(w=2, a=2, rank=LORA.rank, device="gpu" if ON_GPU else "cpu")


def make(folder: Path, config: LlamaConfig) -> dict[str, float]:
    """Write a policy and a reward model, which is adapters on it."""
    tokenizer = models.load_tokenizer(TOKENIZER)
    with DEVICE:
        policy = LlamaForCausalLM(config).to(dtype=torch.bfloat16).eval()
    models.save(policy, tokenizer, folder / "policy")
    count = policy.num_parameters()
    del policy
    reward_model = models.load_reward(folder / "policy", "training", new_head=True)
    learned = adapters.attach(reward_model, LORA, "SEQ_CLS", 0)
    adapters.save(learned, tokenizer, folder / "reward", LORA, folder / "policy")
    return {"parameters": count}


def machine(folder: Path, config: LlamaConfig) -> dict[str, float]:
    return {"bytes_per_second": bandwidth(), "flops_per_second": product_rate()}


def decoding(folder: Path, config: LlamaConfig) -> dict[str, float]:
    """Tokens a second of the shared-prefix engine and of `generate`, and of a step that only reads the weights."""
    tokenizer = models.load_tokenizer(folder / "policy")
    model: Any = models.load_causal(folder / "policy").to(DEVICE)
    model.generation_config.eos_token_id = None
    texts = [chat.prompt([{"role": "user", "content": text}]) for text in asked(ROWS)]
    made = 0

    def ours() -> None:
        nonlocal made
        answers = generate.generate(
            model, tokenizer, prefix=prefix(), suffixes=texts, row_ids=[str(row) for row in range(ROWS)], seed=0,
            max_new_tokens=NEW_TOKENS, temperature=1.0, top_p=0.9, batch_size=BATCH,
        )  # fmt: skip
        made = sum(len(one.token_ids) for [one] in answers)

    few = min(32, ROWS)
    given = tokenizer([prefix() + text for text in texts[:few]], return_tensors="pt", padding=True, padding_side="left")
    given = {name: value.to(DEVICE) for name, value in given.items() if name != "token_type_ids"}

    def theirs() -> None:
        model.generate(
            **given, do_sample=True, top_p=0.9, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=1
        )

    seconds = timed(ours)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return {
        "tokens_per_second": made / seconds,
        "generate_tokens_per_second": few * NEW_TOKENS / timed(theirs),
        "floor_tokens_per_second": BATCH * bandwidth() / weights,
    }


def scores(folder: Path, config: LlamaConfig) -> dict[str, float]:
    """Dialogues a second, by the reward model's adapters merged into its base."""
    tokenizer = models.load_tokenizer(folder / "reward")
    model: Any = models.load_reward(folder / "reward").to(DEVICE)
    assert isinstance(model, LlamaForSequenceClassification)
    said = words(LENGTH)
    dialogues = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": f"{place} {said}"}]
        for place, text in enumerate(asked(SCORED))
    ]
    tokens = sum(min(LENGTH, len(scoring.encode(tokenizer, one))) for one in dialogues)
    seconds = timed(lambda: scoring.score(model, tokenizer, dialogues, batch_size=64, max_length=LENGTH))
    return {
        "dialogues_per_second": SCORED / seconds,
        "tokens_per_second": tokens / seconds,
        "flops_per_second": 2 * model.num_parameters() * tokens / seconds,
    }


def sft(folder: Path, config: LlamaConfig) -> dict[str, float]:
    """As `train_sft`, every token learned."""
    ids = torch.randint(3, 1000, (STEPS * TRAINED, LENGTH)).tolist()

    def train() -> None:
        trainer = SFTTrainer(
            model=training.to_train(
                models.load_causal(folder / "policy", "training"), LORA, "CAUSAL_LM", seed=0
            ),
            args=training.arguments(
                SFTConfig, work=folder / "sft", steps=STEPS, batch_size=TRAINED, learning_rate=1e-5, warmup=0.0,
                weight_decay=0.0, seed=0, max_length=None,
            ),
            train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in ids]),
            processing_class=models.load_tokenizer(folder / "policy"),
        )  # fmt: skip
        training.fit(trainer)

    shape = memory_shapes.shape(str(folder / "policy"), None)
    need = memory.training(held(), shape, rows=TRAINED, tokens=LENGTH, accumulates=False)
    return trained(train, need, TRAINED * LENGTH, shape)


def dpo(folder: Path, config: LlamaConfig) -> dict[str, float]:
    tokenizer = models.load_tokenizer(folder / "policy")
    said = words(2 * LENGTH)
    kept = str(tokenizer.decode(tokenizer(said)["input_ids"][: LENGTH - 40]))
    pairs = [
        {
            "comparison_id": f"{row}",
            "query_id": f"{row}",
            "prompt": [{"role": "user", "content": f"{row} {said}"}],
            "chosen": [{"role": "assistant", "content": kept}],
            "rejected": [{"role": "assistant", "content": f"No. {kept}"}],
            "chosen_finish_reason": "eos",
            "rejected_finish_reason": "eos",
            "p_chosen": 1.0,
        }
        for row in range(STEPS * TRAINED)
    ]
    settings = Settings(
        epochs=1, warmup=0.0, weight_decay=0.0, seed=0, batch_size=TRAINED, max_length=LENGTH, lora=LORA
    )
    shape = memory_shapes.shape(str(folder / "policy"), None)
    need = memory.training(held(), shape, rows=2 * TRAINED, tokens=LENGTH, accumulates=False)

    def train() -> None:
        dpo_training.train(
            pairs, base_model=folder / "policy", folder=folder / "dpo", work=folder / "dpo-steps", beta=0.1,
            learning_rate=1e-5, settings=settings,
        )  # fmt: skip

    return trained(train, need, 2 * TRAINED * LENGTH, shape)


def ppo(folder: Path, config: LlamaConfig) -> dict[str, float]:
    """Two steps with two passes over their answers each; the seconds are those of updates."""
    start = str(folder / "policy")
    policy, tokenizer = models.load_causal(start, "training"), models.load_tokenizer(start)
    reward_model = one_base.reward_of(policy, LORA, folder=start, reward=str(folder / "reward"))
    one_base.learner(policy, LORA, seed=0)
    prompts = prompting.make_prompts([(text, text) for text in asked(TRAINED)], tokenizer, longest=64)
    settings = PPOSettings(
        seed=0, steps=2, rollout_batch=TRAINED, minibatch=TRAINED, epochs=3, learning_rate=1e-5,
        value_learning_rate=1e-5, schedule="constant", warmup_steps=0, clip=0.2, value_clip=0.2, discount=1.0,
        gae_lambda=0.95, kl_coefficient=0.1, kl_target=None, kl_horizon=1e4, turn_ends=False,
        missing_stop_penalty=-1.0,
        whiten_rewards=False, temperature=1.0, max_new_tokens=NEW_TOKENS, max_gradient_norm=1.0, ptx_coefficient=0.0,
        ptx_batch=0, snapshot_every=0, checkpoint_every=1000, device_batch_size=TRAINED, lora=LORA,
    )  # fmt: skip
    rows: list[tuple[float, dict[str, Any]]] = []

    def train() -> None:
        ppo_training.train(
            Accelerator(), policy, reward_model, tokenizer, settings, prompts=prompts, questions=prompts[:1],
            ptx_texts=[], folder=folder / "ppo", report=lambda row: rows.append((time.perf_counter(), row)),
        )  # fmt: skip

    shape = memory_shapes.shape(start, None)
    read = max(len(prompt.token_ids) for prompt in prompts)
    need = memory.loop(
        held(), shape, value=shape.as_reward(), rows=TRAINED, prompt=read, new=NEW_TOKENS, accumulates=False
    )
    found = trained(train, need, 2 * TRAINED * (read + NEW_TOKENS), shape)  # of two models
    (first, _), (second, _) = rows
    return found | {"answers_a_second": TRAINED / (second - first)}


PARTS: dict[str, Callable[[Path, LlamaConfig], dict[str, float]]] = {
    "model": make,
    "machine": machine,
    "decoding": decoding,
    "scoring": scores,
    "sft": sft,
    "dpo": dpo,
    "ppo": ppo,
}


def main(part: str, size: str, work: str) -> None:
    given = Path(work, "hardware.yaml")
    given.write_text("weights: {training: bf16, reading: bf16}\n", encoding="utf-8")
    os.environ["SYNTHALIGN_HARDWARE"] = str(given)
    tokenizer = models.load_tokenizer(TOKENIZER)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(max_position_embeddings=2048, bos_token_id=None, **ends, **SIZES[size])
    found = PARTS[part](Path(work), config)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in found.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
