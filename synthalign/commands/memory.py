"""What a step takes on one device, from the shape of a model: bytes, term by term (docs/plan.md has every formula).

Letters: P parameters, D hidden size, F inner size of the MLP, H what all heads of a layer are wide together, K what its
key heads are, L layers, V vocabulary; N tokens in a batch, a bytes of an activation, w bytes of a weight.
"""

from dataclasses import dataclass, replace

from synthalign.core.hardware import LOGITS

TILE_TOKENS, TILE_WORDS = 4096, 32768
"""TRL 1.16 makes logits in tiles of at most so many tokens and words (ChunkedLogProbFunction)."""

TILE_COPIES = {"cpu": 9, "gpu": 1}
"""How many of them the backward pass holds: one operation of torch after another, or one kernel."""

ANSWER_COPIES = 4
"""Logits, divided, log-softmax, and a gradient of them: what a loop of ours holds of the words after a token."""

CHOICE_COPIES = 8
"""Of the logits of a step of decoding: as they are, as probabilities, sorted, with their places (8 bytes), summed."""

BLOCK, PIECE = 16, 1024
"""`generate` has slots in blocks of so many, and reads at most so many tokens of prompts together."""


@dataclass(frozen=True)
class Shape:
    """A model, as config.json has it; `linears` are the (in, out) of the layers that adapters are put on."""

    parameters: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    layers: int
    vocabulary: int
    head_count: int
    untied: int = 0
    """Parameters of an output layer of its own, which a reward model has not."""

    linears: tuple[tuple[int, int], ...] = ()

    def as_reward(self) -> "Shape":
        """The same body with one output in place of the words."""
        return replace(self, parameters=self.parameters - self.untied + self.hidden, untied=0)

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA: A (rank, in) and B (out, rank) for every layer that has one."""
        return rank * sum(size + out for size, out in self.linears)


@dataclass(frozen=True)
class Need:
    """Bytes of one device. The terms are not all there at once: `peak` is what is."""

    weights: float
    gradients: float = 0
    optimizer: float = 0
    activations: float = 0
    caches: float = 0
    accumulates: bool = False
    """Whether gradients of earlier rows are there while activations are."""

    @property
    def peak(self) -> float:
        """Gradients come as activations go, unless earlier rows left them."""
        moving = self.activations + self.gradients if self.accumulates else max(self.activations, self.gradients)
        return self.weights + self.optimizer + self.caches + moving


@dataclass(frozen=True)
class Held:
    """How a trainer holds models: bytes of a weight and an activation, and what hardware.yaml and `lora` say."""

    w: int = 4
    a: int = 4
    """Of what goes into products: less than w under mixed precision."""

    recomputed: bool = False
    rank: int | None = None
    """Of the adapters; None trains all weights."""

    device: str = "gpu"

    def trained(self, shape: Shape) -> tuple[float, float, float]:
        """Bytes of weights beside the frozen ones, gradients and Adam's two moments: of all weights, or of adapters.

        Adapters are float32; gradient and moments have the type of what they are of.
        """
        if self.rank is None:
            return 0, self.w * shape.parameters, 2 * self.w * shape.parameters
        adapter = 4 * shape.adapter(self.rank)
        return adapter, adapter, 2 * adapter


def layer(held: Held, shape: Shape, length: int) -> float:
    """What the backward pass needs of a token of a text of `length` in one layer of the Llama kind.

    Two norms, which compute in float32: input and normalised, (4 + w) D. What they hand to the products, D each, and
    under mixed precision a copy for every product: queries, keys and values, gate and up. Queries, keys and values as
    wide as all heads, and the output, 4 H; gate, its activation, up and their product, 4 F; the token's row of the
    mask.
    """
    handed = 5 if held.a < held.w else 2
    norms = 2 * (4 + held.w) * shape.hidden
    return norms + held.a * (handed * shape.hidden + 4 * shape.heads + 4 * shape.inner + length)


def body(held: Held, shape: Shape, rows: int, length: int) -> float:
    """Activations of a batch that a backward pass needs; recomputed, the inputs of the layers and one layer whole."""
    tokens, one = rows * length, layer(held, shape, length)
    ends = (4 + held.w + held.a) * shape.hidden  # the last norm
    if held.recomputed:
        return tokens * (ends + held.w * shape.layers * shape.hidden + one)
    return tokens * (ends + shape.layers * one)


def copies(held: Held, shape: Shape) -> float:
    """The weights once more, as products take them under mixed precision, until the backward pass has used them.

    Of those that are trained autocast keeps its copies; frozen ones, of layers that are recomputed, go with the layer.
    """
    if held.a == held.w or (held.recomputed and held.rank is not None):
        return 0
    return held.a * shape.parameters


def passing(shape: Shape, tokens: int, a: int) -> float:
    """Activations of N tokens where there is no backward pass: what one layer holds at its widest."""
    return tokens * a * (4 * shape.hidden + 2 * shape.heads + 3 * shape.inner)


def tiles(shape: Shape, tokens: int, device: str) -> float:
    """Logits in TRL's trainers, and the gradient of the head that their backward pass begins with; float32."""
    tile = 4 * min(tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_WORDS)
    return TILE_COPIES[device] * tile


