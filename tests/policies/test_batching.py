import pytest
from accelerate import Accelerator

from synthalign.core import hardware
from synthalign.policies import answering, batching
from tests import tiny


def test_parts_hold_at_most_so_much_in_their_order_and_what_is_larger_is_alone():
    assert batching.bounded([2, 0, 1, 3], [3, 9, 1, 2], 4) == [[2, 0], [1], [3]]
    assert batching.bounded([], [1], 4) == []


def test_log_ratios_do_not_depend_on_how_many_logits_are_held_at_once(monkeypatch):
    policy, reference = tiny.causal(seed=0), tiny.causal(seed=1)
    given, chosen = [[5, 6, 7], [8, 9], [4]], [[10, 11], [12, 13, 14], [15]]

    def ratios(one, other):
        return answering.log_ratios(Accelerator(cpu=True), one, other, given, chosen, pad=1, device_batch_size=8)

    together = ratios(policy, reference)
    monkeypatch.setattr(hardware, "LOGITS", tiny.VOCABULARY)  # a token of each text at a time, or the text alone

    assert ratios(policy, reference) == pytest.approx(together, abs=1e-5)
    assert ratios(policy, policy) == [0, 0, 0]
