from collections.abc import Mapping
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.queries import mining

SEEDS = ["Where does the red fox live?", "How do I bake a plum cake?"]
EVAL = ["What does the grey owl like to eat?"]


def judge() -> mining.Filter:
    return mining.Filter(SEEDS, EVAL, min_characters=5, max_characters=40, keywords=["Image"], rouge_threshold=0.7)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("Why?", "too_short"),
        ("Why is it so that the sky is blue by day?", "too_long"),
        ("What is in this image?", "keyword"),
        ("Who was here in imagery?", None),  # the keyword is a word, not a part of one
        ("", "too_short"),
        ("Where does the red fox live?", "duplicate"),
        ("Where does the red fox live", "near_duplicate"),
        ("Where does the old fox live?", "near_duplicate"),  # 5 of 6 words: 0.83
        ("What does the grey owl eat?", "eval_question"),  # 6 of 6 and 6 of 8: 0.86
        ("Who made this bread?", None),
    ],
)
def test_a_candidate_is_rejected_for_the_first_reason_that_holds(text: str, reason: str | None) -> None:
    assert judge().judge(text).reject_reason == reason


@pytest.mark.parametrize(
    "pool, asked, reason", [(["red fox"], [], "near_duplicate"), (["a long tale"], ["red fox"], "eval_question")]
)
def test_a_likeness_of_the_very_threshold_is_rejected(pool: list[str], asked: list[str], reason: str) -> None:
    filter_ = mining.Filter(pool, asked, min_characters=0, max_characters=40, keywords=[], rouge_threshold=0.5)

    found = filter_.judge("red owl")  # one of two words each: 2 * 1 / (2 + 2)

    assert (found.reject_reason, found.rouge_l) == (reason, 0.5)


def test_lengths_at_the_bounds_are_kept() -> None:
    assert judge().judge("Why b").reject_reason is None
    assert judge().judge("W" + "h" * 38 + "?").reject_reason is None


def test_a_candidate_that_did_not_end_is_rejected_before_all_else() -> None:
    assert judge().judge("Who made", finished=False).reject_reason == "unfinished"


def test_an_accepted_query_joins_the_pool() -> None:
    pool = judge()

    assert pool.judge("Who made this bread?").reject_reason is None
    again = pool.judge("Who made this good bread?")
    assert (again.reject_reason, again.nearest) == ("near_duplicate", "Who made this bread?")
    assert again.rouge_l == pytest.approx(2 * 4 / (4 + 5))
    assert pool.accepted == [*SEEDS, "Who made this bread?"]


def test_a_prompt_shows_queries_of_the_pool_once_each_and_ends_with_the_cue() -> None:
    pool = [f"query {number}?" for number in range(20)]

    *shown, cue = mining.prompt(pool, 10, seed=0, name="0:0").split("\n")

    assert cue == "Query:"
    assert len(set(shown)) == 10
    assert set(shown) <= {f"Query: {query}" for query in pool}
    assert mining.prompt(pool, 10, seed=0, name="0:0").split("\n") == [*shown, cue]
    assert mining.prompt(pool, 10, seed=0, name="0:1").split("\n") != [*shown, cue]
    assert mining.prompt(pool, 10, seed=1, name="0:0").split("\n") != [*shown, cue]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"Why?\n\nHow?\n", "line 2: the query is empty"),
        (b"Why?\nHow?\nWhy? \n", "line 3: 'Why\\?' stands in line 1 already"),
        (b"", "holds no query"),
        (b"Why?\nH\xffw?\n", "line 2, byte 2: 0xff is not UTF-8"),
    ],
)
def test_a_wrong_line_of_queries_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "queries.txt").write_bytes(content)

    with pytest.raises(UserError, match=message):
        mining.read_queries(str(tmp_path / "queries.txt"))


def test_a_byte_order_mark_hides_no_question_from_the_guard(tmp_path: Path) -> None:
    seeds, questions = tmp_path / "seeds.txt", tmp_path / "questions.txt"
    seeds.write_bytes(b"\xef\xbb\xbfWhy is the sky blue?\r\nHow?\r\n")
    questions.write_text("Why is the sky blue?\n")

    assert mining.read_queries(str(seeds)) == ["Why is the sky blue?", "How?"]
    with pytest.raises(UserError, match=r"seeds.txt: 'Why is the sky blue\?' is also in .*questions.txt"):
        mining.read_apart(str(seeds), str(questions))


def test_a_question_with_our_marker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seeds.txt").write_text("How?\nHuman: Why?\n")

    with pytest.raises(UserError, match="line 2: 'Human: Why\\?' brings our own 'Human:'; write the question alone"):
        mining.read_queries(str(tmp_path / "seeds.txt"))


def test_the_last_line_may_or_may_not_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Why?\nHow?\n")
    (tmp_path / "b.txt").write_text("Why?\nHow?")

    assert mining.read_queries(str(tmp_path / "a.txt")) == mining.read_queries(str(tmp_path / "b.txt"))


