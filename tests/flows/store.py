"""An object store on this machine for tests: SeaweedFS, a real server that keeps what it gets and checks signatures.

with store.serving(folder) as found:
    found.url, found.environment        of a bucket, and the credentials that it wants
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from flows.nightly import background, free_port

WEED = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
BUCKET = "tables"


@dataclass(frozen=True)
class Store:
    endpoint: str
    key: str
    secret: str
    nothing: str
    """An empty file: AWS's settings, so that those of who runs the tests do not count."""

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/synthalign"

    @property
    def environment(self) -> dict[str, str]:
        """What who may use it has in the environment; nothing else of AWS is looked for."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": self.nothing,
            "AWS_SHARED_CREDENTIALS_FILE": self.nothing,
        }


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    """A store that keeps everything in the folder: started on it again, it has what it had, and wants the same key."""
    assert WEED
    folder.mkdir(parents=True, exist_ok=True)
    identities = folder / "s3.json"
    if not identities.exists():
        pair = {"accessKey": f"AK{secrets.token_hex(9).upper()}", "secretKey": secrets.token_urlsafe(30)}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities.write_text(
            json.dumps({"identities": [{"name": "tests", "credentials": [pair], "actions": actions}]})
        )
    pair = json.loads(identities.read_text())["identities"][0]["credentials"][0]
    parts = ("master", "volume", "filer", "s3")
    ports = {f"{part}.{port}": free_port() for part in parts for port in ("port", "port.grpc")}
    command = [WEED, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-s3", f"-s3.config={identities}", *(f"-{name}={port}" for name, port in ports.items())]
    command += [
        "-master.volumeSizeLimitMB=64",
        "-volume.max=40",
        "-volume.minFreeSpace=1MiB",
        "-master.telemetry=false",
    ]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"]
    (folder / "nothing").touch()
    found = Store(f"http://127.0.0.1:{ports['s3.port']}", pair["accessKey"], pair["secretKey"], str(folder / "nothing"))
    try:
        with background(command, os.environ, folder / "log", grace=10.0) as process:
            wait(found.endpoint, process, folder / "log")
            make_bucket(found)
            yield found
    finally:
        for port in ports.values():  # sockets that it leaves behind, outside of its folder
            for socket in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink()


def wait(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urlopen(endpoint, timeout=5).close()
            return
        except HTTPError:  # it answers, and lets nobody in
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


def make_bucket(store: Store) -> None:
    """Through the client that DVC has; a store that was started again has it already."""
    code = (
        "import s3fs, sys; files = s3fs.S3FileSystem(endpoint_url=sys.argv[1]); "
        f"files.exists('{BUCKET}') or files.mkdir('{BUCKET}')"
    )
    for _ in range(30):  # the volumes come up a moment after the gateway
        done = subprocess.run(
            [sys.executable, "-c", code, store.endpoint],
            env=os.environ | store.environment, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode == 0:
            return
        time.sleep(1)
    raise AssertionError(done.stderr[-2000:])
