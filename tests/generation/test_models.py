"""A folder that is not a usable model is refused by name, with what to do, before anything is computed with it."""

import json
import os
import resource
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3Config

from synthalign.core.errors import UserError
from synthalign.dialogue import chat, encoding
from synthalign.generation import generate, model_folder, models
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save(tmp_path / "model", tiny.causal(), tiny.tokenizer())


def edit(file: Path, **changes: object) -> None:
    settings = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def test_a_whole_folder_loads_and_computes_in_fp32(folder: Path) -> None:
    model = models.load_causal(folder)

    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such model folder"):
        models.load_causal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "missing, says",
    [
        ("config.json", "config.json is missing"),
        ("model.safetensors", "no \\*.safetensors"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_what_is_missing_in_a_folder_is_named(folder: Path, missing: str, says: str) -> None:
    (folder / missing).unlink()

    with pytest.raises(UserError, match=says):
        models.load_tokenizer(folder)


def test_a_configuration_that_is_not_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")

    with pytest.raises(UserError, match="config.json is not JSON"):
        model_folder.check(folder)


def test_a_kind_of_positions_that_transformers_has_not_is_named(folder: Path) -> None:
    edit(folder / "config.json", rope_parameters={"rope_type": "spiral", "rope_theta": 1e4})

    with pytest.raises(UserError, match="model: transformers cannot load the model .*names 'spiral'"):
        models.load_causal(folder)


def test_a_model_whose_files_sample_without_saying_so_can_be_written_after_its_padding_was_chosen(
    folder: Path, tmp_path: Path
) -> None:
    older = {"temperature": 0.9, "top_p": 0.6, "eos_token_id": 0, "bos_token_id": 2, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(older))

    model = models.load_causal(folder)
    model.generation_config.pad_token_id = 1  # as transformers' Trainer does, where the tokenizer has another
    models.save(model, models.load_tokenizer(folder), tmp_path / "trained")

    kept = json.loads((tmp_path / "trained/generation_config.json").read_text())
    assert {key: kept.get(key) for key in older} == {
        "temperature": None, "top_p": None, "eos_token_id": 0, "bos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip


def test_a_configuration_without_a_model_type_is_named(folder: Path) -> None:
    edit(folder / "config.json", model_type=None)

    with pytest.raises(UserError, match="names no model_type"):
        model_folder.check(folder)


def test_a_tokenizer_without_a_pad_token_is_refused_with_the_setting_to_change(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", pad_token=None)

    with pytest.raises(UserError, match="no pad_token; set `pad_token` of this model in base_models"):
        models.load_tokenizer(folder)


def test_a_tokenizer_without_an_end_token_is_refused(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", eos_token=None)

    with pytest.raises(UserError, match="no eos_token"):
        models.load_tokenizer(folder)


def test_padding_with_the_end_token_is_refused_because_the_last_real_token_would_be_unknown(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", pad_token="<eos>")

    with pytest.raises(UserError, match="pad_token and eos_token are both '<eos>'"):
        models.load_tokenizer(folder)


def test_the_chat_template_says_what_prompt_and_completion_say(folder: Path) -> None:
    tokenizer = models.load_tokenizer(folder)
    question = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is it?"}]
    dialogue = [*question, {"role": "assistant", "content": "In the barn."}]

    asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    answered = tokenizer.apply_chat_template(dialogue, tokenize=False)

    assert asked == chat.prompt(question) == "Be kind.\n\nHuman: Where is it?\n\nAssistant:"
    assert answered == chat.prompt(question) + chat.completion("In the barn. ") + "<eos>"


def test_few_shot_text_and_prompt_join_as_one_transcript() -> None:
    shot = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]

    text = chat.few_shot("", [shot, shot]) + chat.prompt([{"role": "user", "content": "C?"}])

    one = "Human: A?\n\nAssistant: B.\n\n-----\n\n"
    assert text == one + one + "Human: C?\n\nAssistant:"


def test_no_shots_mean_no_prefix_even_with_a_system_paragraph() -> None:
    assert chat.few_shot("You are kind.", []) == ""


def test_an_answer_ends_where_another_turn_begins() -> None:
    assert chat.clean(" It is red.\n\nHuman: Why?\n\nAssistant: So.") == "It is red."
    assert chat.clean(" It is red.\n\n-----\n\nHuman: Why?") == "It is red."
    assert chat.clean(" A Human: walks in. ") == "A Human: walks in."  # the word is not a turn
    # pretrained models mark turns in ways of their own
    assert chat.clean(' It is red.\n\n---\n\n"Human: Why?') == "It is red."
    assert chat.clean(" It is red.\n\n**Human:** Why?") == "It is red."
    assert chat.clean(" It is red.\n\n---\n\n---\n") == "It is red."
    assert chat.clean(" It is red.\nHuman: Why?\nAssistant: So.") == "It is red."
    assert chat.clean(" It is red.\n**Human:** Why?") == "It is red."
    assert chat.clean(" Cook: Yes.\nShop Assistant: No.") == "Cook: Yes.\nShop Assistant: No."
    assert chat.clean(" It is red.\n-----") == chat.clean(" It is red.\n\n-----\n---\n") == "It is red."
    assert chat.clean("-----") == ""
    assert chat.clean(" Red -----") == "Red -----"  # words stand before it in its line
    assert chat.clean(" One.\n\n---\n\nTwo.") == "One.\n\n---\n\nTwo."  # a rule within a text is text


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UserError, match="role 'robot'"):
        chat.prompt([{"role": "robot", "content": "Beep."}])


@pytest.mark.parametrize(
    "file, content, says",
    [
        ("config.json", "[]", "names no model_type"),
        ("config.json", '{"model_type": "nothing"}', "transformers cannot load the model"),
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "does not hold weights .* Git LFS"),
        ("tokenizer.json", "{", "the tokenizer cannot be loaded"),
    ],
)
def test_a_file_of_a_model_that_cannot_be_read_is_one_error(folder: Path, file: str, content: str, says: str) -> None:
    (folder / file).write_text(content)

    with pytest.raises(UserError, match=says):
        models.load_tokenizer(folder)
        models.load_causal(folder)


def test_weights_that_are_missing_are_not_drawn_at_random(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    dropped = "model.layers.1.mlp.gate_proj.weight"
    save_file({name: tensor for name, tensor in weights.items() if name != dropped}, folder / "model.safetensors")

    with pytest.raises(UserError, match=f"1 weights are missing, {dropped} among them"):
        models.load_causal(folder)


def test_a_reward_model_is_known_by_its_headers_and_its_tokenizer_has_to_be_there(folder: Path, tmp_path: Path) -> None:
    rewarding = tmp_path / "reward"
    tiny.save(rewarding, tiny.reward(), tiny.tokenizer())
    models.check_reward(rewarding)

    with pytest.raises(UserError, match=r"is no reward model, it has no head \(score.weight\)"):
        models.check_reward(folder)
    (rewarding / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no tokenizer"):
        models.check_reward(rewarding)


def test_a_language_model_is_no_reward_model_but_one_can_be_trained_from_it(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is no reward model, it has no head \(score.weight\)"):
        models.load_reward(folder)

    assert models.load_reward(folder, new_head=True).get_submodule("score").weight.shape == (1, 32)


def test_a_model_that_reads_images_too_has_the_ends_and_the_context_of_its_texts() -> None:
    text = dict(vocab_size=tiny.VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8)
    text |= dict(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, eos_token_id=[3, 7])
    image = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    config = Gemma3Config(text_config=text, vision_config=image | dict(patch_size=14), mm_tokens_per_image=4)
    model = AutoModelForCausalLM.from_config(config)

    assert {3, 7} <= models.end_tokens(model, tiny.tokenizer())
    assert models.context_of(model) == 64
    with pytest.raises(UserError, match="has a context of 64"):
        generate.check_fits(model, 50, [[5, 6]], 20)


def test_a_tokenizer_is_saved_with_the_same_bytes_on_a_machine_without_a_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.load_tokenizer(folder).save_pretrained(tmp_path / "online")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    models.load_tokenizer(folder).save_pretrained(tmp_path / "offline")

    one, other = ((tmp_path / name / "tokenizer_config.json").read_text() for name in ("online", "offline"))
    assert one == other
    assert "local_files_only" not in one


def test_a_tokenizer_splits_texts_as_its_file_says_whatever_class_is_named(folder: Path, tmp_path: Path) -> None:
    file = folder / "tokenizer.json"
    digits = {"type": "Digits", "individual_digits": True}
    own = json.loads(file.read_text())["pre_tokenizer"]
    edit(file, pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, own]})  # as SmolLM2's and StarCoder2's
    edit(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", bos_token="<pad>", unk_token="<pad>")
    text = "So:\n\n1. Yes\n\n2. No"

    read = models.load_tokenizer(folder)

    named = AutoTokenizer.from_pretrained(folder)  # which has ByteLevel alone: two line ends before a number are apart
    assert read.tokenize(text)[2:4] == [":", "ĊĊ"] and named.tokenize(text)[2:5] == [":", "Ċ", "Ċ"]
    assert read(text).input_ids == Tokenizer.from_file(str(file)).encode(text).ids
    assert read.decode(read(text).input_ids) == text
    assert read.special_tokens_map == named.special_tokens_map
    assert read.model_max_length == named.model_max_length == tiny.CONTEXT
    tiny.save(tmp_path / "trained", tiny.causal(), read)
    assert AutoTokenizer.from_pretrained(tmp_path / "trained")(text) == read(text)  # as a server opens it


@pytest.mark.parametrize("named", ["LlamaTokenizerFast", "LlamaTokenizer", "GemmaTokenizer"])
@pytest.mark.parametrize(("begins", "told"), [(False, True), (True, False), (True, True)])
def test_add_bos_token_is_obeyed_whatever_the_post_processor_of_the_file_does(
    tmp_path: Path, named: str, begins: bool, told: bool
) -> None:
    """As in the folders of DeepSeek's models, which transformers 4 asked behind a BOS."""
    tokenizer = tiny.tokenizer(bos=True)
    if not begins:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    folder = tiny.save(tmp_path / "model", tiny.causal(), tokenizer)
    edit(folder / "tokenizer_config.json", tokenizer_class=named, add_bos_token=told)

    read = models.load_tokenizer(folder)
    read.save_pretrained(tmp_path / "again")
    (tmp_path / "again/config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "again/model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())

    for one in (read, models.load_tokenizer(tmp_path / "again")):
        assert encoding.opening(one) == [one.bos_token_id] * told
        assert one.decode(encoding.tokenize(one, ["The red fox."])[0][told:]) == "The red fox."


def test_a_setting_that_is_longer_than_the_model_reads_is_refused_by_its_config_alone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()

    models.check_length(folder, "train_sft.max_length", tiny.CONTEXT)
    with pytest.raises(
        UserError, match=r"^train_sft.max_length = 513, but .*model reads 512 tokens at most; set it to"
    ):
        models.check_length(folder, "train_sft.max_length", tiny.CONTEXT + 1)


def test_special_tokens_that_only_a_class_knows_stay(folder: Path) -> None:
    edit(folder / "tokenizer.json", normalizer={"type": "NFC"})
    edit(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")

    read = models.load_tokenizer(folder)

    assert read.tokenize("Ri\u0308ga") == read.tokenize("R\u00efga")
    assert (read.bos_token, read.eos_token, read.pad_token) == ("<|endoftext|>", "<eos>", "<pad>")


def test_a_text_ends_with_any_end_of_tokenizer_config_and_generation_config() -> None:
    model, tokenizer = tiny.causal(eos_token_id=[3, 7]), tiny.tokenizer()
    model.generation_config.eos_token_id = 9
    assert models.end_tokens(model, tokenizer) == {tokenizer.eos_token_id, 3, 7, 9}

    model.config.eos_token_id = model.generation_config.eos_token_id = None
    assert models.end_tokens(model, tokenizer) == {tokenizer.eos_token_id}


# ------------------------------------------------------------------------------------------------ what is in a folder


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}},
        {"quantization_config": {"load_in_4bit": True}},
        {"quantization_config": {"quant_method": "awq", "bits": 4}},
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
        {"text_config": {"quantization_config": {"quant_method": "mxfp4"}}},
        {"compression_config": {"quant_method": "compressed-tensors"}},
    ],
)
def test_a_configuration_of_quantised_weights_is_refused_before_they_are_read(folder: Path, config: dict) -> None:
    edit(folder / "config.json", **config)

    with pytest.raises(UserError, match="quantization_config.*quantised.*take the unquantised folder or a GGUF file"):
        models.load_causal(folder)


def test_a_file_that_modelopt_writes_beside_the_configuration_is_seen(folder: Path) -> None:
    (folder / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}}))

    with pytest.raises(UserError, match="has a hf_quant_config.json; the weights are quantised"):
        models.load_causal(folder)


