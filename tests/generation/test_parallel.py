import errno
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from synthalign.core import stage
from synthalign.generation import journal, parallel
from synthalign.generation.generate import Generation, generate
from tests import tiny

SCRIPT = """
import sys
from pathlib import Path
from dataclasses import asdict
from functools import partial
import json
from synthalign.core import stage
from synthalign.generation import parallel
from synthalign.generation.generate import generate
from tests import tiny

made = parallel.generated(
    partial(generate, tiny.causal(), tiny.tokenizer()), folder=Path(sys.argv[1]), name="rows", prefix="The fox ",
    suffixes=[f"lives {row}" for row in range(12)], row_ids=[str(row) for row in range(12)], seed=0,
    max_new_tokens=6, temperature=1.0, top_p=0.9, samples=2,
)
if stage.is_main_process():
    rows = {row: [asdict(one) for one in many] for row, many in made.items()}
    (Path(sys.argv[1]) / "made.json").write_text(json.dumps(rows))
"""


WAITS = """
import sys
from datetime import timedelta
from pathlib import Path
import torch
from synthalign.generation import parallel

accelerator = parallel.accelerator()
group = torch.distributed.distributed_c10d._get_default_group()
days = group._get_backend(torch.device("cpu")).options._timeout / timedelta(days=1)
(Path(sys.argv[1]) / f"{accelerator.process_index}.txt").write_text(f"{accelerator.num_processes} {days}")
"""


def call(folder: Path) -> dict[str, list[Generation]]:
    return parallel.generated(
        partial(generate, tiny.causal(), tiny.tokenizer()),
        folder=folder,
        name="rows",
        prefix="The fox ",
        suffixes=[f"lives {row}" for row in range(12)],
        row_ids=[str(row) for row in range(12)],
        seed=0,
        max_new_tokens=6,
        temperature=1.0,
        top_p=0.9,
        samples=2,
    )


def test_rows_in_the_journal_are_not_made_again(tmp_path: Path) -> None:
    made = call(tmp_path)
    file = tmp_path / "rows.0.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 12
    file.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # killed while it wrote its sixth row

    assert call(tmp_path) == made
    assert len(file.read_bytes().splitlines()) == 5 + 1 + 7


def test_rows_of_another_configuration_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = (stage.work_dir("sample", json.dumps({"temperature": temperature})) for temperature in (1.0, 0.5))
    call(one)

    call(other)

    assert len((other / "rows.0.jsonl").read_bytes().splitlines()) == 12


def test_a_full_disk_stops_the_sampling_and_a_second_run_makes_the_missing_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append_with_little_room(self: journal.Journal, id: str, record: journal.Record) -> None:
        if len(self.done) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, id, record)

    append = journal.Journal.append
    with monkeypatch.context() as patched:
        patched.setattr(journal.Journal, "append", append_with_little_room)
        with pytest.raises(OSError, match="No space left"):
            call(tmp_path)

    made = call(tmp_path)

    assert len((tmp_path / "rows.0.jsonl").read_bytes().splitlines()) == 12
    assert made == call(tmp_path / "undisturbed")


def test_the_journal_is_gone_when_the_stage_has_finished(tmp_path: Path) -> None:
    call(tmp_path / "work")
    parallel.finish(tmp_path / "work")

    assert not (tmp_path / "work").exists()


def test_another_host_leaves_the_folder_to_the_first_which_may_still_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(tmp_path / "work")
    second = SimpleNamespace(is_main_process=False, is_local_main_process=True, wait_for_everyone=lambda: None)
    monkeypatch.setattr(parallel, "state", lambda: second)
    monkeypatch.delenv("DVC_STAGE", raising=False)  # DVC runs on the first host alone

    parallel.finish(tmp_path / "work")

    assert (tmp_path / "work/rows.0.jsonl").exists()


def run_in_two(text: str, folder: Path) -> None:
    """Run a script, which is given the folder, in two processes."""
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(script), str(folder)], check=True, env=environment, timeout=300)


@pytest.mark.slow
def test_a_process_waits_a_week_for_one_that_has_more_to_sample(tmp_path: Path) -> None:
    run_in_two(WAITS, tmp_path)

    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["2 7.0", "2 7.0"]


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    run_in_two(SCRIPT, tmp_path)

    rows = json.loads((tmp_path / "made.json").read_text())
    assert len(list(tmp_path.glob("rows.*.jsonl"))) == 2
    assert {row: [Generation(**one) for one in many] for row, many in rows.items()} == call(tmp_path / "one")


def test_a_process_that_works_alone_waits_for_no_other() -> None:
    """The others have ended without a word: `state` would look for them."""
    environment = os.environ | {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29499",
        "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-c", "from synthalign.generation import parallel; print(parallel.alone())"],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip

    assert done.stdout == "cpu\n"
