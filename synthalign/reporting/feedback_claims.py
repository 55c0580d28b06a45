"""Of feedback that is no pair labelled once: rankings and ratings, and reward models of other sizes
(metrics/reward_losses.json), and rounds of the policy's own answers labelled by the large model
(metrics/iterated_rlaif.json)."""

from synthalign.core.statistics import Interval
from synthalign.reporting.seeds import EVEN, SHARE_MARGIN, Claim, Figure, Part, Seeds, above, not_worse


def claims(seeds: Seeds) -> list[Claim]:
    """All of them; both files have their own seeds, one by one, and are the same in every folder of metrics."""

    def figure(*path: str | int) -> Figure | None:
        found = seeds.get(*path, "each")
        return None if found is None else Figure(tuple(Interval.of(one) for one in found[0]))

    def own(file: str) -> dict[str, int]:
        return {"seeds": (seeds.get(file, "seeds") or [0])[0]}

    def wins(method: str) -> list[Part]:
        at = ("iterated_rlaif", "methods", method, -1)
        fair = figure(*at, "length_controlled")
        return [above(figure(*at, "win_rate"), EVEN), above(fair, EVEN, "at equal lengths")]

    losses, rounds = "metrics/reward_losses.json", "metrics/iterated_rlaif.json"
    return [
        seeds.claim(
            "reward_rankings",
            "A reward model that learns rankings of whole queries is right more often than one that learns their pairs "
            "shuffled",
            "InstructGPT section 3.5",
            losses,
            above(figure("reward_losses", "over_pairs", "rankings"), 0),
        )
        | own("reward_losses"),
        seeds.claim(
            "reward_ratings",
            "A reward model that learns responses' ratings is right no less often than one that learns their pairs",
            "InstructGPT section 3.5",
            losses,
            not_worse(figure("reward_losses", "over_pairs", "ratings"), SHARE_MARGIN),
            margin=SHARE_MARGIN,
        )
        | own("reward_losses"),
        seeds.claim(
            "reward_small",
            "A reward model smaller than the policy is right no less often than one of the policy's size",
            "InstructGPT section 3.5",
            losses,
            not_worse(figure("reward_losses", "over_pairs", "small"), SHARE_MARGIN),
            margin=SHARE_MARGIN,
        )
        | own("reward_losses"),
        seeds.claim(
            "reward_large",
            "A reward model larger than the policy is right more often than one of the policy's size",
            "Stiennon et al. 2020 section 4.3",
            losses,
            above(figure("reward_losses", "over_pairs", "large"), 0),
        )
        | own("reward_losses"),
        *(
            seeds.claim(
                f"iterated_rlaif_{method}",
                f"{name} on rounds of the policy's own answers, labelled by the large model, beats SFT on training "
                f"queries that {name} did not learn from",
                "RLAIF section 2.1",
                rounds,
                wins(method),
            )
            | own("iterated_rlaif")
            for method, name in [("dpo", "DPO"), ("ppo", "PPO")]
        ),
    ]
