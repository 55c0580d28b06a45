"""Train the As-is reward model on a community's votes: a second opinion that never saw a synthetic comparison."""

from pathlib import Path

from pydantic import Field

from synthalign.core import code, launcher, stage, statistics
from synthalign.core.ids import content_id
from synthalign.feedback import community
from synthalign.generation import adapters, models
from synthalign.reward import pairwise, training
from synthalign.reward.training_settings import Settings


class Params(Settings, frozen=True, extra="forbid", strict=True):
    community_qa: str = Field(min_length=1)
    """File of questions (Parquet, JSON, JSON lines): question, and answers, a list of {text, votes, accepted} in plain
    text or of {text, pm_score} in HTML."""

    pairs_per_question: int = Field(gt=0)
    """At most so many pairs of one question, so that a popular one does not outweigh the others."""

    model: str = Field(min_length=1)
    """Folder of the base model whose body the reward model starts from."""

    max_pairs: int = Field(gt=0)
    """Pairs used, held-out ones included; the paper takes 20,000 and saw nothing in more."""

    held_out: float = Field(gt=0, lt=1)
    """Share of the questions whose pairs are not trained on but measure the accuracy."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule."""


def main(params: Params) -> None:
    adapters.check(params.model, params.lora, "SEQ_CLS")
    models.check_length(params.model, "train_asis_reward.max_length", params.max_length)
    questions = community.load(Path(params.community_qa))
    work = stage.work_dir(
        "train_asis_reward",
        params,
        Path(params.community_qa),
        Path(params.model),
        launcher.of_results(draws=params.drops),
        *code.of(__file__),
    )

    pairs = []
    for row in questions:
        question, answers, query_id = row["question"], row["answers"], content_id(row["question"])
        for better, worse in community.answer_pairs(
            question, answers, limit=params.pairs_per_question, seed=params.seed
        ):
            chosen, rejected = answers[better]["text"], answers[worse]["text"]
            pairs.append(
                {
                    "comparison_id": content_id(question, chosen, rejected),
                    "query_id": query_id,
                    "prompt": [{"role": "user", "content": question}],
                    "chosen": [{"role": "assistant", "content": chosen}],
                    "rejected": [{"role": "assistant", "content": rejected}],
                    "p_chosen": 1.0,
                }
            )
    train, held_out = pairwise.choose(pairs, max_pairs=params.max_pairs, held_out=params.held_out, seed=params.seed)
    curve = pairwise.train(
        train,
        base_model=params.model,
        folder="models/asis_reward",
        work=work,
        learning_rate=params.learning_rate,
        settings=params,
    )

    if stage.is_main_process():
        judged = pairwise.finish("models/asis_reward", held_out, max_length=params.max_length)
        stage.write_metrics(
            "train_asis_reward",
            questions=len(questions),
            pairs=len(train),
            pairs_available=len(pairs),
            held_out_pairs=len(held_out),
            held_out_accuracy=statistics.mean_interval(judged.correct, judged.queries, seed=params.seed).metrics(),
            held_out_longer=statistics.mean_interval(judged.longer, judged.queries, seed=params.seed).metrics(),
            held_out_loss=round(judged.loss, 6),
        )
        training.write_curve(curve, "train_asis_reward", "asis_reward")


if __name__ == "__main__":
    stage.run(main, "train_asis_reward", Params)
