"""The settings that the trainers of TRL share, whatever their rows are: replies, packed examples or comparisons."""

from pydantic import BaseModel, Field

from synthalign.generation.adapters import Lora


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    epochs: int = Field(gt=0)
    """Passes over the rows; reward models overfit fast, the papers take 1."""

    batch_size: int = Field(gt=0)
    """Rows in an optimizer step, over all processes."""

    warmup: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""

    weight_decay: float = Field(ge=0)
    """AdamW's weight decay."""

    max_length: int = Field(gt=1)
    """Tokens of a row that are read, counted from its end. A longer context loses its beginning; where the row is
    learned word by word and its answer alone is longer, it is left out."""

    seed: int = Field(ge=0)
    """Draws the order of the rows, which of them are used and held out, and the first weights of a new head and of
    adapters."""

    lora: Lora | None = None
    """Adapters that are trained in place of all weights; null trains all weights."""

    @property
    def drops(self) -> bool:
        """Whether inputs of adapters are dropped, which each process draws for itself."""
        return self.lora is not None and self.lora.dropout > 0