def head_gradient(shape: Shape) -> float:
    return 4 * shape.vocabulary * shape.hidden


def answers(shape: Shape, tokens: int) -> float:
    """Logits at the tokens of answers in a loop of ours; float32."""
    return ANSWER_COPIES * 4 * tokens * shape.vocabulary


def cache(shape: Shape, tokens: int, a: int) -> float:
    """Keys and values of N tokens: 2 L K."""
    return tokens * a * 2 * shape.layers * shape.key_heads


def dealt(rows: int | None, most: int, workers: int) -> tuple[int, int]:
    """How many workers `generate` has decode so many rows, and how many slots each of them has.

    rows  sequences that one call asks for; None is any number
    most  sequences that a worker decodes together at most

    >>> dealt(40, 256, workers=2)      # 20 each, in whole blocks
    (2, 32)
    """
    if rows is None:
        return workers, blocks(most)
    workers = max(1, min(workers, -(-rows // BLOCK)))
    return workers, blocks(max(1, min(most, -(-rows // workers))))


def blocks(count: int) -> int:
    """The count rounded up to whole blocks."""
    return -(-count // BLOCK) * BLOCK


def sampling(
    shape: Shape, *, w: int, prefix: int, own: int, new: int, slots: int, workers: int = 1, device: str = "gpu"
) -> Need:
    """Continuing one prefix: its keys and values once, those of `slots` sequences of own + new tokens for each worker.

    prefix, own, new  tokens that all share, of a prompt's own, and at most written
    slots, workers    as `dealt` says
    """
    read = max(prefix, workers * min(slots * own, max(own, PIECE)))
    scores = 0 if device == "cpu" else 3 * 4 * shape.head_count * max(prefix, slots) * prefix  # made whole on a GPU
    return Need(
        weights=w * shape.parameters,
        activations=max(passing(shape, read, w) + scores, CHOICE_COPIES * 4 * slots * workers * shape.vocabulary),
        caches=cache(shape, prefix + workers * slots * (own + new), w),
    )


def scoring(shape: Shape, *, w: int, rows: int, tokens: int, workers: int = 1, words: int = 0) -> Need:
    """Reading rows, so many at once in each worker.

    tokens, words  of a row at most, and those of them that have logits, in float32 and once more for their sums
    """
    logits = min(rows * words * shape.vocabulary, max(LOGITS, words * shape.vocabulary))
    return Need(
        weights=w * shape.parameters,
        activations=workers * (passing(shape, rows * tokens, w) + 2 * 4 * logits),
    )


def training(
    held: Held, shape: Shape, *, rows: int, tokens: int, accumulates: bool, words: bool = True, beside: float = 0
) -> Need:
    """A step of one of TRL's trainers.

    rows, tokens  texts that go through the model at once (a pair is two), and tokens of each at most
    words         whether it has logits (a reward model has none)
    beside        bytes of frozen models beside
    """
    more, gradients, optimizer = held.trained(shape)
    activations = body(held, shape, rows, tokens) + copies(held, shape)
    if words:
        activations += tiles(shape, rows * tokens, held.device)
        activations += head_gradient(shape) if held.rank is None else 0
    return Need(held.w * shape.parameters + more + beside, gradients, optimizer, activations, accumulates=accumulates)


def loop(
    held: Held,
    policy: Shape,
    *,
    beside: float = 0,
    value: Shape | None = None,
    rows: int,
    prompt: int,
    new: int,
    words: int | None = None,
    accumulates: bool,
    slots: int | None = None,
    workers: int = 1,
    threads: int = 1,
) -> Need:
    """A step of a loop of ours: PPO with its value model, RRHF, DITTO or SPIN without.

    rows            texts that go through a model at once; four times as many are decoded together
    prompt, new     tokens of a prompt and of an answer at most
    words           tokens of a text that have logits, where they are not those of its answer
    beside          bytes of frozen models beside, and of the weights of the value model
    slots, workers  of its decoding, as `dealt` says, where slots are not four times the rows
    threads         parts of a loss that are computed beside each other (`gradients.add_gradients`), rows of one model
                    each; what earlier ones left stays beside the gradients of their own
    """
    more, gradients, optimizer = held.trained(policy)
    length = prompt + new
    parts = [body(held, policy, rows, length) + copies(held, policy) + answers(policy, rows * (words or new))]
    own = [gradients]
    if value is not None:
        also = held.trained(value)
        more, gradients, optimizer = more + also[0], gradients + also[1], optimizer + also[2]
        parts.append(body(held, value, rows, length) + copies(held, value))
        own.append(also[1])
    activations = sum(parts)  # of both models in one pass, unless threads have a part each
    if threads > 1 and accumulates:
        activations = threads * max(map(max, parts, own))
    decoding = sampling(
        policy,
        w=held.w,
        prefix=0,
        own=prompt,
        new=new,
        slots=4 * rows if slots is None else slots,
        workers=workers,
        device=held.device,
    )
    step = Need(held.w * policy.parameters + more + beside, gradients, optimizer, activations, accumulates=accumulates)
    apart = decoding.activations + decoding.caches + gradients  # which stay until the next step begins
    if apart <= step.peak - step.weights - step.optimizer:
        return step
    return Need(step.weights, gradients, optimizer, decoding.activations, decoding.caches, accumulates=True)
