"""Several models over one set of weights: what adapters leave as it is is in memory once.

A model is a tree of modules with its parameters, and the tree is small: a copy whose parameters are those of the
original costs nothing.  So policy, reference, reward and value model are four trees that differ in adapters and heads.
None switches another's adapters off, so they are read from several threads, sampled from and saved like any model.
"""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.hardware import Use
from synthalign.generation import adapters, model_folder, models
from synthalign.generation.adapters import Lora

TOP = "reward"
"""Name of the adapter that a reward model was trained as; the value model learns a copy of it."""

PLAIN = (".lora_A.weight", ".lora_B.weight", models.HEAD)
"""How the names of tensors end of which a sum of adapters is made."""


def beside(model: PreTrainedModel, *, own: Iterable[nn.Parameter] = ()) -> PreTrainedModel:
    """Another model that says what this one says, of the same weights in the same memory.

    own  the parameters of which it has a copy: what one of the two learns there, the other does not
    """
    copied = {id(parameter) for parameter in own}
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors if id(tensor) not in copied})


def learner(model: PreTrainedModel, lora: Lora | None, *, seed: int) -> Any:
    """The model as what is trained, and saved by `save`: all of its weights, or a new adapter that is put on it.

    Either way `model` itself is what learns: it says at first what it said before.
    """
    return model.requires_grad_(True) if lora is None else adapters.attach(model, lora, "CAUSAL_LM", seed)


def save(
    learner: Any, tokenizer: PreTrainedTokenizerBase, folder: str | Path, *, lora: Lora | None, base: str | Path
) -> None:
    """Write what has learned in place of what is in the folder; `base` is the folder that it began as.

    Merged, an adapter changes the weights that all models on them have: nothing may be read after that.
    """
    if lora is None:
        models.save(learner, tokenizer, folder)
    else:
        adapters.save(learner, tokenizer, folder, lora, base)


def bare(learner: Any) -> PreTrainedModel:
    """What `learner` was made of, for whoever takes no wrapper of peft."""
    model: PreTrainedModel = learner if isinstance(learner, PreTrainedModel) else learner.get_base_model()
    return model


