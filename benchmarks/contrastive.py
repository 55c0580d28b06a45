"""The work of the generation benchmarks: one long few-shot prefix, many short queries, the large embedded model."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthalign.core import tables
from synthalign.dialogue import chat, demonstrations
from synthalign.generation import generate, models

MODEL = "models/base/large"
DEMONSTRATIONS = Path("data/embedded/demonstrations")
SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 64}


def prefix() -> str:
    """Thirteen plain and three faithful dialogues: 636 tokens of the embedded tokenizer."""
    return "".join(
        demonstrations.prefix(f"{DEMONSTRATIONS}/{name}.jsonl", shots) for name, shots in (("hhh", 13), ("faithful", 3))
    )


def queries(count: int) -> list[str]:
    """The first `count` queries as the model reads them, begun anew when there are fewer."""
    texts = [row["text"] for row in tables.rows("queries")]
    return [chat.prompt([{"role": "user", "content": texts[place % len(texts)]}]) for place in range(count)]


class Ours:
    """The shared-prefix engine on the work: `count` of the queries, or those given."""

    def __init__(self, count: int, *, model: str = MODEL, given: Sequence[str] | None = None, **settings: Any) -> None:
        self.model, self.tokenizer = models.load_causal(model), models.load_tokenizer(model)
        self.prefix, self.queries, self.settings = prefix(), list(given or queries(count)), settings
        self.seed = 0

    def run(self, samples: int = 1) -> tuple[float, int]:
        """(seconds, tokens) of one run, each with a seed of its own."""
        start = time.perf_counter()
        made = self.write(samples)
        return time.perf_counter() - start, sum(len(one.token_ids) for row in made for one in row)

    def write(self, samples: int = 1, **settings: Any) -> list[list[generate.Generation]]:
        """The answers, sampled with a seed of their own; settings other than the work's may be given."""
        self.seed += 1
        return generate.generate(
            self.model,
            self.tokenizer,
            prefix=self.prefix,
            suffixes=self.queries,
            row_ids=[str(place) for place in range(len(self.queries))],
            samples=samples,
            seed=self.seed,
            **{"stops": chat.STOPS} | SAMPLING | self.settings | settings,
        )


class Peer:
    """Another engine on the work, in a process and an environment of its own; see benchmarks/peers/README.md.

    The process loads its model, says that it is ready, and does the work once for each line that it gets.
    """

    def __init__(
        self, script: str, python: str, count: int, *, model: str = MODEL, given: Sequence[str] = (), **others: Any
    ) -> None:
        work = Path(".work/bench/contrastive.json")
        work.parent.mkdir(parents=True, exist_ok=True)
        asked = {
            "model": model,
            "prefix": prefix(),
            "queries": list(given or queries(count)),
            "stops": list(chat.STOPS),
        }
        asked |= SAMPLING | others
        work.write_text(json.dumps(asked), encoding="utf-8")
        clean = {name: value for name, value in os.environ.items() if name not in models.HELD}
        self.process = subprocess.Popen(
            [python, f"benchmarks/peers/{script}", str(work)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean,
        )  # fmt: skip
        self.versions: dict[str, str] = self._answer()

    def run(self) -> tuple[float, int]:
        """(seconds, tokens) of one run."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        found = self._answer()
        return float(found["seconds"]), int(found["tokens"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # the peer's own chatter may stand between
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}; see benchmarks/peers/README.md")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
