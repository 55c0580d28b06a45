"""Continue texts with vLLM, one engine a process.  It is an extra: a GPU build brings its own PyTorch.

The long prefix is computed once (prefix caching).  Every request has a seed of its own, so no row depends on another's
text; but how sums round depends on the batch that a row is in, so two runs may differ in a word.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.generation import model_folder, models, sampling
from synthalign.generation.generate import Generation, tokenize

if TYPE_CHECKING:
    from vllm import CompletionOutput, LLMEngine


def dtype(folder: str) -> str:
    """vLLM's name of `weights.reading` of hardware.yaml, and for `auto` of the type that a folder has its weights in.

    Its own `auto` reads a float32 folder in 16 bits, which rounds away what DPO and PPO change at their small rates.
    """
    said = hardware.read().weights.reading
    if said == "auto":
        config = json.loads(model_folder.config_file(folder).read_text("utf-8"))
        return "float32" if config.get("dtype", config.get("torch_dtype")) == "float32" else "auto"
    return {"fp32": "float32", "bf16": "bfloat16"}[said]


def check_installed() -> None:
    """UserError unless vLLM is there."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError("engine = vllm, but vLLM is not installed; it is an extra: pip install '.[vllm]'")


def load(folder: str, *, gpu: int | None) -> "LLMEngine":
    """An engine with the model of a folder, on the GPU of this number; on the CPU for None."""
    model_folder.check(folder)
    if len(model_folder.chain(folder)) > 1:
        raise UserError(
            f"{folder} holds adapters, and engine = vllm reads whole models; set merge: true in `lora` of the stage "
            "that trains it, or engine: transformers"
        )
    check_installed()
    from vllm import EngineArgs, LLMEngine

    return LLMEngine.from_engine_args(
        EngineArgs(
            model=folder,
            dtype=dtype(folder),
            device_ids=None if gpu is None else [gpu],
            enable_prefix_caching=True,
            trust_remote_code=False,
            generation_config="vllm",  # ours are the only settings of the sampling
            disable_log_stats=True,
        )
    )


def close(engine: "LLMEngine") -> None:
    """End the engine, so that the next model finds the GPU's memory free."""
    engine.engine_core.shutdown()


def generate(
    engine: "LLMEngine",
    folder: str,
    *,
    prefix: str,
    suffixes: Sequence[str],
    row_ids: Sequence[str],
    samples: int = 1,
    seed: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    stops: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    on_finished: Callable[[int, list[Generation]], None] | None = None,
) -> list[list[Generation]]:
    """`samples` continuations of prefix + suffix for every suffix, as `generate.generate`.

    folder  of the engine's model, for its tokenizer

    Raises UserError when a prompt and `max_new_tokens` do not fit the model's context.
    """
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    if not suffixes:
        return []
    shared, own = tokenize(models.load_tokenizer(folder), prefix, suffixes)
    context = engine.model_config.max_model_len
    longest = len(shared) + max(map(len, own))
    if longest + max_new_tokens > context:
        raise UserError(
            f"a longest prompt of {longest} tokens and max_new_tokens = {max_new_tokens} do not fit the context of "
            f"{folder}, {context} tokens; use fewer shots, shorter demonstrations or fewer new tokens"
        )
    settings: dict[str, Any] = {"n": samples, "max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    settings |= {"stop": list(stops), "output_kind": RequestOutputKind.FINAL_ONLY}
    for at, [stream] in enumerate(sampling.streams(seed, row_ids, 1).tolist()):
        [prompt] = engine.renderer.render_cmpl([TokensPrompt(prompt_token_ids=shared + own[at])])
        engine.add_request(str(at), prompt, SamplingParams(seed=stream % 2**62, **settings))
    results: list[list[Generation]] = [[] for _ in suffixes]
    while engine.has_unfinished_requests():
        for output in engine.step():
            at = int(output.request_id)
            results[at] = [generation(one) for one in sorted(output.outputs, key=lambda one: one.index)]
            if on_finished:
                on_finished(at, results[at])
            if progress:
                progress(1)
    return results


def generation(output: "CompletionOutput") -> Generation:
    """vLLM's finish reason `stop` is ours `stop` with the string that was met, and `eos` without one."""
    reason = "length"
    if output.finish_reason == "stop":
        reason = "stop" if isinstance(output.stop_reason, str) else "eos"
    return Generation(output.text, list(output.token_ids), reason, None)
