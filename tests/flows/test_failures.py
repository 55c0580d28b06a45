"""The hints, with the words that PyTorch, Python, DVC and our stages really use."""

import pytest

from flows.failures import hint, is_busy


@pytest.mark.parametrize(
    ("tail", "start"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.", "out of memory"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", "out of memory"),
        ("ERROR: failed to reproduce 'x': failed to run: python -m stages.x, exited with 137", "out of memory"),
        ("train_sft: the disk is full (models/sft); free some space and run it again", "the disk is full"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("train_dpo: the loss is nan by step 30 of 90 (it is looked at every 10 steps)", "a number became NaN"),
        ("train_ppo: the gradient of the policy has norm nan", "a number became NaN"),
        ("ModuleNotFoundError: No module named 'vllm'", "something is not installed"),
        ("engine = vllm, but vLLM is not installed; it is an extra: pip install '.[vllm]'", "something is not inst"),
        ("check_settings: 1 wrong\nparams.yaml: train_sft.epochs = -1: too small", "a setting is wrong"),
    ],
)
def test_known_failures_have_a_hint(tail: str, start: str) -> None:
    assert (hint(tail) or "").startswith(start)


def test_what_is_said_of_memory_changes_no_method() -> None:
    said = hint("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.") or ""

    assert "params.yaml" not in said
    for word in ("plan --memory --card 24GB", "hardware.yaml (`device_rows`)", "JOBS=1", "`parallel` and `gpu_tasks`"):
        assert word in said


@pytest.mark.parametrize("tail", ["", "AssertionError", "loss 0.31, a banana in the information", "KeyError: 'a'"])
def test_unknown_failures_have_none(tail: str) -> None:
    assert hint(tail) is None


def test_dvc_is_busy_in_both_of_its_ways() -> None:
    assert is_busy(
        "ERROR: Unable to acquire lock. Most likely another DVC process is running or was terminated abruptly."
    )
    assert is_busy("ERROR: '/x/top.out' is busy, it is being blocked by:\n  (PID 12): dvc repro")
    assert not is_busy("ERROR: failed to reproduce 'x'")
