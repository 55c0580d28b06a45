"""The notebook of examples/, executed on tables whose figures can be worked out by hand."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests import small_tables

NOTEBOOK = small_tables.ROOT / "examples" / "preferences.ipynb"

SHOWN = """import json
plotted = {"wins": wins, "longer": longer, "rule": rule, "agreement": agreement, "by_length": by_length}
print(json.dumps({name: found.value.dropna().to_dict() for name, found in plotted.items()} | {
    "n": wins.n.to_dict(),
    "pairs": counts.to_dict(),
    "drawn": [float(place) for place in figure.axes[0].lines[1].get_xdata()],
    "worst": likes,
}))"""


def turned(query: str) -> dict[str, object]:
    """The pair of a and b, b being the better one."""
    pair = small_tables.pair(query)
    for what in ("", "_id", "_config", "_finish_reason"):
        pair[f"chosen{what}"], pair[f"rejected{what}"] = pair[f"rejected{what}"], pair[f"chosen{what}"]
    return pair | {"comparison_id": f"b>a {query}"}


def given() -> small_tables.Rows:
    """Of yak a's answer is better, of gnu b's, of emu neither; the reward model likes ppo, the oracle base in eel."""
    rows = small_tables.rows()
    rows["comparisons_ranked"].append(small_tables.pair("gnu", drop_reason="rejected_response:too_short"))
    dropped = {"drop_reason": "rejected_response:too_short", "asis_chosen": None, "asis_rejected": None}
    rows["comparisons_dropped/almost"].append(small_tables.pair("gnu", **dropped))
    rows["comparisons/gold"].append(turned("gnu"))
    rows["judgements"] = [
        small_tables.judgement(judge, order, verdict, score, 1.0) | {"question_id": question}
        for judge, question, verdict, score in (
            ("oracle", "eel", "b", 0.0),
            ("oracle", "owl", "a", 2.0),
            ("reward", "eel", "a", 2.5),
            ("reward", "owl", "a", 1.5),
        )
        for order in ("ab", "ba")
    ]
    return rows


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]

    assert [cell.outputs for cell in cells] == [[] for _ in cells]
    assert {cell.execution_count for cell in cells} == {None}


@pytest.mark.slow
def test_the_notebook_finds_what_was_put_into_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tables.write(small_tables.project(tmp_path), given())
    (tmp_path / "examples").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(small_tables.ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(SHOWN))

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path / "examples")}}).execute()

    shown = json.loads(notebook.cells[-1].outputs[-1].text)
    assert shown["wins"] == {"a": (1 + 0.5 + 0) / 3, "b": (0 + 0.5 + 1) / 3}
    assert shown["n"] == {"a": 3, "b": 3}  # queries
    assert shown["longer"] == {"almost": 1, "no_filter": 1, "gold": 1 / 2}  # the oracle liked the short one of gnu
    assert shown["pairs"] == {"kept": 1, "length_rule": 1, "too_short": 1}
    assert shown["rule"] == {"kept": 1, "length_rule": 0.5, "too_short": 0}
    assert shown["agreement"] == {"oracle, ppo vs base": 1 / 2}
    assert shown["by_length"] == {"shorter": 1 / 2}  # 12 characters, not 13
    assert shown["drawn"] == [1 / 2]
    [worst] = shown["worst"]
    assert (worst["reward model likes"], worst["the other judge likes"]) == ("The ppo eel.", "The base eel.")
