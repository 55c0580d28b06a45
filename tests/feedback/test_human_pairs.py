import gzip
import json
import re
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.feedback.comparisons import SCHEMA
from synthalign.feedback.human_pairs import load

HH = Path("../shared/data/hh_harmless_test.jsonl.gz")
PANDALM = Path("../shared/data/pandalm_testset.json")
PAIR = {"prompt": "Where does it live?", "chosen": "In the forest.", "rejected": "Who knows."}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


QUESTION, GOOD, BAD = user(PAIR["prompt"]), assistant(PAIR["chosen"]), assistant(PAIR["rejected"])
TURNS = [user("Hi."), assistant("Hello."), QUESTION]
MARKED = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Where does it live?\n\nAssistant:"


def jsonl(folder, *pairs):
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return file


def read(file):
    rows, left_out = load(file, feedback="gold")
    return [(row["prompt"], row["chosen"], row["rejected"]) for row in rows], dict(left_out)


@pytest.mark.parametrize(
    ("pair", "prompt"),
    [
        (PAIR, [QUESTION]),
        ({"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD]}, [QUESTION]),
        # UltraFeedback: the prompt as a text beside two whole conversations
        ({"prompt": PAIR["prompt"], "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]}, [QUESTION]),
        ({"prompt": f" {PAIR['prompt']}\n", "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]}, [QUESTION]),
        ({"prompt": [QUESTION], "chosen": [QUESTION, GOOD], "rejected": [BAD]}, [QUESTION]),
        # the prompt is the last question or the first of several turns, or one side has a system message
        ({"prompt": PAIR["prompt"], "chosen": [*TURNS, GOOD], "rejected": [*TURNS, BAD]}, TURNS),
        ({"prompt": "Hi.", "chosen": [*TURNS, GOOD], "rejected": [*TURNS, BAD]}, TURNS),
        ({"prompt": TURNS, "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]}, TURNS),
        (
            {"prompt": PAIR["prompt"]}
            | {name: [{"role": "system", "content": "Be brief."}, QUESTION, side] for name, side in
               (("chosen", GOOD), ("rejected", BAD))},
            [{"role": "system", "content": "Be brief."}, QUESTION],
        ),
        # truthy-dpo's column; an empty one says nothing, and what the conversation has already counts once
        (PAIR | {"system": " Be brief."}, [{"role": "system", "content": "Be brief."}, QUESTION]),
        (PAIR | {"system": ""}, [QUESTION]),
        (
            {"system": "Be brief.", "prompt": [{"role": "system", "content": "Be brief."}, QUESTION]}
            | {"chosen": [GOOD], "rejected": [BAD]},
            [{"role": "system", "content": "Be brief."}, QUESTION],
        ),
        # TRL's implicit prompt, and ShareGPT's names
        ({"chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]}, [QUESTION]),
        ({"prompt": None, "chosen": [*TURNS, GOOD], "rejected": [*TURNS, BAD]}, TURNS),
        (
            {"prompt": PAIR["prompt"]}
            | {name: [{"from": "human", "value": PAIR["prompt"]}, {"from": "gpt", "value": PAIR[name]}] for name in
               ("chosen", "rejected")},
            [QUESTION],
        ),
        # HH-RLHF as it is, and as others cut it
        ({"chosen": f"{MARKED} In the forest.", "rejected": f"{MARKED} Who knows."}, TURNS),
        ({"prompt": MARKED, "chosen": " In the forest.", "rejected": " Who knows."}, TURNS),
        ({"prompt": MARKED.strip(), "chosen": "Assistant: In the forest.", "rejected": "Who knows."}, TURNS),
        ({"prompt": MARKED, "chosen": f"{MARKED} In the forest.", "rejected": f"{MARKED} Who knows."}, TURNS),
        ({"prompt": f"Human: {PAIR['prompt']}\nAssistant:", "chosen": [GOOD], "rejected": [BAD]}, [QUESTION]),
    ],
)  # fmt: skip
def test_the_question_stands_once_in_every_public_layout(tmp_path, pair, prompt):
    assert read(jsonl(tmp_path, pair)) == ([(prompt, [GOOD], [BAD])], {})


def test_one_pair_in_two_layouts_is_one_pair(tmp_path, capsys):
    [row], left_out = load(
        jsonl(tmp_path, PAIR, {"chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]}), feedback="x"
    )

    assert set(row) == set(SCHEMA.names)
    assert (row["feedback"], row["p_chosen"]) == ("x", 1.0)
    assert left_out == {"the same pair came before": 1}
    assert "1 of 2 pairs left out, the same pair came before (first: line 2)" in capsys.readouterr().out


def test_parquet_a_list_and_a_packed_file_give_the_same_rows(tmp_path):
    rows = load(jsonl(tmp_path, PAIR), feedback="gold")
    pd.DataFrame([PAIR], index=[7]).to_parquet(tmp_path / "pairs.parquet")
    (tmp_path / "pairs.json").write_text(json.dumps([PAIR]))
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress(json.dumps(PAIR).encode()))

    assert all(load(tmp_path / f"pairs.{kind}", feedback="gold") == rows for kind in ("parquet", "json", "jsonl.gz"))


def test_rankings_beside_pairs_are_the_same_in_a_table_where_every_row_has_every_column(tmp_path):
    ranking = {"prompt": "What does it eat?", "responses": ["Plums.", "Bread.", "Snow."]}
    nulls = dict.fromkeys(("chosen", "rejected", "responses"))
    rows = load(jsonl(tmp_path, PAIR, ranking), feedback="gold")
    pq.write_table(pa.Table.from_pylist([nulls | PAIR, nulls | ranking]), tmp_path / "both.parquet")
    (tmp_path / "both.json").write_text(json.dumps([nulls | PAIR, nulls | ranking]))

    assert len(rows[0]) == 1 + 3
    assert all(load(tmp_path / f"both.{kind}", feedback="gold") == rows for kind in ("parquet", "json"))


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (PAIR | {"rejected": PAIR["chosen"]}, "both sides say the same"),
        ({"chosen": [user("a"), GOOD], "rejected": [user("b"), BAD]}, "the sides answer different conversations"),
        (PAIR | {"chosen": [user("a"), GOOD]}, "a side does not begin with the prompt"),
        ({"chosen": f"{MARKED} a", "rejected": f"{MARKED} b\n\nHuman: c\n\nAssistant: d"},
         "the sides answer different conversations"),
        ({"chosen": MARKED, "rejected": f"{MARKED} b"}, "a turn is empty"),
        ({"prompt": [user("Hi."), assistant("Hello."), user("Where?")], "chosen": [user("Hi."), GOOD],
          "rejected": [user("Hi."), BAD]}, "a side does not begin with the prompt"),
        (PAIR | {"chosen": "  "}, "a turn is empty"),
        (PAIR | {"rejected": [QUESTION, assistant("")]}, "a turn is empty"),
        ({"chosen": f"{MARKED} a\n\nHuman: Bye.", "rejected": f"{MARKED} b"}, "chosen ends with the person"),
        ({"chosen": f"{MARKED} a\n\nAssistant: b", "rejected": f"{MARKED} b"}, "one side has two turns in a row"),
        ({"chosen": f"{MARKED} Human: a", "rejected": f"{MARKED} b"}, "a turn holds the marker of another one"),
        (PAIR | {"chosen": "a\n\nHuman: b"}, "a turn holds the marker of another one"),
        (PAIR | {"prompt": "Human: a\n\nAssistant: b"}, "the prompt ends with the assistant"),
        ({"chosen": "Assistant: a\n\nHuman: b\n\nAssistant: c", "rejected": "Assistant: a\n\nHuman: b\n\nAssistant: d"},
         "the conversation begins with the assistant"),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_be_used_is_left_out_and_counted_by_its_reason(tmp_path, pair, reason):
    rows, left_out = read(jsonl(tmp_path, PAIR, pair))

    assert (len(rows), left_out) == (1, {reason: 1})


def test_a_pair_that_was_written_on_windows_is_the_same_pair(tmp_path):
    (tmp_path / "windows").mkdir()
    pairs = [
        {"chosen": f"{MARKED} a", "rejected": f"{MARKED} b"},
        PAIR | {"chosen": "Because.\n\nHuman: And who?\n\nAssistant: Kim."},
    ]
    windows = [
        {key: value.replace("\n", "\r\n") if isinstance(value, str) else value for key, value in pair.items()}
        for pair in pairs
    ]

    assert read(jsonl(tmp_path / "windows", *windows)) == read(jsonl(tmp_path, *pairs))
    assert read(jsonl(tmp_path, *pairs))[1] == {"a turn holds the marker of another one": 1}


@pytest.mark.parametrize(
    ("changed", "turns", "reason", "where"),
    [
        ("chosen", [QUESTION, GOOD, user("Bye.")], "chosen ends with the person", "chosen message 3 (user)"),
        ("rejected", [QUESTION], "rejected ends with the person", "rejected message 1 (user)"),
        ("prompt", [QUESTION, GOOD], "the prompt ends with the assistant", "prompt message 2 (assistant)"),
        ("prompt", [QUESTION, QUESTION], "one side has two turns in a row", "prompt message 2 (user)"),
        ("chosen", [QUESTION, GOOD, GOOD], "one side has two turns in a row", "chosen message 3 (assistant)"),
        ("rejected", [QUESTION, assistant(" ")], "a turn is empty", "rejected message 2 (assistant)"),
    ],
)
def test_a_list_of_messages_is_left_out_for_the_reason_of_the_same_text_with_its_place(
    tmp_path, capsys, changed, turns, reason, where
):
    names = {"user": "Human", "assistant": "Assistant"}
    text = "\n\n".join(f"{names[turn['role']]}: {turn['content']}" for turn in turns)
    for side in (turns, text):
        rows, left_out = read(jsonl(tmp_path, PAIR, PAIR | {changed: side}))

        assert (len(rows), left_out) == (1, {reason: 1})
        told = capsys.readouterr().out
        assert "1 of 2 pairs left out" in told
        assert f"{reason} (first: line 2 {where})" in told


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"role": "system", "content": "Be brief."}, GOOD], "the conversation begins with the assistant"),
        ([QUESTION, {"role": "system", "content": "Be brief."}, GOOD], "a system message is not the first"),
        ([{"role": "system", "content": "Be brief."}], "chosen ends with a system message"),
    ],
)
def test_a_system_message_out_of_its_place_leaves_a_pair_out(tmp_path, turns, reason):
    assert read(jsonl(tmp_path, PAIR, PAIR | {"chosen": turns})) == (read(jsonl(tmp_path, PAIR))[0], {reason: 1})


@pytest.mark.parametrize(
    "pair, complaint",
    [
        (
            {"prompt": "q", "chosen": "a"},
            r"pairs\.jsonl, line 2: it has prompt, chosen; a pair needs chosen",
        ),
        (
            {"instruction": "q"},
            "line 2: it has instruction; a pair needs chosen and rejected, and a prompt",
        ),
        ({"chosen": "a", "rejected": "b"}, "line 2: prompt is missing, and chosen and rejected are answers alone"),
        (PAIR | {"rejected": None}, "line 2: rejected is None; it must be a text or a list of messages"),
        (PAIR | {"chosen": [{"role": "assistant"}]}, "line 2: chosen, message 1: .* needs role and content"),
        (PAIR | {"rejected": [QUESTION, assistant(None)]}, "line 2: rejected, message 2: content is None"),
        (PAIR | {"chosen": []}, "line 2: chosen: messages is .*; write a list of messages"),
        (
            PAIR | {"rejected": [QUESTION, {"role": "bot", "content": "b"}]},
            "line 2: rejected, message 2: role is 'bot'",
        ),
        # malformed is refused, whatever else would leave the pair out
        (PAIR | {"chosen": " ", "rejected": None}, "line 2: rejected is None"),
        ({"chosen": [user(""), {"role": "bot", "content": "b"}], "rejected": "b"}, "line 2: chosen, message 2: role"),
        (["no", "pair"], r"line 2: it has \['no', 'pair'\]"),
    ],
)
def test_a_row_that_is_no_pair_is_named(tmp_path, pair, complaint):
    with pytest.raises(UserError, match=complaint):
        load(jsonl(tmp_path, PAIR, pair), feedback="gold")


def test_all_rows_that_are_no_pairs_are_named_at_once(tmp_path):
    pq.write_table(pa.Table.from_pylist([PAIR, *[PAIR | {"chosen": None}] * 13]), tmp_path / "pairs.parquet")

    with pytest.raises(UserError) as caught:
        load(tmp_path / "pairs.parquet", feedback="gold")

    told = str(caught.value).splitlines()
    assert told[0].startswith(f"{tmp_path / 'pairs.parquet'}, row 2: chosen is None")
    assert (len(told), told[-1]) == (11, "… and 3 more")


def test_a_file_that_is_not_there_or_not_json_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl: cannot be read"):
        load(tmp_path / "nowhere.jsonl", feedback="gold")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(UserError, match="broken.jsonl, line 1: not JSON"):
        load(tmp_path / "broken.jsonl", feedback="gold")
    (tmp_path / "broken.parquet").write_text("{")
    with pytest.raises(UserError, match="broken.parquet: cannot be read"):
        load(tmp_path / "broken.parquet", feedback="gold")


@pytest.mark.skipif(not HH.exists(), reason=f"{HH} is not here")
def test_hh_rlhf_is_read_as_it_is():
    rows, left_out = load(HH, feedback="gold")

    assert dict(left_out) == HH_LEFT_OUT
    assert len(rows) + left_out.total() == 2312
    for row in rows:
        assert row["prompt"][-1]["role"] == "user"
        assert (len(row["chosen"]), len(row["rejected"])) == (1, 1)
        for side in ("chosen", "rejected"):
            text = chat.dialogue([*row["prompt"], *row[side]])
            assert "Human: Human:" not in text and "Assistant: Assistant:" not in text
            assert text.count("\n\nHuman: ") + 1 == sum(message["role"] == "user" for message in row["prompt"])


@pytest.mark.skipif(not HH.exists(), reason=f"{HH} is not here")
def test_hh_rlhf_as_others_cut_it_gives_the_same_pairs(tmp_path):
    """The prompt up to and with the last "Assistant:" of chosen, as in the published code of DPO."""
    cut = []
    for line in gzip.decompress(HH.read_bytes()).decode().splitlines():
        pair = json.loads(line)
        end = pair["chosen"].rindex("\n\nAssistant:") + len("\n\nAssistant:")
        if pair["rejected"].startswith(pair["chosen"][:end]):
            cut.append({"prompt": pair["chosen"][:end]} | {side: pair[side][end:] for side in ("chosen", "rejected")})

    whole, _ = load(HH, feedback="gold")
    rows, left_out = load(jsonl(tmp_path, *cut), feedback="gold")

    assert len(cut) > 2300
    assert {row["comparison_id"] for row in rows} == {row["comparison_id"] for row in whole}
    assert set(left_out) <= {*HH_LEFT_OUT, "chosen ends with the person", "rejected ends with the person"}


@pytest.mark.skipif(not PANDALM.exists(), reason=f"{PANDALM} is not here")
def test_the_query_of_the_documentation_makes_pairs_of_pandalms_votes(tmp_path, monkeypatch):
    page = Path("docs/data.md").read_text(encoding="utf-8")
    [query] = re.findall(r"^    (COPY \(\n.*?'pairs.parquet';)$", page, re.MULTILINE | re.DOTALL)
    given = json.loads(PANDALM.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    Path("pandalm_testset.json").write_text(json.dumps(given), encoding="utf-8")

    duckdb.sql(query)
    rows, left_out = load(Path("pairs.parquet"), feedback="gold")

    assert pq.read_metadata("pairs.parquet").num_rows == len(rows) + left_out.total() == 888
    votes = {}
    for row in given:
        for better, worse in ((1, 2), (2, 1)):
            prompt = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
            key = (prompt.strip(), str(row[f"response{better}"]).strip(), str(row[f"response{worse}"]).strip())
            agreed = sum(row[f"annotator{who}"] == better for who in (1, 2, 3))
            votes[key] = max(agreed, votes.get(key, 0))
    texts = [tuple(row[side][0]["content"] for side in ("prompt", "chosen", "rejected")) for row in rows]
    assert all(votes[text] >= 2 for text in texts)


HH_LEFT_OUT = {
    "a turn holds the marker of another one": 38,
    "one side has two turns in a row": 9,
    "a turn is empty": 4,
}


# -- rankings ---------------------------------------------------------------------------------------------------------

BEST, MIDDLE, WORST = "In the forest.", "Outside, I think.", "Who knows."
RANKING = {"prompt": PAIR["prompt"], "responses": [BEST, MIDDLE, WORST]}


def pairs_of(folder, *rows):
    found, left_out = read(jsonl(folder, *rows))
    return [(better[0]["content"], worse[0]["content"]) for _, better, worse in found], left_out


@pytest.mark.parametrize(
    "ranking",
    [
        RANKING,
        RANKING | {"ranks": [1, 2, 3]},
        RANKING | {"responses": [WORST, BEST, MIDDLE], "ranks": [3, 1, 2]},
        RANKING | {"responses": [WORST, BEST, MIDDLE], "scores": [1.5, 9, 4]},
        RANKING | {"responses": [[assistant(BEST)], [assistant(MIDDLE)], [QUESTION, assistant(WORST)]], "ranks": None},
        {
            "prompt": f"\n\nHuman: {PAIR['prompt']}\n\nAssistant: ",
            "answers": [{"answer": text, "rank": rank, "model": "m"} for text, rank in
                        ((MIDDLE, 2.0), (BEST, 1.0), (WORST, 3.0))],
        },
    ],
    ids=["best first", "ranks", "in any order", "scores", "messages", "answers with ranks"],
)  # fmt: skip
def test_a_ranking_of_three_is_its_three_pairs(tmp_path, ranking):
    pairs, left_out = pairs_of(tmp_path, ranking)

    assert sorted(pairs) == sorted([(BEST, MIDDLE), (BEST, WORST), (MIDDLE, WORST)])  # C(3, 2)
    assert left_out == {}


def test_the_pairs_of_a_ranking_are_one_query_and_a_response_has_one_id(tmp_path):
    rows, _ = load(jsonl(tmp_path, RANKING), feedback="gold")

    assert len({row["query_id"] for row in rows}) == 1
    assert len({row[side] for row in rows for side in ("chosen_id", "rejected_id")}) == 3
    assert [row["prompt"] for row in rows] == [[QUESTION]] * 3


def test_responses_of_one_rank_make_no_pair_and_are_counted(tmp_path, capsys):
    pairs, left_out = pairs_of(tmp_path, RANKING | {"ranks": [1, 2, 2]})

    assert sorted(pairs) == sorted([(BEST, MIDDLE), (BEST, WORST)])
    assert left_out == {"both sides have one rank": 1}
    assert (
        "1 of 3 pairs left out, both sides have one rank (first: line 1, responses 2 and 3)" in capsys.readouterr().out
    )


def test_rankings_and_pairs_may_stand_in_one_file(tmp_path):
    pairs, left_out = pairs_of(tmp_path, PAIR, RANKING)

    assert len(pairs) == 3  # the pair is one of the ranking's
    assert left_out == {"the same pair came before": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"responses": [BEST]},
            r"responses is \['In the forest.'\]; a ranking is a list of two responses or more",
        ),
        ({"responses": BEST}, r"line 1: responses is 'In the forest.'; a ranking is a list"),
        ({"ranks": [1, 2]}, r"line 1: \[1, 2\] are not 3 numbers, one for each response"),
        ({"ranks": [1, "2", 3]}, r"line 1: \[1, '2', 3\] are not 3 numbers"),
        ({"ranks": [1, True, 3]}, r"are not 3 numbers"),
        ({"scores": [1, None, 3]}, r"\[1, None, 3\] are not 3 numbers"),
        ({"ranks": [1, 2, 3], "scores": [3, 2, 1]}, r"line 1: it has ranks and scores; leave one of them out"),
        ({"responses": [BEST, None, WORST]}, r"line 1: response 2 is None; it must be a text or a list of messages"),
        ({"responses": None}, r"line 1: responses is None; a ranking is a list"),
    ],
)
def test_a_ranking_that_is_none_is_told_with_its_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load(jsonl(tmp_path, RANKING | changes), feedback="gold")


def test_answers_without_a_rank_are_told(tmp_path):
    with pytest.raises(UserError, match="line 1: each of answers needs answer and rank; or write responses"):
        load(jsonl(tmp_path, {"prompt": "Where?", "answers": [{"answer": BEST}, {"answer": WORST}]}), feedback="gold")


def test_a_system_message_beside_another_one_is_no_dialogue(tmp_path):
    given = {"system": "Be brief.", "prompt": [{"role": "system", "content": "Be long."}, QUESTION]}

    rows, left_out = read(jsonl(tmp_path, PAIR, given | {"chosen": [GOOD], "rejected": [BAD]}))

    assert (len(rows), left_out) == (1, {"the column system and the conversation say different things": 1})


def test_a_ranking_whose_numbers_have_a_name_that_nobody_reads_is_refused_and_not_taken_for_the_best_first(tmp_path):
    """As reward models' scripts write them, in the order of sampling."""
    given = {"prompt": "Where does it live?", "responses": ["Who knows.", "In the forest."], "rewards": [0.1, 0.9]}

    with pytest.raises(UserError, match=r"line 1: rewards has a number for each of responses.*call it scores"):
        read(jsonl(tmp_path, given))

    [row], _ = read(jsonl(tmp_path, given | {"scores": [0.1, 0.9]}))
    assert row == ([QUESTION], [GOOD], [BAD])
