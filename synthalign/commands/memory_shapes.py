"""The shape of a model that a stage reads or writes, told from the config.json of the base model that it began as."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from synthalign.commands.memory import Shape
from synthalign.core.errors import UserError


class Unknown(Exception):
    """A model whose shape cannot be told yet, with the reason."""


def base_of(folder: str, params: Mapping[str, Any]) -> str:
    """The folder below models/base that a model of the graph began as, or the folder itself for one of the user's."""
    parts = Path(folder).parts
    kind, name = (parts[1], parts[-1]) if len(parts) > 1 and parts[0] == "models" else ("", "")
    begins: dict[str, Callable[[], str]] = {
        "reward": lambda: params["train_reward"]["model"],
        "asis_reward": lambda: params["train_asis_reward"]["model"],
        "sft": lambda: params["train_sft"]["model"],
        "dpo": lambda: params["train_dpo"]["model"],
        "ppo": lambda: params["train_ppo"]["policies"][name]["policy"],
        "rrhf": lambda: params["train_rrhf"]["policies"][name]["policy"],
        "group_rl": lambda: params["train_group_rl"]["policies"][name]["policy"],
        "flan": lambda: params["train_flan"]["members"][name]["model"],
    }
    begins |= dict.fromkeys(("ditto", "ditto_sft", "spin"), lambda: params["train_ditto"]["model"])
    return base_of(begins[kind](), params) if kind in begins else folder


def is_adapters(folder: str, params: Mapping[str, Any]) -> bool:
    """Whether a model folder holds adapters alone, or will: they are merged in float32 as they are loaded."""
    from synthalign.generation import model_folder

    parts = Path(folder).parts
    if is_probe(folder, params):
        return False
    kind = parts[1].removesuffix("_sft") if len(parts) > 1 and parts[0] == "models" else ""  # train_ditto makes two
    trainer = params.get(f"train_{kind}")
    if trainer is None:
        return (Path(folder) / model_folder.ADAPTER).is_file()
    return bool(trainer["lora"]) and not trainer["lora"]["merge"]


def is_probe(folder: str, params: Mapping[str, Any]) -> bool:
    """Whether a folder is that of a reward model that is a linear probe: a model of its own, of fewer layers."""
    *above, name = Path(folder).parts or ("",)
    member = params["train_reward"]["feedback"].get(name, {}) if above == ["models", "reward"] else {}
    return member.get("probe") is not None


def shape_of(folder: str, params: Mapping[str, Any]) -> Shape:
    """The shape of a model folder or of one that a stage makes; Unknown with the reason.

    A base model is told from its source, which is there before `base_models` has made a folder of it.
    """
    base = Path(base_of(folder, params))
    if base.suffix in (".yaml", ".yml"):
        raise Unknown("an endpoint: nothing on a device of this machine")
    given = params["base_models"].get(base.name) if base.parts[:2] == ("models", "base") else None
    if given is None:
        return shape(str(base), None)
    return shape(given["source"], given.get("revision"))


def configuration(source: str, revision: str | None) -> Any:
    """What a config.json says: of a folder, where it holds adapters without one of their base, or of a hub model in the
    cache; or what would stand in that of a GGUF file, by its header. Unknown where none can be read."""
    from transformers import AutoConfig

    from synthalign.generation import gguf_file, gguf_header, model_folder

    try:
        if source.endswith(".gguf"):
            if not Path(source).is_file():
                raise Unknown(f"{source} is not there yet: bring it")
            header = gguf_header.read(Path(source))
            kind = header.settings.get("general.architecture")
            if kind not in gguf_file.ARCHITECTURES:
                raise Unknown(f"{source} holds a model of the architecture {kind!r}, which is not read here")
            return gguf_file.configuration(header)
        place = str(model_folder.config_file(source).parent) if Path(source).is_dir() else source
        return AutoConfig.from_pretrained(place, revision=revision, local_files_only=True, trust_remote_code=False)
    except UserError as error:
        raise Unknown(str(error)) from error
    except (OSError, ValueError) as error:
        where = "not in the hub's cache: `dvc repro base_models` fetches it" if revision else "not there yet"
        raise Unknown(f"{source} is {where}") from error


@cache
def shape(source: str, revision: str | None) -> Shape:
    """The shape of the model that `configuration` finds."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = configuration(source, revision)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.tie_weights()
    text = config.get_text_config()
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    heads = text.num_attention_heads
    depth = getattr(text, "head_dim", None) or text.hidden_size // heads
    weights = [
        module.weight.T if isinstance(module, Conv1D) else module.weight  # GPT-2's layers have (in, out)
        for module in model.modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    ]
    return Shape(
        parameters=model.num_parameters(),
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=heads * depth,
        key_heads=(getattr(text, "num_key_value_heads", None) or heads) * depth,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        head_count=heads,
        untied=0 if tied or head is None else head.weight.numel(),
        linears=tuple((weight.shape[1], weight.shape[0]) for weight in weights),
    )
