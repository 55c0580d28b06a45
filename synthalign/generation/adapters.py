"""LoRA (Hu et al. 2021) with peft: low-rank adapters on a frozen base, what they may be put on, saved and merged.

    W' = W + alpha / rank * B A,   A (rank, in) drawn, B (out, rank) zero, so that training begins at the base

A folder of adapters holds their weights, their settings with the folder of the base, the base's checksum, and the small
files of a model folder; `model_folder.chain` follows it to the base, and `models` loads the two merged.
"""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from accelerate.utils import parse_flag_from_env
from pydantic import AfterValidator, BaseModel, Field
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from synthalign.core.errors import UserError
from synthalign.generation import model_folder

if TYPE_CHECKING:  # peft takes a third of a second to import, which a stage without adapters need not wait for
    from peft import PeftModel

Task = Literal["CAUSAL_LM", "SEQ_CLS"]
"""What is trained: a language model, or a reward or value model, whose head is trained whole beside the adapters."""

HEAD = "score"
"""The module of a reward model that its base need not have."""


class Lora(BaseModel, frozen=True, extra="forbid", strict=True):
    rank: int = Field(gt=0)
    """r: rows of A and columns of B."""

    alpha: float = Field(gt=0)
    """The product is scaled by alpha / rank."""

    dropout: float = Field(ge=0, lt=1)
    """Share of an adapter's inputs dropped in training; above 0 the result depends on the number of processes. Trainers
    that sample drop nothing."""

    target_modules: list[str] | Literal["all-linear"] | None
    """Names of modules, or ends of names, that get adapters; all-linear or null: every linear layer but the head."""

    merge: bool
    """Whether the stage writes the merged model, with the adapters in adapter/ below it; else the adapters alone."""


def _without_dropout(lora: Lora) -> Lora:
    if lora.dropout:
        raise ValueError(
            f"dropout = {lora.dropout}; this trainer compares log-probabilities of the same text, which have to "
            "repeat: set dropout to 0"
        )
    return lora


Repeating = Annotated[Lora, AfterValidator(_without_dropout)]
"""LoRA where log-probabilities of the same text have to repeat, as in reinforcement learning: no dropout."""


def check(folder: str | Path, lora: Lora | None, task: Task) -> None:
    """UserError unless the model of this folder has the modules that are to get adapters; no weights are loaded.

    UserError also for a merged model where accelerate shards its weights.
    """
    if lora is None:
        return
    if lora.merge and parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise UserError("lora: merge needs whole models, and accelerate.yaml shards them (FSDP); set merge: false")
    model_folder.check(folder)
    kind: Any = AutoModelForCausalLM if task == "CAUSAL_LM" else AutoModelForSequenceClassification
    config = AutoConfig.from_pretrained(str(model_folder.config_file(folder).parent), trust_remote_code=False)
    with torch.device("meta"):
        targets(kind.from_config(config, trust_remote_code=False), lora)


