"""Load models and tokenizers from folders, and say clearly what is wrong with a folder that is not one."""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.generation import adapters, model_folder, precision

CPUINFO = Path("/proc/cpuinfo")
IS_INTEL = CPUINFO.exists() and "GenuineIntel" in CPUINFO.read_text()

HELD = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2,STRICT" if IS_INTEL else "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16",
}
"""What PyTorch, MKL and oneDNN are held to unless the environment says otherwise; they look at their first operation.

Which instructions a processor has decides how sums are rounded, and a rounding is enough to sample another word. With
these, x86 processors of one make take the same path (docs/decisions/0004). On Intel's, MKL has to be strict, or how a
row is rounded hangs on how many others there are; and with AMX, oneDNN lets PyTorch 2.13 pack attention in bf16 for
kernels that those for AVX2 have not.
"""

NATIVE = {"MKL_CBWR": "AUTO,STRICT"} if IS_INTEL else {}
"""The same with `instructions: native` in hardware.yaml: all that this processor has, rows rounded by themselves."""


def choose_instructions() -> None:
    """Set HELD or NATIVE in the environment, but for what stands there; hardware.yaml says which."""
    chosen = HELD
    with suppress(UserError):  # of a wrong hardware.yaml every stage and command says what is wrong
        chosen = NATIVE if hardware.read().instructions == "native" else HELD
    for name, value in chosen.items():
        os.environ.setdefault(name, value)


choose_instructions()

HEAD = "score.weight"
"""What a reward model has and a language model has not."""


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with the chat template of our dialogues in place of its own.

    UserError when it has no end-of-sequence token, or no padding token of its own: with the two the same,
    "the last real token" is not defined.
    """
    tokenizer = read_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise UserError(f"{folder}: the tokenizer has no eos_token; set one in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: the tokenizer has no pad_token; set `pad_token` of this model in base_models")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise UserError(
            f"{folder}: pad_token and eos_token are both {tokenizer.eos_token!r}; set `pad_token` of this "
            "model in base_models to another token of its vocabulary"
        )
    tokenizer.chat_template = encoding.chat_template(tokenizer)
    tokenizer.padding_side = "right"
    return tokenizer


def read_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder as it is there, perhaps without the tokens that `load_tokenizer` asks for."""
    model_folder.check(folder)
    try:
        place = model_folder.tokenizer_folder(folder)
        tokenizer = _as_filed(AutoTokenizer.from_pretrained(str(place), trust_remote_code=False), place)
        _begin_as_told(tokenizer, place)
    except Exception as error:  # the tokenizers library knows no class of its own
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({type(error).__name__}: {error})") from error
    tokenizer.init_kwargs.pop("local_files_only", None)  # saved with it, HF_HUB_OFFLINE would be a part of the model
    return tokenizer


