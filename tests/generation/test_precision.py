from pathlib import Path

import pytest
import torch

from synthalign.core.errors import UserError
from synthalign.core.hardware import Hardware, Weights
from synthalign.generation import models, precision
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder whose weights are bf16; the current folder has no hardware.yaml yet."""
    monkeypatch.chdir(tmp_path)
    return tiny.save(tmp_path / "model", tiny.causal().to(torch.bfloat16), tiny.tokenizer())


@pytest.mark.parametrize(
    ("text", "training", "reading"),
    [
        ("", torch.float32, torch.float32),
        ("weights: {reading: bf16}", torch.float32, torch.bfloat16),
        ("weights: {training: auto}", torch.bfloat16, torch.float32),
    ],
)
def test_weights_have_the_type_that_the_file_names_for_their_use(folder: Path, text, training, reading):
    if text:
        Path("hardware.yaml").write_text(text)

    assert models.load_causal(folder, "training").dtype == training
    assert models.load_causal(folder).dtype == reading


@pytest.mark.parametrize(("text", "precisions"), [("", []), ("tf32: true", ["high"])])
def test_a_gpu_multiplies_float32_as_tf32_where_the_file_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, precisions: list[str]
):
    Path("hardware.yaml").write_text(text or "{}")
    said: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)

    models.fix_rounding()

    assert said == precisions


def test_the_attention_kernel_is_the_files(folder: Path):
    Path("hardware.yaml").write_text("attention: eager\n")

    assert models.load_causal(folder).config._attn_implementation == "eager"


def test_a_kernel_that_the_device_lacks_is_refused_with_the_files_key(folder: Path):
    Path("hardware.yaml").write_text("attention: flash_attention_2\nweights: {reading: bf16}\n")

    with pytest.raises(UserError, match=r"hardware.yaml: attention = 'flash_attention_2' needs a GPU"):
        models.load_causal(folder)


def test_bf16_on_a_gpu_that_lacks_it_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")

    with pytest.raises(UserError, match=r"hardware.yaml: weights.training = 'bf16': this GPU \(Tesla T4\)"):
        precision.loading(Hardware(weights=Weights(training="bf16")), "training")
    assert precision.loading(Hardware(weights=Weights(training="bf16")), "reading") == {"dtype": torch.float32}
