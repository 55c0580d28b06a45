"""Which stage is next: by hand, with stages that end at once or when the test says so."""

from concurrent.futures import Future
from pathlib import Path

from flows.beside import known_seconds, remaining, run_all
from flows.graph import Stage


def graph(**needs: str) -> dict[str, Stage]:
    """Stages that need those named in their words; one whose name begins with g is a GPU task."""
    return {name: Stage(name, tuple(words.split()), name.startswith("g"), ()) for name, words in needs.items()}


def begun(stages: dict[str, Stage], *, at_once: int = 1, gpu_tasks: int = 9, fails: str = "", **seconds: float) -> str:
    """The stages in the order in which they are begun, where each ends before the next is looked for."""
    order: list[str] = []

    def start(stage: Stage) -> "Future[bool]":
        order.append(stage.name)
        future: Future[bool] = Future()
        future.set_result(stage.name not in fails.split())
        return future

    run_all(stages, start, Future.result, at_once=at_once, gpu_tasks=gpu_tasks, seconds=seconds)
    return " ".join(order)


def test_the_way_to_the_end_is_the_longest_of_all_ways() -> None:
    stages = graph(top="", short="top", long="top", end="short long", beside="top")

    assert remaining(stages, {"top": 1, "short": 2, "long": 30, "end": 4, "beside": 5}) == {
        "top": 35, "short": 6, "long": 34, "end": 4, "beside": 5,
    }  # fmt: skip


def test_a_stage_whose_time_is_not_known_counts_as_the_usual_one() -> None:
    stages = graph(a="", b="a", c="b")

    assert remaining(stages, {"a": 10, "c": 30}) == {"a": 60, "b": 50, "c": 30}  # b: 20
    assert remaining(stages, {}) == {"a": 3, "b": 2, "c": 1}


def test_of_the_stages_that_could_start_the_one_with_the_longest_way_is_next() -> None:
    stages = graph(top="", a="top", b="top", c="b", d="c")

    assert begun(stages) == "top b c a d"  # by length alone: b has 3 to come, c 2, then a and d 1
    assert begun(stages, top=1, a=100, b=1, c=1, d=1) == "top a b c d"


def test_a_gpu_task_waits_for_a_place_while_others_pass_it() -> None:
    stages = graph(g1="", g2="", a="", b="")
    started: dict[str, Future[bool]] = {}
    seen = []

    def start(stage: Stage) -> "Future[bool]":
        started[stage.name] = Future()
        if len(started) == 3:  # the places are full
            seen.append(list(started))
            for future in list(started.values()):
                future.set_result(True)
        elif len(started) == 4:
            started[stage.name].set_result(True)
        return started[stage.name]

    run_all(stages, start, Future.result, at_once=3, gpu_tasks=1, seconds={"g1": 9, "g2": 8})

    assert seen == [["g1", "a", "b"]]
    assert list(started)[3] == "g2"


def test_a_failure_stops_what_follows_and_nothing_else() -> None:
    stages = graph(top="", bad="top", after="bad", last="after good", good="top", fine="good")

    assert begun(stages, fails="bad").split() == ["top", "bad", "good", "fine"]


def test_what_is_not_to_run_is_waited_for_by_nobody() -> None:
    assert begun(graph(b="a", c="b z")) == "b c"


def test_the_time_of_a_stage_is_the_median_of_its_last_five_runs(tmp_path: Path) -> None:
    file = tmp_path / "durations.jsonl"
    lines = [f'{{"stage": "f", "item": "x", "seconds": {seconds}}}' for seconds in (999, 1, 2, 3, 4, 5)]
    file.write_text("\n".join([*lines, '{"stage": "a", "item": null, "seconds": 7}', '{"stage": "torn']))

    assert known_seconds(file) == {"f@x": 3, "a": 7}
    assert known_seconds(tmp_path / "none") == {}
