"""A stage on a node, without a cluster: folders stand for the nodes, and a folder is the remote."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows import graph, local_cluster, node, on_ray
from flows.beside import StageFailed
from tests.flows.conftest import DEAL, ROOT, call, commit, locked, needs_store

GRAPH = """
stages:
  top: {cmd: echo top > top.out, outs: [top.out]}
  left:
    cmd: mkdir -p metrics; cp top.out left.out; echo '{"left":' $(wc -l < top.out)'}' > metrics/left.json
    deps: [top.out]
    outs: [left.out]
    metrics: [{metrics/left.json: {cache: false}}]
  bottom: {cmd: cat left.out metrics/left.json > bottom.out, deps: [left.out, metrics/left.json], outs: [bottom.out]}
  sample_answers: {cmd: python deal.py, deps: [deal.py, top.out], outs: [answers.out]}
  fails: {cmd: "echo the reason; exit 9", outs: [fails.out]}
"""


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with DVC, for copies."""
    folder = tmp_path_factory.mktemp("pattern")
    call("git", "init", "--quiet", str(folder))
    call("dvc", "--cd", str(folder), "init", "--quiet")
    (folder / ".dvc/config").write_text(
        "[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = ../../store\n"
    )
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / "deal.py").write_text(DEAL)
    shutil.copytree(ROOT / "synthalign/core", folder / "synthalign/core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("*.out\n/logs/\n/accelerate.yaml\n__pycache__/\n")
    (folder / "requirements.lock").write_text("dvc[s3]==0 \\\n    --hash=x\nprefect==0\n# about it\n\n")
    (folder / "accelerate.yaml").write_text("use_cpu: true\n")
    commit(folder)
    return folder


@pytest.fixture
def driver(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a remote, where the flow would be; the current folder."""
    monkeypatch.chdir(shutil.copytree(pattern, tmp_path / "driver"))
    return Path.cwd()


At = Callable[[str], None]


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> At:
    """Be on the node of this name."""
    return lambda name: monkeypatch.setenv("SYNTHALIGN_NODE", str(tmp_path / "nodes" / name))


def task(name: str, *made: tuple[str, node.Made]) -> node.Task:
    """A stage after those that were made."""
    stage = graph.read()[name]
    entries = {name: one.entry for name, one in made}
    files = {file: content for _, one in made for file, content in one.files.items()}
    return node.Task(name, entries, files, stage.uncached)


def silent(_: str) -> None:
    pass


@pytest.mark.slow
def test_what_one_node_makes_the_next_finds_in_the_remote(driver: Path, at: At, tmp_path: Path) -> None:
    run = on_ray.described(None)
    at("a")
    top = node.reproduce(run, task("top"), silent)
    assert top.how.startswith("ran on ")
    at("b")
    left = node.reproduce(run, task("left", ("top", top)), silent)
    assert {file: json.loads(text) for file, text in left.files.items()} == {"metrics/left.json": {"left": 1}}
    at("c")
    bottom = node.reproduce(run, task("bottom", ("left", left)), silent)

    call("dvc", "repro", "--quiet", "bottom")
    assert graph.read().keys() == {"top", "left", "bottom", "sample_answers", "fails"}
    assert locked(driver)["stages"] == {"top": top.entry, "left": left.entry, "bottom": bottom.entry}

    # what an earlier run has left in the place of an input is not taken for it
    at("b")
    with node.held(run, "left") as folder:
        (folder / "top.out").write_text("old\n")
        (folder / "left.out").unlink()
    assert node.reproduce(run, task("left", ("top", top)), silent).entry == left.entry

    # a node that knows nothing of it takes it out of the remote, its metrics too, and runs nothing
    at("d")
    again = node.reproduce(run, task("left", ("top", top)), silent)
    assert again.how.startswith("restored or unchanged on ")
    assert (again.entry, again.files) == (left.entry, left.files)
    assert (tmp_path / "nodes/d").exists()


@pytest.mark.slow
def test_what_was_removed_from_the_remote_comes_back_with_no_other_stage_and_stops_none(
    driver: Path, tmp_path: Path
) -> None:
    one = "{cmd: mkdir -p many; cp in many/one, deps: [in], outs: [many]}"
    (driver / "dvc.yaml").write_text(
        f"stages:\n  many: {one}\n  other: {{cmd: cp in x.out, deps: [in], outs: [x.out]}}"
    )

    def reproduced(folder: Path, name: str) -> int:
        return subprocess.run([sys.executable, "-m", "flows.dvc_node", name], cwd=folder).returncode

    def remote() -> set[str]:
        return {str(file.relative_to(tmp_path / "store")) for file in (tmp_path / "store").rglob("*") if file.is_file()}

    for text in ("old", "new"):
        (driver / "in").write_text(text)
        assert reproduced(driver, "many") == 0
    has_old = shutil.copytree(driver, tmp_path / "has_old")
    before = remote()
    call("dvc", "--cd", str(driver), "gc", "--workspace", "--cloud", "--force", "--quiet")
    removed = before - remote()
    assert len(removed) == 2  # a file, and the list of its folder

    for folder in (shutil.copytree(driver, tmp_path / "fresh", ignore=shutil.ignore_patterns("cache")), has_old):
        assert reproduced(folder, "other") == 0
        assert not remote() & removed
    assert len(remote() - before) == 1  # the run of `other`; what it has made is there, as `many` made it too


@pytest.mark.slow
def test_what_nodes_need_is_pushed_when_another_dvc_has_ended(driver: Path, tmp_path: Path) -> None:
    call("dvc", "repro", "--quiet", "top")

    with Repo() as repo, ThreadPoolExecutor() as pool:
        with repo.lock:
            pushing = pool.submit(on_ray.dvc, "push", ["top"])
            time.sleep(8)  # DVC's own patience is 3 s
            assert not pushing.done()
        pushing.result()

    assert len([file for file in (tmp_path / "store").rglob("*") if file.is_file()]) == 1


def logged(folder: Path) -> list[str]:
    """The rows that were sampled on a node, from the logs of all its clones."""
    lines = [line for log in folder.glob("*/*/logs/*.log") for line in log.read_text().splitlines()]
    return [line.removeprefix("sampled ") for line in lines if line.startswith("sampled ")]


@pytest.mark.slow
def test_shards_on_their_nodes_sample_each_row_once_and_the_stage_itself_none(
    driver: Path, at: At, tmp_path: Path
) -> None:
    run, nodes = on_ray.described(None), tmp_path / "nodes"
    at("a")
    top = node.reproduce(run, task("top"), silent)
    first = node.sample(run, task("sample_answers", ("top", top)), "0/2", silent)
    at("b")
    second = node.sample(run, task("sample_answers", ("top", top)), "1/2", silent)
    assert (first.keys(), second.keys()) == ({"top/answers.0of2.jsonl"}, {"top/answers.1of2.jsonl"})
    at("c")
    made = node.reproduce(run, task("sample_answers", ("top", top)), silent, journals=[first, second])

    assert [logged(nodes / name) for name in "abc"] == [["row 0", "row 2", "row 4"], ["row 1", "row 3", "row 5"], []]
    call("dvc", "repro", "--quiet", "sample_answers")
    assert locked(driver)["stages"]["sample_answers"] == made.entry

    # what the cache of runs has no shard makes again
    at("d")
    assert node.sample(run, task("sample_answers", ("top", top)), "0/2", silent) == {}
    assert logged(nodes / "d") == []

    # a journal of other settings stays refused
    at("e")
    others = {name.replace("top/", "old/"): content for name, content in first.items()}
    run = replace(run, remote={"url": str(tmp_path / "empty")})
    top = node.reproduce(run, task("top"), silent)
    with pytest.raises(StageFailed, match="is the journal of other settings"):
        node.reproduce(run, task("sample_answers", ("top", top)), silent, journals=[others, second])


def test_the_stages_that_run_in_shards_are_those_that_say_so() -> None:
    assert {
        file.stem for file in (ROOT / "stages").glob("*.py") if "in_shards=True" in file.read_text()
    } == on_ray.IN_SHARDS


def test_a_node_keeps_no_file_of_the_machine_that_the_driver_has_no_more(driver: Path, at: At) -> None:
    at("a")
    (driver / "hardware.yaml").write_text("threads: 2\n")
    with node.held(on_ray.described(None), "top") as folder:
        node.equip(folder, on_ray.described(None), task("top"))
    assert (folder / "hardware.yaml").read_text() == "threads: 2\n"

    (driver / "hardware.yaml").unlink()
    node.equip(folder, on_ray.described(None), task("top"))

    assert not (folder / "hardware.yaml").exists()
    assert (folder / "accelerate.yaml").exists()


@pytest.mark.slow
def test_a_stage_that_fails_tells_its_last_lines_and_the_node(driver: Path, at: At) -> None:
    at("a")

    with pytest.raises(StageFailed, match=r"fails on \S+ ended with exit code 255") as told:
        node.reproduce(on_ray.described(None), task("fails"), silent)
    assert "the reason" in str(told.value)


def test_a_node_with_other_packages_is_refused_by_name(driver: Path) -> None:
    run = on_ray.described(None)
    assert run.versions.keys() == {"python", "dvc", "prefect"}

    with pytest.raises(node.NodeRefused, match=r"node \S+ has other packages than the flow: dvc 3.1 instead of \d"):
        node.check_versions(run.versions, {**run.versions, "dvc": "3.1"})
    node.check_versions(run.versions, node.versions(["dvc", "prefect"]))


def test_a_package_that_is_not_there_is_told() -> None:
    assert node.versions(["no-such-package"])["no-such-package"] == "none"


def test_a_clone_that_somebody_has_changed_is_refused_by_name(driver: Path, at: At, tmp_path: Path) -> None:
    at("a")
    run = on_ray.described(None)
    with node.held(run, "top") as folder:
        (folder / "dvc.lock").write_text("")  # what a run writes is no change
        (folder / "dvc.yaml").write_text("stages: {}\n")

    told = rf"node \S+: in {folder} somebody has changed dvc.yaml; remove the folder"
    with pytest.raises(node.NodeRefused, match=told), node.held(run, "top"):
        pass


def test_a_clone_at_another_commit_is_refused_by_name(driver: Path, at: At) -> None:
    at("a")
    run = on_ray.described(None)
    with node.held(run, "top") as folder:
        commit_in = folder / "more"
        commit_in.write_text("x")
        commit(folder)

    with pytest.raises(node.NodeRefused, match=rf"is at commit \w+ instead of {run.commit[:12]}; remove the folder"):
        node.held(run, "top").__enter__()


def test_clones_of_other_commits_go_when_a_run_begins_but_for_those_that_are_held(driver: Path, at: At) -> None:
    at("a")
    old = on_ray.described(None)
    (driver / "more").write_text("x")
    commit(driver)
    new = on_ray.described(None)

    with node.held(old, "left") as idle:
        pass
    with node.held(old, "top") as busy, node.held(new, "top") as folder:
        assert (idle.exists(), busy.exists(), folder.exists()) == (False, True, True)
    with node.held(new, "left") as other:
        assert (busy.exists(), folder.exists(), other.exists()) == (False, True, True)
    with node.held(old, "top") as again:
        assert (again / "dvc.yaml").read_text() == GRAPH


def test_a_commit_that_was_not_pushed_is_told(driver: Path, at: At, tmp_path: Path) -> None:
    at("a")
    call("git", "clone", "--quiet", "--bare", str(driver), str(tmp_path / "origin.git"))
    (driver / "more").write_text("x")
    commit(driver)

    with pytest.raises(node.NodeRefused, match=r"origin.git has no commit \w{12}: push it first"):
        node.held(on_ray.described(str(tmp_path / "origin.git")), "top").__enter__()


def test_what_is_not_committed_stops_the_run_before_any_node_works(driver: Path) -> None:
    (driver / "dvc.yaml").write_text(GRAPH + "\n")

    with pytest.raises(RuntimeError, match="nodes work at a commit, and dvc.yaml is not committed"):
        on_ray.described(None)


def test_credentials_in_the_settings_of_dvc_stop_the_run_and_are_not_shown(driver: Path) -> None:
    remote = "['remote \"store\"']\n    url = s3://bucket/path\n    secret_access_key = x7Jq-very-secret\n"
    (driver / ".dvc/config.local").write_text(remote)

    with pytest.raises(RuntimeError, match="the remote store has secret_access_key in DVC's settings") as told:
        on_ray.described(None)
    assert "x7Jq" not in str(told.value)


def test_a_run_without_a_remote_says_how_to_add_one(driver: Path) -> None:
    (driver / ".dvc/config").write_text("")
    commit(driver)

    with pytest.raises(RuntimeError, match="through a DVC remote: `dvc remote add -d"):
        on_ray.described(None)


@pytest.mark.parametrize(
    ("launch", "hardware", "asked"),
    [
        ({}, {}, {"num_cpus": 1, "num_gpus": 0}),
        ({"use_cpu": True, "num_processes": 2}, {"threads": 2}, {"num_cpus": 4, "num_gpus": 0}),
        ({"use_cpu": False, "num_processes": 8}, {"threads": 1}, {"num_cpus": 8, "num_gpus": 8}),
    ],
)
def test_a_stage_asks_ray_for_what_its_launch_file_takes(launch: dict, hardware: dict, asked: dict) -> None:  # type: ignore[type-arg]
    assert on_ray.resources(launch, hardware) == asked


# ---------------------------------------------------------------------------------------------- an object store


def on_s3(driver: Path, found: local_cluster.Store) -> node.Run:
    """The remote of this repository is the store, as docs/scaling.md has it."""
    call("dvc", "remote", "add", "--quiet", "--force", "--default", "store", found.url)
    call("dvc", "remote", "modify", "--quiet", "store", "endpointurl", found.endpoint)
    commit(driver)
    return on_ray.described(None)


def with_credentials(found: local_cluster.Store, patch: pytest.MonkeyPatch, **changed: str) -> None:
    for name, value in (found.environment | changed).items():
        patch.setenv(name, value)


@pytest.mark.slow
@needs_store
def test_tables_go_through_an_object_store_and_its_secret_is_written_nowhere(
    driver: Path, at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with local_cluster.store(tmp_path / "object-store") as found:
        with_credentials(found, monkeypatch)
        run = on_s3(driver, found)
        at("a")
        top = node.reproduce(run, task("top"), said.append)
    with local_cluster.store(tmp_path / "object-store") as again:  # it keeps what it has
        with_credentials(again, monkeypatch)
        run = replace(run, remote={**run.remote, "endpointurl": again.endpoint})
        at("b")
        left = node.reproduce(run, task("left", ("top", top)), said.append)

    assert json.loads(left.files["metrics/left.json"]) == {"left": 1}
    secret = found.environment["AWS_SECRET_ACCESS_KEY"]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 50
    assert [file for file in files if secret.encode() in file.read_bytes()] == []
    assert secret not in "".join(said) + repr((run, top, left, found))


@pytest.mark.slow
@needs_store
def test_a_store_that_refuses_or_is_down_is_told_in_one_line_and_nothing_is_half_published(
    driver: Path, at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_cluster.store(tmp_path / "object-store") as found:
        run = on_s3(driver, found)
        at("a")
        with monkeypatch.context() as patched:
            with_credentials(found, patched, AWS_SECRET_ACCESS_KEY="another")
            with pytest.raises(
                StageFailed, match=r"top on \S+ ended .*; the object store refuses the credentials"
            ) as told:
                node.reproduce(run, task("top"), silent)
            assert "another" not in str(told.value)
        with_credentials(found, monkeypatch)
        listed = "import s3fs, sys; print(len(s3fs.S3FileSystem(endpoint_url=sys.argv[1]).find('tables')))"
        assert call(sys.executable, "-c", listed, found.endpoint) == "0\n"

    with pytest.raises(StageFailed, match=r"top on \S+ ended .*; the object store does not answer"):
        node.reproduce(run, task("top"), silent)

    with local_cluster.store(tmp_path / "object-store") as again:
        with_credentials(again, monkeypatch)
        run = replace(run, remote={**run.remote, "endpointurl": again.endpoint})
        assert node.reproduce(run, task("top"), silent).how.startswith("ran on ")


@pytest.mark.slow
@needs_store
def test_a_store_that_is_full_is_told_in_one_line_and_nothing_is_half_published(
    driver: Path, at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_cluster.store(tmp_path / "object-store", keep_free="1000TiB") as found:
        with_credentials(found, monkeypatch)
        run = on_s3(driver, found)
        run = replace(run, remote={**run.remote, "read_timeout": "1"})  # SeaweedFS looks for space for half a minute
        at("a")
        with pytest.raises(StageFailed, match=r"top on \S+ ended .*; the object store does not answer: is it up, with"):
            node.reproduce(run, task("top"), silent)
    with local_cluster.store(tmp_path / "object-store") as again:
        with_credentials(again, monkeypatch)
        run = replace(run, remote={**run.remote, "endpointurl": again.endpoint})
        at("b")  # nothing of it is there
        assert node.reproduce(run, task("top"), silent).how.startswith("ran on ")


@contextmanager
def slow_way(endpoint: str, seconds: float) -> Iterator[str]:
    """The address of a relay to a server, which keeps every piece of a request and of an answer for so long."""
    host, port = endpoint.removeprefix("http://").split(":")

    def hand_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(2**16):
                time.sleep(seconds)
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):  # closed below
            while True:
                client, _ = listening.accept()
                server = socket.create_connection((host, int(port)))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=hand_on, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
@needs_store
def test_a_store_that_is_slow_is_waited_for_and_one_that_takes_too_long_is_told_in_one_line(
    driver: Path, at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_cluster.store(tmp_path / "object-store") as found:
        with_credentials(found, monkeypatch)
        run = on_s3(driver, found)
        with slow_way(found.endpoint, 2) as slower, slow_way(found.endpoint, 0.3) as slow:
            at("impatient")
            hasty = replace(run, remote={**run.remote, "endpointurl": slower, "read_timeout": "1"})
            with pytest.raises(StageFailed, match=r"top on \S+ ended .*; the object store does not answer"):
                node.reproduce(hasty, task("top"), silent)
            run = replace(run, remote={**run.remote, "endpointurl": slow})
            at("a")
            top = node.reproduce(run, task("top"), silent)
            at("b")
            left = node.reproduce(run, task("left", ("top", top)), silent)
    assert json.loads(left.files["metrics/left.json"]) == {"left": 1}
