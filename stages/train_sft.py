"""Fine-tune a base model on simulated demonstrations: what the reward model picked becomes what the policy writes."""

from pathlib import Path

from datasets import Dataset
from pydantic import Field
from trl import SFTConfig, SFTTrainer

from synthalign.core import code, launcher, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding, endings
from synthalign.generation import adapters, models
from synthalign.reward import training
from synthalign.reward.training_settings import Settings


class Params(Settings, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the base model to fine-tune."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule."""


def labelled(encoded: encoding.Encoded) -> dict[str, list[int]]:
    """A reply as the trainer reads it: only the answer and its end of sequence, where it has one, are targets."""
    prompt, answer = encoded
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


def main(params: Params, data: str) -> None:
    adapters.check(params.model, params.lora, "CAUSAL_LM")
    demonstrations = tables.rows(f"demonstrations/{data}")
    work = stage.work_dir(
        "train_sft",
        data,
        params,
        tables.path(f"demonstrations/{data}"),
        Path(params.model),
        launcher.of_results(draws=params.drops),
        *code.of(__file__),
    )

    models.check_length(params.model, "train_sft.max_length", params.max_length)
    tokenizer = models.load_tokenizer(params.model)
    model = training.to_train(models.load_causal(params.model, "training"), params.lora, "CAUSAL_LM", seed=params.seed)
    replies, ends = [], []
    for row in demonstrations:
        own = encoding.replies(row["messages"])
        own = own[-row["taught"] :] if row["taught"] else own
        replies += own
        ends += [True] * (len(own) - 1) + [endings.is_whole(row["finish_reason"])]
    rows = [labelled(fitted) for fitted in encoding.fitting(tokenizer, replies, params.max_length, ends)]
    if not rows:
        raise UserError(
            f"{tables.path(f'demonstrations/{data}')}: none of {len(replies)} replies fits in max_length = "
            f"{params.max_length} tokens; raise it in train_sft"
        )
    order = training.batch_order(
        [len(row["input_ids"]) for row in rows],
        batch_size=params.batch_size,
        epochs=params.epochs,
        seed=params.seed,
    )
    trainer = SFTTrainer(
        model=model,
        args=training.arguments(
            SFTConfig,
            work=work,
            steps=len(order) // params.batch_size,
            batch_size=params.batch_size,
            learning_rate=params.learning_rate,
            warmup=params.warmup,
            weight_decay=params.weight_decay,
            seed=params.seed,
            max_length=None,
        ),
        train_dataset=Dataset.from_list(rows).select(order),
        processing_class=tokenizer,
    )
    curve = training.fit(trainer)

    training.save(trainer, tokenizer, f"models/sft/{data}", lora=params.lora, base=params.model)
    if stage.is_main_process():
        stage.write_metrics(
            f"train_sft/{data}",
            demonstrations=len(demonstrations),
            replies=len(rows),
            too_long=len(replies) - len(rows),
            without_end=ends.count(False),
            target_tokens=sum(label != -100 for row in rows for label in row["labels"]),
            steps=len(order) // params.batch_size,
            first_loss=curve[0]["loss"],
            last_loss=curve[-1]["loss"],
        )
        training.write_curve(curve, "train_sft", data)


if __name__ == "__main__":
    stage.run(main, "train_sft", Params)
