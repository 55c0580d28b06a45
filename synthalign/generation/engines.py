"""Who writes: a model folder with transformers or vLLM, or an endpoint; one call for all three.

with engines.opened(model, engine, work) as write:
    made = parallel.generated(write, folder=work, ...)
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from synthalign.core import shards
from synthalign.generation import endpoint, generate, models, openai_engine, parallel, vllm_engine
from synthalign.generation.generate import Generation
from synthalign.generation.spending import Spending, Tokens, paid

Engine = Literal["transformers", "vllm"]
"""What continues texts with a model folder; an endpoint needs none of them."""

Write = Callable[..., list[list[Generation]]]
"""`generate.generate` with its model and tokenizer, or another engine's with what it needs."""

ERROR_RATE = 0.01
"""Share of a stage's continuations whose logits may be not finite; each is a row with finish_reason `error`."""


@contextmanager
def opened(model: str, engine: Engine, folder: Path) -> Iterator[Write]:
    """The `generate` of an engine with its model, for every process; what it holds is given back at the end.

    A model is loaded when the first text is asked for: where shards have made all rows, never.

    model   a model folder or the file of an endpoint
    folder  the stage's scratch folder, which remembers what an endpoint was paid
    """
    here = parallel.state()
    if here.is_local_main_process:
        shards.bring(folder)
    here.wait_for_everyone()
    if endpoint.is_endpoint(model):
        count: dict[str, Any] = {"process": parallel.journal_name(), "processes": parallel.taker()[1]}
        spending = Spending.open(folder, model, endpoint.read(model), **count)
        here.wait_for_everyone()  # nobody spends before all have read what was spent
        try:
            yield partial(openai_engine.generate, spending)
        finally:
            spending.close()
        return
    with ExitStack() as held:

        @cache
        def loaded() -> Callable[..., list[list[Generation]]]:
            if engine == "vllm":
                gpu = here.local_process_index if here.device.type == "cuda" else None
                started = vllm_engine.load(model, gpu=gpu)
                held.callback(vllm_engine.close, started)
                return partial(vllm_engine.generate, started, model)
            causal, tokenizer = models.load_causal(model).to(here.device), models.load_tokenizer(model)
            return partial(generate.generate, causal, tokenizer, error_rate=ERROR_RATE)

        def write(**given: Any) -> list[list[Generation]]:
            return loaded()(**given)

        try:
            yield write
        finally:
            loaded.cache_clear()  # the caller still has `write`, and would keep the model beside what it loads next


def inputs(model: str, engine: Engine) -> list[str | Path]:
    """What of a model and its engine decides on what a row says besides the code, for `stage.work_dir`.

    Of an endpoint that is its address and the model's name there: a higher cap or a further replica must not lose what
    was paid for.
    """
    if endpoint.is_endpoint(model):
        given = endpoint.read(model)
        return [given.identity, given.model]
    return [engine, Path(model)]


def bill(models: Iterable[str], folder: Path) -> dict[str, int]:
    """The tokens that a stage paid endpoints for, for its metrics; empty where all its models are folders."""
    asked = sorted({model for model in models if endpoint.is_endpoint(model)})
    if not asked:
        return {}
    total = sum((paid(folder, file) for file in asked), Tokens())
    return {"prompt_tokens": total.prompt, "completion_tokens": total.completion}
