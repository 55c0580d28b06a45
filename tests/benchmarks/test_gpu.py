import json
import sys

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_large_shape_is_refused_with_what_runs_anywhere(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])

    with pytest.raises(SystemExit) as left:
        gpu.main()

    assert left.value.code == 2
    assert "the 1.5b shape needs a GPU, and torch sees none; --size toy runs anywhere" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_script_runs_on_any_machine_with_a_small_shape(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu", "--size", "toy", "--results", str(tmp_path)])

    assert gpu.main()

    [file] = tmp_path.iterdir()
    found = json.loads(file.read_text())
    assert found["decoding"]["tokens_per_second"] > 0 and found["decoding"]["floor_tokens_per_second"] > 0
    assert all(found[part]["seconds_a_step"] > 0 and found[part]["planned_bytes"] > 0 for part in ("sft", "dpo", "ppo"))
    assert found["scoring"]["flops_per_second"] < found["machine"]["flops_per_second"]


def test_a_part_that_takes_too_long_or_fails_leaves_what_the_others_found(monkeypatch, tmp_path):
    told = {"decoding": {"failed": "more than 120 s"}, "dpo": {"failed": "exit code 1; the reason is above"}}
    monkeypatch.setattr(sys, "argv", ["gpu", "--size", "toy", "--results", str(tmp_path)])
    monkeypatch.setattr(gpu, "outcome", lambda part, *_: told.get(part, {"seconds": 1.0}))

    assert not gpu.main()

    [file] = tmp_path.iterdir()
    found = json.loads(file.read_text())
    assert {part: found[part] for part in told} == told and found["ppo"] == {"seconds": 1.0}


def test_a_part_is_stopped_when_its_seconds_are_over(tmp_path):
    assert gpu.outcome("machine", "toy", str(tmp_path), 0.01) == {"failed": "more than 0 s"}
