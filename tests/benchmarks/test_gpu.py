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
def test_the_whole_script_runs_on_any_machine_with_a_small_shape(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--size", "toy"])
    monkeypatch.setattr(gpu, "RUNS", 1)
    monkeypatch.setattr(gpu, "MODEL", "data/embedded/models/large")  # whose tokenizer is needed alone
    monkeypatch.setattr(gpu, "queries", lambda rows: [f"Human: Where is {row}?\n\nAssistant:" for row in range(rows)])

    gpu.main()

    found = json.loads(capsys.readouterr().out)
    assert found["tokens_per_second"] > 0 and found["floor_tokens_per_second"] > 0
    assert 0 < found["training_utilisation"] < 1
