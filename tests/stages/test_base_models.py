"""Base models: a folder is copied and completed, a hub model must be pinned, and what is no model is refused."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer

from stages import base_models
from stages.base_models import Model, Params
from synthalign.core.errors import UserError
from synthalign.dialogue import chat, encoding
from synthalign.generation import model_folder, models, sources
from tests import tiny, tiny_gguf

PINNED = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def params(source: str, revision: str | None = None, pad_token: str | None = None) -> Params:
    model = Model(source=source, revision=revision, pad_token=pad_token)
    return Params(small=model, medium=model, large=model)


def test_a_local_folder_becomes_a_base_model_that_loads() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())

    base_models.main(params("mine"))

    models.load_causal("models/base/small")
    assert models.load_tokenizer("models/base/small").pad_token == "<pad>"


def test_a_missing_pad_token_can_be_set_in_the_profile() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    file = Path("mine/tokenizer_config.json")
    settings = json.loads(file.read_text())
    del settings["pad_token"]
    file.write_text(json.dumps(settings))

    with pytest.raises(UserError, match="set `pad_token` of this model in base_models"):
        base_models.main(params("mine"))

    base_models.main(params("mine", pad_token="<pad>"))

    assert models.load_tokenizer("models/base/small").pad_token == "<pad>"


def test_a_folder_that_is_no_model_is_refused() -> None:
    Path("empty").mkdir()

    with pytest.raises(UserError, match="empty: config.json is missing, so this is not a model folder"):
        base_models.main(params("empty"))


@pytest.mark.parametrize("revision", [None, "main", PINNED[:-1]])
def test_a_hub_model_must_be_pinned_to_a_commit(revision: str | None) -> None:
    with pytest.raises(UserError, match="needs `revision`, the 40 digits of a commit"):
        base_models.main(params("owner/name", revision))


def test_a_hub_that_can_not_be_reached_names_the_model_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(UserError, match="owner/name at 0123.*set `source` to the folder"):
        base_models.main(params("owner/name", PINNED))


# --------------------------------------------------------------------------------------------------------- GGUF files


def test_a_gguf_file_becomes_three_base_models() -> None:
    base_models.main(params("tiny.gguf", tiny_gguf.write(Path("tiny.gguf"), tiny.causal())))

    weights = [Path(f"models/base/{size}/model.safetensors").read_bytes() for size in ("small", "medium", "large")]
    assert weights[0] == weights[1] == weights[2]
    tokenizer = models.load_tokenizer("models/base/large")
    assert tokenizer("The red fox")["input_ids"] == tiny.tokenizer()("The red fox")["input_ids"]


def test_a_gguf_file_of_two_sizes_is_converted_once() -> None:
    sha256 = tiny_gguf.write(Path("tiny.gguf"), tiny.causal())
    first = sources.fetch("tiny.gguf", sha256, Path("scratch"))
    Path("tiny.gguf").write_bytes(b"gone")

    assert sources.fetch("tiny.gguf", sha256, Path("scratch")) == first


def test_a_gguf_file_without_its_hash_is_refused_with_the_hash_to_write() -> None:
    sha256 = tiny_gguf.write(Path("tiny.gguf"), tiny.causal())

    with pytest.raises(UserError, match=f"needs `revision`, the 64 digits of its sha256; it is None.*{sha256}"):
        base_models.main(params("tiny.gguf"))


def test_a_gguf_file_that_is_not_there_is_named_with_the_command_that_fetches_it() -> None:
    with pytest.raises(UserError, match="there is no file models/gguf/x.gguf; `python -m synthalign bring"):
        base_models.main(params("models/gguf/x.gguf", "0" * 64))


def test_a_gguf_file_that_is_cut_off_is_refused_before_anything_is_copied() -> None:
    sha256 = tiny_gguf.write(Path("tiny.gguf"), tiny.causal())
    Path("tiny.gguf").write_bytes(Path("tiny.gguf").read_bytes()[:-1000])

    with pytest.raises(UserError, match="tiny.gguf is cut off"):
        base_models.main(params("tiny.gguf", sha256))

    assert not Path("models").exists()


# ----------------------------------------------------------------------------------------------------------- adapters


def trained_adapters(folder: str, base: str, target: str) -> torch.Tensor:
    """Save adapters of rank 2 that are not zero; the logits of one token with them."""
    model = models.load_causal(base)
    config = LoraConfig(r=2, target_modules=[target], task_type="CAUSAL_LM", init_lora_weights=False)
    with warnings.catch_warnings():  # peft warns of what is tested here
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config)
        adapted.save_pretrained(folder, save_embedding_layers=False)
    edit(f"{folder}/adapter_config.json", base_model_name_or_path=base)
    return adapted(input_ids=torch.tensor([[7]])).logits


def test_adapters_become_a_base_model_merged_with_the_folder_that_they_name() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    logits = trained_adapters("adapters", "mine", "o_proj")

    base_models.main(params("adapters"))

    assert model_folder.chain("models/base/small") == [Path("models/base/small")]
    merged = models.load_causal("models/base/small")(input_ids=torch.tensor([[7]])).logits
    assert torch.allclose(merged, logits, atol=1e-5)
    assert not torch.allclose(merged, models.load_causal("mine")(input_ids=torch.tensor([[7]])).logits, atol=1e-2)


def test_adapters_without_their_base_are_refused() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    trained_adapters("adapters", "mine", "o_proj")
    edit("adapters/adapter_config.json", base_model_name_or_path="elsewhere")

    with pytest.raises(UserError, match="adapters holds adapters for elsewhere, and there is no such folder; bring"):
        base_models.main(params("adapters"))

    assert not Path("models").exists()


@pytest.mark.parametrize("other", [{"hidden_size": 64}, {"num_hidden_layers": 3}])
def test_adapters_of_another_base_are_refused(other: dict[str, int]) -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    tiny.save(Path("other"), tiny.causal(**other), tiny.tokenizer())
    trained_adapters("adapters", "mine", "o_proj")
    edit("adapters/adapter_config.json", base_model_name_or_path="other")

    with pytest.raises(UserError, match="is missing, too much or of another shape than other asks for"):
        base_models.main(params("adapters"))


def test_adapters_of_an_embedding_that_is_the_head_too_are_refused_and_others_merged() -> None:
    tiny.save(Path("tied"), tiny.causal(), tiny.tokenizer())
    tiny.save(Path("mine"), tiny.causal(tie_word_embeddings=False), tiny.tokenizer())
    trained_adapters("for_tied", "tied", "embed_tokens")
    logits = trained_adapters("adapters", "mine", "embed_tokens")

    with pytest.raises(UserError, match="for_tied: .*embed_tokens.* is the head as well"):
        base_models.main(params("for_tied"))
    with pytest.raises(UserError, match="for_tied: .*embed_tokens.* is the head as well"):
        models.load_causal("for_tied")  # as a policy of any other stage, or for export

    base_models.main(params("adapters"))
    merged = models.load_causal("models/base/small")(input_ids=torch.tensor([[7]])).logits
    assert torch.allclose(merged, logits, atol=1e-5)


# ------------------------------------------------------------------------------------------------ tokens and weights


def edit(file: str, **changes: object) -> None:
    path = Path(file)
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))


def test_a_pad_token_that_is_not_in_the_vocabulary_is_refused_with_tokens_that_are() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())

    with pytest.raises(UserError, match=r"`pad_token` '\[PAD\]' is not in the vocabulary of mine.*: <eos>, <pad>"):
        base_models.main(params("mine", pad_token="[PAD]"))

    assert not Path("models").exists()


def test_a_pad_token_of_the_models_own_files_that_has_no_row_is_refused() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    edit("mine/tokenizer_config.json", pad_token="[PAD]")

    with pytest.raises(
        UserError, match=r"mine/tokenizer_config.json: the token '\[PAD\]' has the id 400, one of 1 .* which has 400;"
    ):
        base_models.main(params("mine"))


def test_a_pad_token_that_was_chosen_stands_for_one_of_the_files_that_has_no_row() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    edit("mine/tokenizer_config.json", pad_token="[PAD]")

    base_models.main(params("mine", pad_token="<pad>"))

    tokenizer = models.load_tokenizer("models/base/small")
    assert (tokenizer.pad_token, len(tokenizer)) == ("<pad>", 400)


def test_a_tokenizer_longer_than_the_embedding_is_refused() -> None:
    tiny.save(Path("mine"), tiny.causal(vocab_size=390), tiny.tokenizer())
    token = tiny.tokenizer().convert_ids_to_tokens(390)

    with pytest.raises(UserError) as told:
        base_models.main(params("mine"))

    assert str(told.value).startswith(f"mine/tokenizer.json: the token {token!r} has the id 390, one of 10 without a")
    assert "bring tokenizer and weights of one model" in str(told.value)


def test_an_added_special_token_without_a_row_that_no_text_has_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    tiny.save(Path("mine"), tiny.causal(), tokenizer)
    edit("mine/tokenizer_config.json", image_token="<image_soft_token>")
    assert len(tokenizer) == 401

    base_models.main(params("mine"))

    assert len(models.load_tokenizer("models/base/small")) == 400
    assert "small: without <image_soft_token>, special tokens that the model has no row for" in capsys.readouterr().out


def test_an_embedding_with_rows_to_spare_is_accepted() -> None:
    tiny.save(Path("mine"), tiny.causal(vocab_size=448), tiny.tokenizer())

    base_models.main(params("mine"))

    assert models.load_causal("models/base/small").get_input_embeddings().weight.shape[0] == 448


def test_the_chosen_pad_token_stands_also_against_an_older_file_of_special_tokens() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer(bos=True))
    edit("mine/special_tokens_map.json", pad_token="<bos>")

    base_models.main(params("mine", pad_token="<pad>"))

    assert models.load_tokenizer("models/base/small").pad_token == "<pad>"


def test_weights_and_a_configuration_that_are_not_of_one_model_are_refused() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    edit("mine/config.json", vocab_size=500)

    with pytest.raises(
        UserError, match=r"embed_tokens.weight has the shape \[400, 32\], by config.json it is \[500, 32"
    ):
        base_models.main(params("mine"))


@pytest.mark.parametrize("bos", [False, True])
def test_the_folders_of_base_models_carry_the_template_of_training(bos: bool) -> None:
    foreign = tiny.tokenizer(bos=bos)
    foreign.chat_template = "{{ messages }}"
    tiny.save(Path("mine"), tiny.causal(), foreign)
    question = [{"role": "user", "content": " Why? "}]

    base_models.main(params("mine"))

    served = AutoTokenizer.from_pretrained("models/base/small")  # as a server opens it
    asked = served.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    assert asked == encoding.tokenize(served, [chat.prompt(question)])[0]
    assert asked[0] == 2 or not bos


# ------------------------------------------------------------------------------------------------ files


def test_only_the_weights_that_are_read_are_copied() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    Path("mine/original").mkdir()
    for name in (
        "consolidated.safetensors",
        "pytorch_model.bin",
        "original/model.safetensors",
        "model.fp16.safetensors",
    ):
        Path("mine", name).write_bytes(Path("mine/model.safetensors").read_bytes())

    base_models.main(params("mine"))

    assert sorted(file.name for file in Path("models/base/small").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_shards_of_an_index_are_copied_with_it_and_load() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    Path("mine/model.safetensors").unlink()
    tiny.causal().save_pretrained("mine", max_shard_size="100KB")
    Path("mine/consolidated.safetensors").write_bytes(b"")

    base_models.main(params("mine"))

    names = {file.name for file in Path("models/base/small").glob("*.safetensors*")}
    shards = {file.name for file in Path("mine").glob("model-*.safetensors")}
    assert len(shards) > 1
    assert names == {*shards, "model.safetensors.index.json"}
    made, given = models.load_causal("models/base/small"), tiny.causal()
    assert all(torch.equal(tensor, given.state_dict()[name]) for name, tensor in made.state_dict().items())


def test_a_tokenizer_of_older_files_is_converted_once() -> None:
    source, older = tiny.tokenizer(), Path("mine")
    tiny.save(older, tiny.causal(), source)
    trained = json.loads((older / "tokenizer.json").read_text())["model"]
    (older / "tokenizer.json").unlink()
    (older / "vocab.json").write_text(json.dumps(trained["vocab"]))
    (older / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(merge) for merge in trained["merges"]) + "\n"
    )
    edit("mine/tokenizer_config.json", tokenizer_class="GPT2Tokenizer", unk_token="<eos>", bos_token="<eos>")

    base_models.main(params("mine"))

    assert Path("models/base/small/tokenizer.json").exists()
    assert not Path("models/base/small/merges.txt").exists()
    text = tiny.TEXT[0]
    assert models.load_tokenizer("models/base/small")(text)["input_ids"] == source(text)["input_ids"]


def test_a_sentencepiece_model_is_converted_where_its_packages_are() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    Path("text").write_text("\n".join(tiny.TEXT * 20))
    sentencepiece.SentencePieceTrainer.train(
        input="text",
        model_prefix="mine/tokenizer",
        vocab_size=360,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<pad>"],
        minloglevel=2,
    )
    Path("mine/tokenizer.json").unlink()
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    Path("mine/tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False} | named)
    )
    text = "Human: Where does the red fox live?"

    base_models.main(params("mine"))

    made = models.load_tokenizer("models/base/small")
    theirs = sentencepiece.SentencePieceProcessor(model_file="mine/tokenizer.model")
    assert encoding.tokenize(made, [text]) == [[theirs.bos_id(), *theirs.encode(text)]]
    assert made.chat_template.startswith("{{ bos_token + ' ' }}")  # behind <s> it leaves the mark of a word off
    assert not Path("models/base/small/tokenizer.model").exists()


def test_pickled_adapters_are_named_as_that() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    trained_adapters("adapters", "mine", "o_proj")
    Path("adapters/adapter_model.safetensors").rename("adapters/adapter_model.bin")

    with pytest.raises(
        UserError, match=r"adapter_model.bin is pickled, .*peft 0.7 or later, .*adapter_model.safetensors"
    ):
        base_models.main(params("adapters"))
