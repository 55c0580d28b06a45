"""What an endpoint was paid: written down before a request is sent, so that no crash forgets any of it.

    {"id": "17", "record": [4210, 256], …}      request 17 may cost 4210 prompt and 256 completion tokens
    {"id": "17", "record": [1203, 41], …}       and cost these

A request that nothing is known of any more may have been paid for all the same: what it might have cost stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from secrets import token_hex

from synthalign.core.ids import content_id
from synthalign.generation.endpoint import Endpoint
from synthalign.generation.journal import Journal, read


@dataclass(frozen=True)
class Tokens:
    prompt: int = 0
    completion: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)


def journal_name(file: str) -> str:
    """How the journals of what an endpoint was paid begin; `file` is the endpoint's."""
    return f"spent.{content_id(file)}"


def paid(folder: Path, file: str) -> Tokens:
    """What all processes have paid an endpoint in a stage's scratch folder, in this run and in those before it."""
    parts = folder.glob(f"{journal_name(file)}.*.jsonl")
    return sum((Tokens(*one) for part in parts for one in read(part)[0].values()), Tokens())


@dataclass
class Spending:
    """The requests of one process to one endpoint, with what all processes had paid before."""

    endpoint: Endpoint
    file: str
    """The endpoint's, for messages."""

    journal: Journal
    before: Tokens
    """Paid in earlier runs, by all processes."""

    processes: int
    """How many share what is left, evenly."""

    since: Tokens = Tokens()
    """Paid in this run by this process, or still possible to be."""

    under_way: dict[str, Tokens] = field(default_factory=dict)
    """The requests that may still turn out cheaper, with the most that each can cost."""

    names: Iterator[str] = field(default_factory=lambda: map(f"{token_hex(8)}.{{}}".format, count()))
    """Of the requests to come: two runs that write one journal at once have no name in common."""

    @classmethod
    def open(cls, folder: Path, file: str, endpoint: Endpoint, *, process: str = "0", processes: int = 1) -> "Spending":
        """Go on with what the folder says was paid; all processes have to be here before one sends a request."""
        before = paid(folder, file)
        return cls(endpoint, file, Journal(folder / f"{journal_name(file)}.{process}.jsonl"), before, processes)

    def exceeded(self, worst: Tokens) -> str | None:
        """Which cap a request could pass, with the figures; None when it passes none."""
        paid = self.before + self.since
        others = " (without the other processes of this run)" if self.processes > 1 else ""
        for cap, name, form, amount in (
            (self.endpoint.max_tokens, "max_tokens", ",", lambda one: one.prompt + one.completion),
            (self.endpoint.max_cost, "max_cost", ".6g", lambda one: self.endpoint.cost(one.prompt, one.completion)),
        ):
            if cap is not None and amount(self.before) + self.processes * amount(self.since + worst) > cap:
                return (
                    f"{self.file}: {name} = {cap:{form}}: {amount(paid):{form}} are spent{others} and the next request "
                    f"may take {amount(worst):{form}}; raise {name} and run the stage again: what is paid for is kept"
                )
        return None

    def reserve(self, worst: Tokens) -> str:
        """Write down the most that a request can cost, before it is sent; returns its name for the calls below.

        It is on the disk then: a power cut may take what the request brings, and not what it cost.
        """
        assert not self.exceeded(worst)
        name = next(self.names)
        self.under_way[name] = worst
        self.since += worst
        self.journal.append(name, [worst.prompt, worst.completion])
        self.journal.sync()
        return name

    def settle(self, name: str, paid: Tokens) -> None:
        """Write down what a request cost."""
        self.since += paid - self.under_way.pop(name)
        self.journal.append(name, [paid.prompt, paid.completion])

    def close(self) -> None:
        self.journal.close()
