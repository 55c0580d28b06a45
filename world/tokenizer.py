"""The byte-level BPE of a world, as a tokenizer that transformers loads."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from synthalign.dialogue.chat import CHAT_TEMPLATE

END, PAD = "<eos>", "<pad>"


def train(texts: list[str], *, vocabulary: int, max_positions: int) -> PreTrainedTokenizerFast:
    """Train on the texts. No BOS; the pad token is not the end token, so that a reward model can find the real end."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END, PAD],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=max_positions,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def load(folder: Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer that was saved with `save_pretrained`."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
