"""What DPO's paper claims of it beside PPO and the best of 128, with the figures of metrics/dpo_frontier.json."""

from synthalign.core.statistics import Interval
from synthalign.reporting.seeds import (
    EVEN,
    ORACLE_MARGIN,
    SHARE_MARGIN,
    Claim,
    Figure,
    Margin,
    Part,
    Seeds,
    above,
    level,
    weakest_first,
)

REWARD_MARGIN = Margin(0.05, "of the reward's unit, the deviation of its scores: a twentieth of it")


def claims(seeds: Seeds) -> list[Claim]:
    """All of them; the file has its own seeds, one by one, and is the same in every folder of metrics."""

    def figure(*path: str | int) -> Figure | None:
        found = seeds.get("dpo_frontier", *path)
        return None if found is None else Figure(tuple(Interval.of(one) for one in found[0]))

    def duel(name: str, key: str) -> Figure | None:
        found = seeds.get("dpo_frontier", "win_rates", name)
        each = [one[key] for one in found[0]] if found else []
        return Figure(tuple(Interval.of(one) for one in each)) if each and all(each) else None

    def at_equal_kl(name: str, margin: Margin) -> list[Part]:
        shared = (seeds.get("dpo_frontier", "frontier", "shared") or [[{"kl": 0.0}]])[0]
        return weakest_first(
            [
                above(figure("frontier", "shared", place, name), -margin.size, f"at {point['kl']:.2f} nats")
                for place, point in enumerate(shared)
            ]
        )

    best, fair = (duel("dpo_vs_best", key) for key in ("win_rate", "length_controlled"))
    chosen, fair_chosen = (duel("dpo_vs_chosen", key) for key in ("win_rate", "length_controlled"))
    return [
        seeds.claim(f"dpo_{name}", text, f"DPO {place}", "metrics/dpo_frontier.json", parts, margin=margin)
        for name, text, place, parts, margin in [
            (
                "frontier",
                "At equal KL DPO's reward is not worse than PPO's, at four KL points; the smallest difference",
                "section 6.1",
                at_equal_kl("reward", REWARD_MARGIN),
                REWARD_MARGIN,
            ),
            (
                "frontier_oracle",
                "At equal KL DPO's answers are not worse than PPO's in the oracle's eyes, at four KL points; the "
                "smallest difference",
                "section 6.1",
                at_equal_kl("oracle", ORACLE_MARGIN),
                ORACLE_MARGIN,
            ),
            (
                "temperature",
                "DPO is less hurt by temperature than PPO: its win rate falls less from greedy to temperature 1",
                "section 6.2",
                [above(figure("win_rates", "drop", "ppo_minus_dpo"), 0)],
                None,
            ),
            (
                "vs_best_of_128",
                "DPO is level with the best of 128 answers of SFT by the reward model",
                "section 6.2",
                [
                    *level(best, EVEN, SHARE_MARGIN),
                    *(
                        Part(fair, part.bound, "at equal lengths", part.must)
                        for part in level(fair, EVEN, SHARE_MARGIN)
                    ),
                ],
                SHARE_MARGIN,
            ),
            (
                "vs_chosen",
                "DPO beats the preferred answers of comparisons that it did not learn from",
                "Figure 3",
                [above(chosen, EVEN), above(fair_chosen, EVEN, "at equal lengths")],
                None,
            ),
        ]
    ]
