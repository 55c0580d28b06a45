"""The process that accelerated stages are forked from: it imports other people's packages once, and then waits.

Nothing of this repository but this package is ever imported here, so an edited file counts at once.  It forks only
while it has a single thread and no device open (`unfit`), and it ends with its owner, by whatever that ends: the
kernel tells it (PR_SET_PDEATHSIG), as it tells the stages when this process ends.
"""

import ctypes
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from warm import child

IMPORTS = [
    *("duckdb", "jinja2", "numpy", "pandas", "psutil", "pyarrow.parquet", "pydantic", "rapidfuzz", "regex"),
    *("ruamel.yaml", "safetensors.torch", "sklearn", "tqdm", "yaml"),
    *("torch", "torch.nn.functional", "transformers.modeling_utils", "transformers.masking_utils"),
    *("accelerate", "accelerate.commands.launch", "datasets", "peft", "trl"),
]
"""What stages import of other people's."""

NAMES = {
    "transformers": "AutoModelForCausalLM AutoModelForSequenceClassification AutoTokenizer PreTrainedTokenizerFast "
    "GenerationConfig LlamaForCausalLM LlamaForSequenceClassification Trainer TrainingArguments",
    "trl": "DPOTrainer GRPOTrainer RewardTrainer RLOOTrainer SFTTrainer",
}
"""What these packages import when it is asked for."""

STARTED = "SYNTHALIGN_WARM_STARTED"
"""Set where this process has the environment that accelerate gives to a stage."""

PR_SET_PDEATHSIG = 1

LIVING: set[int] = set()
"""The process ids of the stages that work."""


def main(owner: int, listener: socket.socket, folder: Path) -> child.Request:
    """Wait for requests, to the end of the process; in a child that was forked for one, return it."""
    here = os.getpid()

    def end(*_: object) -> None:
        """No exception: the import that it comes in the middle of may catch it, and go on."""
        if os.getpid() == here:
            for process in LIVING:
                send(process, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # to take all apart that was imported takes seconds

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; a stage gets it from its launcher
    signal.signal(signal.SIGTERM, end)
    if not end_with(owner, signal.SIGTERM):
        end()
    try:
        become_launched(listener)
        imports = child.imports(load)
        if reason := unfit():
            print(f"warm: {reason}, so stages are started without it", file=sys.stderr)
        else:
            return serve(listener, imports)
    except Exception:
        traceback.print_exc()
    except SystemExit:
        pass
    end()
    raise AssertionError("it has ended")


def end_with(parent: int, number: int) -> bool:
    """Have the kernel send this signal when the parent is gone; False where it is gone already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def become_launched(listener: socket.socket) -> None:
    """Begin again with the environment that accelerate gives to a stage by accelerate.yaml.

    OpenMP and others read it as they are loaded.
    """
    if STARTED in os.environ:
        return
    if not Path("accelerate.yaml").exists():
        sys.exit(0)
    try:
        _, environment = child.launched(
            ["--quiet", "--config_file", "accelerate.yaml", "-m", "stages"], dict(os.environ)
        )
    except child.Refused:
        sys.exit(0)  # several processes, most often: what is refused to each stage
    listener.set_inheritable(True)
    os.execve(sys.executable, sys.orig_argv, {**child.ADDED, **environment, STARTED: "1"})


def load() -> None:
    """Import all, and take no trouble over it when memory is tidied up later."""
    for name in IMPORTS:
        importlib.import_module(name)
    for package, names in NAMES.items():
        for name in names.split():
            getattr(importlib.import_module(package), name)
    gc.collect()
    gc.freeze()


def unfit() -> str | None:
    """Why a child that is forked from this process might not work."""
    if os.fork() == 0:  # OpenBLAS ends its threads before a fork, and starts them when it needs them
        os._exit(0)
    os.wait()
    threads = [Path("/proc/self/task", task, "comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    if len(threads) > 1:
        return f"the warm parent has threads: {', '.join(threads)}"
    opened = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            opened.append(os.readlink(f"/proc/self/fd/{number}"))
    if devices := [name for name in opened if name.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri"))]:
        return f"the warm parent has a device open: {', '.join(sorted(set(devices)))}"
    return None


@dataclass(frozen=True)
class Stage:
    """A stage that was forked, and the connection to its launcher."""

    launcher: socket.socket
    process: int
    ended: int
    """A pidfd: readable when the process has ended."""


def serve(listener: socket.socket, imports: child.Imports) -> child.Request:
    """Fork a child for every request, and be the go-between of it and its launcher; returns in the child."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        key, _ = selector.select()[0]
        stage: Stage | None = key.data
        if key.fileobj is listener:
            selector.register(listener.accept()[0], selectors.EVENT_READ)
        elif stage is None:
            assert isinstance(key.fileobj, socket.socket)
            selector.unregister(key.fileobj)
            if asked := fork(key.fileobj, selector):
                return child.Request(*asked, imports)
        elif key.fd == stage.ended:
            reap(stage, selector)
        else:
            forward(stage, selector)


def fork(launcher: socket.socket, selector: selectors.BaseSelector) -> tuple[socket.socket, bytes, list[int]] | None:
    """A child for the request that a launcher has sent; returns it in the child."""
    try:
        said, files, _, _ = socket.recv_fds(launcher, 2**20, 3)
    except OSError:
        said, files = b"", []
    if len(files) < 3:
        launcher.close()
        return None
    here = os.getpid()
    try:
        process = os.fork()
    except OSError:  # a limit of processes or memory; the others go on, and accelerate-launch starts this one
        for file in files:
            os.close(file)
        launcher.close()
        return None
    if process == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        if not end_with(here, signal.SIGKILL):
            os._exit(1)
        for key in list(selector.get_map().values()):
            os.close(key.fd)
        selector.close()
        return launcher, said, files
    with suppress(OSError):  # whichever of the two is first
        os.setpgid(process, process)
    for file in files:
        os.close(file)
    LIVING.add(process)
    stage = Stage(launcher, process, os.pidfd_open(process))
    selector.register(launcher, selectors.EVENT_READ, stage)
    selector.register(stage.ended, selectors.EVENT_READ, stage)
    return None


def forward(stage: Stage, selector: selectors.BaseSelector) -> None:
    """Pass on the signal that the launcher got; where it is gone, end the stage."""
    try:
        said = stage.launcher.recv(16)
    except OSError:
        said = b""
    send(stage.process, int(said) if said else signal.SIGKILL)
    if not said:
        selector.unregister(stage.launcher)
        stage.launcher.close()


def send(process: int, number: int) -> None:
    """A signal to a stage and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process, number)


def reap(stage: Stage, selector: selectors.BaseSelector) -> None:
    """Tell the launcher how the stage ended."""
    _, status = os.waitpid(stage.process, 0)
    LIVING.discard(stage.process)
    selector.unregister(stage.ended)
    os.close(stage.ended)
    if stage.launcher.fileno() >= 0:
        selector.unregister(stage.launcher)
        with suppress(OSError):
            stage.launcher.send(str(status).encode())
        stage.launcher.close()


def run(owner: str, listener: str, folder: str) -> None:
    """Serve; in a child, be the stage."""
    child.run(main(int(owner), socket.socket(fileno=int(listener)), Path(folder)))


if __name__ == "__main__":
    run(*sys.argv[1:])
