"""Several addresses that serve one model: which is asked next, and which is left alone for a while.

A request goes to the replica with the fewest under way.  One that is in trouble is set aside, twice as long each time
in a row; then a single request finds out whether it is back.  Where all are set aside, the one whose time is up first
is asked all the same: a single address is never waited for here.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(eq=False)
class Replica:
    url: str
    serves: bool = False
    """Whether it said, since it was last set aside, that it serves the model."""

    under_way: int = 0
    failures: int = 0
    """In a row, of requests that were sent while it was not set aside."""

    back_at: float = 0.0
    """On the clock `time.monotonic`: when it is asked again."""


@dataclass
class Replicas:
    all: Sequence[Replica]
    limit: int
    """Requests under way at the same time, at each."""

    first_pause: float
    """Seconds for which one is set aside for its first failure; further ones in a row double them."""

    longest_pause: float
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    """One has room again."""

    @property
    def are_several(self) -> bool:
        return len(self.all) > 1

    async def take(self, tried: Collection[Replica]) -> Replica | None:
        """The one to ask next, once it has room, until `give_back`; None when all were tried that are not set aside."""
        async with self.changed:
            while asked := self._askable(tried):
                if free := [one for one in asked if one.under_way < self._room(one)]:
                    chosen = min(free, key=lambda one: one.under_way)
                    chosen.under_way += 1
                    return chosen
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._until_one_is_back()):
                        await self.changed.wait()
        return None

    async def give_back(self, one: Replica) -> None:
        async with self.changed:
            one.under_way -= 1
            self.changed.notify_all()

    def has_answered(self, one: Replica) -> None:
        one.failures, one.back_at = 0, 0.0

    def set_aside(self, one: Replica, wait: float) -> None:
        """For as long as it asks for at least; requests that fail together are one failure.

        wait  seconds that it asks for, or 0
        """
        now = time.monotonic()
        if one.back_at <= now:
            one.back_at = now + min(self.first_pause * 2.0 ** min(one.failures, 60), self.longest_pause)
            one.failures += 1
        one.back_at, one.serves = max(one.back_at, now + wait), False

    def _askable(self, tried: Collection[Replica]) -> list[Replica]:
        now = time.monotonic()
        if back := [one for one in self.all if one not in tried and one.back_at <= now]:
            return back
        return [] if tried else [min(self.all, key=lambda one: one.back_at)]

    def _room(self, one: Replica) -> int:
        return 1 if one.failures and self.are_several else self.limit

    def _until_one_is_back(self) -> float | None:
        now = time.monotonic()
        return min((one.back_at - now for one in self.all if one.back_at > now), default=None)
