"""A model folder as GGUF with an Ollama Modelfile, by the tools of llama.cpp."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.generation import gguf_header, gguf_tokenizer

CONVERTER, QUANTIZER = "convert_hf_to_gguf.py", "llama-quantize"
PLACES = ("", "build/bin", "bin")
"""Where a checkout of llama.cpp has its programs."""

QUANTIZED = "Q4_K_M"

TEMPLATE = (
    "{{ range $i, $one := .Messages }}{{ if $i }}\n\n{{ end }}"
    f'{{{{ if eq $one.Role "user" }}}}{chat.HUMAN} {{{{ end }}}}'
    f'{{{{ if eq $one.Role "assistant" }}}}{chat.ASSISTANT} {{{{ end }}}}'
    f"{{{{ $one.Content }}}}{{{{ end }}}}\n\n{chat.ASSISTANT}"
)
"""`chat.CHAT_TEMPLATE` in Ollama's language; llama.cpp puts a tokenizer's BOS in front by itself."""


@dataclass(frozen=True)
class Tools:
    """The converter, and the quantizer where there is one."""

    converter: Path
    quantizer: Path | None


def find() -> Tools:
    """The tools in the folder that LLAMA_CPP names, or else on PATH; UserError where there is no converter."""
    home = os.environ.get("LLAMA_CPP")
    if home and not (Path(home) / CONVERTER).is_file():
        raise UserError(f"--gguf: LLAMA_CPP={home} has no {CONVERTER}; name a checkout of llama.cpp")
    converter = str(Path(home) / CONVERTER) if home else shutil.which(CONVERTER)
    if not converter:
        raise UserError(
            f"--gguf: there is no {CONVERTER}; get llama.cpp and its Python packages (gguf), and set LLAMA_CPP to its "
            "folder or put that file on PATH"
        )
    inside = [Path(home) / place / QUANTIZER for place in PLACES] if home else []
    quantizer = next((str(file) for file in inside if file.is_file()), None) or shutil.which(QUANTIZER)
    return Tools(Path(converter), Path(quantizer) if quantizer else None)


def convert(folder: Path, tools: Tools, decoding: Mapping[str, Any]) -> None:
    """Write model-F16.gguf, where there is a quantizer model-Q4_K_M.gguf, and a Modelfile of the smaller.

    UserError with the last words of the tool that failed; what was exported before stays.
    """
    whole = folder / "model-F16.gguf"
    _run([sys.executable, tools.converter, folder, "--outfile", whole, "--outtype", "f16"], whole, folder)
    _check(whole)
    served = whole
    if tools.quantizer:
        served = folder / f"model-{QUANTIZED}.gguf"
        _run([tools.quantizer, whole, served, QUANTIZED], served, folder)
    (folder / "Modelfile").write_text(modelfile(served.name, decoding), encoding="utf-8")
    print(f"{folder}: {served.name}, {served.stat().st_size / 1e6:.1f} MB; `ollama create NAME -f Modelfile` there")


def _check(whole: Path) -> None:
    """UserError, and no file, where a converter that found no tokenizer.model has given all tokens one score: llama.cpp
    would cut texts otherwise than the policy was trained on them."""
    settings = gguf_header.read(whole).settings
    try:
        gguf_tokenizer.check_order(settings, whole)
    except UserError as error:
        whole.unlink()
        raise UserError(
            f"--gguf: {error}. Put the base model's tokenizer.model into {whole.parent} and run the converter there; "
            "all else in the folder is whole"
        ) from error


def modelfile(name: str, decoding: Mapping[str, Any]) -> str:
    """How Ollama asks the model: the text of our dialogues and the decoding of the profile, its own rules switched off.

    Its parser knows no escapes: a line break within quotes is written as one.
    """
    off = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}
    names = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "num_predict"}
    given = {theirs: decoding[ours] for ours, theirs in names.items()} | off
    lines = [f"FROM ./{name}", f'TEMPLATE """{TEMPLATE}"""']
    lines += [f"PARAMETER {key} {value}" for key, value in given.items()]
    lines += [f'PARAMETER stop "{stop}"' for stop in chat.STOPS]
    return "\n".join(lines) + "\n"


def _run(command: list[str | Path], made: Path, folder: Path) -> None:
    print(f"{folder}: {' '.join(map(str, command[-4:]))}", flush=True)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode or not made.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        tool = next(Path(part).name for part in map(str, command) if CONVERTER in part or QUANTIZER in part)
        raise UserError(
            f"--gguf: {tool} ended with {done.returncode} and no {made.name}: {' / '.join(said)}; the rest of "
            f"{folder} is whole"
        )
