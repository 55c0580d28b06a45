"""What the cards say of licences and of people's files, on a lock of a few stages."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from synthalign.generation import sources
from synthalign.reporting import cards, data_card, licences, lineage, parents
from synthalign.reporting.cards import Subject
from synthalign.reporting.licences import Licence

SHA = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("apache", "mit", "gemma", "qwen", "none")}
GEMMA = Licence("other", "gemma", "https://ai.google.dev/gemma/terms")
LISTED = {
    SHA["apache"]: [Licence("apache-2.0")],
    SHA["mit"]: [Licence("mit")],
    SHA["gemma"]: [GEMMA],
    SHA["qwen"]: [Licence("other", "Qwen Research", "https://qwen.example/licence")],
}
DECODING = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8}
SUBJECT = Subject(
    name="dpo",
    names=frozenset({"dpo"}),
    folder="models/dpo",
    md5="0" * 32,
    shown={},
    tables=frozenset({"data/answers/dpo.parquet"}),
    decoding=DECODING,
    sampled=True,
    exact_template=True,
)
PEOPLE = "data/people/pairs.jsonl"


def entry(deps: list[str], outs: list[str], **params: Any) -> dict[str, Any]:
    hashed = [[{"path": path, "md5": "0" * 32} for path in paths] for paths in (deps, outs)]
    return {"deps": hashed[0], "outs": hashed[1], "params": {"params.yaml": params}}


def lock(small: str, large: str) -> dict[str, Any]:
    """models/base/small is trained to models/dpo on pairs that models/base/large wrote; both are GGUF files."""
    sources = {
        size: {"source": f"weights/{name}.gguf", "revision": SHA[name], "pad_token": None}
        for size, name in (("small", small), ("large", large))
    }
    folders = [f"models/base/{size}" for size in sources]
    return {
        "base_models": entry([], folders, base_models=sources),
        "pairs": entry([folders[1]], ["data/pairs.parquet"]),
        "train_dpo": entry(["data/pairs.parquet", folders[0]], ["models/dpo"], **{"train_dpo.model": folders[0]}),
    }


@pytest.mark.parametrize(
    ("weights", "words", "comes_to"),
    [
        ("apache", "apache", Licence("apache-2.0")),
        ("apache", "mit", Licence("apache-2.0")),  # MIT asks nothing of what its words made
        ("apache", "none", Licence("apache-2.0")),  # the table says that the other is not known
        ("gemma", "gemma", GEMMA),
        ("gemma", "apache", GEMMA),
        ("apache", "gemma", Licence("other", "apache-2.0-and-gemma", GEMMA.link)),
        ("none", "gemma", Licence("other", "unknown-and-gemma", GEMMA.link)),
        ("gemma", "qwen", Licence("other", "gemma-and-qwen-research", GEMMA.link)),
        ("none", "none", None),
    ],
)
def test_a_folder_is_under_the_licence_of_its_weights_and_the_special_terms_of_who_wrote_its_data(
    weights: str, words: str, comes_to: Licence | None
) -> None:
    assert parents.inherited(lock(weights, words), SUBJECT.folder, LISTED) == comes_to


def test_a_licence_that_is_an_spdx_id_is_not_special_whatever_its_case() -> None:
    ids = ["apache-2.0", "MIT", "cc-by-4.0", "gemma", "llama3.2", "other"]

    assert [licences.is_special(Licence(one)) for one in ids] == [False, False, False, True, True, True]


def test_the_card_names_the_terms_of_every_parent_even_where_the_licence_is_chosen() -> None:
    text = cards.model_card(lock("apache", "gemma"), SUBJECT, LISTED, "mit")

    assert "\nlicense: mit\n" in text and "license_name" not in text
    assert "Under terms of their own (gemma, https://ai.google.dev/gemma/terms): models/base/large." in text
    assert "This folder is published under: mit." in text


def test_adapters_are_under_the_licence_of_their_base_too(tmp_path: Path) -> None:
    for name, licence in (("adapters", "apache-2.0"), ("whole", "gemma")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    (tmp_path / "adapters/adapter_config.json").write_text(f'{{"base_model_name_or_path": "{tmp_path}/whole"}}')
    known = lock("mit", "mit")
    known["base_models"]["params"]["params.yaml"]["base_models"]["small"] = {"source": str(tmp_path / "adapters")}

    assert parents.inherited(known, SUBJECT.folder, LISTED) == Licence("other", "apache-2.0-and-gemma")
    text = cards.model_card(known, SUBJECT, LISTED)
    assert f"| {tmp_path}/adapters | none | apache-2.0; gemma | its weights come from it |" in text
    assert "Under terms of their own (gemma): models/base/small." in text


def test_a_model_behind_an_endpoint_that_wrote_data_is_in_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Path("data/endpoints/example.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("far.yaml").write_text(
        re.sub(
            r"(?m)^model: .*",
            "model: kind-9",
            re.sub(r"(?m)^url: .*", "url: https://far.example/v1", example),
        )
    )
    known = lock("apache", "apache")
    known["pairs"] |= entry(
        ["models/base/large"], ["data/pairs.parquet"], **{"pairs.writers": {"a": {"model": "far.yaml"}}}
    )

    text = cards.model_card(known, SUBJECT, LISTED)

    assert "| far.yaml | kind-9 at https://far.example/v1 | none | not known | wrote or judged data for it |" in text
    assert "Served elsewhere (far.yaml): what its provider asks" in text
    Path("far.yaml").unlink()
    assert "| far.yaml | not to be read now | none | not known |" in cards.model_card(known, SUBJECT, LISTED)


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ("license: MIT", [Licence("MIT")]),
        ("license: llama3.2", [Licence("llama3.2")]),
        ("license: unknown", []),
        ("license: [mit]", []),
        ("license: 'a | b\\n# Fine'", []),
        ("license: other\nlicense_name: yi\nlicense_link: https://x/l", [Licence("other", "yi", "https://x/l")]),
        ("license: other\nlicense_name: yi\nlicense_link: LICENSE", [Licence("other", "yi")]),  # the file stays here
        ("license: other\nlicense_name: '<b>'\nlicense_link: javascript:x", [Licence("other")]),
    ],
)  # fmt: skip
def test_of_a_folders_own_card_only_what_can_be_a_licence_is_taken(
    tmp_path: Path, front: str, says: list[Licence]
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")

    assert licences.of(str(tmp_path), None, {}) == says


def test_the_card_of_a_hub_model_is_that_of_the_pinned_commit_and_its_link_leads_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789" * 4
    snapshot = tmp_path / "models--01-ai--Yi-6B" / "snapshots" / commit  # as snapshot_download leaves it: with no ref
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense: other\nlicense_name: yi\nlicense_link: LICENSE\n---\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    assert licences.of("01-ai/Yi-6B", commit, {}) == [
        Licence("other", "yi", "https://huggingface.co/01-ai/Yi-6B/blob/main/LICENSE")
    ]
    assert licences.of("01-ai/Yi-6B", "9" * 40, {}) == []  # nothing was fetched at that one
    assert "README.md" in sources.WANTED


@pytest.fixture
def guided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """models/dpo, of pairs that the reward model of people's pairs chose; its stage has no dep of these."""
    monkeypatch.chdir(tmp_path)
    Path("data/people").mkdir(parents=True)
    Path(PEOPLE).write_text('{"prompt": "Why?"}\n{"prompt": "Who?"}\n')
    return lock("apache", "apache") | {
        "label_gold": entry(
            ["data/none.parquet"],
            ["data/comparisons/gold.parquet"],
            **{"label_gold.oracle": None, "label_gold.human_pairs": PEOPLE},
        ),
        "train_reward@gold": entry(["data/comparisons/gold.parquet"], ["models/reward/gold"]),
        "pairs": entry(["models/base/large", "models/reward/gold"], ["data/pairs.parquet"]),
    }


