"""What of a sampled text had come to its end, and what of it may be taught: one rule for all methods.

    finish_reason   the text                              as a target or as chosen    as rejected
    eos             ended, and the model wrote the end    with an end                 with an end
    stop            ended: another turn began after it    with an end                 without
    length          was cut off in the middle             without, never as chosen    without
    error           is empty: there were no logits        never                       never
    None            is a person's, or nobody knows        with an end                 with an end

RRHF alone gives a `stop` its end as rejected too, as a text has one likelihood there whatever it is compared with.
`docs/decisions/0011-what-ended-and-what-was-cut-off.md` says why. Finish reasons are those of `generation.generate`.
"""


def is_whole(finish_reason: str | None) -> bool:
    """Whether the text may be taught as one that ends where it ends."""
    return finish_reason in ("eos", "stop", None)


def has_end(finish_reason: str | None) -> bool:
    """Whether its writer wrote the end: a text that is pushed away takes no end with it that was never written."""
    return finish_reason in ("eos", None)


def is_complete(finish_reason: str | None, text: str, *, turn_ends: bool = False) -> bool:
    """Whether an answer, tokens as they were sampled, ends by itself and says something; else a reward is not paid.

    turn_ends  whether another turn after it is an end too, as in RLCD's code, whose policies begin as base models
    """
    ended = is_whole(finish_reason) if turn_ends else has_end(finish_reason)
    return ended and bool(text.strip())
