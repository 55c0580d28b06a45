"""What `make pocket` runs, on people's data and small models in GGUF: every stage, to the rows of real text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import tiny_gguf
from tests.small_graph import MAKE_REPRO, ROOT, clone, finish, start

PEOPLE = Path("../shared/data").resolve()
SIZES = ("small", "medium", "large")
TRAINERS = ("train_ditto", "train_spin", "sample_ditto")

pytestmark = pytest.mark.skipif(not PEOPLE.is_dir(), reason="people's files are not there")


def targets() -> list[str]:
    """The stages that `make pocket` asks for."""
    [line] = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("POCKET := ")]
    return line.removeprefix("POCKET := ").split()


@pytest.fixture
def pocket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with the profile in force at a twentieth, the embedded models as GGUF files, and people's data."""
    folder = clone(tmp_path / "pocket")
    (folder / "models/gguf").mkdir(parents=True)
    settings = [f"{stage}.max_new_tokens=200" for stage in TRAINERS]  # their vocabulary is small
    for size in SIZES:
        base = ROOT / f"data/embedded/models/{size}"
        model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
        file = folder / f"models/gguf/{size}.gguf"
        sha256 = tiny_gguf.write(file, model.float(), tokenizer=tokenizer, llama__context_length=4096)
        given = {"source": f"models/gguf/{size}.gguf", "revision": sha256, "pad_token": "null"}
        settings += [f"base_models.{size}.{key}={value}" for key, value in given.items()]
    fetched = yaml.safe_load((ROOT / "data/sources/pocket.yaml").read_text())
    ours = [one for one in fetched if one["path"].startswith("data/people/")]
    (folder / "people.yaml").write_text(yaml.safe_dump(ours))
    monkeypatch.setenv("SYNTHALIGN_MIRROR", str(PEOPLE))
    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "accelerate/pocket.hardware.yaml")
    for command in (
        ["bring", "people.yaml"],
        ["people"],
        ["profile", "pocket", "--scale", ".05", *(word for one in settings for word in ("--set", one))],
    ):
        subprocess.run([sys.executable, "-m", "synthalign", *command], cwd=folder, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_stage_of_pocket_runs_and_people_measure_what_the_rows_ask_for(pocket: Path) -> None:
    finish(start(pocket, *targets(), by=MAKE_REPRO), pocket)
    writer = [sys.executable, "-m", "synthalign.reporting.real_claims", "metrics"]
    subprocess.run(writer, cwd=pocket, check=True, env=os.environ)

    written = json.loads((pocket / "metrics/real_claims.json").read_text())
    assert {size: one["source"] for size, one in written["of"]["models"].items()} == {
        size: f"models/gguf/{size}.gguf" for size in SIZES
    }
    missing = [row["source"] for row in written["claims"] if row["decision"] == "not measured"]
    assert [source for source in missing if "score_pairs.json" not in source] == []  # `make pocket-claims` has those
