"""Every table that a question of queries/ reads, as large as one likes: DuckDB makes the rows of their numbers.

All tables grow alike, by the embedded profile's proportions. Keys are hexadecimal as everywhere, in order by
construction, so that nothing is sorted and a row group is all that is ever in memory; what refers to another table
names a row that is there. Texts are beginnings of a thousand sentences. The same size gives the same rows.
"""

import argparse
import json
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from math import gcd
from pathlib import Path

import duckdb

from synthalign.core.tables import ROW_GROUP

SHARES = {
    "no_filter": 0.19,
    "gold": 0.171,
    "no_length": 0.155,
    "no_keyword": 0.14,
    "heuristic": 0.115,
    "almost_size": 0.102,
    "almost": 0.085,
    "size": 0.021,
    "sft": 0.021,
}
"""Of the members of comparisons, as queries/answers/lengths.csv has them; no_filter has every pair."""

TEXTS = 1_000
WORDS = ["the", "red", "fox", "lives", "under", "a", "plum", "tree", "and", "bakes", "bread", "of", "old", "rye"]
CONFIGS = ("a", "b", "c", "d", "e")
POLICIES = ("base", "sft_selfplay", "sft_rmsp", "dpo", "ppo", "large_hhh")
JUDGED = ("dpo sft_rmsp", "ppo sft_rmsp", "sft_rmsp sft_selfplay", "ppo base", "ppo large_hhh", "sft_rmsp base")
SCORED = ("base", "sft_rmsp", "dpo", "ppo")
RUNS = ("2026-11-14-00000000", "2026-11-21-00000000")

MACROS = f"""
CREATE TEMP TABLE texts AS
    SELECT
        place,
        string_agg(
            {WORDS}[1 + (hash(place * 64 + word) % {len(WORDS)})::INT],
            ' ' ORDER BY word
        ) AS said
    FROM range({TEXTS}) AS places(place), range(40) AS words(word)
    GROUP BY place;

-- a number of 0 to n - 1 that looks like chance
CREATE MACRO drawn(x, salt, n) AS (hash(x * 64 + salt) % n)::BIGINT;

-- the id of row i of n: 8000000000000000 and above, in the order of i; another salt gives others between the same two
CREATE MACRO id(i, n, salt) AS
    lower(hex(9223372036854775808::UBIGINT + (i * (9223372036854775807 // n) + drawn(i, salt, 100000000))::UBIGINT));

CREATE MACRO text_of(said, x, salt) AS substr(said, 1, 20 + drawn(x, salt, 120)::INT);
CREATE MACRO message(role, content) AS [{{'role': role, 'content': content}}];
CREATE MACRO points(x, reward, salt) AS CASE
    WHEN reward = 1 THEN drawn(x, 23 + salt, 20000) / 10000.0 - 0.4 + drawn(x, 25, 13) / 13.0
    WHEN drawn(x, 27, 50) > 0 THEN drawn(x, 25, 13) / 2.0 - 3
END;
CREATE MACRO ended(x) AS ['eos', 'eos', 'eos', 'eos', 'eos', 'eos', 'stop', 'length'][1 + drawn(x, 50, 8)];
"""


@dataclass(frozen=True)
class Sizes:
    """How many rows each table has, of the number of comparisons."""

    comparisons: int

    @cached_property
    def queries(self) -> int:
        """Training queries, each with ten pairs."""
        return max(64, int(self.comparisons * SHARES["no_filter"] / 10))

    @property
    def questions(self) -> int:
        """Evaluation questions."""
        return self.queries // 4

    @property
    def pairs(self) -> int:
        return 10 * self.queries


def coprime(n: int) -> int:
    """A multiplier that takes 0 to n - 1 to 0 to n - 1 in an order without rule."""
    return next(step for step in count(int(0.618 * n)) if gcd(step, n) == 1)


# -- the queries of the rows ------------------------------------------------------------------------------------------


def comparisons(sizes: Sizes, member: str) -> str:
    """The pairs of a member, in the order of their ids; those of gold are turned where the rule of thumb was wrong."""
    of = ORACLE if member == "gold" else kept(member)
    turned = "drawn(i, 20, 4) = 0" if member == "gold" else "false"
    asis = ", drawn(i, 7, 1000) / 100.0 AS asis_chosen, drawn(i, 8, 1000) / 100.0 AS asis_rejected"
    return pairs(sizes, of, turned, asis if member == "almost" else "")