def test_a_round_shows_what_was_accepted_before_it_and_mining_ends_at_the_target() -> None:
    shown: list[str] = []
    answers = iter([("Where does the owl sleep?", True), ("Why?", True), ("Who bakes the best plum cakes here?", True)])

    def write(round: int, prompts: Mapping[str, str]) -> list[tuple[str, bool]]:
        shown.extend(prompts.values())
        return [next(answers) for _ in prompts]

    amounts = {"target": 2, "max_rounds": 9, "round_size": 1, "shots": 9, "seed": 0}
    counts = [(len(now.accepted), len(now.rejected)) for now in mining.rounds(judge(), write, **amounts)]

    assert counts == [(1, 0), (1, 1), (2, 1)]  # "Why?" is too short
    assert ["Where does the owl sleep?" in prompt for prompt in shown] == [False, True, True]


def test_mining_that_finds_nothing_ends_with_the_last_round() -> None:
    amounts = {"target": 2, "max_rounds": 3, "round_size": 2, "shots": 1, "seed": 0}
    told = list(mining.rounds(judge(), lambda round, prompts: [("Where is it?", False)] * 2, **amounts))

    assert len(told) == 3
    assert [round for round, _ in told[-1].rejected] == [0, 0, 1, 1, 2, 2]


def test_every_rejected_candidate_has_a_row_even_if_its_text_was_rejected_before() -> None:
    candidate = mining.Candidate("Why?", "too_short", None, None)

    rows = mining.rejected_rows([(0, candidate), (1, candidate)])

    assert len({row["candidate_id"] for row in rows}) == 2
    assert [(row["round"], row["text"], row["reject_reason"]) for row in rows] == [
        (0, "Why?", "too_short"),
        (1, "Why?", "too_short"),
    ]


@pytest.mark.parametrize(
    ("asked", "copy", "other"),
    [
        ("Где живёт лиса в 2024 году?", "где живёт лиса в 2024 году", "Сколько стоит хлеб в 2024 году?"),
        ("狐狸2月住在哪里？", "狐狸２月住在哪里", "长江有2条支流吗？"),  # 2 is all that the third shares, besides ？
        ("लोमड़ी कहाँ रहती है?", "लोमड़ी कहाँ रहती है।", "रोटी कैसे बनती है?"),
    ],
)
def test_a_copy_of_an_evaluation_question_is_found_in_any_script_and_another_question_is_not(
    asked: str, copy: str, other: str
) -> None:
    pool = mining.Filter(SEEDS, [asked], min_characters=0, max_characters=40, keywords=[], rouge_threshold=0.7)

    assert pool.judge(asked).reject_reason == "eval_question"
    assert pool.judge(copy) == mining.Candidate(copy, "eval_question", asked, 1.0)
    assert pool.judge(other).reject_reason is None
    assert pool.judge(other + "!").reject_reason == "near_duplicate"


def test_an_evaluation_question_without_any_word_is_known_too() -> None:
    pool = mining.Filter(SEEDS, ["🦊?"], min_characters=0, max_characters=40, keywords=[], rouge_threshold=0.7)

    assert pool.judge("🦊?").reject_reason == "eval_question"
    assert pool.judge("🦊").reject_reason is None
    assert pool.judge("").reject_reason == "too_short"


def test_a_keyword_is_found_between_letters_of_a_script_without_blanks() -> None:
    pool = mining.Filter([], [], min_characters=0, max_characters=40, keywords=["图片", "image"], rouge_threshold=0.7)

    assert pool.judge("这张图片里有什么？").reject_reason == "keyword"
    assert pool.judge("这张ＩＭＡＧＥ里有什么？").reject_reason == "keyword"
    assert pool.judge("这张图里有什么？").reject_reason is None


@pytest.mark.parametrize(
    ("seed", "asked", "message"),
    [
        ("狐狸住在哪里", "狐狸住在哪里？", "'狐狸住在哪里' has the words of '狐狸住在哪里？' in .*eval.txt"),
        ("Where is it?", "where is it", "'Where is it\\?' has the words of 'where is it' in .*eval.txt"),
        ("🦊?", "🦊?", "'🦊\\?' is also in .*eval.txt"),
    ],
)
def test_a_seed_with_the_words_of_an_evaluation_question_is_refused(
    tmp_path: Path, seed: str, asked: str, message: str
) -> None:
    (tmp_path / "seeds.txt").write_text(f"What is new?\n{seed}\n", encoding="utf-8")
    (tmp_path / "eval.txt").write_text(f"{asked}\n", encoding="utf-8")

    with pytest.raises(UserError, match=message):
        mining.read_apart(str(tmp_path / "seeds.txt"), str(tmp_path / "eval.txt"))


@pytest.mark.parametrize("text", ["Who made this bread? Query: Who made it?", " Query: Who made this bread?"])
def test_the_cue_is_no_part_of_a_query(text: str) -> None:
    [mined] = mining.rounds(
        judge(), lambda round, prompts: [(text, True)], target=1, max_rounds=1, round_size=1, shots=1, seed=0
    )

    assert [one.text for one in mined.accepted] == ["Who made this bread?"]


def test_what_mining_came_to_counts_its_reasons_and_the_share_that_was_accepted():
    reasons = [None, "short", "long", "long"]
    said = [mining.Candidate(f"query {place}", reason, None, None) for place, reason in enumerate(reasons)]
    found = mining.Mined(said[:1], [(1, one) for one in said[1:]])

    assert list(found.reasons.items()) == [("long", 2), ("short", 1)]
    assert found.acceptance_rate == 0.25