def targets(model: PreTrainedModel, lora: Lora) -> list[str]:
    """The names, or ends of names, of the modules that get adapters.

    UserError for a name that no module has; for the head, whose weights TRL's trainers multiply by themselves, past any
    adapters; and for an embedding that is the head as well, to which peft would add its delta twice as it merges.
    """
    modules = dict(model.named_modules())
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    trained = getattr(model, HEAD, None)
    linear = {
        name
        for name, module in modules.items()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head and module is not trained
    }
    ends = {_end(name) for name in linear}
    if lora.target_modules is None or lora.target_modules == "all-linear":
        alone = {name for name in modules if _end(name) in ends} == linear
        return sorted(ends if alone else linear)
    if not lora.target_modules:
        raise UserError("lora: target_modules is empty; name some, or write null for every linear layer")
    is_tied = head is not None and model.config.get_text_config().tie_word_embeddings
    for target in lora.target_modules:
        named = [module for name, module in modules.items() if name == target or name.endswith(f".{target}")]
        if any(module is head or (is_tied and module is embedding) for module in named):
            what = "embedding and head are one matrix (tie_word_embeddings)" if is_tied else "it is the head"
            raise UserError(
                f"lora: target_modules has {target!r}, which takes no adapters in {type(model).__name__}: {what}; "
                f"leave it out; those there are: {', '.join(sorted(ends))}"
            )
        if not any(isinstance(module, (nn.Linear, Conv1D, nn.Embedding)) and module is not trained for module in named):
            raise UserError(
                f"lora: target_modules has {target!r}, which names no layer of {type(model).__name__} that takes "
                f"adapters; those there are: {', '.join(sorted(ends))}"
            )
    return sorted(set(lora.target_modules))


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def attach(model: PreTrainedModel, lora: Lora, task: Task, seed: int) -> "PeftModel":
    """The model, frozen, with new adapters that are trained, and with them a reward model's head; these are float32.

    seed  draws A; equal seeds give equal adapters

    `disable_adapter()` of what comes back is the model as it was, but for the head.  UserError as `targets`.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=targets(model, lora),
        modules_to_save=[HEAD] if task == "SEQ_CLS" else None,  # else it would stay frozen as it was drawn
        task_type=task,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attached: Any = get_peft_model(model, config)
    for parameter in attached.parameters():
        if parameter.requires_grad:  # peft has the adapters so, the head as its base
            parameter.data = parameter.data.float()
    return attached  # type: ignore[no-any-return]


def save(
    model: "PeftModel",
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    lora: Lora,
    base: str | Path,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model with adapters in place of what is in the folder: the adapters, or as `lora.merge` says.

    base   the folder that the model was loaded from
    state  the model's whole weights, where it does not hold them itself

    With `merge` the model in memory is merged too, and is no PeftModel any more.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    _write(model, tokenizer, folder / "adapter" if lora.merge else folder, base, state)
    if lora.merge:
        merged = model.merge_and_unload()
        merged.save_pretrained(str(folder))  # type: ignore[operator]
        tokenizer.save_pretrained(str(folder))


def _write(
    model: "PeftModel",
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    base: str | Path,
    state: Mapping[str, Tensor] | None,
) -> None:
    from peft import get_peft_model_state_dict

    folder.mkdir(parents=True)
    weights = get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False)
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(whole, folder / model_folder.ADAPTER_WEIGHTS, metadata={"format": "pt"})
    settings = model.peft_config["default"].to_dict()
    settings |= {"base_model_name_or_path": str(base), "inference_mode": True}
    sets = {name: sorted(value) for name, value in settings.items() if isinstance(value, set)}  # hashes order a set
    text = json.dumps(settings | sets, indent=2, sort_keys=True)
    (folder / model_folder.ADAPTER).write_text(text + "\n", encoding="utf-8")
    (folder / model_folder.BASE_HASH).write_text(model_folder.weights_hash(base) + "\n", encoding="utf-8")
    bare: Any = model.get_base_model()
    config = copy.deepcopy(bare.config)
    config.architectures = [type(bare).__name__]
    config.save_pretrained(str(folder))
    if bare.can_generate():
        bare.generation_config.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def has_head(folder: Path) -> bool:
    """Whether a reward model's head is among the weights of these adapters."""
    with safe_open(folder / model_folder.ADAPTER_WEIGHTS, framework="pt") as weights:
        return f"base_model.model.{HEAD}.weight" in weights.keys()  # noqa: SIM118


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapters of a folder added to its weights, and the head put in that was trained with them.

    UserError where they are of another kind than LoRA, not those of this model, or for an embedding that is its head as
    well.
    """
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

    settings = json.loads((folder / model_folder.ADAPTER).read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA":
        raise UserError(f"{folder}: adapters of the kind {settings.get('peft_type')}; only LORA can be loaded here")
    weights = load_file(folder / model_folder.ADAPTER_WEIGHTS)
    _check_tied(model, folder, weights)
    config = LoraConfig.from_pretrained(str(folder))
    config.task_type = None  # a policy's adapters may lie below a reward model's
    try:
        with torch.random.fork_rng():  # peft draws them first
            model_with = PeftModel(model, config)
    except ValueError as error:
        raise UserError(f"{folder}: its adapters do not fit {type(model).__name__} ({error})") from error
    there = get_peft_model_state_dict(model_with, save_embedding_layers=False)
    wrong = sorted(there.keys() ^ weights.keys()) or sorted(n for n in there if there[n].shape != weights[n].shape)
    if wrong:
        raise UserError(
            f"{folder}: {wrong[0]}, one of {len(wrong)} tensors, is missing, too much or of another shape than "
            f"{model.name_or_path} asks for; the adapters are of another model: name theirs in {model_folder.ADAPTER}"
        )
    set_peft_model_state_dict(model_with, weights)
    whole: Any = model_with.merge_and_unload()
    if hasattr(whole, "peft_config"):
        del whole.peft_config
    return whole.requires_grad_(True).eval()  # peft had frozen it, and all of it may be trained


def _check_tied(model: PreTrainedModel, folder: Path, weights: Mapping[str, Tensor]) -> None:
    """UserError where adapters are for an embedding that is the head as well: peft merges them into the head as well,
    or twice."""
    head = model.get_output_embeddings()
    if head is None or not model.config.get_text_config().tie_word_embeddings:
        return
    both = (model.get_input_embeddings(), head)
    names = [name for name, module in model.named_modules() if any(module is one for one in both)]
    trained = sorted(name for name in weights if any(f".{one}." in name for one in names))
    if trained:
        raise UserError(
            f"{folder}: {trained[0]} is an adapter of the embedding, which in {model.name_or_path} is the head as well "
            "(tie_word_embeddings); merged, it would count twice: train adapters without it, or merge them where they "
            "were trained and name that folder"
        )