def _as_filed(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with the normalizer and the pre-tokenizer of tokenizer.json, where there is one.

    Some classes take vocabulary and merges of it, and split texts by rules of their own: GPT2Tokenizer, which SmolLM2
    and StarCoder2 name, leaves out that numbers are split into digits
    (findings/transformers_tokenizer_forgets_its_pre_tokenizer.sh).
    """
    file = folder / "tokenizer.json"
    if type(tokenizer) is PreTrainedTokenizerFast or not isinstance(tokenizer, PreTrainedTokenizerFast):
        return tokenizer
    if not file.exists() or _rules(Tokenizer.from_file(str(file))) == _rules(tokenizer.backend_tokenizer):
        return tokenizer
    kept = ("model_input_names", "padding_side", "truncation_side", "clean_up_tokenization_spaces")
    settings = {name: getattr(tokenizer, name) for name in kept} | tokenizer.special_tokens_map
    return PreTrainedTokenizerFast.from_pretrained(str(folder), **settings)


def _begin_as_told(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Put a BOS in front, or leave it out, as `add_bos_token` of tokenizer_config.json says.

    transformers 5 drops that key where there is a tokenizer.json, and takes the latter's post-processor; transformers 4
    had these classes obey it, and models of the DeepSeek family were trained behind the BOS that only the key names
    (findings/transformers_forgets_add_bos_token.sh).
    """
    file = folder / "tokenizer_config.json"
    told = json.loads(file.read_text("utf-8")) if file.exists() else {}
    begins, name = told.get("add_bos_token"), str(told.get("tokenizer_class")).removesuffix("Fast")
    if not isinstance(begins, bool) or name not in OBEYING or tokenizer.bos_token_id is None:
        return
    if (encoding.opening(tokenizer) == [tokenizer.bos_token_id]) != begins:
        tokenizer.add_bos_token = begins


OBEYING = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")
"""Classes that built their post-processor from `add_bos_token` in transformers 4."""


def _rules(tokenizer: Tokenizer) -> list[bytes | None]:
    """How a text becomes words, before a vocabulary is looked at."""
    return [part and part.__getstate__() for part in (tokenizer.normalizer, tokenizer.pre_tokenizer)]


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a text of this model: the tokenizer's, and those of its config and generation config.

    Models have several (Llama 3: the end of a text and the end of a turn); what is taught is the tokenizer's, what
    counts as an end is any.
    """
    ends = {tokenizer.eos_token_id}
    for config in (model.config, model.config.get_text_config(), model.generation_config):
        given = getattr(config, "eos_token_id", None)
        ends |= set(given) if isinstance(given, list) else {given}
    return ends - {None}


def context_of(model: PreTrainedModel) -> int | None:
    """The most tokens that the model was made to read at once; None where its config names no limit.

    A model that reads texts and images has it in the part of its config that is about texts.
    """
    return _context(model.config)


def _context(config: PretrainedConfig) -> int | None:
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def check_length(folder: str | Path, setting: str, tokens: int) -> None:
    """UserError where a setting lets texts be longer than the model of a folder reads; config.json alone is opened.

    Learned positions would fail in the middle of a training; rotary ones go on beyond what the model has ever seen.
    """
    place = model_folder.config_file(folder).parent
    try:
        context = _context(AutoConfig.from_pretrained(str(place), trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: transformers cannot read config.json ({error})") from error
    if context is not None and tokens > context:
        raise UserError(
            f"{setting} = {tokens}, but {folder} reads {context} tokens at most; set it to {context} or less"
        )


def vocabulary_of(model: PreTrainedModel) -> int:
    """The logits that the model makes of a token."""
    return int(model.get_output_embeddings().weight.shape[0])  # type: ignore[union-attr, arg-type]


def fix_rounding(use: hardware.Use = "reading") -> None:
    """Take one thread where there is no GPU: sums over several round otherwise on a machine with other cores.

    A trainer takes as many as hardware.yaml says, which is one without a word from it. A GPU takes TF32 if that file
    says so.
    """
    here = hardware.read()
    if not torch.cuda.is_available():
        torch.set_num_threads(here.threads if use == "training" else 1)
    elif here.tf32:
        torch.set_float32_matmul_precision("high")


def keep_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones.

    Else every tensor of more than some hundred KB is mapped, zeroed and given back anew, page by page: six times the
    page faults in PPO of a small model. What the environment says of malloc is left as it is.
    """
    said = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if sys.platform == "linux" and not said and not torch.cuda.is_available():
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        for option, size in ((M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, KEPT // 16)):
            if set_option is not None:
                set_option(option, size)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Of malloc.h."""

KEPT = 1 << 30
"""Bytes that a process keeps for itself when it has freed them."""


def free_cores(device: torch.device) -> int:
    """How many threads beside each other fill this process's share of the machine's cores; one on a GPU."""
    if device.type != "cpu":
        return 1
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def beside(count: int) -> ThreadPoolExecutor:
    """So many threads that work beside each other; where there are several, an operation of each takes one core.

    A trainer whose operations take several (`threads` of hardware.yaml) would else have more of them at work than the
    machine has cores, and each operation waits for its last part.
    """
    each = 1 if count > 1 else torch.get_num_threads()
    return ThreadPoolExecutor(count, initializer=partial(torch.set_num_threads, each))


def load_causal(folder: str | Path, use: hardware.Use = "reading") -> PreTrainedModel:
    """A language model in evaluation mode; UserError unless the folder has all of its weights.

    use  `training` where a trainer holds it: hardware.yaml names the type of weights for each
    """
    return _load(AutoModelForCausalLM, folder, use=use)


def _load(
    kind: Any, folder: str | Path, *, use: hardware.Use = "reading", new: Set[str] = frozenset(), **settings: Any
) -> PreTrainedModel:
    """The model of a folder in evaluation mode; adapters are merged into their base, in float32.

    new  weights that the folder need not have; any other that is missing would be drawn at random, without a word
    """
    model_folder.check(folder)
    fix_rounding(use)
    keep_memory()
    *above, base = model_folder.chain(folder)
    settings |= precision.loading(hardware.read(), use, adapted=bool(above))
    settings |= {"trust_remote_code": False, "output_loading_info": True, "ignore_mismatched_sizes": True}
    if above:
        place = model_folder.config_file(folder).parent
        own = {name: settings.pop(name) for name in ("num_labels",) if name in settings}
        settings["config"] = AutoConfig.from_pretrained(str(place), trust_remote_code=False, **own)
        new = new | {HEAD for one in above if adapters.has_head(one)}
    try:
        model, found = kind.from_pretrained(str(base), **settings)
    except (OSError, ValueError, KeyError) as error:  # the last, for a kind of positions that transformers has not
        said = f"config.json names {error}, which it does not know" if isinstance(error, KeyError) else error
        raise UserError(f"{folder}: transformers cannot load the model ({said})") from error
    missing = sorted(set(found["missing_keys"]) - new)
    if missing == [HEAD]:
        raise UserError(f"{folder} is no reward model, it has no head ({HEAD}); name one that train_reward made")
    if missing:
        raise UserError(f"{folder}: {len(missing)} weights are missing, {missing[0]} among them; copy it again, whole")
    for name, there, expected in sorted(found["mismatched_keys"]):
        raise UserError(
            f"{folder}: {name} has the shape {list(there)}, by config.json it is {list(expected)}; the two are of "
            "different models: copy both again"
        )
    for one in reversed(above):
        model = adapters.merged(model, one)
    if above and (Path(folder) / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(str(folder))
    model.name_or_path = str(folder)
    keep_what_can_be_saved(model)
    return model.eval()


def keep_what_can_be_saved(model: PreTrainedModel) -> None:
    """Leave in the generation_config of a model its tokens alone, where transformers would not write the whole.

    Files of older models sample (`temperature`) without `do_sample`.  They are read, and written as long as nothing in
    them has changed; after a training that chose another padding token they are not.  Nothing of ours reads them.
    """
    given = getattr(model, "generation_config", None)
    try:
        if given is not None:
            given.validate(strict=True)
    except ValueError:
        tokens = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
        ids = {name: getattr(given, name) for name in tokens}
        model.generation_config = GenerationConfig(**{name: one for name, one in ids.items() if one != -1})  # none


def check_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase, pad_token: str | None) -> list[str]:
    """UserError unless the folder's tokenizer has the pad token, and its language model a row for each of its tokens.

    Special tokens that were added beyond the rows and have no part in a text, as Gemma 3's for images, may be missing:
    these come back, to be left out.

    Opens the model by config.json and the headers of its weights, none of which is loaded; UserError as `load_causal`.
    """
    vocabulary = tokenizer.get_vocab()
    if pad_token is not None and pad_token not in vocabulary:
        raise UserError(
            f"base_models: `pad_token` {pad_token!r} is not in the vocabulary of {folder}, so the model has no row for "
            "it; take a token that is, and that no text holds; the special ones there: "
            f"{', '.join(tokenizer.all_special_tokens)}"
        )
    embedding = _load(AutoModelForCausalLM, folder, device_map="meta").get_input_embeddings().weight
    assert isinstance(embedding, torch.Tensor)
    rows = embedding.shape[0]
    beyond = sorted((place, token) for token, place in vocabulary.items() if place >= rows)
    added = tokenizer.added_tokens_decoder
    named = {pad_token or tokenizer.pad_token, *(getattr(tokenizer, f"{name}_token") for name in ("bos", "eos", "unk"))}
    spare = [token for place, token in beyond if place in added and added[place].special and token not in named]
    if len(spare) < len(beyond):
        beyond = [(place, token) for place, token in beyond if token not in spare]
        place, token = beyond[0]
        files = [folder / name for name in model_folder.NAMES_OF_TOKENS if (folder / name).exists()]
        holds = [str(file) for file in files if json.dumps(token, ensure_ascii=False) in file.read_text("utf-8")]
        raise UserError(
            f"{' and '.join(holds) or f'{folder}, by the class of its tokenizer'}: the token {token!r} has the id "
            f"{place}, one of {len(beyond)} without a row in the model's input embedding, which has {rows}; bring "
            "tokenizer and weights of one model, or take tokens that no text needs out of these files"
        )
    return spare


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write a model and its tokenizer in place of what is in the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def load_reward(folder: str | Path, use: hardware.Use = "reading", *, new_head: bool = False) -> PreTrainedModel:
    """A body with a scalar head; UserError unless the folder has all of its weights.

    use       as in `load_causal`
    new_head  it need not have the head, as a base model has none: it is drawn with torch's generator, to be trained
    """
    new = {HEAD} if new_head else frozenset()
    return _load(AutoModelForSequenceClassification, folder, use=use, new=new, num_labels=1)


def check_reward(folder: str | Path) -> None:
    """UserError as `load_reward` and `load_tokenizer` have it, before any weights are loaded: for what reads the model
    after hours of sampling."""
    load_tokenizer(folder)
    *above, base = model_folder.chain(folder)
    new = {HEAD} if any(adapters.has_head(one) for one in above) else frozenset()
    _load(AutoModelForSequenceClassification, base, new=new, num_labels=1, device_map="meta")
