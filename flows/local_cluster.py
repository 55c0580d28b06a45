"""Ray nodes and an object store on this machine: what `make nightly RUNNER=ray` runs on, and tests.

    given = os.environ | word()
    with nodes(folder, given) as address, store(folder / "store") as kept:
        address, kept.url, kept.endpoint, kept.environment

They are what a cluster and a bucket elsewhere would be, but for the addresses. Secrets are made anew each time, and are
in environments alone.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from urllib.error import HTTPError
from urllib.request import urlopen

from flows import node
from flows.background import background, free_port, free_ports
from flows.process import path_with_ours

BUCKET = "tables"

STARTED = "Ray runtime started"
"""What `ray start` says of a node that is up."""

START = 300.0
"""Seconds until a node or the store has to answer."""


class NotStarted(Exception):
    """A node or the store does not come up: its last words."""


def word() -> dict[str, str]:
    """What those have in the environment who may use a cluster; of one cluster."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray adds 15, with which a busy machine never comes to them
    }


MEMORY = 80 * 2**20
"""Bytes of a node for Ray's objects; larger ones go to its disk."""


@contextmanager
def nodes(folder: Path, given: Mapping[str, str], count: int = 2, *, cores: int = 1, gpus: int = 0) -> Iterator[str]:
    """The address of a cluster of so many nodes, `a`, `b`, …, each with these cores; the first has the GPUs."""
    found("ray")
    address = f"127.0.0.2:{free_port()}"  # for 127.0.0.1 Ray takes the address that the machine has in the network
    head = [sys.executable, "-m", "flows.local_cluster", address, str(cores), str(gpus)]
    with ExitStack() as held:
        held.enter_context(running(head, folder / "a", given))
        for number, name in enumerate(ascii_lowercase[1:count], start=3):
            held.enter_context(one_more(folder / name, given, address, f"127.0.0.{number}", cores=cores))
        yield address


@contextmanager
def one_more(folder: Path, given: Mapping[str, str], address: str, host: str, *, cores: int = 1) -> Iterator[None]:
    """A further node of a cluster, at an address of this machine, with clones and a cache of its own in `folder`."""
    command = [found("ray"), "start", "--block", f"--address={address}", f"--node-ip-address={host}"]
    command += [f"--num-cpus={cores}", "--num-gpus=0", f"--object-store-memory={MEMORY}", "--include-log-monitor=false"]
    command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]  # any that are free
    with running(command, folder, given):
        yield


