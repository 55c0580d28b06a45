import pytest
import torch
from torch import Tensor, nn

from synthalign.policies.gradients import Part, add_gradients


def squared(model: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    loss = model(rows).square().sum()
    return loss, loss.detach()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_gradients_of_parts_are_those_of_one_backward_after_the_other_to_the_bit(threads: int) -> None:
    torch.manual_seed(0)
    batches = torch.randn(5, 40, 16)
    one, other = (nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)) for _ in range(2))
    losses = []
    for model in (one, other):
        for rows in batches:
            loss, log = squared(model, rows)
            loss.backward()
            losses.append(log)
    expected = [parameter.grad for parameter in (*one.parameters(), *other.parameters())]
    for parameter in (*one.parameters(), *other.parameters()):
        parameter.grad = None

    parts = [
        Part(list(model.parameters()), lambda model=model, rows=rows: squared(model, rows))  # type: ignore[misc]
        for model in (one, other)
        for rows in batches
    ]
    logs = add_gradients(parts, threads=threads)

    found = [parameter.grad for parameter in (*one.parameters(), *other.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [float(log) for log in logs] == [float(log) for log in losses]


def test_a_part_that_fails_is_told_and_what_it_does_not_depend_on_gets_no_gradient() -> None:
    weight, other = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))

    def fails() -> tuple[Tensor, Tensor]:
        raise ValueError("no such batch")

    add_gradients([Part([weight, other], lambda: (weight * 5, torch.zeros(())))], threads=2)

    assert weight.grad == 5 and other.grad is None
    with pytest.raises(ValueError, match="no such batch"):
        add_gradients([Part([weight], fails), Part([other], fails)], threads=2)
