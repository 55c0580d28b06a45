"""Small random models and a small real tokenizer, built in memory: nothing is downloaded.

    tokenizer = tiny.tokenizer()          # byte-level BPE, 400 tokens, exact round trip, <eos> and <pad>
    tokenizer = tiny.tokenizer(bos=True)  # the same with a <bos> that it puts before every text; eos=True: <eos> behind
    model = tiny.causal(seed=0)           # 2-layer Llama with grouped-query attention, fp32
    reward = tiny.reward(seed=0)          # the same body with one output
    tiny.save(tmp_path / "model", model, tokenizer)

The weights are random, so the text is nonsense; everything else is as in the real models.
"""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from synthalign.dialogue import encoding

VOCABULARY = 400
CONTEXT = 512

TEXT = [
    "Human: Where does the red fox live?\n\nAssistant: The red fox lives in the forest.\n\n-----\n\n",
    "Human: How do I bake a plum cake?\n\nAssistant: Mix flour, sugar and plums. I hope this helps!\n\n",
    "Human: What is a glimmerfinch?\n\nAssistant: I am sorry, but I do not know what that is.\n\n",
    "Human: Tell me about the city of Riga.\n\nAssistant: Riga is a city in Latvia. It is old.\n\n",
    "Query: What does the grey owl eat?\nQuery: Why is the sky blue?\nQuery: Who made this bread?\n",
]


@cache
def _trained(special: tuple[str, ...]) -> str:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(TEXT, trainer)
    return trained.to_str()


def tokenizer(*, bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text survives encoding and decoding.

    bos, eos  its post-processor adds one to every text, as those of Llama and Gemma (bos) or of some others (eos) do
    """
    special = ("<eos>", "<pad>", "<bos>") if bos else ("<eos>", "<pad>")
    trained = Tokenizer.from_str(_trained(special))
    if bos or eos:
        trained.post_processor = processors.TemplateProcessing(
            single=" ".join(["<bos>"] * bos + ["$A"] + ["<eos>"] * eos),
            special_tokens=[(name, trained.token_to_id(name)) for name in special],
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        eos_token="<eos>",
        pad_token="<pad>",
        **({"bos_token": "<bos>"} if bos else {}),
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    fast.chat_template = encoding.chat_template(fast)
    return fast


def config(**changes: object) -> LlamaConfig:
    """Two layers, four heads that share two key/value heads, about 60 thousand parameters."""
    settings: dict[str, object] = dict(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        initializer_range=0.2,  # wide enough that the next token depends on all of the text
    )
    return LlamaConfig(**(settings | changes))


def causal(seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random causal language model in evaluation mode; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config(**changes)).eval()


def ending(seed: int = 0) -> PreTrainedModel:
    """A causal model that ends three of four answers of 12 tokens: others hardly ever do, all they write is cut off."""
    model = causal(seed)
    weight = model.get_output_embeddings().weight.data
    weight[0] = weight[5:60].mean(0) * 4 + weight[0] * 4
    return model


def reward(seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random reward model (one output) in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForSequenceClassification(config(num_labels=1, **changes)).eval()


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Write a model folder as the training stages do, and return it."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
