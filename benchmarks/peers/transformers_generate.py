"""`generate` of transformers on whole prompts, padded on the left, `batch` (32) at a time, on all cores.

Without stop strings, which would slow it down: what it writes after one counts for it.
"""

import torch
from protocol import serve, work
from transformers import AutoModelForCausalLM, AutoTokenizer

asked = work()
BATCH = asked.get("batch", 32)
model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=asked.get("dtype", "float32")).eval()
tokenizer = AutoTokenizer.from_pretrained(asked["model"], padding_side="left")
prompts = sorted((asked["prefix"] + query for query in asked["queries"]), key=len)


@torch.inference_mode()
def run() -> int:
    tokens = 0
    for start in range(0, len(prompts), BATCH):
        given = tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True)
        made = model.generate(
            **given,
            do_sample=True,
            temperature=asked["temperature"],
            top_p=asked["top_p"],
            top_k=0,
            max_new_tokens=asked["max_new_tokens"],
            pad_token_id=tokenizer.pad_token_id,
        )
        tokens += int((made[:, given["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())
    return tokens


serve(run, "transformers", "torch")