def kept(member: str) -> str:
    """The pairs that a member has."""
    millionths = 1e6 * SHARES[member] / SHARES["no_filter"]
    return f"drawn(i, {list(SHARES).index(member)}, 1000000) < {millionths:.0f}"


ORACLE = "drawn(i, 1, 10) > 0"
"""The pairs on which the oracle decided."""


def dropped(sizes: Sizes, member: str) -> str:
    """What comparisons/<member> left out, and why."""
    if member == "gold":
        return pairs(sizes, f"NOT {ORACLE}", "false", ", if(drawn(i, 9, 30) = 0, 'unjudged', 'tie') AS drop_reason")
    reasons = ["length_rule", "length_rule", "asis_disagrees", "identical", "one_pair_per_chosen"]
    reasons += ["rejected_response:too_short", "rejected_response:starts_with_well", "rejected_response:human_marker"]
    asis = "NULL::DOUBLE AS asis_chosen, NULL::DOUBLE AS asis_rejected"
    return pairs(
        sizes, f"NOT {kept(member)}", "false", f", {asis}, {reasons}[1 + drawn(i, 9, {len(reasons)})] AS drop_reason"
    )


def pairs(sizes: Sizes, condition: str, turned: str, more: str) -> str:
    """Ten pairs of each query's five responses, spread over the table, where the condition holds for their number i."""
    step, other = coprime(sizes.pairs), sizes.queries
    return f"""
        WITH numbered AS (
            SELECT i, (i * {step}) % {sizes.pairs} AS pair, {turned} AS turned
            FROM range({sizes.pairs}) AS numbers(i) WHERE {condition}
        ),
        sides AS (
            SELECT
                i, turned, pair // 10 AS query,
                [0, 0, 0, 0, 1, 1, 1, 2, 2, 3][pair % 10 + 1] AS one,
                [1, 2, 3, 4, 2, 3, 4, 3, 4, 4][pair % 10 + 1] AS two
            FROM numbered
        ),
        ordered AS (SELECT i, turned, query, if(turned, two, one) AS better, if(turned, one, two) AS worse FROM sides)
        SELECT
            id(i, {sizes.pairs}, if(turned, 31, 30)) AS comparison_id,
            id(query, {other}, 32) AS query_id,
            message('user', 'What is known about number ' || query || '?') AS prompt,
            message('assistant', text_of(first.said, query, 40 + better)) AS chosen,
            message('assistant', text_of(second.said, query, 40 + worse)) AS rejected,
            {response_id(sizes, "better")} AS chosen_id,
            {response_id(sizes, "worse")} AS rejected_id,
            chr(97 + better::INT) AS chosen_config,
            chr(97 + worse::INT) AS rejected_config,
            'eos' AS chosen_finish_reason,
            'eos' AS rejected_finish_reason,
            'benchmark' AS feedback,
            1.0::DOUBLE AS p_chosen
            {more}
        FROM ordered
        JOIN texts AS first ON first.place = drawn(query, 45 + better, {TEXTS})
        JOIN texts AS second ON second.place = drawn(query, 45 + worse, {TEXTS})
    """


def response_id(sizes: Sizes, config: str) -> str:
    """The id of a query's response by the configuration of that number: its row's in responses/<config>."""
    backwards = pow(coprime(sizes.queries), -1, sizes.queries)
    return f"id((query * {backwards}) % {sizes.queries}, {sizes.queries}, 34 + {config})"


def responses(sizes: Sizes, place: int, config: str) -> str:
    """A response of one configuration to each training query."""
    step = coprime(sizes.queries)
    model = "data/endpoints/large.yaml" if config == "b" else "models/base/large"
    return f"""
        WITH numbered AS (SELECT i, (i * {step}) % {sizes.queries} AS query FROM range({sizes.queries}) AS numbers(i))
        SELECT
            id(i, {sizes.queries}, 34 + {place}) AS response_id,
            id(query, {sizes.queries}, 32) AS query_id,
            '{config}' AS config,
            '{model}' AS model,
            'data/embedded/demonstrations/hhh.jsonl' AS demonstrations,
            3::BIGINT AS shots,
            0::BIGINT AS sample_index,
            text_of(said, query, 40 + {place}) AS text,
            5 + drawn(query, 10, 40) AS tokens,
            ended(i + {place}) AS finish_reason
        FROM numbered JOIN texts ON texts.place = drawn(query, 45 + {place}, {TEXTS})
    """


