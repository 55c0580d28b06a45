"""A checkpoint is on the disk before it is there, and one that a power cut has left empty is passed over."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from synthalign.core import durable

FILES = ["model.safetensors", "optimizer.pt", "state.json"]


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(8, dtype=torch.bfloat16)}, folder / "model.safetensors")
    torch.save({"step": 3}, folder / "optimizer.pt")
    (folder / "state.json").write_text('{"step": 3}')
    return folder


def test_a_checkpoint_that_is_whole_is_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [checkpoint(tmp_path / name) for name in ("new", "old")]

    assert durable.first_whole(folders, last="state.json") == folders[0]
    assert durable.first_whole([], last="state.json") is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", ["nothing", "zeros", "half"])
@pytest.mark.parametrize("name", FILES)
def test_one_with_a_file_that_did_not_reach_the_disk_is_passed_over_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    new, old = (checkpoint(tmp_path / folder) for folder in ("new", "old"))
    whole = (new / name).read_bytes()
    (new / name).write_bytes({"nothing": b"", "zeros": bytes(len(whole)), "half": whole[: len(whole) // 2]}[content])

    assert durable.first_whole([new, old], last="state.json") == old

    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{new}: passed over, as {name} ")


def test_one_without_the_file_that_is_written_last_is_not_whole(tmp_path: Path) -> None:
    new = checkpoint(tmp_path / "new")
    (new / "state.json").unlink()

    assert durable.first_whole([new], last="state.json") is None


def test_a_folder_is_on_the_disk_with_its_files_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, folder = checkpoint(tmp_path / "partial"), checkpoint(tmp_path / "step-3")  # one that could not be read
    (folder / "state.json").write_text("")
    order: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        order.append(f"{self.name} -> {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", renamed)

    durable.put(partial, folder)

    assert sorted(order[:3]) == FILES
    assert order[3:] == ["partial", "partial -> step-3", tmp_path.name]
    assert durable.damage(folder, "state.json") is None
