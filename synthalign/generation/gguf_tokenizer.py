"""The tokenizer of a GGUF file, with the very token ids that llama.cpp makes of a text.

Three kinds of vocabulary: `gpt2`, byte-level BPE with merges, whose text is split before by the rules that
`tokenizer.ggml.pre` names; `llama`, SentencePiece with a score for every token and no merges, where `▁` stands for a
blank; and `gemma4`, with merges and `▁`, which files of the kind `gpt2` may name in `tokenizer.ggml.pre`: llama.cpp's
converter writes it for a Gemma that has a tokenizer.json alone. Control and user-defined tokens are found in the text
first, the longest of several, as llama.cpp finds them.

Source of the rules: llama.cpp, src/llama-vocab.cpp. A split that is not known here is refused: with another one a
text gives other tokens than the model was trained on, and nothing says so.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from synthalign.core.errors import UserError

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
"""Of `tokenizer.ggml.token_type`: the tokens that stand for themselves in a text."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = GGUF_PRE_TOKENIZER_SPLITS["llama3"]
QWEN2 = GGUF_PRE_TOKENIZER_SPLITS["qwen2"]

SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"), (GPT2,)),
    **dict.fromkeys(("gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4"), (GPT2,)),
    # Digits one by one, and then as GPT-2.
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (r"\p{N}", GPT2)),
    **dict.fromkeys(("minerva-7b", "mellum2"), (r"\p{N}", GPT2)),
    **dict.fromkeys(("chatglm-bpe", "glm4"), (LLAMA3,)),
    **dict.fromkeys(("stablelm2", "hunyuan", "solar-open", "grok-2"), (QWEN2,)),
    **{name: (split,) for name, split in GGUF_PRE_TOKENIZER_SPLITS.items()},
}
"""By the name in `tokenizer.ggml.pre`: the expressions that cut a text, one after the other."""

WHOLE_WORDS = {name for name in SPLITS if SPLITS[name] == (LLAMA3,)} - {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}
WHOLE_WORDS |= {"tekken"}
"""Where a piece that is a token is taken as it is, whatever the merges say, and a text begins with BOS unless told."""

SPACED = {"gemma4", "granite-embed-multi-311m"}
"""The names of merges over a text whose blanks are `▁`. There llama.cpp begins every text with BOS."""

NAMES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}

Merge = tuple[tuple[float, int], str, str]
"""Two tokens that make a third, behind what they are sorted by."""


def build(settings: Mapping[str, Any], file: object) -> Tokenizer:
    """The tokenizer of a file with these settings; UserError when its kind or its split is not known here."""
    words = settings.get("tokenizer.ggml.tokens")
    kinds = settings.get("tokenizer.ggml.token_type") or ()
    if not words:
        raise UserError(
            f"{file} has no vocabulary (tokenizer.ggml.tokens); convert the model again, with its tokenizer"
        )
    if len(set(words)) < len(words):
        raise UserError(f"{file}: a token is twice in tokenizer.ggml.tokens; convert the model again")
    kind = settings.get("tokenizer.ggml.model")
    if _is_spaced(settings):
        tokenizer = _spaced(settings, words, _merges(settings, words, file), has_prefix=False)
    elif kind == "gpt2":
        tokenizer = _byte_level(settings, words, file)
    elif kind == "llama":
        tokenizer = _sentencepiece(settings, words, file)
    else:
        raise UserError(
            f"{file}: a tokenizer of the kind {kind!r} (tokenizer.ggml.model) is not known; gpt2, llama and gemma4 "
            "are; take the model's folder with its tokenizer.json instead of the GGUF file"
        )
    marked = [(word, of) for word, of in zip(words, kinds, strict=False) if of in (UNKNOWN, CONTROL, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=of != USER_DEFINED) for word, of in marked])
    before, behind = (_around(settings, name) for name in ("bos", "eos"))
    if before or behind:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join([*before, "$A", *behind]),
            special_tokens=[(word, tokenizer.token_to_id(word)) for word in sorted({*before, *behind})],
        )
    return tokenizer


def token(settings: Mapping[str, Any], name: str) -> str | None:
    """The token for bos, eos, unk or pad; None where the file names none."""
    place = settings.get(f"tokenizer.ggml.{NAMES[name]}_token_id")
    words = settings["tokenizer.ggml.tokens"]
    return words[place] if place is not None and 0 <= place < len(words) else None


