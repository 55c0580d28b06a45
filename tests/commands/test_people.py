from pathlib import Path

import pytest

from synthalign.commands import cli
from synthalign.core import json_lines
from synthalign.feedback import community, comparisons, human_pairs
from synthalign.judging import benchmarks
from synthalign.queries import mining
from synthalign.queries.similarity import Pool

RAW = Path("../shared/data").resolve()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if not RAW.is_dir():
        pytest.skip(f"{RAW} is not here")
    folder = tmp_path_factory.mktemp("people")
    (folder / "raw").symlink_to(RAW)
    cli.main(["people", "--folder", str(folder)])
    return folder


def test_every_reader_of_ours_reads_what_is_made_of_peoples_files(folder):
    train, unusable = human_pairs.load(folder / "people_train.jsonl", feedback="gold")
    asked = community.load(folder / "pandalm_community.jsonl")
    seeds, questions = mining.read_apart(str(folder / "seed_queries.txt"), str(folder / "eval_questions.txt"))

    assert (len(train), unusable.total()) == (271, 0)  # PandaLM's with a majority
    assert (len(asked), {len(row["answers"]) for row in asked}) == (88, {2})
    judged = {comparisons.text_of(row["prompt"]) for row in train}
    assert judged.isdisjoint(row["question"] for row in asked)
    assert (len(seeds), len(questions)) == (67, 98)
    texts = json_lines.texts(folder / "heldout_text.jsonl")
    assert (len(texts), min(map(len, texts)) >= 100) == (83, True)
    assert len(benchmarks.load_hhh(folder / "hhh.jsonl", seed=0)) == 221
    assert len(benchmarks.load_truthfulqa(folder / "truthfulqa.jsonl", seed=0)) == 790
    assert max(Pool(seeds).nearest(question)[1] for question in questions) < 0.5


def test_the_same_files_give_the_same_bytes_and_every_number_is_said(folder, capsys):
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    cli.main(["people", "--folder", str(folder)])

    said = capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    assert len(before) == 9
    assert "not as before" not in said
    assert f"{folder}/hh_heldout.jsonl: 1,150 rows\n" in said
    assert "hh_harmless_test.jsonl.gz: 1,111 left out, on the side that is trained on, which no model learns\n" in said
    assert "pandalm_testset.json: 6 left out, an answer is no text\n" in said
    assert "24 left out, as many annotators for each answer, which teaches the judge nothing\n" in said
    assert "52 left out, an answer of under 100 characters, for heldout_text.jsonl\n" in said


def test_raw_files_that_are_missing_are_named_with_the_command_that_brings_them(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["people", "--folder", str(tmp_path)])

    told = capsys.readouterr().err
    assert told.startswith(f"people: there is no {tmp_path}/raw/hh_harmless_test.jsonl.gz, ")
    assert "python -m synthalign bring" in told


@pytest.mark.parametrize("share", ["0", "1", "nan"])
def test_a_share_that_leaves_a_side_empty_is_refused(folder, share, capsys):
    with pytest.raises(SystemExit):
        cli.main(["people", "--folder", str(folder), "--heldout", share])

    assert "--heldout" in capsys.readouterr().err


def test_a_file_that_dvc_does_not_watch_and_is_other_than_before_is_named_with_the_stages_to_force(tmp_path, capsys):
    (tmp_path / "raw").symlink_to(RAW)
    (tmp_path / "hh_heldout.jsonl").write_text("{}\n")

    cli.main(["people", "--folder", str(tmp_path)])

    told = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("hh_heldout.jsonl: not as before")
        and line.endswith("dvc repro -f -s score_rewards score_scorers")
        for line in told
    )
