"""Compare models on held-out tasks: tuned or not, on more tasks or fewer, with reasoning to learn from or without."""

from functools import partial
from typing import Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, tables
from synthalign.flan import task_scores


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    subjects: list[str]
    """Whose answers are scored, as in data/task_answers/."""

    mixtures: list[str]
    """The mixtures that no held-out task may be in, as in data/mixtures/."""

    differences: dict[str, list[str]]
    """What to compare, as name: [better, worse]."""

    sweep: list[str] = Field(min_length=3)
    """The base model and what was tuned on ever more tasks; the share of the last step in the gain is reported."""

    @model_validator(mode="after")
    def _compares_subjects(self) -> Self:
        measures.check_differences(self.differences, self.subjects, of="subjects")
        if unknown := [name for name in self.sweep if name not in self.subjects]:
            raise ValueError(f"sweep = {self.sweep}: {unknown[0]!r} is none of subjects: {', '.join(self.subjects)}")
        return self


def main(params: Params) -> None:
    answers = {name: tables.rows(f"task_answers/{name}") for name in params.subjects}
    if not any(answers.values()):
        print("score_tasks: nothing was answered (answer_tasks.source is null), so nothing is scored", flush=True)
        for name in ("score_tasks", "plots/task_scores"):
            stage.write_metrics(name)
        return
    mixtures = {name: tables.rows(f"mixtures/{name}") for name in params.mixtures}
    task_scores.check_unseen(answers[params.subjects[0]], mixtures)

    subjects = {}
    for name, rows in answers.items():
        figures = {}
        for part in task_scores.PARTS:
            of_part = task_scores.part_of(rows, part)
            if not of_part:
                continue  # no task of this kind is held out
            figures[part] = task_scores.score(of_part, seed=params.seed)
            for shots in sorted({row["shots"] for row in of_part}):
                of_shots = [row for row in of_part if row["shots"] == shots]
                figures[f"{part}_{shots}_shot"] = task_scores.score(of_shots, seed=params.seed)
        by_task = {
            task: task_scores.score([row for row in rows if row["task"] == task], seed=params.seed).metrics()
            for task in sorted({row["task"] for row in rows})
        }
        subjects[name] = {key: figure.metrics() for key, figure in figures.items()} | {"tasks": by_task}
    differences, over_tasks = (
        {
            name: {
                part: difference(better, worse).metrics()
                for part in task_scores.PARTS
                for better, worse in [[task_scores.part_of(answers[one], part) for one in pair]]
                if better or worse
            }
            for name, pair in params.differences.items()
        }
        for difference in (partial(task_scores.difference, seed=params.seed), task_scores.difference_over_tasks)
    )
    sweep = [answers[params.sweep[place]] for place in (-2, -1, 0)]
    share, share_over_tasks = (
        task_scores.share_of_gain(*sweep, seed=params.seed),
        task_scores.share_of_gain_over_tasks(*sweep),
    )
    stage.write_metrics(
        "score_tasks",
        subjects=subjects,
        differences=differences,
        differences_over_tasks=over_tasks,
        last_step_of_gain=share.metrics() if share else None,
        last_step_of_gain_over_tasks=share_over_tasks.metrics() if share_over_tasks else None,
    )
    points = [
        {"subject": name} | {part: figures[part]["value"] for part in task_scores.PARTS if part in figures}
        for name, figures in subjects.items()
    ]
    stage.write_metrics("plots/task_scores", scores=points)


if __name__ == "__main__":
    stage.run(main, "score_tasks", Params)
