"""Of feedback that is no pair labelled once: rankings and ratings, and reward models of other sizes
(metrics/reward_losses.json), and rounds of the policy's own answers labelled by the large model
(metrics/iterated_rlaif.json)."""

from synthalign.core.statistics import Interval
from synthalign.reporting.seeds import EVEN, SHARE_MARGIN, Claim, Figure, Margin, Part, Seeds, above

REWARD_LOSSES: list[tuple[str, str, str, Margin | None]] = [
    (
        "rankings",
        "A reward model that learns rankings of whole queries is right more often than one that learns their pairs "
        "shuffled",
        "InstructGPT section 3.5",
        None,
    ),
    (
        "ratings",
        "A reward model that learns responses' ratings is right no less often than one that learns their pairs",
        "InstructGPT section 3.5",
        SHARE_MARGIN,
    ),
    (
        "small",
        "A reward model smaller than the policy is right no less often than one of the policy's size",
        "InstructGPT section 3.5",
        SHARE_MARGIN,
    ),
    (
        "large",
        "A reward model larger than the policy is right more often than one of the policy's size",
        "Stiennon et al. 2020 section 4.3",
        None,
    ),
]
"""What is learned, the claim, its source, and the margin of one that is to be not worse."""


def claims(seeds: Seeds) -> list[Claim]:
    """All of them; both files have their own seeds, one by one, and are the same in every folder of metrics."""

    def figure(*path: str | int) -> Figure | None:
        found = seeds.get(*path, "each")
        return None if found is None else Figure(tuple(Interval.of(one) for one in found[0]))

    def wins(method: str) -> list[Part]:
        at = ("iterated_rlaif", "methods", method, -1)
        fair = figure(*at, "length_controlled")
        return [above(figure(*at, "win_rate"), EVEN), above(fair, EVEN, "at equal lengths")]

    losses, rounds = "metrics/reward_losses.json", "metrics/iterated_rlaif.json"
    return [
        *(
            seeds.claim(
                f"reward_{arm}",
                text,
                source,
                losses,
                above(figure("reward_losses", "over_pairs", arm), -margin.size if margin else 0),
                margin=margin,
            )
            for arm, text, source, margin in REWARD_LOSSES
        ),
        *(
            seeds.claim(
                f"iterated_rlaif_{method}",
                f"{name} on rounds of the policy's own answers, labelled by the large model, beats SFT on training "
                f"queries that {name} did not learn from",
                "RLAIF section 2.1",
                rounds,
                wins(method),
            )
            for method, name in [("dpo", "DPO"), ("ppo", "PPO")]
        ),
    ]
