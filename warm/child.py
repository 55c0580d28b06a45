"""What a forked process does to become the stage that `accelerate-launch` would have started, or why it refuses to."""

import atexit
import gc
import importlib
import json
import logging
import os
import runpy
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

FREE_NAMES = {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONUNBUFFERED"}
FREE_PREFIXES = ("DVC_", "GIT_", "PREFECT_", "SYNTHALIGN_")
"""Variables of the environment that nothing reads while it is imported. All others must be for a stage as they were
when the imports were made."""

HARDWARE = "SYNTHALIGN_HARDWARE"
"""The one of ours that is read by then: its file says which instructions of the processor are used."""

ADDED = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""What the environment of the imports has besides: keeps pyarrow's allocator from a thread of its own."""

LAUNCHER = "SYNTHALIGN_LAUNCHER"
"""The variable that names the process that a stage belongs to: its parent is another one."""


@dataclass(frozen=True)
class Imports:
    """What was imported, and in which environment."""

    before: Mapping[str, str]
    """The environment as it was."""

    set: Mapping[str, str]
    """The variables that were set by it."""

    stamps: Mapping[str, int | None]
    """When the file of each module was last changed."""

    def changed(self) -> list[str]:
        """The files that have changed since."""
        return [file for file, stamp in self.stamps.items() if stamp_of(file) != stamp]


@dataclass(frozen=True)
class Request:
    """What a launcher asks for, in the child that was forked for it."""

    launcher: socket.socket
    said: bytes
    files: list[int]
    """Its standard input, output and error."""

    imports: Imports


class Refused(Exception):
    """Why accelerate-launch must start this stage."""


def imports(load: Callable[[], None]) -> Imports:
    """Import by `load`."""
    before = dict(os.environ)
    load()
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files.add(os.path.abspath(os.environ.get(HARDWARE) or "hardware.yaml"))
    changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
    return Imports(before, changed, {file: stamp_of(file) for file in files if file})


def stamp_of(file: str) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None


def launched(words: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The module and its words that `accelerate-launch` starts, with these words in this environment; and the
    environment that it gives to it. The environment of this process is the one given from then on.

    Refused where it would start several processes, or another program than a module of Python.
    """
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    replace_environment(environment)  # importing torch has changed it
    logging.getLogger("accelerate.commands.launch").setLevel(logging.ERROR)  # it tells of its threads each time
    try:
        given, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    except (Exception, SystemExit) as error:
        raise Refused(f"accelerate says {error!r}") from error
    of_others = ("use_deepspeed", "use_fsdp", "use_megatron_lm", "multi_gpu", "tpu", "mpirun_hostfile", "no_python")
    if defaults is None or defaults.compute_environment != "LOCAL_MACHINE":
        raise Refused("there is no launch file of this machine")
    if any(getattr(given, name) for name in of_others) or (given.num_processes, given.num_machines) != (1, 1):
        raise Refused(f"{given.config_file} is not one of one process")
    if not given.module or not given.quiet:
        raise Refused("this is not `--quiet … -m MODULE`")
    _, given_to_it = prepare_simple_launcher_cmd_env(given)
    return [given.training_script, *given.training_script_args], given_to_it


def run(asked: Request) -> NoReturn:
    """Be the stage, to the end of the process."""
    given = json.loads(asked.said)
    try:
        words = become(given, asked)
    except Refused as reason:
        answer(asked.launcher, refused=str(reason))
        os._exit(0)
    answer(asked.launcher, started=os.getpid())
    asked.launcher.close()
    sys.argv = words
    atexit.register(gc.unfreeze)  # else what C++ counts has not ended with the interpreter, and it says so
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    raise SystemExit(0)


def become(given: Mapping[str, Any], asked: Request) -> list[str]:
    """Take over everything from the launcher; returns the module and its words. Refused where that cannot be done."""
    if given["python"] != [os.path.realpath(sys.prefix), sys.version]:
        raise Refused(f"the warm parent is of {sys.executable}")
    if given["cores"] != sorted(os.sched_getaffinity(0)):
        raise Refused("the warm parent has other cores")
    if changed := asked.imports.changed():
        raise Refused(f"{changed[0]} has changed since it was imported")
    os.chdir(given["folder"])
    os.umask(given["umask"])
    words, environment = launched(given["words"], given["environment"])
    if differing := differences(asked.imports.before, ADDED | environment):
        raise Refused(f"{', '.join(differing)} in the environment was another when the imports were made")
    process = struct.unpack("3i", asked.launcher.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    replace_environment({**environment, **asked.imports.set, LAUNCHER: str(process)})

    for number, file in enumerate(asked.files):
        os.dup2(file, number)
        os.close(file)
    sys.stdout.reconfigure(line_buffering=os.isatty(1) or "PYTHONUNBUFFERED" in environment)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for kind in (signal.SIGTTIN, signal.SIGTTOU, *given["ignored"]):
        signal.signal(kind, signal.SIG_IGN)

    sys.path[0] = given["folder"]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.split(".")[0] == "warm"]:
        del sys.modules[name]
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # as in a process of its own; Python's own generator sees to it itself
    return words


def replace_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The variables by which two environments differ, but for those that are free to."""
    names = {name for name in {*before, *now} if before.get(name) != now.get(name)}
    return sorted(name for name in names - FREE_NAMES if name == HARDWARE or not name.startswith(FREE_PREFIXES))


def answer(launcher: socket.socket, **said: Any) -> None:
    launcher.send(json.dumps(said).encode())
