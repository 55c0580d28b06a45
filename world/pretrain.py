"""Pre-training of a base model on packed tokens: a plain loop over one array."""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from world.params import ModelShape, Params

BETAS, WEIGHT_DECAY, CLIP, WARM_UP, FINAL_LR = (0.9, 0.95), 0.1, 1.0, 100, 0.05


def pack(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """All documents in one row of token ids, each followed by the end token. Shape (tokens,), uint16."""
    rows: list[np.ndarray] = []
    backend, end = tokenizer.backend_tokenizer, [tokenizer.eos_token_id]
    for start in tqdm(range(0, len(texts), 2000), desc="tokenise", unit="k docs", unit_scale=2.0):
        for encoding in backend.encode_batch_fast(texts[start : start + 2000]):
            rows.append(np.array(encoding.ids + end, dtype=np.uint16))
    return np.concatenate(rows)


def build_model(shape: ModelShape, params: Params, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with tied embeddings and random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=params.max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(tokens: np.ndarray, *, length: int, size: int, steps: int, seed: int) -> np.ndarray:
    """Start offsets of the sequences, shape (steps, size): whole epochs in a new random order each, then cut."""
    rng = np.random.default_rng(seed)
    per_epoch = (len(tokens) - 1) // length
    offsets: list[np.ndarray] = []
    while sum(map(len, offsets)) < steps * size:
        shift = rng.integers(0, len(tokens) - per_epoch * length)
        offsets.append(rng.permutation(per_epoch) * length + shift)
    return np.concatenate(offsets)[: steps * size].reshape(steps, size)


def learning_rate(step: int, *, peak: float, steps: int) -> float:
    """Linear warm-up, then a cosine down to 5% of the peak."""
    warm_up = min(WARM_UP, steps // 5 + 1)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return peak * (FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * progress)))


def loss_of(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Mean next-token loss in nats. `batch` has shape (B, T + 1)."""
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


@torch.inference_mode()
def held_out_loss(model: LlamaForCausalLM, tokens: np.ndarray, *, length: int, size: int) -> float:
    """Mean loss over the first sequences of held-out tokens."""
    starts = range(0, min(len(tokens) - 1, 64 * length) - length, length)
    rows = torch.from_numpy(np.stack([tokens[s : s + length + 1] for s in starts]).astype(np.int64))
    model.eval()
    losses = [loss_of(model, part).item() * len(part) for part in rows.split(size)]
    model.train()
    return sum(losses) / len(rows)


def start(
    folder: Path | None, shape: ModelShape, params: Params, tokenizer: PreTrainedTokenizerFast, *, seed: int
) -> LlamaForCausalLM:
    """The model that a phase begins with: the one saved in `folder`, or a new one."""
    if folder:
        return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(seed)
    return build_model(shape, params, tokenizer)


def pretrain(
    name: str,
    model: LlamaForCausalLM,
    *,
    params: Params,
    train: np.ndarray,
    held_out: np.ndarray,
    peak_lr: float,
    steps: int,
    seed: int,
    journal: Path,
) -> tuple[LlamaForCausalLM, dict]:
    """Train a base model for one phase; gives it and a record of the run. Writes its loss curve to `journal`."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak_lr, betas=BETAS, fused=True)
    length, size = params.sequence_length, params.batch_size
    offsets = batches(train, length=length, size=size, steps=steps, seed=seed)
    started = time.perf_counter()
    curve: list[list[float]] = []
    recent: list[float] = []
    model.train()
    with tqdm(total=steps * size * length, desc=f"pre-train {name}", unit="tok", unit_scale=True) as bar:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, peak=peak_lr, steps=steps)
            rows = np.stack([train[s : s + length + 1] for s in offsets[step]]).astype(np.int64)
            loss = loss_of(model, torch.from_numpy(rows))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            recent.append(loss.item())
            bar.update(size * length)
            if (step + 1) % max(1, steps // 40) == 0 or step + 1 == steps:
                curve.append([step + 1, round(sum(recent) / len(recent), 4)])
                recent = []
                bar.set_postfix(loss=curve[-1][1])
                journal.write_text(json.dumps(curve) + "\n")
    record = {
        "parameters": model.num_parameters(),
        "parameters_without_embeddings": model.num_parameters() - model.model.embed_tokens.weight.numel(),
        "steps": steps,
        "batch_size": size,
        "sequence_length": length,
        "tokens": steps * size * length,
        "lr": peak_lr,
        "held_out_loss": round(held_out_loss(model, held_out, length=length, size=size), 4),
        "loss_curve": curve,
        "threads": torch.get_num_threads(),
        "wall_seconds": round(time.perf_counter() - started, 1),
    }
    return model, record
