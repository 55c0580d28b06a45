"""The probability of an option's letter, read where it comes (check 7)."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from synthalign.core.errors import UserError
from synthalign.feedback import option_tokens
from tests import tiny

TOKENIZER = tiny.tokenizer()
PROMPTS = [f"Which is better? {'Where does the red fox live? ' * count}The better answer is (" for count in range(1, 8)]


@pytest.fixture(scope="module")
def model():
    return tiny.causal(seed=3)


def test_an_option_is_the_token_that_it_adds_to_its_prompt():
    before, found = option_tokens.resolve(TOKENIZER, "The better answer is (", ["A", "B"])

    assert TOKENIZER.decode(before) == "The better answer is ("
    assert [TOKENIZER.decode([token]) for token in found] == ["A", "B"]


def test_a_letter_by_itself_may_be_another_token_than_the_one_that_comes_next():
    # As LLaMA's tokenizer does, this one puts a blank before a text: the trap in the released code of RLCD.
    letters = ["\u2581", "(", "A", "B"]
    vocabulary = {piece: place for place, piece in enumerate([*letters, "\u2581A", "\u2581B", "\u2581("])}
    made = Tokenizer(BPE(vocabulary, [("\u2581", "A"), ("\u2581", "B"), ("\u2581", "(")]))
    made.pre_tokenizer = Metaspace(prepend_scheme="always", split=False)
    spaced = PreTrainedTokenizerFast(tokenizer_object=made)

    alone = [spaced(letter)["input_ids"] for letter in "AB"]
    assert alone == [[vocabulary["\u2581A"]], [vocabulary["\u2581B"]]]
    assert option_tokens.resolve(spaced, "(", ["A", "B"])[1] == [vocabulary["A"], vocabulary["B"]]


@pytest.mark.parametrize(
    "prompt, options, told",
    [
        ("It is (", ["A", "Zebra"], r"the option 'Zebra' after 'It is \(' is [2-9] tokens"),
        ("It is (", ["A", ""], r"the option '' after 'It is \(' is 0 tokens"),
        ("It is (", ["A", "A"], "which are not distinct"),
        ("Huma", ["n", "B"], "the option 'n' after 'Huma' is .* tokens.*to leave those of the prompt as they are"),
    ],
)
def test_an_option_that_is_not_one_token_of_its_own_is_refused(prompt, options, told):
    with pytest.raises(UserError, match=told):
        option_tokens.resolve(TOKENIZER, prompt, options)


def with_last_logits_changed(family: str) -> PreTrainedModel:
    """A tiny model that scales or caps what its output embeddings give."""
    same = tiny.config().to_dict() | {"model_type": family}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if family == "granite":
            return GraniteForCausalLM(GraniteConfig(**same | {"logits_scaling": 0.25})).eval()
        return Gemma2ForCausalLM(Gemma2Config(**same | {"head_dim": 8, "final_logit_softcapping": 0.5})).eval()


@pytest.mark.parametrize("family", ["llama", "granite", "gemma2"])
def test_probabilities_are_those_of_a_plain_pass_over_one_prompt(model, family):
    model = model if family == "llama" else with_last_logits_changed(family)

    found = option_tokens.probabilities(model, TOKENIZER, PROMPTS, ["A", "B"], batch_size=3)

    for prompt, (a, b) in zip(PROMPTS, found, strict=True):
        tokens, options = option_tokens.resolve(TOKENIZER, prompt, ["A", "B"])
        with torch.inference_mode():
            logits = model(torch.tensor([tokens])).logits[0, -1]
        assert a == pytest.approx(logits[options].softmax(-1)[0].item(), abs=1e-5)
        assert a + b == pytest.approx(1)
        assert abs(a - 0.5) > 1e-3  # or the comparison says nothing


def test_neither_the_batch_nor_the_order_changes_a_probability(model):
    alone = [option_tokens.probabilities(model, TOKENIZER, [prompt], ["A", "B"])[0] for prompt in PROMPTS]

    assert option_tokens.probabilities(model, TOKENIZER, PROMPTS, ["A", "B"], batch_size=64) == alone
    assert option_tokens.probabilities(model, TOKENIZER, PROMPTS[::-1], ["A", "B"], batch_size=2) == alone[::-1]


def test_the_options_order_turns_the_probabilities(model):
    found = option_tokens.probabilities(model, TOKENIZER, PROMPTS, ["A", "B"])
    turned = option_tokens.probabilities(model, TOKENIZER, PROMPTS, ["B", "A"])

    assert turned == [row[::-1] for row in found]


def test_a_prompt_beyond_the_context_and_a_broken_model_are_told(model):
    with pytest.raises(UserError, match="a prompt of the labeller has .* more than its context of 512"):
        option_tokens.probabilities(model, TOKENIZER, ["x" * 2000 + "("], ["A", "B"])
    broken = tiny.causal(seed=0)
    broken.get_output_embeddings().weight.data.fill_(float("nan"))
    broken.name_or_path = "models/damaged"
    with pytest.raises(UserError, match=r"models/damaged scores the options .* with nan: its logits are not finite"):
        option_tokens.probabilities(broken, TOKENIZER, PROMPTS, ["A", "B"])


def test_without_prompts_there_are_no_probabilities(model):
    assert option_tokens.probabilities(model, TOKENIZER, [], ["A", "B"]) == []