def test_peoples_pairs_that_dvc_does_not_watch_are_in_the_data_card_with_the_hash_they_have_now(
    guided: dict[str, Any],
) -> None:
    sha = hashlib.sha256(Path(PEOPLE).read_bytes()).hexdigest()
    listed = {sha: [Licence("mit", of="hh.jsonl"), Licence("apache-2.0", of="pandalm.json")]}

    text = data_card.data_card(guided, SUBJECT, listed)

    assert (
        f"| {PEOPLE} | label_gold.human_pairs | 2 | mit (hh.jsonl); apache-2.0 (pandalm.json) | {sha} |"
        in text.splitlines()
    )


def test_peoples_pairs_that_are_gone_are_named_as_gone(guided: dict[str, Any]) -> None:
    Path(PEOPLE).unlink()

    text = data_card.data_card(guided, SUBJECT, {})

    assert f"| {PEOPLE} | label_gold.human_pairs | not here | not known | not here |" in text


def test_a_setting_names_a_file_where_one_is_there_and_a_file_with_a_hash_in_the_lock_is_named_once(
    guided: dict[str, Any],
) -> None:
    for file in ("watched.txt", "made.txt", "mine.txt", "other.txt", "models/none"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("x")
    one = {"seen": "watched.txt", "own": "made.txt", "texts": ["mine.txt", "gone.txt", "other.txt"]}
    stage = entry(["watched.txt"], ["made.txt"], one=one, long="x" * 5000, rank=16)

    found = lineage.named({"one": stage, "two": entry([], [], key="models/none")}, ["one"])

    assert found == {"mine.txt": "one.texts", "other.txt": "one.texts"}


def test_a_policy_that_no_people_guided_names_no_file_of_theirs(guided: dict[str, Any]) -> None:
    others = guided | {"pairs": entry(["models/base/large"], ["data/pairs.parquet"])}

    assert PEOPLE not in data_card.data_card(others, SUBJECT, {})


def test_a_licence_is_of_the_file_that_was_read_and_not_of_another_at_its_place(guided: dict[str, Any]) -> None:
    file = Path("data/seeds.txt")
    file.write_text("Why?\n")
    listed = {hashlib.sha256(b"Why?\n").hexdigest(): [Licence("mit")]}
    pairs = entry([str(file)], ["data/pairs.parquet"])
    pairs["deps"][0]["md5"] = lineage.md5(file)

    same = data_card.data_card(guided | {"pairs": pairs}, SUBJECT, listed)
    pairs["deps"][0]["md5"] = "1" * 32
    another = data_card.data_card(guided | {"pairs": pairs}, SUBJECT, listed)

    assert f"| data/seeds.txt | 1 | mit | {lineage.md5(file)} |" in same
    assert f"| data/seeds.txt | not here | not known | {'1' * 32} |" in another
