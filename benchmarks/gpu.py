"""`make bench-gpu`: decoding, reward scoring and training steps of a large random model, and what the device can do.

    python -m benchmarks.gpu                  # the shape of a 1.5B model in bf16, on a GPU
    python -m benchmarks.gpu --size 7b        # of a 7B Llama
    python -m benchmarks.gpu --size toy       # the same code with a small shape, on any machine

Weights are random, so texts are noise and times are real. Decoding is compared with transformers' `generate` and with
the floor that reading every weight once a step sets; scoring and training with the rate of a large matrix product.
On a GPU the figures go to benchmarks/results/<name of the GPU>-<size>.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.bench import versions
from benchmarks.contrastive import MODEL, prefix, queries
from synthalign.generation import generate, models

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
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 2000,
    },
}
NEW_TOKENS = 64
RUNS = 5


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


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.empty(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source))


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    one = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / timed(lambda: one @ one)


def decoding(model: PreTrainedModel, rows: int, batch: int, bytes_a_second: float) -> dict[str, float]:
    """Tokens a second of the shared-prefix engine and of `generate`, and of a step that only reads the weights."""
    tokenizer = models.load_tokenizer(MODEL)
    texts = queries(rows)

    def ours() -> int:
        made = generate.generate(
            model, tokenizer, prefix=prefix(), suffixes=texts, row_ids=[str(row) for row in range(rows)], seed=0,
            max_new_tokens=NEW_TOKENS, temperature=1.0, top_p=0.9, batch_size=batch,
        )  # fmt: skip
        return sum(len(one.token_ids) for [one] in made)

    given = tokenizer([prefix() + text for text in texts[:32]], return_tensors="pt", padding=True, padding_side="left")
    given = {name: value.to(model.device) for name, value in given.items() if name != "token_type_ids"}

    def theirs() -> None:
        model.generate(
            **given, do_sample=True, top_p=0.9, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=1
        )

    tokens = ours()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return {
        "tokens_per_second": tokens / timed(ours),
        "generate_tokens_per_second": 32 * NEW_TOKENS / timed(theirs),
        "floor_tokens_per_second": batch * bytes_a_second / weights,
    }


def utilisation(model: PreTrainedModel, rows: int, flops_a_second: float) -> dict[str, float]:
    """Share of the matrix-product rate that forward passes (2 FLOP a weight and token) and training steps (6) reach."""
    ids = torch.randint(3, 1000, (rows, 512), device=model.device)
    size = sum(parameter.numel() for parameter in model.parameters()) * ids.numel()

    def forward() -> None:
        with torch.inference_mode():
            model.base_model(input_ids=ids, use_cache=False)

    def step() -> None:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        model.zero_grad(set_to_none=True)

    return {
        "scoring_utilisation": 2 * size / timed(forward) / flops_a_second,
        "training_utilisation": 6 * size / timed(step) / flops_a_second,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1.5b")
    size = parser.parse_args().size
    on_gpu = torch.cuda.is_available()
    if size != "toy" and not on_gpu:
        parser.error(f"the {size} shape needs a GPU, and torch sees none; --size toy runs anywhere")
    device, dtype = torch.device("cuda" if on_gpu else "cpu"), torch.bfloat16
    config = LlamaConfig(max_position_embeddings=2048, eos_token_id=None, **SIZES[size])
    with device:
        model: Any = LlamaForCausalLM(config).to(dtype=dtype).eval()
    rows, batch = (512, 256) if on_gpu else (32, 32)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "shape": size,
        "runs": RUNS,
        "versions": versions("torch", "transformers"),
        "bytes_per_second": bandwidth(device),
        "flops_per_second": peak(device, dtype),
    }
    found |= decoding(model, rows, batch, found["bytes_per_second"])
    found |= utilisation(model, 8 if on_gpu else 2, found["flops_per_second"])
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if on_gpu and size != "toy":
        file = Path("benchmarks/results") / f"{found['device'].lower().replace(' ', '-')}-{size}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
