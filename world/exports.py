"""What a world hands to the project beside its models: queries, demonstrations, community answers, probes."""

import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from world.answers import Answerer
from world.community import community_qa
from world.encyclopaedia import page
from world.entities import World
from world.questions import Asker
from world.wording import THANKS

SEED_QUERIES, HELD_OUT_PAGES, CLOZE_ITEMS, SAMPLE_LINES = 72, 200, 300, 100
PRETRAINING_PAGES = 400
EVAL_SHARES = {"animal": 0.44, "city": 0.125, "recipe": 0.125, "harm": 0.185, "unknown": 0.125}
# One list a file, one list of kinds a dialogue; the first three dialogues of hhh and faithful show every kind.
DEMONSTRATIONS = {
    "hhh": (
        "plain",
        [["animal", "recipe"], ["harm"], ["unknown"], ["recipe"], ["city"], ["animal"], ["harm"], ["animal"],
         ["unknown"], ["city"], ["recipe"], ["animal"], ["harm"], ["animal"]],
    ),
    "faithful": ("faithful", [["animal", "recipe"], ["harm"], ["unknown"]]),
    "user": ("plain", [["animal", "city"], ["recipe", "animal"], ["harm", "unknown"]]),
}  # fmt: skip


def write_all(world: World, out: Path, *, corpus_file: Path) -> None:
    """Write every file of the world except `world.json`, the models and `training.json`."""
    asker = Asker(world)
    answerer = Answerer(world, asker)
    write_lines(out / "seed_queries.txt", seed_queries(world, asker))
    write_lines(out / "eval_questions.txt", eval_questions(world, asker, world.params["eval_questions"]))
    for name, dialogues in demonstrations(world, asker, answerer).items():
        write_json_lines(out / "demonstrations" / f"{name}.jsonl", [{"messages": d} for d in dialogues])
    write_community(out / "community_qa.parquet", community_qa(world, count=world.params["community_questions"]))
    rng = Random(f"held-out text {world.seed}")
    held_out = [page(rng, asker, answerer) for _ in range(HELD_OUT_PAGES)]
    write_json_lines(out / "heldout_text.jsonl", [{"text": text} for text in held_out])
    pages = pretraining_text(world, asker, answerer, held_out)
    write_json_lines(out / "pretraining_text.jsonl", [{"text": text} for text in pages])
    write_json_lines(out / "cloze.jsonl", cloze(world, asker))
    with corpus_file.open() as lines:
        write_lines(out / "corpus_sample.txt", [next(lines, "").rstrip("\n") for _ in range(SAMPLE_LINES)])


def pretraining_text(world: World, asker: Asker, answerer: Answerer, held_out: list[str]) -> list[str]:
    """More pages of the kind that the base models learned from, none with an entry of a held-out page: for PPO-ptx."""
    rng = Random(f"pre-training text {world.seed}")
    taken = {entry for text in held_out for entry in text.split("\n")}
    pages: list[str] = []
    while len(pages) < PRETRAINING_PAGES:
        text = page(rng, asker, answerer)
        if not taken & set(text.split("\n")):
            pages.append(text)
    return pages


def seed_queries(world: World, asker: Asker) -> list[str]:
    """Distinct queries about nothing that the demonstrations or the evaluation ask about."""
    rng = Random(f"seed queries {world.seed}")
    shown = {(kind, name) for kind, name, _ in world.demonstrated}
    queries: list[str] = []
    topics: set[tuple[str, str, str]] = set()
    while len(queries) < SEED_QUERIES:
        question = asker.ask(rng)
        if question.topic not in topics and question.topic[:2] not in shown:
            queries.append(question.text)
            topics.add(question.topic)
    return queries


def eval_questions(world: World, asker: Asker, count: int) -> list[str]:
    """`count` distinct wordings of the held-out topics, every kind with its share."""
    rng = Random(f"evaluation {world.seed}")
    questions: list[str] = []
    for kind, share in EVAL_SHARES.items():
        topics = [(topic[0], topic[1], topic[2]) for topic in world.held_out if topic[0] == kind]
        wordings = [rng.sample(texts, len(texts)) for texts in map(asker.wordings, topics)]
        # First one wording of every topic, then a second of each, so that no topic weighs much.
        by_turn = [
            texts[turn] for turn in range(5) for texts in rng.sample(wordings, len(wordings)) if turn < len(texts)
        ]
        questions += by_turn[: round(count * share) + 1]
    rng.shuffle(questions)
    return questions


def demonstrations(world: World, asker: Asker, answerer: Answerer) -> dict[str, list[list[dict[str, str]]]]:
    """Error-free dialogues for few-shot prompts, no topic twice over all files."""
    rng = Random(f"demonstrations {world.seed}")
    waiting: dict[str, list[tuple[str, str, str]]] = {}
    for kind in EVAL_SHARES:
        topics = [(topic[0], topic[1], topic[2]) for topic in world.demonstrated if topic[0] == kind]
        by_name = {topic[1]: topic for topic in rng.sample(topics, len(topics))}
        waiting[kind] = list(by_name.values())
    files: dict[str, list[list[dict[str, str]]]] = {}
    for file, (style, kinds_of_dialogues) in DEMONSTRATIONS.items():
        files[file] = []
        for kinds in kinds_of_dialogues:
            messages: list[dict[str, str]] = []
            for kind in kinds:
                question = asker.word(rng, waiting[kind].pop())
                drafts = sorted((answerer.in_style(rng, question, style) for _ in range(9)), key=len)
                thanks = rng.choice(THANKS) if messages else ""
                messages.append({"role": "user", "content": thanks + question.text})
                messages.append({"role": "assistant", "content": drafts[4]})  # of middling length
            files[file].append(messages)
    return files


def cloze(world: World, asker: Asker) -> list[dict]:
    """Facts with the last word missing, as the encyclopaedia states them: {prefix, answer, distractors}."""
    rng = Random(f"cloze {world.seed}")
    items: dict[str, dict] = {}
    while len(items) < CLOZE_ITEMS:
        kind = rng.choices(("animal", "city"), (4, 1))[0]
        name = asker.name(rng, kind)
        attribute, described = rng.choice(list(world.attributes[kind].items()))
        subject = f"The city of {name}" if kind == "city" else f"The {name}"
        prefix = f"{subject} {described['statements'][0]}".split(" {v}")[0]
        answer = world.facts[kind][name][attribute]
        others = rng.sample([value for value in described["values"] if value != answer], 3)
        items[prefix] = {"prefix": prefix, "answer": f" {answer}", "distractors": [f" {other}" for other in others]}
    return list(items.values())


def write_community(path: Path, rows: list[dict]) -> None:
    """The community table as Parquet."""
    answer = pa.struct([("text", pa.string()), ("votes", pa.int32()), ("accepted", pa.bool_())])
    schema = pa.schema([("question", pa.string()), ("answers", pa.list_(answer))])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def write_lines(path: Path, lines: list[str]) -> None:
    """Plain text, one entry a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_json_lines(path: Path, rows: list[dict]) -> None:
    """One JSON object a line."""
    write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows])
