"""What the report is about: everything that one run of the graph left behind, as the stage has read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Input(NamedTuple):
    """A file or folder that the report depends on, with the hash under which dvc.lock knows it."""

    path: str
    md5: str
    size: int


class Answer(NamedTuple):
    """One answer of a policy: its text, its length, how it ended, and its score by judge."""

    text: str
    tokens: int
    finish_reason: str
    scores: Mapping[str, float]


class Question(NamedTuple):
    """An evaluation question and the answers of every policy to it."""

    question_id: str
    text: str
    answers: Mapping[str, Sequence[Answer]]


@dataclass(frozen=True)
class Run:
    """One run of the graph.

    settings   params.yaml
    metrics    the metrics files by stage: {"score_rewards": {…}, "train_sft/rmsp": {…}}; {} where nothing was measured
    points     the learning curves by stage: {"train_sft/rmsp": [{"step": 1, "loss": …}, …]}
    claims     of metrics/claims.json those of which this run is the first seed
    elsewhere  the others, of stages that are not part of this run, where nothing here contradicts what was recorded
    methods    metrics/methods.json, likewise
    recorded   of which run these three are, in words
    snapshots  rows of data/ppo_curve/almost.parquet without their texts: step, question_id, reward, kl, tokens
    inputs     what all of this was read from
    questions  the questions of the browser of answers, and how many there are in all
    """

    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    points: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    claims: Sequence[Mapping[str, Any]] = ()
    elsewhere: Sequence[Mapping[str, Any]] = ()
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recorded: str = ""
    snapshots: Sequence[Mapping[str, Any]] = ()
    inputs: Sequence[Input] = ()
    questions: Sequence[Question] = ()
    questions_in_all: int = 0
