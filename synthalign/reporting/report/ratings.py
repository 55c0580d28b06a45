"""The policies on one scale: what `judge_answers` makes of all verdicts of a judge, as a figure and a table.

The ratings of all methods (`compare_methods`) are a column of the table that has them beside each other.
"""

from synthalign.core.statistics import Interval
from synthalign.reporting.report import charts, people
from synthalign.reporting.report.parts import Block, Cell, Figure, Table, at, count, figure, interval, word
from synthalign.reporting.report.run import Run

SAID = (
    "A win rate speaks of two policies. A rating puts all of them on one scale, those that never met as well, through "
    "others that both met. 400 points more are odds of 10 to 1, 100 a win rate of 0.64; only differences mean "
    "something. The mean of all is 1,000, so a policy that lost nearly always, and whose rating is uncertain, widens "
    "the intervals of the others."
)

CAPTION = "Elo ratings by judge (Bradley–Terry, ties half; one seed), with 95% bootstrap intervals over questions"


def blocks(run: Run) -> list[Block]:
    """What was rated, the best first: nothing where no judge put its policies on one scale."""
    found = {judge: known for judge, known in _figures(run).items() if known}
    if not found:
        return []
    rows: list[list[Cell]] = []
    for judge, known in found.items():
        for policy in _best_first(known):
            rows.append([word(judge), word(policy), *figure(known[policy], 0), count(known[policy].n)])
    first = found[people.best_judge(run) or ""] if people.best_judge(run) in found else next(iter(found.values()))
    order = dict.fromkeys([*_best_first(first), *(policy for known in found.values() for policy in known)])
    marks = [
        (policy, {place: known[policy] for place, known in enumerate(found.values()) if policy in known})
        for policy in order
    ]
    drawn = charts.dots(marks, title="Policies on one scale", x="Elo rating", reference=1000)
    return [
        SAID,
        Figure(f"{CAPTION}.", [drawn], [(judge, place) for place, judge in enumerate(found)]),
        Table(
            f"{CAPTION}; n counts the questions on which the policy was judged.",
            ["judge", "policy", "Elo rating", "95% interval", "n"],
            rows,
        ),
    ]


def _figures(run: Run) -> dict[str, dict[str, Interval]]:
    """The ratings by judge and policy."""
    given = at(run.metrics, "judge_answers", "ratings") or {}
    found = {judge: {policy: interval(rated, policy) for policy in rated} for judge, rated in sorted(given.items())}
    return {judge: {name: one for name, one in rated.items() if one is not None} for judge, rated in found.items()}


def _best_first(known: dict[str, Interval]) -> list[str]:
    return sorted(known, key=lambda policy: (-known[policy].value, policy))