@pytest.mark.parametrize(
    "name, kind, says",
    [
        ("model.layers.0.mlp.up_proj.weight", torch.float8_e4m3fn, "up_proj.weight is of the type F8_E4M3"),
        ("model.layers.0.mlp.up_proj.weight", torch.int8, "up_proj.weight is of the type I8"),
        ("model.layers.0.mlp.up_proj.weight", torch.uint8, "up_proj.weight is of the type U8"),
        ("model.layers.0.mlp.up_proj.qweight", torch.int32, "up_proj.qweight is of the type I32"),
    ],
)
def test_codes_in_place_of_weights_are_refused_whatever_the_configuration_says(
    folder: Path, name: str, kind: torch.dtype, says: str
) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name] = torch.zeros(64, 32).to(kind)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(UserError, match=says):
        models.load_causal(folder)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float16])
def test_masks_and_positions_that_older_models_were_saved_with_are_no_quantised_weights(
    folder: Path, kind: torch.dtype
) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.attn.bias"] = torch.ones(1, 1, 8, 8).tril().to(kind)  # GPT-2's, Pythia's
    weights["model.layers.0.attn.causal_mask"] = torch.ones(1, 1, 8, 8).tril().to(kind)  # CodeGen's
    weights["model.position_ids"] = torch.arange(8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    assert {one.dtype for one in models.load_causal(folder).parameters()} == {torch.float32}


@pytest.fixture
def sharded(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    tiny.causal().save_pretrained(folder, max_shard_size="100KB")
    return folder


def index(folder: Path) -> dict[str, str]:
    return json.loads((folder / model_folder.INDEX).read_text())["weight_map"]


def test_a_missing_shard_is_named_before_anything_loads(sharded: Path) -> None:
    shards = sorted(set(index(sharded).values()))
    (sharded / shards[-1]).unlink()

    with pytest.raises(UserError, match=f"{shards[-1]} is missing, one of 1 of the {len(shards)} files"):
        model_folder.check(sharded)


def test_a_weight_that_is_not_in_its_shard_is_named(sharded: Path) -> None:
    tensor, shard = sorted(index(sharded).items())[0]
    weights = load_file(sharded / shard)
    save_file({name: weights[name] for name in weights if name != tensor} | {"other": torch.zeros(1)}, sharded / shard)

    with pytest.raises(UserError, match=f"{shard}: {tensor} is not in it, one of 1 weights"):
        model_folder.check(sharded)


def test_shards_without_their_index_are_refused(sharded: Path) -> None:
    (sharded / model_folder.INDEX).unlink()

    with pytest.raises(UserError, match="cannot be read without model.safetensors.index.json"):
        model_folder.check(sharded)


@pytest.mark.parametrize("content", ["{}", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_names_no_weights_is_refused(sharded: Path, content: str) -> None:
    (sharded / model_folder.INDEX).write_text(content)

    with pytest.raises(UserError, match="has no `weight_map` of weights and files"):
        model_folder.check(sharded)


def test_a_shard_of_another_folder_is_refused(sharded: Path) -> None:
    (sharded / model_folder.INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))

    with pytest.raises(UserError, match="'../model.safetensors', the file of a, is not a file of this folder"):
        model_folder.check(sharded)


def test_an_index_counts_only_without_a_whole_file(sharded: Path) -> None:
    (sharded / sorted(set(index(sharded).values()))[0]).unlink()
    save_file({"a": torch.zeros(1)}, sharded / "model.safetensors")

    assert model_folder.weight_files(sharded) == [sharded / "model.safetensors"]


@pytest.mark.parametrize(
    "there, says",
    [
        ((), "tokenizer of sentencepiece and protobuf.*`pip install sentencepiece protobuf` lets"),
        (("sentencepiece",), "`pip install protobuf` lets"),
        (("protobuf",), "`pip install sentencepiece` lets"),
        (("sentencepiece", "protobuf"), "tokenizer_config.json names no `tokenizer_class`"),
    ],
)
def test_a_sentencepiece_model_alone_names_the_packages_that_read_it(
    folder: Path, there: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sentencepiece", "protobuf"):
        monkeypatch.setattr(f"transformers.utils.is_{name}_available", lambda is_there=name in there: is_there)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    edit(folder / "tokenizer_config.json", tokenizer_class=None)

    with pytest.raises(UserError, match=says):
        models.load_tokenizer(folder)


def test_a_tiktoken_file_alone_names_its_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_tiktoken_available", lambda: False)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")

    with pytest.raises(
        UserError, match="tokenizer of tiktoken, and there is no tokenizer.json; `pip install tiktoken`"
    ):
        models.load_tokenizer(folder)


@pytest.mark.skipif(
    sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ),
    reason="glibc's malloc, as nobody else has set it",
)
def test_memory_of_a_freed_tensor_is_taken_again_without_a_page_fault() -> None:
    def page_faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.zeros(10 << 20)  # 40 MB, more than glibc keeps by itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    models.keep_memory()
    page_faults()

    assert page_faults() < 1000  # of 100,000 where every tensor is mapped anew


def test_operations_of_threads_beside_each_other_take_a_core_each_and_those_of_a_thread_alone_all() -> None:
    before = torch.get_num_threads()

    def taken(count: int) -> set[int]:
        with models.beside(count) as threads:
            return set(threads.map(lambda _: torch.get_num_threads(), range(2 * count)))

    try:
        torch.set_num_threads(2)  # as `threads: 2` of hardware.yaml does in a trainer

        assert taken(2) == {1}
        assert torch.get_num_threads() == 2
        assert taken(1) == {2}
    finally:
        torch.set_num_threads(before)
