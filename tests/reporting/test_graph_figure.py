from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from synthalign.core.errors import UserError
from synthalign.reporting import graph_figure
from synthalign.reporting.graph_figure import COLOURS, COLUMNS, PLACES, ROOMS, Member

GRAPH, SETTINGS = (yaml.safe_load(Path(name).read_text(encoding="utf-8")) for name in ("dvc.yaml", "params.yaml"))


def test_every_stage_of_dvc_yaml_is_in_the_committed_picture():
    words = [text.text for text in ElementTree.parse(graph_figure.FILE).iter("{http://www.w3.org/2000/svg}text")]

    assert [name for name in GRAPH["stages"] if words.count(name) != 1 + (name in ROOMS)] == []


def test_the_committed_picture_is_what_the_command_draws():
    assert graph_figure.FILE.read_text(encoding="utf-8") == graph_figure.svg(graph_figure.stages(GRAPH, SETTINGS))


def test_what_is_blue_is_what_make_repro_runs():
    found = [(name, member) for name, members in graph_figure.stages(GRAPH, SETTINGS).items() for member in members]
    needed, more = set(), {member for name, member in found if name == "report"}
    while more := more - needed:
        needed |= more
        more = {member for _, member in found if any(graph_figure.reads(reader, member) for reader in more)}

    blue = {name for name, place in PLACES.items() if COLOURS[place.lane] == COLOURS["main"]}

    assert blue == {name for name, member in found if member in needed}


def test_no_two_stages_overlap_and_every_name_fits_its_box():
    tops, height = graph_figure._tops()
    boxes = {name: graph_figure._box(name, tops) for name in PLACES}

    for name, (x, y, width, tall) in boxes.items():
        assert len(name) * 0.61 * 12.2 <= width, name
        assert x >= COLUMNS["side"][0] and x + width <= graph_figure.WIDTH and y + tall <= height
        for other, (left, top, wide, _) in boxes.items():
            assert name == other or y != top or x + width <= left or left + wide <= x, (name, other)


def test_members_and_paths_are_read_from_the_family_and_its_settings():
    family = {
        "foreach": "${train.members}",
        "do": {"deps": ["${item.model}", {"data/${key}.parquet": {}}], "outs": ["m/${key}"]},
    }
    plain = {"foreach": ["x"], "do": {"deps": ["m/${item}"], "metrics": [{"metrics/${item}.json": {"cache": False}}]}}
    settings = {"train": {"members": {"a": {"model": "models/s"}, "b": {"model": "models/m"}}}}

    assert graph_figure.stages({"stages": {"train": family, "score": plain}}, settings) == {
        "train": [
            Member(frozenset({"models/s", "data/a.parquet"}), frozenset({"m/a"})),
            Member(frozenset({"models/m", "data/b.parquet"}), frozenset({"m/b"})),
        ],
        "score": [Member(frozenset({"m/x"}), frozenset({"metrics/x.json"}))],
    }


def test_a_stage_reads_another_through_a_file_of_its_folder_but_not_through_a_longer_name():
    writer = Member(frozenset(), frozenset({"models/ppo"}))

    assert graph_figure.reads(Member(frozenset({"models/ppo/almost"}), frozenset()), writer)
    assert graph_figure.reads(Member(frozenset({"models"}), frozenset()), writer)
    assert not graph_figure.reads(Member(frozenset({"models/ppo_ptx"}), frozenset()), writer)


def test_a_new_stage_has_to_be_given_a_place():
    graph = {"stages": GRAPH["stages"] | {"train_kto": {"cmd": "x"}}}

    with pytest.raises(UserError, match="differ in train_kto; give each a place"):
        graph_figure.svg(graph_figure.stages(graph, SETTINGS))


def test_an_arrow_that_the_graph_does_not_have_is_refused():
    stage = dict(GRAPH["stages"]["label_gold"], deps=["data/embedded/world.json"])
    graph = {"stages": GRAPH["stages"] | {"label_gold": stage}}

    with pytest.raises(UserError, match="build_comparisons → label_gold.*reads nothing of it"):
        graph_figure.svg(graph_figure.stages(graph, SETTINGS))


def test_the_picture_loads_nothing_from_elsewhere():
    drawn = graph_figure.FILE.read_text(encoding="utf-8")

    assert drawn.count("url(") == drawn.count("url(#to-") and "href" not in drawn and "@import" not in drawn
