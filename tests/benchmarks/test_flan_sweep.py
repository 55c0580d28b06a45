import json
from pathlib import Path

import pytest
import yaml

from benchmarks import flan_sweep
from synthalign.core.statistics import Interval, combine_seeds
from tests import tiny

REPOSITORY = Path(__file__).parents[2]


def test_figures_of_several_seeds_are_put_together_wherever_they_stand():
    found = [
        {"a": {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}, "b": {"c": None}}
        for value in (0.2, 0.4)
    ]

    both = flan_sweep.together(found)

    expected = combine_seeds([Interval(value, value - 0.1, value + 0.1, 40) for value in (0.2, 0.4)])
    assert both == {"a": expected.metrics(), "b": {"c": None}}
    assert both["a"]["value"] == pytest.approx((0.2 + 0.4) / 2)


@pytest.mark.slow
def test_another_seed_draws_other_mixtures_for_the_same_items_and_what_is_there_is_not_made_again(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/embedded").symlink_to(REPOSITORY / "data/embedded")
    for size in ("small", "medium", "large"):
        tiny.save(tmp_path / "models/base" / size, tiny.causal(), tiny.tokenizer())
    given = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    given["build_mixture"] |= {"task_examples": 40, "examples": 40, "max_characters": 300}
    given["answer_tasks"] |= {"task_examples": 40, "items": 3, "shots": [0, 1], "max_new_tokens": 4}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(given))

    one, other = (flan_sweep.run(tmp_path / f"{seed}", flan_sweep.settings(seed, sizes=False)) for seed in (0, 1))
    made = {file: file.stat().st_mtime_ns for file in tmp_path.glob("1/models/flan/*/model.safetensors")}
    again = flan_sweep.run(tmp_path / "1", flan_sweep.settings(1, sizes=False))

    assert len(made) == len(given["train_flan"]["members"])
    assert made == {file: file.stat().st_mtime_ns for file in made}
    assert again == other
    assert one["subjects"]["base_small"] == other["subjects"]["base_small"]
    mixtures = [(tmp_path / seed / "data/mixtures/all.parquet").read_bytes() for seed in "01"]
    assert mixtures[0] != mixtures[1]
    assert json.dumps(flan_sweep.together([one, other]))
