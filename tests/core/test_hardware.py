import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthalign.core import hardware, stage
from synthalign.core.errors import UserError
from tests.small_tables import ROOT


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str) -> None:
    Path("hardware.yaml").write_text(text, encoding="utf-8")


def test_without_the_file_all_is_fp32_and_nothing_of_it_is_in_a_hash():
    found = hardware.read()

    assert (found.weights.training, found.weights.reading) == ("fp32", "fp32")
    assert not found.gradient_checkpointing and not found.compile and found.attention is None
    assert found.of_results() == ""


def test_the_file_that_make_copies_for_a_cpu_says_what_its_absence_says():
    write((ROOT / "accelerate/cpu.hardware.yaml").read_text(encoding="utf-8"))

    assert hardware.read() == hardware.Hardware()


@pytest.mark.parametrize(
    "file", sorted(file.stem for file in (ROOT / "accelerate").glob("*.yaml") if "." not in file.stem)
)
def test_every_launch_file_has_a_hardware_file_that_can_be_read(file: str):
    write((ROOT / f"accelerate/{file}.hardware.yaml").read_text(encoding="utf-8"))

    assert hardware.read()


def test_every_wrong_key_is_named_with_the_file_at_once():
    write("weights: {training: fp16}\nflash: true\ndevice_rows: {training: 0}\n")

    with pytest.raises(UserError) as error:
        hardware.read()

    lines = str(error.value).splitlines()
    assert [line.split(":")[1].split(" =")[0].strip() for line in lines] == [
        "weights.training",
        "device_rows.training",
        "flash",
    ]
    assert all(line.startswith("hardware.yaml: ") and "accelerate/gpu.hardware.yaml" in line for line in lines)


def test_a_run_in_bf16_or_tf32_does_not_go_on_with_what_one_in_fp32_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders = []
    for name, text in (
        ("none", ""),
        ("rows", "device_rows: {training: 2}\n"),
        ("off", "tf32: false\n"),
        ("bf16", "weights: {reading: bf16}\n"),
        ("tf32", "tf32: true\n"),
    ):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if text:
            write(text)
        folders.append(str(stage.work_dir("sample", "settings")))

    assert folders[0] == folders[1] == folders[2]
    assert len(set(folders)) == 3


def test_rows_of_a_device_take_the_place_of_a_trainers_own():
    class Settings(hardware.BaseModel, frozen=True):
        device_batch_size: int

    write("device_rows: {training: 4}\n")

    assert hardware.read().fitted(Settings(device_batch_size=32)).device_batch_size == 4
    assert hardware.Hardware().fitted(Settings(device_batch_size=32)).device_batch_size == 32


def test_the_environment_names_another_file_for_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text("threads: 2\n")
    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "two.yaml")

    assert hardware.read().threads == 2
    assert '"threads":2' in hardware.read().of_results()

    monkeypatch.setenv("SYNTHALIGN_HARDWARE", "away.yaml")
    with pytest.raises(UserError, match="SYNTHALIGN_HARDWARE = away.yaml: there is no such file"):
        hardware.read()


SAYS = """
import torch
from synthalign.generation import models
print(torch.backends.cpu.get_cpu_capability())
"""


@pytest.mark.parametrize("of_environment", [{}, {"ATEN_CPU_CAPABILITY": "default"}])
def test_native_frees_a_process_from_avx2_and_what_the_environment_says_stands(of_environment: dict[str, str]):
    clean = {name: value for name, value in os.environ.items() if name not in {"ATEN_CPU_CAPABILITY", "MKL_CBWR"}}

    def capability(code: str, **more: str) -> str:
        python = [sys.executable, "-c", code]
        whole = clean | of_environment | {"PYTHONPATH": str(ROOT)} | more
        return subprocess.run(python, env=whole, check=True, capture_output=True, text=True).stdout.strip()

    all_it_has = capability("import torch; print(torch.backends.cpu.get_cpu_capability())")
    held = capability(SAYS)
    write("instructions: native\n")

    assert capability(SAYS) == all_it_has
    assert held == (all_it_has if all_it_has in {"DEFAULT", "AVX2"} else "AVX2")


def test_a_wrong_file_is_left_to_the_command_that_says_what_is_wrong_with_it():
    write("instructions: avx10\n")

    code = "from synthalign.generation import models; print('imported')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr, done.returncode) == ("imported\n", "", 0)
    with pytest.raises(UserError, match="hardware.yaml: instructions = 'avx10'"):
        hardware.read()