def queries(sizes: Sizes) -> str:
    """Of 16 training queries one is a seed, the others are mined and have an older one; then evaluation questions."""
    return f"""
        SELECT
            id(i, {sizes.queries}, 32) AS query_id,
            'What is known about ' || substr(said, 1, 10 + drawn(i, 11, 30)::INT) || ' ' || i || '?' AS text,
            if(i % 16 = 0, 'seed', 'mined') AS origin,
            'train' AS split,
            if(i % 16 = 0, NULL, id(drawn(i, 12, i), {sizes.queries}, 32)) AS nearest_id,
            if(i % 16 = 0, NULL, drawn(i, 13, 700) / 1000.0) AS nearest_rouge_l
        FROM range({sizes.queries}) AS numbers(i) JOIN texts ON place = drawn(i, 14, {TEXTS})
        UNION ALL
        SELECT
            id(i, {sizes.questions}, 33),
            'Who knows of ' || substr(said, 1, 10 + drawn(i, 11, 30)::INT) || ' ' || i || '?',
            'eval', 'eval', NULL, NULL
        FROM range({sizes.questions}) AS numbers(i) JOIN texts ON place = drawn(i, 15, {TEXTS})
    """


def queries_rejected(sizes: Sizes) -> str:
    reasons = ["duplicate", "duplicate", "eval_question", "near_duplicate", "too_short", "keyword"]
    number = sizes.queries * 2 // 3
    return f"""
        WITH numbered AS (
            SELECT i, {reasons}[1 + drawn(i, 16, {len(reasons)})] AS reason FROM range({number}) AS numbers(i)
        )
        SELECT
            id(i, {number}, 0) AS candidate_id,
            i // 1000 AS round,
            'What is known about ' || substr(said, 1, 10 + drawn(i, 11, 30)::INT) || ' ' || drawn(i, 17, {number})
                || '?' AS text,
            reason AS reject_reason,
            if(reason IN ('too_short', 'keyword'), NULL, said) AS nearest_text,
            if(reason IN ('too_short', 'keyword'), NULL, 0.7 + drawn(i, 13, 300) / 1000.0) AS nearest_rouge_l
        FROM numbered JOIN texts ON place = drawn(i, 14, {TEXTS})
    """


def candidates(sizes: Sizes, guide: str) -> str:
    """Four candidates of rmsp for each training query, one of selfplay, which has no rewards."""
    number = 4 if guide == "rmsp" else 1
    return f"""
        SELECT
            id(i // {number}, {sizes.queries}, 32) AS query_id,
            1::BIGINT AS turn,
            i % {number} AS sample_index,
            text_of(said, i, 18) AS text,
            ended(i) AS finish_reason,
            {"drawn(i, 19, 1000000) / 100000.0" if guide == "rmsp" else "NULL::DOUBLE"} AS reward,
            drawn(i // {number}, 21, {number}) = i % {number} AS is_best
        FROM range({number * sizes.queries}) AS numbers(i) JOIN texts ON place = drawn(i, 22, {TEXTS})
    """


def demonstrations(sizes: Sizes) -> str:
    step = coprime(sizes.queries)
    return f"""
        WITH numbered AS (
            SELECT i, (i * {step}) % {sizes.queries} AS query FROM range({sizes.queries}) AS numbers(i)
        )
        SELECT
            id(i, {sizes.queries}, 0) AS demonstration_id,
            id(query, {sizes.queries}, 32) AS query_id,
            message('user', 'What is known about number ' || query || '?')
                || message('assistant', text_of(said, i, 18)) AS messages,
            ended(i) AS finish_reason,
            drawn(i, 19, 1000000) / 100000.0 AS reward
        FROM numbered JOIN texts ON place = drawn(i, 22, {TEXTS})
    """


