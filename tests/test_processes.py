"""One sampling stage over two processes of one host, one of which is killed, and over two hosts.

The hosts are two network namespaces of this machine with a cable between them, and accelerate.yaml is
accelerate/multinode.yaml as it stands; what this machine lacks is said on the command line: a process a host instead of
eight, no bf16.  Without a GPU the processes talk over gloo instead of NCCL.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from synthalign.core import tables
from synthalign.generation.journal import read
from synthalign.queries.mining import QUERIES, query_rows
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
MULTINODE = ROOT / "accelerate/multinode.yaml"
TEXTS = [f"Where does the red fox number {number} live?" for number in range(300)]
SECTION = {
    "configurations": {
        "a": {"model": "base", "demonstrations": "shown.jsonl", "shots": 1, "max_new_tokens": 48, "splits": ["train"]}
    },
    "engine": "transformers",
    "temperature": 1.0,
    "top_p": 0.9,
    "seed": 0,
}


def test_accelerate_reads_the_file_as_two_hosts_whose_rank_the_command_line_gives() -> None:
    config = load_config_from_file(str(MULTINODE))
    assert config.distributed_type.value == "MULTI_GPU"
    assert (config.num_machines, config.num_processes) == (2, 16)

    for rank in (0, 1):
        words = ["--config_file", str(MULTINODE), *(["--machine_rank", "1"] if rank else []), "-m", "stages.train_sft"]
        given, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
        assert given.multi_gpu and given.rdzv_backend == "static"
        assert (given.machine_rank, given.num_machines, given.num_processes) == (rank, 2, 16)
        assert (given.main_process_ip, given.main_process_port) == ("10.0.0.1", 29500)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """The names of two network namespaces that reach each other as 10.200.0.1 and 10.200.0.2."""
    names = (f"synthalign-{os.getpid()}-0", f"synthalign-{os.getpid()}-1")
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` here: Debian has it in iproute2")
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.200.0.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def workspace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tiny models in which `sample_responses a` can run."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    tiny.save(folder / "base", tiny.causal(0), tiny.tokenizer())
    tables.write(query_rows(TEXTS, [], []), "queries", key="query_id", schema=QUERIES)
    dialogue = '{"role": "user", "content": "Where is Riga?"}, {"role": "assistant", "content": "In Latvia."}'
    Path("shown.jsonl").write_text(f'{{"messages": [{dialogue}]}}\n')
    Path("params.yaml").write_text(yaml.safe_dump({"sample_responses": SECTION}))
    shutil.copyfile(MULTINODE, "accelerate.yaml")
    return folder


def environment(stage: str = "sample_responses@a") -> dict[str, str]:
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    # DVC_STAGE: as under DVC, so that the journals are still there when the stage has ended
    return os.environ | paths | {"OMP_NUM_THREADS": "1", "DVC_STAGE": stage}


def launch(
    folder: Path, *words: str, within: str | None = None, stage: str = "sample_responses@a"
) -> "subprocess.Popen[str]":
    """`accelerate-launch` of the stage, in a network namespace."""
    command = ["accelerate-launch", "--config_file", "accelerate.yaml", "--num_processes", "2", *words]
    command += ["--mixed_precision", "no", "-m", "stages.sample_responses", "a"]
    namespace = ["ip", "netns", "exec", within] if within else []
    cable = {"GLOO_SOCKET_IFNAME": "cable"} if within else {}
    return subprocess.Popen(
        namespace + command,
        cwd=folder,
        env=environment(stage) | cable,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_alone(folder: Path) -> dict[str, bytes]:
    """What one process makes."""
    command = [sys.executable, "-m", "stages.sample_responses", "a"]
    subprocess.run(command, check=True, cwd=folder, env=environment())
    return made(folder)


def made(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("data/responses/*"), *folder.glob("metrics/**/*.json")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def journals(folder: Path) -> dict[str, set[str]]:
    """The rows in each journal."""
    return {file.name: set(read(file)[0]) for file in folder.glob(".work/*/*/*.jsonl")}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_of_two_processes_is_killed_the_other_ends_and_a_second_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    expected = run_alone(workspace(tmp_path / "alone", monkeypatch))
    folder = workspace(tmp_path / "two", monkeypatch)
    one_host = ["--num_machines", "1", "--main_process_port", "0"]
    launcher = launch(folder, *one_host)
    while len(rows := journals(folder)) != 2 or not all(rows.values()):
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.005)
    workers = psutil.Process(launcher.pid).children(recursive=True)
    [victim] = [worker for worker in workers if worker.environ().get("RANK") == str(rank)]

    victim.kill()

    launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert [worker for worker in workers if worker.is_running()] == []
    kept = journals(folder)
    assert 0 < sum(map(len, kept.values())) < len(TEXTS)
    assert made(folder) == {}

    again = launch(folder, *one_host)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert made(folder) == expected
    for file in folder.glob(".work/*/*/*.jsonl"):
        lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
        assert len(lines) == len(read(file)[0])  # no row was written twice
        assert kept[file.name] <= read(file)[0].keys()


@pytest.mark.slow
def test_a_shard_of_two_processes_that_finds_all_rows_ends_well_and_writes_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(tmp_path / "two", monkeypatch)
    for shard in ("0/2", "1/2"):
        monkeypatch.setenv("SYNTHALIGN_SHARD", shard)
        started = launch(folder, "--num_machines", "1", "--main_process_port", "0", stage="")
        output, _ = started.communicate(timeout=120)
        assert started.returncode == 0, output

    assert "finds all rows there; run the stage without it" in output
    assert sum(map(len, journals(folder).values())) == len(TEXTS)
    assert made(folder) == {}


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["one folder", "a folder each"])
def test_two_hosts_make_the_bytes_of_one_process(
    hosts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    expected = run_alone(workspace(tmp_path / "alone", monkeypatch))
    first = workspace(tmp_path / "first", monkeypatch)
    folders = (first, first if shared else workspace(tmp_path / "second", monkeypatch))

    address = ["--main_process_ip", "10.200.0.1"]
    processes = [
        launch(folder, *address, *rank, within=name, stage=stage)
        for name, folder, rank, stage in zip(
            hosts, folders, ([], ["--machine_rank", "1"]), ("sample_responses@a", ""), strict=True
        )  # DVC runs on the first host alone
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()

    assert len(expected) == 2
    assert made(first) == expected
    assert shared or made(folders[1]) == {}  # the first host alone writes
    here, there = (journals(folder)[f"sample_responses@a.{host}.jsonl"] for host, folder in enumerate(folders))
    assert len(here) + len(there) == len(here | there) == len(TEXTS)
    assert min(len(here), len(there)) > len(TEXTS) / 3
    assert list(first.glob(".work/*/*/finished"))
