"""A GGUF file becomes a model folder with the same numbers and the token ids of llama.cpp, or is refused by name."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    Qwen2Config,
    Qwen3Config,
)

from synthalign.core.errors import UserError
from synthalign.generation import gguf_file, gguf_header, gguf_tokenizer, models
from tests import tiny
from tests.tiny_gguf import BYTE, CONTROL, NORMAL, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def converted(file: Path, sha256: str) -> Path:
    folder = file.parent / "folder"
    gguf_file.convert(gguf_file.open_file(file, sha256), folder)
    return folder


@pytest.mark.parametrize("is_tied", [True, False])
def test_the_weights_of_a_float32_file_are_those_that_were_written_into_it(file: Path, is_tied: bool) -> None:
    model = tiny.causal(tie_word_embeddings=is_tied)

    folder = converted(file, write(file, model))

    found = load_file(folder / "model.safetensors")
    wanted = {name: value for name, value in model.state_dict().items() if not (is_tied and name == "lm_head.weight")}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert models.load_causal(folder).config.tie_word_embeddings == is_tied


def test_a_quantized_file_has_the_numbers_that_transformers_reads_bit_for_bit(file: Path) -> None:
    sha256 = write(file, tiny.causal(), kind=GGMLQuantizationType.Q8_0)

    found = models.load_causal(converted(file, sha256)).state_dict()

    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).state_dict()
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[name], theirs[name]) for name in theirs)


SHAPE = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
}
SHAPE |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 1, "bos_token_id": None}
SHAPE |= {"eos_token_id": 0, "initializer_range": 0.2}


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("qwen2", Qwen2Config(**SHAPE)),
        ("qwen3", Qwen3Config(**SHAPE, head_dim=16)),
        ("gemma2", Gemma2Config(**SHAPE, head_dim=16, sliding_window=4, query_pre_attn_scalar=16)),
        ("gemma3", Gemma3TextConfig(**SHAPE, head_dim=16, sliding_window=4, query_pre_attn_scalar=16)),
    ],
)
def test_a_model_of_another_architecture_says_what_it_said(file: Path, architecture: str, config: Any) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    tokens = torch.tensor([[7, 70, 170, 270, 370, 17, 117, 217, 317]])
    base = 1_000_000.0 if architecture == "gemma3" else 10000.0

    folder = converted(
        file, write(file, model, architecture=architecture, **{f"{architecture}__rope__freq_base": base})
    )

    with torch.no_grad():
        assert torch.allclose(models.load_causal(folder)(tokens).logits, model(tokens).logits, atol=1e-5)


def test_the_folder_trains_and_saves_and_its_tokenizer_has_the_ids_of_the_file(file: Path) -> None:
    folder = converted(file, write(file, tiny.causal()))
    text = "Human: Where does the red fox live?<eos>"

    tokenizer = models.load_tokenizer(folder)
    model = models.load_causal(folder)
    model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits.sum().backward()
    models.save(model, tokenizer, file.parent / "saved")

    assert tokenizer(text)["input_ids"] == tiny.tokenizer()(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    assert models.load_causal(file.parent / "saved").config.eos_token_id == 0


def test_a_second_conversion_writes_the_same_bytes(file: Path) -> None:
    header = gguf_file.open_file(file, write(file, tiny.causal()))

    for name in ("one", "other"):
        gguf_file.convert(header, file.parent / name)

    names = sorted(path.name for path in (file.parent / "one").iterdir())
    assert names[:3] == ["config.json", "generation_config.json", "model.safetensors"]
    assert names[3:] == ["tokenizer.json", "tokenizer_config.json"]
    assert all(
        (file.parent / "one" / name).read_bytes() == (file.parent / "other" / name).read_bytes() for name in names
    )


# ------------------------------------------------------------------------------------------------------ the tokenizer


def byte_level(pre: str, **settings: Any) -> Any:
    """A tokenizer with the tokens 7, 77, Ġ, Ġ7, Ċ, ĠĠ, a, aa and the merges that make them."""
    words = ["<s>", "7", "Ġ", "Ċ", "a", "77", "Ġ7", "ĠĠ", "aa", "aaa"]
    merges = ["Ġ 7", "7 7", "Ġ Ġ", "a a"]
    said = {"model": "gpt2", "pre": pre, "tokens": words, "merges": merges, "bos_token_id": 0, **settings}
    return gguf_tokenizer.build({f"tokenizer.ggml.{name}": value for name, value in said.items()}, "x.gguf")


@pytest.mark.parametrize(
    ("pre", "tokens"),
    [
        (
            "gpt-2",
            ["Ġ", "Ġ7", "7"],
        ),  # the digits with the blank before them
        ("smollm", ["ĠĠ", "7", "7"]),  # the digits one by one, so that the blanks are before the end of a piece
        ("qwen2", ["Ġ", "Ġ", "7", "7"]),
        ("llama-bpe", ["Ġ", "Ġ", "77"]),
    ],
)
def test_digits_behind_two_blanks_are_split_as_the_file_says(pre: str, tokens: list[str]) -> None:
    assert byte_level(pre).encode("  77", add_special_tokens=False).tokens == tokens


def test_a_word_that_is_a_token_is_taken_whole_where_llama_cpp_does() -> None:
    assert byte_level("llama-bpe").encode("aaa", add_special_tokens=False).tokens == ["aaa"]
    assert byte_level("qwen2").encode("aaa", add_special_tokens=False).tokens == ["aa", "a"]


@pytest.mark.parametrize(
    ("pre", "said", "has_bos"),
    [("llama-bpe", {}, True), ("llama-bpe", {"add_bos_token": False}, False), ("qwen2", {}, False)],
)
def test_a_text_begins_with_bos_where_the_file_or_its_kind_says_so(
    pre: str, said: dict[str, Any], has_bos: bool
) -> None:
    assert (byte_level(pre, **said).encode("a").tokens[0] == "<s>") == has_bos


def sentencepiece(**settings: Any) -> Any:
    words = ["<unk>", "<s>", "</s>", "<0x62>", "▁", "a", "▁a", "aa", "▁▁"]
    scores = [0.0, 0.0, 0.0, 0.0, -9.0, -9.0, -2.0, -1.0, -3.0]
    kinds = [2, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL]
    said = {"model": "llama", "tokens": words, "scores": scores, "token_type": kinds}
    said |= {"unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | settings
    return gguf_tokenizer.build({f"tokenizer.ggml.{name}": value for name, value in said.items()}, "x.gguf")


def test_neighbours_are_joined_by_the_highest_score_and_unknown_letters_are_bytes() -> None:
    assert sentencepiece().encode("aab").tokens == ["<s>", "▁", "aa", "<0x62>"]  # not ▁a and a


def test_a_blank_is_put_before_a_text_unless_the_file_says_no() -> None:
    assert sentencepiece().encode("a", add_special_tokens=False).tokens == ["▁a"]
    assert sentencepiece(add_space_prefix=False).encode("a", add_special_tokens=False).tokens == ["a"]
    assert sentencepiece().decode([4, 7]) == "aa"


def test_scores_that_do_not_say_what_is_joined_first_are_refused_with_two_of_them() -> None:
    scores = [0.0, 0.0, 0.0, 0.0, -9.0, -9.0, -1000.0, -1000.0, -3.0]

    with pytest.raises(UserError, match=r"x.gguf: the tokens '▁a' and 'aa' have one score \(-1000, in tokenizer.ggml"):
        sentencepiece(scores=scores)
    # what is found before anything is joined may have any score
    added = sentencepiece(scores=scores, token_type=[2, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL, 4, NORMAL])
    assert added.encode("a", add_special_tokens=False).tokens == ["▁a"]


def test_a_control_token_in_a_text_is_one_token() -> None:
    assert sentencepiece(add_space_prefix=False).encode("a</s>a", add_special_tokens=False).tokens == ["a", "</s>", "a"]


@pytest.mark.parametrize("kind", [{"model": "gemma4"}, {"pre": "gemma4"}, {"pre": "granite-embed-multi-311m"}])
def test_merges_join_blanks_that_are_underlined_where_the_file_has_them_so(kind: dict[str, str]) -> None:
    words = ["<unk>", "<s>", "<0x62>", "▁", "a", "▁a", "aa", "\n", "\n\n"]
    kinds = [2, CONTROL, BYTE, *[NORMAL] * 6]
    said = {"model": "gpt2", "tokens": words, "token_type": kinds, "merges": ["a a", "▁ a", "\n \n"]}
    said |= {"unknown_token_id": 0, "bos_token_id": 1, "add_bos_token": False} | kind

    made = gguf_tokenizer.build({f"tokenizer.ggml.{name}": value for name, value in said.items()}, "x.gguf")

    found = made.encode("aa aab\n\n a")
    assert found.tokens == ["<s>", "aa", "▁", "aa", "<0x62>", "\n\n", "▁a"]  # the merge of a and a comes first
    assert made.decode(found.ids) == "aa aab\n\n a"


# ---------------------------------------------------------------------------------------------------------- bad input


def refused(file: Path, sha256: str) -> str:
    with pytest.raises(UserError) as told:
        converted(file, sha256)
    assert not (file.parent / "folder").exists()
    return str(told.value)


def test_a_file_that_is_no_gguf_is_refused(file: Path) -> None:
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")

    assert f"{file} is no GGUF file: it does not begin with GGUF; fetch it again" in refused(file, "0" * 64)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused_before_anything_is_written(file: Path, share: float) -> None:
    write(file, tiny.causal())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])

    assert "is cut off" in refused(file, gguf_file.digest(file))


def test_another_hash_is_refused_with_both(file: Path) -> None:
    sha256 = write(file, tiny.causal())

    told = refused(file, "0" * 64)

    assert f"sha256 {sha256}" in told
    assert "`revision` says " + "0" * 64 in told


def test_an_architecture_that_is_not_known_is_refused_with_those_that_are(file: Path) -> None:
    told = refused(file, write(file, tiny.causal(), architecture="rwkv7"))

    assert "the architecture 'rwkv7'; gemma2, gemma3, llama, qwen2, qwen3 are read here" in told


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tokenizer__ggml__pre": "kimi-k2"}, r"how its text is split before BPE, 'kimi-k2' \(tokenizer.ggml.pre\)"),
        ({"tokenizer__ggml__pre": None}, "convert it again with a newer llama.cpp where the name is missing"),
        ({"tokenizer__ggml__model": "bert"}, "a tokenizer of the kind 'bert'"),
        ({"tokenizer__ggml__tokens": None}, "has no vocabulary"),
        ({"tokenizer__ggml__merges": None}, "has no merges"),
        ({"llama__rope__scaling__type": "yarn"}, "llama.rope.scaling.type = 'yarn'"),
        ({"llama__rope__scaling__factor": 4.0}, r"stretches its positions \(llama.rope.scaling.factor = 4\)"),
        ({"llama__rope__scale_linear": 4.0}, r"stretches its positions \(llama.rope.scale_linear = 4\)"),
        ({"llama__embedding_length": 64}, r"has the shape \[400, 32\], by the settings in the file it is \[400, 64\]"),
        (
            {"llama__block_count": 3},
            "lacks model.layers.2.input_layernorm.weight of LlamaForCausalLM, one of 9 tensors",
        ),
        ({"split__count": 2}, "is one of 2 parts of a model; join them with llama.cpp's `llama-gguf-split --merge`"),
        ({"llama__block_count": 1}, "has blk.1.attn_k.weight, which LlamaForCausalLM has no place for, one of 9"),
    ],
)
def test_what_cannot_be_read_truly_is_refused_by_name(file: Path, settings: dict[str, Any], says: str) -> None:
    sha256 = write(file, tiny.causal(), **settings)

    with pytest.raises(UserError, match=says):
        converted(file, sha256)


def test_a_text_ends_with_every_control_token_that_ends_a_turn_in_llama_cpp(file: Path) -> None:
    model = tiny.causal()
    words = [f"<|{place}|>" for place in range(400)]
    words[:8] = ["<eos>", "<pad>", "<|im_end|>", "<|endoftext|>", "<|end|>", "a", "b", "ab"]
    kinds = [CONTROL] * 4 + [NORMAL] * 396

    folder = converted(
        file,
        write(
            file,
            model,
            tokenizer__ggml__tokens=words,
            tokenizer__ggml__token_type=kinds,
            tokenizer__ggml__eos_token_id=2,
            tokenizer__ggml__merges=["a b"],
        ),
    )

    assert models.load_causal(folder).generation_config.eos_token_id == [0, 2, 3]


@pytest.mark.parametrize(
    "settings",
    [
        {"llama__rope__scaling__factor": 1.0},
        {"llama__rope__scale_linear": 1.0},
        {"llama__rope__scaling__type": "none", "llama__rope__scaling__factor": 4.0},
    ],
)
def test_a_file_that_says_that_its_positions_are_not_stretched_is_read(file: Path, settings: dict[str, Any]) -> None:
    model = tiny.causal()

    folder = converted(file, write(file, model, **settings))

    tokens = torch.tensor([[5, 9, 30]])
    assert torch.equal(models.load_causal(folder)(tokens).logits, model(tokens).logits)


def test_numbers_that_gguf_cannot_unpack_are_refused_by_their_kind(file: Path) -> None:
    told = refused(file, write(file, tiny.causal(), tensors={"blk.0.more.weight": np.zeros(4, np.int8)}))

    assert "holds numbers of the kind I8, which gguf cannot unpack" in told


def test_positions_stretched_as_in_llama_3_1_are_read_and_others_refused(file: Path) -> None:
    model = tiny.causal()
    base = 500000.0
    theirs = {"rope_type": "llama3", "rope_theta": base, "factor": 8.0, **gguf_file.LLAMA3}
    stretched = tiny.causal(rope_parameters=theirs)
    plain = base ** -(torch.arange(0, 8, 2) / 8)
    frequencies = (plain / stretched.model.rotary_emb.inv_freq).numpy()

    folder = converted(
        file, write(file, model, tensors={"rope_freqs.weight": frequencies}, llama__rope__freq_base=base)
    )

    assert models.load_causal(folder).config.rope_parameters == theirs
    sha256 = write(file, model, tensors={"rope_freqs.weight": frequencies + 1})
    with pytest.raises(UserError, match="otherwise than Llama 3.1"):
        gguf_file.convert(gguf_file.open_file(file, sha256), file.parent / "other")


def test_every_value_of_a_header_is_that_of_ggufs_own_reader(file: Path) -> None:
    write(file, tiny.causal(), general__name="Tiny é")

    header, theirs = gguf_header.read(file), gguf.GGUFReader(file)

    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in header.settings.items()} == fields
    for tensor in theirs.tensors:
        assert header.tensors[tensor.name].start == tensor.data_offset
        assert np.array_equal(header.values(tensor.name), tensor.data)


def test_the_tokenizer_opens_as_a_server_opens_it(file: Path) -> None:
    folder = converted(file, write(file, tiny.causal()))

    assert (
        AutoTokenizer.from_pretrained(folder)("The red fox")["input_ids"]
        == tiny.tokenizer()("The red fox")["input_ids"]
    )