def configuration(settings: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """What tokenizer_config.json says beside the tokenizer.json of `build`.

    longest  tokens of the longest text
    """
    tokens = {f"{name}_token": token(settings, name) for name in NAMES}
    return {name: word for name, word in tokens.items() if word is not None} | {
        "add_bos_token": _adds(settings, "bos"),
        "add_eos_token": _adds(settings, "eos"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": longest,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _around(settings: Mapping[str, Any], name: str) -> list[str]:
    word = token(settings, name)
    return [word] if word is not None and _adds(settings, name) else []


def _adds(settings: Mapping[str, Any], name: str) -> bool:
    """Whether every text gets this token; where the file does not say, what llama.cpp takes for granted."""
    if name == "bos" and _is_spaced(settings):
        return token(settings, name) is not None
    is_usual = settings["tokenizer.ggml.model"] == "llama" or settings.get("tokenizer.ggml.pre") in WHOLE_WORDS
    said = settings.get(f"tokenizer.ggml.add_{name}_token", is_usual and name == "bos")
    return bool(said) and token(settings, name) is not None


def _is_spaced(settings: Mapping[str, Any]) -> bool:
    kind, split = settings.get("tokenizer.ggml.model"), settings.get("tokenizer.ggml.pre")
    return kind == "gemma4" or (kind == "gpt2" and split in SPACED)


def _merges(settings: Mapping[str, Any], words: list[str], file: object) -> list[tuple[str, str]]:
    known, merges = set(words), (merge.split(" ", 1) for merge in settings.get("tokenizer.ggml.merges", ()))
    found = [(pair[0], pair[1]) for pair in merges if len(pair) == 2 and "".join(pair) in known]
    if not found:
        raise UserError(f"{file} has no merges (tokenizer.ggml.merges), which BPE needs; convert the model again")
    return found


def _byte_level(settings: Mapping[str, Any], words: list[str], file: object) -> Tokenizer:
    split = settings.get("tokenizer.ggml.pre")
    if split not in SPLITS:
        raise UserError(
            f"{file}: how its text is split before BPE, {split!r} (tokenizer.ggml.pre), is not known here; known are "
            f"{', '.join(sorted(SPLITS))}. Take the model's folder with its tokenizer.json, or convert it again "
            "with a newer llama.cpp where the name is missing or `default`"
        )
    vocabulary, merges = {word: place for place, word in enumerate(words)}, _merges(settings, words, file)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=split in WHOLE_WORDS))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(expression), "isolated") for expression in SPLITS[split]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(settings: Mapping[str, Any], words: list[str], file: object) -> Tokenizer:
    scores = settings.get("tokenizer.ggml.scores")
    if not scores or len(scores) != len(words):
        raise UserError(
            f"{file}: {len(scores or ())} scores (tokenizer.ggml.scores) for {len(words)} tokens; convert again"
        )
    pairs = sorted(_pairs(words, scores), key=lambda merge: merge[0])
    _check_order(settings, pairs, file)
    merges = [(left, right) for _, left, right in pairs]
    has_prefix = bool(settings.get("tokenizer.ggml.add_space_prefix", True))
    return _spaced(settings, words, merges, has_prefix=has_prefix)


def check_order(settings: Mapping[str, Any], file: object) -> None:
    """UserError where a SentencePiece vocabulary does not say which tokens are joined first."""
    words, scores = (settings.get(f"tokenizer.ggml.{name}") or [] for name in ("tokens", "scores"))
    if settings.get("tokenizer.ggml.model") == "llama" and len(scores) == len(words):
        _check_order(settings, _pairs(words, scores), file)


def _check_order(settings: Mapping[str, Any], pairs: Iterable[Merge], file: object) -> None:
    """UserError where two of the tokens that are made of others have one score.

    Of equal scores llama.cpp joins the first in the text, which no order of merges says. Tokens that are found in the
    text before anything is joined may share one, as all that were added have.
    """
    made = {left + right for _, left, right in pairs}
    words, scores, kinds = (settings.get(f"tokenizer.ggml.{name}") or () for name in ("tokens", "scores", "token_type"))
    seen: dict[float, str] = {}
    for word, score, kind in zip_longest(words, scores, kinds):
        if word in made and kind not in (UNKNOWN, CONTROL, USER_DEFINED):
            if score in seen:
                raise UserError(
                    f"{file}: the tokens {seen[score]!r} and {word!r} have one score ({score:g}, in "
                    "tokenizer.ggml.scores), so which of two are joined first is not said; it was made without the "
                    "tokenizer.model that has the scores: take the model's folder with its tokenizer.json instead"
                )
            seen[score] = word


def _spaced(
    settings: Mapping[str, Any], words: list[str], merges: list[tuple[str, str]], *, has_prefix: bool
) -> Tokenizer:
    vocabulary = {word: place for place, word in enumerate(words)}
    model = models.BPE(vocabulary, merges, unk_token=token(settings, "unk"), fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, *[decoders.Strip(" ", 1, 0)] * has_prefix])
    blanks = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([*[normalizers.Prepend("▁")] * has_prefix, *blanks])
    return tokenizer


def _pairs(words: list[str], scores: list[float]) -> Iterator[Merge]:
    """Of every token the pairs of tokens that make it, with what they are sorted by: the highest score first.

    llama.cpp joins the two neighbours whose whole has the highest score, the first of several.
    """
    known = set(words)
    for place, word in enumerate(words):
        for cut in range(1, len(word)):
            left, right = word[:cut], word[cut:]
            if left in known and right in known:
                yield (-scores[place], cut), left, right
