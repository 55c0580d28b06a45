"""The parts of a loss computed beside each other, with the gradients of one after the other, to the bit."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from synthalign.generation.models import beside


class Part(NamedTuple):
    """A part of a loss, for `add_gradients`."""

    parameters: Sequence[nn.Parameter]
    """All that it depends on and that learns."""

    loss: Callable[[], tuple[Tensor, Tensor]]
    """Computes it, and what is to be logged of it."""


def add_gradients(parts: Sequence[Part], *, threads: int) -> list[Tensor]:
    """Compute the parts beside each other, add their gradients to what the parameters have, and return their logs.

    Each part is computed in one thread, and gradients are added in the order of the parts: the sums are those of one
    `backward` after the other, to the bit. The last two parts change places in time: parts come in rising length, of
    one model after the other, so that two threads end together.
    """

    def gradients(part: Part) -> tuple[tuple[Tensor | None, ...], Tensor]:
        loss, log = part.loss()
        return torch.autograd.grad(loss, part.parameters, allow_unused=True), log

    logs = []
    with beside(min(threads, len(parts))) as pool:
        in_time = [*range(len(parts) - 2), len(parts) - 1, len(parts) - 2] if len(parts) > 2 else range(len(parts))
        running = {place: pool.submit(gradients, parts[place]) for place in in_time}
        for place, part in enumerate(parts):
            found, log = running.pop(place).result()
            for parameter, gradient in zip(part.parameters, found, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            logs.append(log)
    return logs
