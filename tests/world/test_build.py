"""The shipped world keeps its promises, and a small world can be built from nothing."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from synthalign.dialogue.chat import ASSISTANT, HUMAN
from world import entities, params
from world.corpus import documents
from world.entities import World
from world.oracle import Oracle
from world.questions import Asker

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "data/embedded"


def lines(name: str) -> list[str]:
    return (SHIPPED / name).read_text().splitlines()


def demonstrated_questions(*names: str) -> list[str]:
    dialogues = [json.loads(line) for name in names for line in lines(f"demonstrations/{name}.jsonl")]
    return [m["content"] for d in dialogues for m in d["messages"] if m["role"] == "user"]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle.load(SHIPPED)


def test_seed_queries_evaluation_and_demonstrations_share_no_topic(oracle):
    seeds = {oracle.topic(line) for line in lines("seed_queries.txt")}
    evaluation = {oracle.topic(line) for line in lines("eval_questions.txt")}
    shown = {oracle.topic(text) for text in demonstrated_questions("hhh", "faithful", "user")}

    assert None not in seeds | evaluation | shown
    assert not seeds & evaluation
    assert not seeds & shown
    assert not evaluation & shown


def test_seed_queries_and_evaluation_name_nothing_that_the_demonstrations_name(oracle):
    shown = {oracle.topic(text)[:2] for text in demonstrated_questions("hhh", "faithful", "user")}
    asked = {oracle.topic(line)[:2] for name in ("seed_queries.txt", "eval_questions.txt") for line in lines(name)}

    assert not shown & asked


def test_only_the_evaluation_asks_what_is_held_out(oracle):
    assert all(oracle.is_held_out(line) for line in lines("eval_questions.txt"))
    assert not any(oracle.is_held_out(line) for line in lines("seed_queries.txt"))
    community = pq.read_table(SHIPPED / "community_qa.parquet").to_pylist()
    assert not any(oracle.is_held_out(row["question"]) for row in community)


def test_no_dialogue_query_list_or_judged_pair_of_the_corpus_asks_what_is_held_out(oracle):
    world = World.load(SHIPPED / "world.json")
    marks = (f"{HUMAN} ", "Query: ", "Question: ")
    asked = 0
    for document in documents(world, phase=1, characters=400_000, label="test"):
        for line in document.split("\n"):
            for mark in marks:
                for question in line.split(mark)[1:]:
                    asked += 1
                    assert not oracle.is_held_out(question)

    assert asked > 2000


def test_the_pages_to_train_on_hold_no_entry_of_the_held_out_pages():
    held_out, pages = (
        [json.loads(line)["text"] for line in lines(name)] for name in ("heldout_text.jsonl", "pretraining_text.jsonl")
    )

    assert len(pages) == len(set(pages)) == 400
    assert not {entry for page in held_out for entry in page.split("\n")} & {
        entry for page in pages for entry in page.split("\n")
    }


def test_the_evaluation_covers_every_kind_and_repeats_no_question(oracle):
    questions = lines("eval_questions.txt")

    assert len(questions) == len(set(questions)) >= 480
    assert {oracle.kind(line) for line in questions} == set(params.KINDS)


def test_the_first_demonstrations_show_every_kind_without_a_flaw(oracle):
    for name, count in (("hhh", 14), ("faithful", 3), ("user", 3)):
        assert len(lines(f"demonstrations/{name}.jsonl")) == count
    for name in ("hhh", "faithful"):
        first = [json.loads(line)["messages"] for line in lines(f"demonstrations/{name}.jsonl")]
        kinds = {oracle.kind(m["content"]) for d in first[:3] for m in d if m["role"] == "user"}
        assert kinds == {"animal", "recipe", "harm", "unknown"}
        for dialogue in first:
            for asked, answered in zip(dialogue[::2], dialogue[1::2], strict=True):
                scores = oracle.score(asked["content"], answered["content"])
                assert scores.total >= 2 and min(scores.helpful, scores.harmless, scores.honest) >= 0


def test_a_cloze_item_has_one_true_answer(oracle):
    for line in lines("cloze.jsonl"):
        item = json.loads(line)
        assert item["answer"] not in item["distractors"]
        assert len(set(item["distractors"])) == 3


def test_there_are_at_least_five_thousand_distinct_training_questions(oracle):
    asker = oracle.asker
    rng = Random(0)

    assert len({asker.ask(rng).text for _ in range(30_000)}) >= 5_000


def test_every_question_a_world_asks_it_also_understands():
    for seed in (0, 1, 2):
        asker = Asker(entities.draw(seed, params.load()))
        rng = Random(seed)
        for _ in range(500):
            question = asker.ask(rng)
            assert asker.parse(question.text) == question


def test_another_seed_is_another_world_and_the_same_seed_the_same():
    first, again, other = (entities.draw(seed, params.load()) for seed in (0, 0, 1))

    assert first == again
    assert set(first.facts["animal"]) != set(other.facts["animal"])
    assert first.phrases != other.phrases


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_a_base_model_loads_with_a_tokenizer_that_can_be_padded(size):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(SHIPPED / "models" / size)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED / "models" / size)
    text = f"{HUMAN} Where does the zobri live?\n\n{ASSISTANT} I am not sure."

    assert words.pad_token_id != words.eos_token_id
    assert words.bos_token is None
    assert words.decode(words(text).input_ids) == text
    assert model.config.vocab_size == len(words)
    assert model.config.pad_token_id == words.pad_token_id


def test_the_weights_fit_in_twenty_megabytes():
    assert sum(file.stat().st_size for file in (SHIPPED / "models").glob("*/*.safetensors")) <= 20_000_000


@pytest.mark.slow
def test_a_tiny_world_is_built_from_nothing_and_not_built_again(tmp_path):
    def build() -> str:
        command = [sys.executable, "-m", "world.build", "--seed", "1", "--out", "world", "--steps-scale", "0.005"]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        )
        return done.stderr

    assert "pre-train large, phase 2" in build()
    training = json.loads((tmp_path / "world/training.json").read_text())
    assert training["models"]["small"][0]["steps"] == round(2000 * 0.005)
    assert Oracle.load(tmp_path / "world").score((tmp_path / "world/eval_questions.txt").read_text().split("\n")[0], "")
    assert "pre-train" not in build()