def answers(sizes: Sizes, place: int, policy: str) -> str:
    """Two samples of one policy for each evaluation question."""
    return f"""
        SELECT
            id(i // 2, {sizes.questions}, 33) AS question_id,
            '{policy}' AS policy,
            i % 2 AS sample_index,
            text_of(said, i, {place}) AS text,
            5 + drawn(i, 10 + {place}, 40) AS tokens,
            ended(i + {place}) AS finish_reason
        FROM range({2 * sizes.questions}) AS numbers(i) JOIN texts ON place = drawn(i, 22 + {place}, {TEXTS})
    """


def judgements(sizes: Sizes, salt: int) -> str:
    """Six pairs of policies, two samples, two orders and two judges for each evaluation question.

    The oracle's points come in halves, the reward model's in ten-thousandths, and of one answer in fifty the oracle
    says nothing. What a judge gives an answer is the same in every row.
    """
    policies = [[POLICIES.index(policy) for policy in pair.split()] for pair in JUDGED]
    return f"""
        WITH numbered AS (
            SELECT
                i // 48 AS question,
                i // 24 AS answer,
                (i // 24) % 2 AS sample_index,
                (i // 2) % 2 AS turned,
                i % 2 AS reward,
                {policies}[1 + (i // 4) % 6] AS pair
            FROM range({48 * sizes.questions}) AS numbers(i)
        ),
        given AS (
            SELECT
                *,
                points(answer * 8 + pair[1], reward, {salt}) AS score_a,
                points(answer * 8 + pair[2], reward, {salt}) AS score_b
            FROM numbered
        )
        SELECT
            id(question, {sizes.questions}, 33) AS question_id,
            sample_index,
            {list(POLICIES)}[1 + pair[1]] AS policy_a,
            {list(POLICIES)}[1 + pair[2]] AS policy_b,
            if(turned = 1, 'ba', 'ab') AS "order",
            if(reward = 1, 'reward', 'oracle') AS judge,
            CASE WHEN score_a > score_b THEN 'a' WHEN score_a < score_b THEN 'b' WHEN score_a = score_b THEN 'tie'
                ELSE 'unjudged' END AS verdict,
            score_a,
            score_b,
            NULL::VARCHAR AS raw,
            20 + drawn(answer, pair[1], 120) AS characters_a,
            20 + drawn(answer, pair[2], 120) AS characters_b,
            5 + drawn(answer, 10 + pair[1], 40) AS tokens_a,
            5 + drawn(answer, 10 + pair[2], 40) AS tokens_b
        FROM given
    """


def curve(sizes: Sizes) -> str:
    """Seven snapshots of PPO."""
    return f"""
        SELECT
            (10 * (i // {sizes.questions}))::INT AS step,
            id(i % {sizes.questions}, {sizes.questions}, 33) AS question_id,
            text_of(said, i, 18) AS text,
            (5 + drawn(i, 10, 40))::INT AS tokens,
            ended(i) AS finish_reason,
            drawn(i, 19, 1000000) / 1000000.0 + i // {sizes.questions} / 10.0 AS reward,
            drawn(i, 24, 1000) / 1000.0 AS kl
        FROM range({7 * sizes.questions}) AS numbers(i) JOIN texts ON place = drawn(i, 22, {TEXTS})
    """


def written(sizes: Sizes, columns: str) -> str:
    """A text for each number of an evaluation question, beside these columns."""
    return f"""
        SELECT {columns}, text_of(said, i, 18) AS text
        FROM range({sizes.questions}) AS numbers(i) JOIN texts ON place = drawn(i, 22, {TEXTS})
    """


