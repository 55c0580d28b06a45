"""Fine-tune a base model on a mixture of tasks: several examples packed into a row, loss on the targets alone."""

from functools import partial
from pathlib import Path

from datasets import Dataset
from pydantic import BaseModel, Field
from transformers import Trainer, TrainingArguments

from synthalign.core import code, launcher, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.flan import packing
from synthalign.generation import adapters, models
from synthalign.reward import training
from synthalign.reward.training_settings import Settings


class Member(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the base model to fine-tune."""

    mixture: str = Field(min_length=1)
    """What it learns from, as in data/mixtures/."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule; larger models take less."""


class Params(Settings, frozen=True, extra="forbid", strict=True):
    members: dict[str, Member]
    """The members of the family by name."""


def main(params: Params, name: str) -> None:
    member = stage.member("train_flan", "member", params.members, name)
    adapters.check(member.model, params.lora, "CAUSAL_LM")
    table = f"mixtures/{member.mixture}"
    mixed = tables.rows(table)
    if not mixed:
        if stage.is_main_process():
            print(f"train_flan: {tables.path(table)} is empty: nothing is trained", flush=True)
            Path("models/flan", name).mkdir(parents=True, exist_ok=True)
            stage.write_metrics(f"train_flan/{name}", examples=0)
            training.write_curve([], "train_flan", name)
        return
    settings = params.model_dump_json(exclude={"members"})
    inputs = [tables.path(table), Path(member.model), *code.of(__file__)]
    work = stage.work_dir("train_flan", name, member, settings, launcher.of_results(draws=params.drops), *inputs)

    models.check_length(member.model, "train_flan.max_length", params.max_length)
    tokenizer = models.load_tokenizer(member.model)
    model = models.load_causal(member.model, "training")
    encoded = encoding.encode(tokenizer, [row["messages"] for row in mixed])
    fitting = [one for one in encoded if len(one[0]) + len(one[1]) <= params.max_length]
    if not fitting:
        raise UserError(
            f"{tables.path(table)}: none of {len(mixed)} examples fits in max_length = {params.max_length} tokens; "
            "raise it in train_flan"
        )
    lengths = [len(prompt) + len(target) for prompt, target in fitting]
    packed = packing.packs(model, params.max_length)
    if not packed and stage.is_main_process():
        print(
            f"train_flan: no mask keeps examples in rows of {type(model).__name__} apart; each has its own", flush=True
        )
    places = packing.pack(lengths, size=params.max_length) if packed else [[at] for at in range(len(fitting))]
    rows = [packing.join([fitting[at] for at in row]) for row in places]
    order = training.batch_order(
        [len(row["input_ids"]) for row in rows],
        batch_size=params.batch_size,
        epochs=params.epochs,
        seed=params.seed,
    )
    trainer = Trainer(
        model=training.to_train(model, params.lora, "CAUSAL_LM", seed=params.seed),
        args=training.arguments(
            TrainingArguments,
            work=work,
            steps=len(order) // params.batch_size,
            batch_size=params.batch_size,
            learning_rate=member.learning_rate,
            warmup=params.warmup,
            weight_decay=params.weight_decay,
            seed=params.seed,
        ),
        train_dataset=Dataset.from_list(rows).select(order),
        data_collator=partial(packing.collate, pad_token_id=tokenizer.pad_token_id, packed=packed),
        processing_class=tokenizer,
    )
    curve = training.fit(trainer)

    training.save(trainer, tokenizer, f"models/flan/{name}", lora=params.lora, base=member.model)
    if stage.is_main_process():
        stage.write_metrics(
            f"train_flan/{name}",
            examples=len(fitting),
            too_long=len(encoded) - len(fitting),
            packed_rows=len(rows),
            filled=round(sum(lengths) / (len(rows) * params.max_length), 4),
            filled_one_a_row=round(sum(lengths) / (len(lengths) * max(lengths)), 4),
            target_tokens=sum(label != packing.IGNORED for row in rows for label in row["labels"]),
            steps=len(order) // params.batch_size,
            first_loss=curve[0]["loss"],
            last_loss=curve[-1]["loss"],
        )
        training.write_curve(curve, "train_flan", name)


if __name__ == "__main__":
    stage.run(main, "train_flan", Params)