@contextmanager
def running(command: list[str], folder: Path, given: Mapping[str, str]) -> Iterator[None]:
    """A command that starts a node of Ray and says so."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "ray.log"
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as scratch:  # for sockets
        Path(scratch, "ray").mkdir()
        known = {**given, node.FOLDER: str(folder.resolve()), "RAY_TMPDIR": scratch}
        with background(command, known, log, grace=15.0) as process:
            for _ in waiting("a node of Ray", process, log):
                if STARTED in log.read_text(errors="replace"):
                    break
            yield


def main(address: str, cores: str, gpus: str) -> None:
    """The first node of a cluster, until SIGTERM.

    `ray start --head` would start a server for Ray's client beside it, which nobody can leave out, and which takes the
    node along when the machine is busy: it waits 30 s for it (Ray 2.60).
    """
    from ray.cluster_utils import Cluster

    host, port = address.split(":")
    given = {"node_ip_address": host, "gcs_server_port": int(port), "include_dashboard": False}
    given |= {"num_cpus": int(cores), "num_gpus": int(gpus), "object_store_memory": MEMORY, "no_monitor": True}
    given |= {"include_log_monitor": False, "dashboard_agent_listen_port": 0}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    cluster = Cluster(initialize_head=True, head_node_args=given)
    print(STARTED, flush=True)
    try:
        signal.pause()
    finally:
        cluster.shutdown()


@dataclass(frozen=True)
class Store:
    """A bucket, and what who may use it has in the environment."""

    endpoint: str
    environment: dict[str, str] = field(repr=False)
    url: str = f"s3://{BUCKET}/synthalign"


@contextmanager
def store(folder: Path, *, keep_free: str = "1GiB") -> Iterator[Store]:
    """SeaweedFS: a server that keeps what it gets and checks signatures; on the folder again it has what it had.

    keep_free  it takes nothing more when less of the disk is free
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nothing").touch()
    environment = {
        "AWS_ACCESS_KEY_ID": f"AK{secrets.token_hex(9).upper()}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str((folder / "nothing").resolve()),  # nothing else of AWS is looked for
        "AWS_SHARED_CREDENTIALS_FILE": str((folder / "nothing").resolve()),
    }
    parts = ("master", "volume", "filer", "s3")
    names = [f"{part}.{port}" for part in parts for port in ("port", "port.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        found("weed"),
        "-logtostderr=true",
        "server",
        f"-dir={folder.resolve()}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
    ]
    command += [*(f"-{name}={port}" for name, port in ports.items()), "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.volumeSizeLimitMB=1024", "-volume.max=0", f"-volume.minFreeSpace={keep_free}"]
    command += ["-master.telemetry=false", "-s3.iam=false"]
    made = Store(f"http://127.0.0.1:{ports['s3.port']}", environment)
    log = folder / "log"
    try:
        with background(command, os.environ | environment, log, grace=10.0) as process:
            for _ in waiting("the object store", process, log):
                if answers(made.endpoint) and has_bucket(made):  # the volumes come up a moment after the gateway
                    break
            yield made
    finally:
        for port in ports.values():  # sockets that it leaves behind, outside of its folder
            for socket in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink()


def dvc_remote(kept: Store, folder: Path) -> dict[str, str]:
    """The environment in which DVC's default remote is this store; no file of git's or of the user's names it."""
    from dvc.config import Config

    folder.mkdir(parents=True, exist_ok=True)
    config = ConfigParser(interpolation=None)
    config.read(Path(Config.get_dir("global"), Config.CONFIG), encoding="utf-8")
    config.read_dict({"core": {"remote": "local"}, "'remote \"local\"'": remote(kept)})
    with (folder / Config.CONFIG).open("w", encoding="utf-8") as stream:
        config.write(stream)
    return {"DVC_GLOBAL_CONFIG_DIR": str(folder.resolve())}


def remote(kept: Store) -> dict[str, str]:
    return {"url": kept.url, "endpointurl": kept.endpoint}


def found(command: str) -> str:
    """Where a command of the extras is; NotStarted without it."""
    path = shutil.which(command, path=path_with_ours())
    if path is None:
        raise NotStarted(f"{command} is not installed: pip install -r requirements.lock")
    return path


def waiting(what: str, process: "subprocess.Popen[bytes]", log: Path) -> Iterator[None]:
    """A turn every moment, until who asks has what it waits for; NotStarted where that will not be."""
    end_at = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end_at:
        yield
        time.sleep(0.3)
    raise NotStarted(f"{what} does not start; the end of {log}:\n{log.read_text(errors='replace')[-2000:]}")


def answers(endpoint: str) -> bool:
    try:
        urlopen(endpoint, timeout=5).close()
    except HTTPError:  # it is there, and lets nobody in
        return True
    except OSError:
        return False
    return True


def has_bucket(kept: Store) -> bool:
    """Through the client that DVC has; made where it is not there yet."""
    code = (
        "import s3fs, sys; files = s3fs.S3FileSystem(endpoint_url=sys.argv[1]); "
        f"files.exists('{BUCKET}') or files.mkdir('{BUCKET}')"
    )
    command = [sys.executable, "-c", code, kept.endpoint]
    return not subprocess.run(command, env=os.environ | kept.environment, capture_output=True).returncode


if __name__ == "__main__":
    main(*sys.argv[1:])
