"""How often the responses of this run fail by accident, by configuration, counted as score_comparisons counts them.

    python -m benchmarks.accident_rates               # after `make repro`; prints, and writes nothing

Where people judge, metrics/score_comparisons.json has these rates; where an oracle does it has none, and here they are,
so that an embedded world's can stand beside real models'.  The columns of the filter sweep (`benchmarks.filter_sweep`)
are counted likewise, for not every accident that the world's writer makes is one to these rules.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import filter_sweep
from synthalign.core import stage, statistics, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.judging import accidents
from synthalign.reporting import text_tables
from world.answers import Answerer
from world.entities import World
from world.oracle import Oracle

KINDS = ("any", "cut_off", "loop", "next_turn", "empty")


def row(name: str, responses: list[Row]) -> tuple[str, ...]:
    """n, and the share of each kind with its interval over queries."""
    rates = accidents.rates(responses, seed=0)
    shown = [f"{rates[kind]['value']:.3f} [{statistics.Interval.of(rates[kind]).ends()}]" for kind in KINDS]
    return (name, str(len(responses)), *shown)


def written(world: World, rate: float, questions: int) -> list[Row]:
    """Responses that the world's writer makes for a column of the sweep; every one of them ends."""
    judge = Oracle(world)
    asked = filter_sweep.test_questions(world, judge.asker, questions)
    told = {"gap": "as it is", "accident_rate": rate, "min_characters": 0}
    return [
        {"query_id": query.query_id, "text": response.text, "finish_reason": "eos"}
        for query in filter_sweep.answered(Answerer(world, judge.asker), asked, **told)
        for response in query.responses
    ]


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m benchmarks.accident_rates", description=__doc__.splitlines()[0]
    ).parse_args()
    configurations = list(stage.read("params.yaml")["sample_responses"]["configurations"])
    sweep = filter_sweep.Sweep()
    try:
        for name in configurations:
            tables.check_made(f"responses/{name}")
        world = World.load(Path("data/embedded/world.json"))
        found: text_tables.Rows = [("responses", "n", *KINDS)]
        found += [row(name, tables.rows(f"responses/{name}")) for name in configurations]
        found += [row(f"sweep {rate}", written(world, rate, sweep.test_queries)) for rate in sweep.accident_rates]
        print(text_tables.plain(found))
    except UserError as error:
        print(f"accident_rates: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
