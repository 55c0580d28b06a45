"""Load models and tokenizers from folders, and say clearly what is wrong with a folder that is not one."""

import json
import os
import shutil
from collections.abc import Set
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from synthalign.core.errors import UserError
from synthalign.dialogue import chat

# Which instructions a processor has decides how sums are rounded, and a rounding is enough to sample another word. With
# these, which PyTorch and MKL read at their first operation, x86 processors of the last ten years take the same path.
os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
os.environ.setdefault("MKL_CBWR", "AVX2")

HEAD = "score.weight"
"""What a reward model has and a language model has not."""


def check_folder(folder: str | Path) -> None:
    """UserError unless the folder holds a configuration, weights as safetensors, and a tokenizer."""
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"{path}: no such model folder; `dvc repro` makes those under models/, others must be there")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: config.json is missing, so this is not a model folder") from error
    except ValueError as error:
        raise UserError(f"{path}/config.json is not JSON: {error}") from error
    if not isinstance(config, dict) or not config.get("model_type"):
        raise UserError(f"{path}/config.json names no model_type, so transformers cannot load it")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{path}: no *.safetensors; convert the weights (pickled weights are never loaded)")
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file} does not hold weights ({error}); where it is a pointer of Git LFS, fetch the file itself"
            ) from error
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise UserError(f"{path}: no tokenizer (tokenizer.json, tokenizer.model or vocab.json) beside the model")


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with our chat template where it has none.

    UserError when it has no end-of-sequence token, or no padding token of its own: with the two the same,
    "the last real token" is not defined.
    """
    check_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # the tokenizers library knows no class of its own
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({type(error).__name__}: {error})") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"{folder}: the tokenizer has no eos_token; set one in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: the tokenizer has no pad_token; set `pad_token` of this model in base_models")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise UserError(
            f"{folder}: pad_token and eos_token are both {tokenizer.eos_token!r}; set `pad_token` of this "
            "model in base_models to another token of its vocabulary"
        )
    if tokenizer.chat_template is None:
        tokenizer.chat_template = chat.CHAT_TEMPLATE
    tokenizer.padding_side = "right"
    return tokenizer


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a text of this model: the tokenizer's, and those of its config and generation config.

    Models have several (Llama 3: the end of a text and the end of a turn); what is taught is the tokenizer's, what
    counts as an end is any.
    """
    ends = {tokenizer.eos_token_id}
    for given in (model.config.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        ends |= set(given) if isinstance(given, list) else {given}
    return ends - {None}


def fix_rounding() -> None:
    """Take one thread where there is no GPU: sums over several round otherwise on a machine with other cores."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def free_cores(device: torch.device) -> int:
    """How many threads beside each other fill this process's share of the machine's cores; one on a GPU."""
    if device.type != "cpu":
        return 1
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def load_causal(folder: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A language model in evaluation mode; UserError unless the folder has all of its weights."""
    return _load(AutoModelForCausalLM, folder, dtype=dtype)


def _load(kind: Any, folder: str | Path, *, new: Set[str] = frozenset(), **settings: Any) -> PreTrainedModel:
    """The model of a folder in evaluation mode.

    new  weights that the folder need not have; any other that is missing would be drawn at random, without a word
    """
    check_folder(folder)
    fix_rounding()
    try:
        model, found = kind.from_pretrained(str(folder), trust_remote_code=False, output_loading_info=True, **settings)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: transformers cannot load the model ({error})") from error
    missing = sorted(set(found["missing_keys"]) - new)
    if missing == [HEAD]:
        raise UserError(f"{folder} is no reward model, it has no head ({HEAD}); name one that train_reward made")
    if missing:
        raise UserError(f"{folder}: {len(missing)} weights are missing, {missing[0]} among them; copy it again, whole")
    return model.eval()


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write a model and its tokenizer in place of what is in the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def load_reward(folder: str | Path, dtype: torch.dtype = torch.float32, *, new_head: bool = False) -> PreTrainedModel:
    """A body with a scalar head; UserError unless the folder has all of its weights.

    new_head  it need not have the head, as a base model has none: it is drawn with torch's generator, to be trained
    """
    new = {HEAD} if new_head else frozenset()
    return _load(AutoModelForSequenceClassification, folder, new=new, num_labels=1, dtype=dtype)
