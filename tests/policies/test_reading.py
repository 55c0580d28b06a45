"""What a real, tiny model makes of answers behind one copy of their prompt, beside what it makes of each alone."""

import pytest
import torch

from synthalign.policies import batching, ppo, reading
from tests.taught import taught

PROMPT, ANSWERS = (5, 9, 7), ((11, 12, 13), (8,), (11, 2))
CPU = torch.device("cpu")


def alone(model: torch.nn.Module, answer: tuple[int, ...]) -> torch.Tensor:
    batch = batching.collate([list(PROMPT)], [list(answer)], pad=0, device=CPU)
    return ppo.token_logprobs(batching.state_logits(model, batch), batch.chosen)


def test_answers_behind_one_copy_of_their_prompt_are_as_likely_as_alone() -> None:
    model = taught()
    expected = torch.cat([alone(model, answer) for answer in (*ANSWERS, (4,))])

    rows = [(PROMPT, ANSWERS), (PROMPT, ((4,),))]  # the second row is padded
    found = reading.token_logprobs(model, rows, pad=0, device=CPU, dtype=torch.float32)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_answer_without_tokens_costs_nothing() -> None:
    model = taught()

    found = reading.answer_logprobs(model, [(PROMPT, ()), (PROMPT, (8,))], pad=0, batch_size=4)

    assert found == {(PROMPT, ()): 0.0, (PROMPT, (8,)): pytest.approx(alone(model, (8,)).item(), abs=1e-5)}


def test_what_is_learned_of_them_is_what_is_learned_of_each() -> None:
    model = taught()

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        names, learns = zip(*model.named_parameters(), strict=True)
        return dict(zip(names, torch.autograd.grad(loss, learns), strict=True))

    apart = gradients(torch.cat([alone(model, answer) for answer in ANSWERS]).sum())
    together = gradients(
        reading.token_logprobs(model, [(PROMPT, ANSWERS)], pad=0, device=CPU, dtype=torch.float32).sum()
    )

    assert max(float(one.abs().max()) for one in apart.values()) > 0.1
    for name, one in apart.items():
        torch.testing.assert_close(together[name], one, rtol=1e-3, atol=1e-4, msg=name)
