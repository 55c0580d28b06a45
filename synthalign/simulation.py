"""Which of several candidates becomes the assistant's turn (RMSP, ALMoST section 2.2)."""

from collections.abc import Sequence

from synthalign import chat
from synthalign.chat import Message


def best(texts: Sequence[str], rewards: Sequence[float] | None) -> int:
    """The place of the best candidate: the highest reward among those that say anything, the first of equals.

    Without rewards (Self-Play) it is the first that says anything; when none does, place 0.
    """
    usable = [place for place, text in enumerate(texts) if text.strip()] or [0]
    if rewards is None:
        return usable[0]
    return max(usable, key=lambda place: (rewards[place], -place))


def user_prompt(messages: Sequence[Message]) -> str:
    """What a model continues as the user who answers the assistant's last message; no blank at its end."""
    return f"{chat.dialogue(messages)}{chat.TURN}{chat.HUMAN}"