def of_methods(sizes: Sizes) -> dict[str, str]:
    """What RRHF, DITTO, held-out tasks and revisions let a model write; not all of it was written by their stages."""
    told = "(5 + drawn(i, 10, 40))::INT AS tokens, ended(i) AS finish_reason"
    chosen = "if(i % 3 = 0, NULL, ended(i)) AS finish_reason"
    columns = {
        "rrhf_samples/mixed": f"id(i, {sizes.questions}, 32) AS query_id, if(i % 3 = 0, NULL, 0.1) AS kl, {told}",
        "ditto_samples/captain": f"id(i, {sizes.questions}, 0) AS sample_id, {told}",
        "ditto_answers/captain": f"id(i, {sizes.questions}, 0) AS prompt_id, 'ditto' AS method, {told}",
        "task_answers/medium": f"'medium' AS subject, id(i, {sizes.questions}, 0) AS item_id, {chosen}",
        "revisions": "i % 2 AS step, if(i % 2 = 0, NULL, 'It is not so.') AS critique, ended(i) AS finish_reason",
    }
    return {f"data/{name}": written(sizes, given) for name, given in columns.items()}


def scores(subject: str) -> str:
    """Figures of a policy or, without those that a policy alone has, of a reward model; and one that is no model's."""
    figures = [("hhh", "accuracy", 0.6), ("hhh", "always_longer", 0.5)]
    if subject != "reward_almost":
        figures += [("cloze", "accuracy", 0.8), ("heldout_text", "loss_per_token", 1.2)]
    return f"""
        SELECT
            '{subject}' AS subject, benchmark, 'all' AS category, metric,
            value, value - 0.1 AS low, value + 0.1 AS high, 100::BIGINT AS n
        FROM (VALUES {", ".join(map(str, figures))}) AS t(benchmark, metric, value)
    """


def tables(sizes: Sizes) -> dict[str, str]:
    """Every table by its path, with the query of its rows."""
    made = {f"data/comparisons/{member}": comparisons(sizes, member) for member in SHARES}
    made |= {f"data/comparisons_dropped/{member}": dropped(sizes, member) for member in ("almost", "gold")}
    made |= {"data/queries": queries(sizes), "data/queries_rejected": queries_rejected(sizes)}
    made |= {f"data/responses/{config}": responses(sizes, place, config) for place, config in enumerate(CONFIGS)}
    for guide in ("rmsp", "selfplay"):
        made |= {f"data/candidates/{guide}": candidates(sizes, guide)}
        made |= {f"data/demonstrations/{guide}": demonstrations(sizes)}
    made |= {f"data/answers/{policy}": answers(sizes, place, policy) for place, policy in enumerate(POLICIES)}
    made |= {"data/judgements": judgements(sizes, 0), "data/ppo_curve/almost": curve(sizes)}
    made |= {f"data/benchmark_scores/{subject}": scores(subject) for subject in (*SCORED, "reward_almost")}
    made |= of_methods(sizes)
    return made | {f"published/{RUNS[0]}/data/judgements": judgements(sizes, 1)}


def make(folder: Path, sizes: Sizes, deadline: float | None = None) -> dict[str, int] | None:
    """Write what is not there yet into the folder; the rows of every table. A table appears whole or not at all.

    deadline  on the clock time.monotonic(): None is returned before a table that would be begun after it
    """
    texts = {
        "metrics/train_reward/almost_size.json": json.dumps({"reward_std": 4.7}),
        "data/endpoints/large.yaml": "prompt_price: 1.0\ncompletion_price: 2.5\n",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    rows = {}
    with duckdb.connect(config={"threads": "2", "memory_limit": "4GB"}) as connection:
        connection.execute(MACROS)
        for name, query in tables(sizes).items():
            file = folder / f"{name}.parquet"
            if not file.exists():
                if deadline and time.monotonic() > deadline:
                    return None
                file.parent.mkdir(parents=True, exist_ok=True)
                partial = file.with_suffix(".partial")
                options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
                connection.execute(f"COPY ({query}) TO '{partial}' ({options})")
                partial.replace(file)
            [(rows[name],)] = connection.execute(f"SELECT count(*) FROM '{file}'").fetchall()
    newest = folder / f"published/{RUNS[1]}/data/judgements.parquet"
    if not newest.exists():
        newest.parent.mkdir(parents=True)
        newest.hardlink_to(folder / "data/judgements.parquet")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analyst_tables", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what data/ and published/ are made in; what is there already stays")
    parser.add_argument("comparisons", type=int, help="so many, about, over all members")
    given = parser.parse_args()
    print(json.dumps(make(given.folder, Sizes(given.comparisons)), indent=2))
