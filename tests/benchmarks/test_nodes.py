import pytest

from benchmarks.nodes import Cluster, Stage, in_shards, makespan

FREE = Cluster(nodes=1, cores=1, start=0, overhead=0)


def test_one_node_takes_the_sum_of_all_stages_and_two_what_the_longest_way_takes():
    graph = {"a": Stage((), 3), "b": Stage(("a",), 4), "c": Stage(("a",), 2), "d": Stage(("b", "c"), 1)}

    assert makespan(graph, FREE) == 3 + 4 + 2 + 1
    assert makespan(graph, Cluster(2, 2, 0, 0)) == 3 + 4 + 1
    assert makespan(graph, Cluster(2, 2, start=10, overhead=0.5)) == 10 + 3.5 + 4.5 + 1.5


def test_the_longest_way_goes_first():
    graph = {"short": Stage((), 2), "long": Stage((), 2), "last": Stage(("long",), 5), "other": Stage((), 2)}

    assert makespan(graph, Cluster(2, 2, 0, 0)) == 2 + 5  # short and other beside last


def test_stages_that_wait_need_no_core_and_those_that_compute_share_what_there_is():
    four = range(4)

    waiting = {str(name): Stage((), 6, computes=False) for name in four}
    computing = {str(name): Stage((), 6) for name in four}

    assert makespan(waiting, Cluster(4, 2, 0, 0)) == 6
    assert makespan(computing, Cluster(4, 2, 0, 0)) == 12


def test_what_goes_to_and_from_the_remote_takes_the_link_and_waits_for_a_stream():
    graph = {str(name): Stage((), 1, fetches=200, leaves=100) for name in range(2)}
    cluster = Cluster(2, 2, 0, 0, link=100.0, streams=2)

    assert makespan(graph, cluster) == 2 + 1 + 1
    assert makespan(graph, Cluster(2, 2, 0, 0, link=100.0, streams=1)) == pytest.approx(
        2 + 2 + 1 + 1
    )  # one after the other


def test_shards_share_the_rows_and_the_stage_itself_comes_after_them():
    graph = in_shards({"sample_answers@ppo": Stage((), 8, fetches=100), "train_ppo@almost": Stage((), 8)}, 4)

    assert [one.shards for one in graph.values()] == [4, 1]
    alone = {"sample_answers@ppo": graph["sample_answers@ppo"]}
    assert makespan(alone, Cluster(4, 4, 0, overhead=1, link=100.0)) == (1 + 1 + 2) + (1 + 1)