def reference_of(policy: PreTrainedModel) -> PreTrainedModel:
    """The policy before it learns, frozen: the weights below its new adapter, or a copy of all."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    learns = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    reference = beside(policy, own=learns).requires_grad_(False).eval()
    for name, module in list(reference.named_modules()):
        if isinstance(module, BaseTunerLayer):
            reference.set_submodule(name, module.get_base_layer())
    return reference


def value_of(reward_model: PreTrainedModel, lora: Lora | None, *, seed: int) -> PreTrainedModel:
    """A model that gives the values of the reward model and can learn others; the reward model is frozen.

    With adapters it has the reward model's weights, and of its own the head and an adapter: a copy of the one that the
    reward model was trained as, where `reward_of` found it, or a new one.
    """
    reward_model.requires_grad_(False).eval()
    if lora is None:
        return copy.deepcopy(reward_model).requires_grad_(True)
    learned = {name for name, _ in reward_model.named_parameters() if f".{TOP}." in name}
    if not learned:
        value = beside(reward_model)
        adapters.attach(value, lora, "SEQ_CLS", seed)
        return value
    learned.add(models.HEAD)
    value = beside(reward_model, own=[p for name, p in reward_model.named_parameters() if name in learned])
    for name, parameter in value.named_parameters():
        parameter.requires_grad_(name in learned)
    return value


def policy_on(start: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """The policy that `save` wrote with adapters, on the weights of `start`, which it began as."""
    model = beside(start)
    place = next(one for one in (Path(folder) / "adapter", Path(folder)) if (one / model_folder.ADAPTER).exists())
    _put(model, "policy", place, _weights(place), 1.0)
    return model.requires_grad_(False).eval()


def reward_of(
    policy: PreTrainedModel, lora: Lora | None, *, folder: str, reward: str, use: Use = "training"
) -> PreTrainedModel:
    """The reward model of the folder `reward`, as adapters and head on the policy's weights if that can be.

    policy  as it was loaded from `folder`, without a new adapter
    use     what it was loaded for

    It can where an adapter is to be trained, and both folders come from one base, the reward model by LoRA alone.  What
    the policy's own adapters have added to the base is taken off again by adapters of the other sign, so a score
    differs from that of the folder in rounding.  Else it is held beside; so it is where accelerate shards models, and
    where the policy's adapters were merged into weights of 16 bits, which lost some of what would be taken off.
    """
    on = lora is not None and not parse_flag_from_env("ACCELERATE_USE_FSDP")
    return (on and _reward_on(policy, folder, reward)) or models.load_reward(reward, use)


def _reward_on(policy: PreTrainedModel, folder: str, reward: str) -> PreTrainedModel | None:
    below, base = _stack(folder)
    above, other = _stack(reward)
    if base.resolve() != other.resolve() or not all(_is_current(one) for one in (*below, *above)):
        return None
    while below and above and below[0].resolve() == above[0].resolve():
        below, above = below[1:], above[1:]
    if not above or (below and policy.dtype != torch.float32):  # what was merged is rounded, and would not come off
        return None
    parts = [(f"minus_{place}", one, -1.0) for place, one in enumerate(below)]
    parts += [(f"plus_{place}", one, 1.0) for place, one in enumerate(above[:-1])]
    parts += [(TOP, above[-1], 1.0)]
    weights = [_weights(one) for _, one, _ in parts]
    if models.HEAD not in weights[-1] or not all(name.endswith(PLAIN) for part in weights for name in part):
        return None
    config = AutoConfig.from_pretrained(str(model_folder.config_file(reward).parent), num_labels=1)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    prefix = model.base_model_prefix
    if type(model.base_model) is not type(policy.base_model) or prefix != policy.base_model_prefix:
        return None
    body = beside(policy).base_model
    setattr(model, prefix, body)
    vars(body.config).update({name: value for name, value in vars(config).items() if name.startswith("reward_")})
    model.config = body.config  # the one that its layers read
    model.name_or_path = reward
    for (name, one, sign), found in zip(parts, weights, strict=True):
        _put(model, name, one, found, sign)
    return model.requires_grad_(False).eval()


def _stack(folder: str | Path) -> tuple[list[Path], Path]:
    """The folders of the adapters that a model was trained as, the first first, and that of the whole model below.

    A merged model with its adapters in adapter/ counts as these adapters.
    """
    found: list[Path] = []
    path = Path(folder)
    while True:
        for place in (path, path / "adapter"):
            if (place / model_folder.ADAPTER).exists():
                found.insert(0, place)
                path = Path(json.loads((place / model_folder.ADAPTER).read_text("utf-8"))["base_model_name_or_path"])
                break
        else:
            return found, path


def _is_current(adapter: Path) -> bool:
    """Whether the base of adapters has the weights that they were trained on, where they say so."""
    said = adapter / model_folder.BASE_HASH
    return not said.exists() or said.read_text("utf-8").strip() == model_folder.weights_hash(
        model_folder.chain(adapter)[1]
    )


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of adapters by the names that they have in the model."""
    weights = load_file(folder / model_folder.ADAPTER_WEIGHTS)
    return {name.removeprefix("base_model.model."): tensor for name, tensor in weights.items()}


def _put(model: Any, name: str, folder: Path, weights: dict[str, Tensor], sign: float) -> None:
    """Put the adapters of a folder on a model beside those that it has, times `sign`; and the head, where one is."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import cast_adapter_dtype

    config = LoraConfig.from_pretrained(str(folder))
    config.task_type = config.modules_to_save = None
    with torch.random.fork_rng():  # peft draws them first
        inject_adapter_in_model(config, model, name)
    cast_adapter_dtype(model, name)  # float32 on weights of 16 bits too, which small steps would not change
    for key, tensor in weights.items():
        if key == models.HEAD:
            model.score = nn.Linear(tensor.shape[1], tensor.shape[0], bias=False, dtype=tensor.dtype)
            model.score.weight.data.copy_(tensor)
        else:
            layer, half = key.removesuffix(".weight").rsplit(".", 1)
            scale = sign if half in ("lora_B", "lora_embedding_B") else 1.0
            place = getattr(model.get_submodule(layer), half)[name]  # of an embedding a parameter, else a layer
            getattr(place, "weight", place).data.copy_(tensor * scale)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_adapter([*module.lora_A, *module.lora_embedding_A])
