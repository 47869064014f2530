"""Options of the output regulariser."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from hypnet_zoo.continual.options import Section
from hypnet_zoo.optim.lookahead import Like


class Protection(Section):
    """How a hypernetwork protects the weights of earlier tasks."""

    beta: NonNegativeFloat = Field(
        0.05, description="Strength of the output regulariser; 0 for none."
    )
    tasks_per_step: PositiveInt | None = Field(
        None,
        description=(
            "Regularise a random batch of this many earlier tasks in each step, instead of all."
        ),
    )
    recompute_targets: bool = Field(
        False,
        description=(
            "Generate the regulariser's targets anew in each step instead of storing one set of"
            " weights per task."
        ),
    )
    used_heads: bool = Field(
        False,
        description=(
            "Regularise of the output layer only the units of the task: those of later tasks stay"
            " free."
        ),
    )
    importance: Literal["none", "exact", "sampled", "empirical"] = Field(
        "none",
        description=(
            "Weigh each generated weight by its Fisher information for the task, estimated at the"
            " task's end."
        ),
    )
    fisher_samples: PositiveInt | None = Field(
        None, description="Samples for the Fisher information; all training samples by default."
    )
    scale: tuple[NonNegativeFloat, ...] | None = Field(
        None, description="Importance of each task, in order; 1 for each by default."
    )
    lookahead: bool = Field(
        False, description="Regularise the weights that the optimiser's next step would lead to."
    )
    lookahead_like: Like = Field(
        "optimizer",
        description=(
            "Look ahead by the optimiser's own step (`optimizer`), or by a plain gradient step"
            " with its learning rate (`sgd`)."
        ),
    )
    lookahead_gradient: bool = Field(
        False,
        description=(
            "Whether the penalty's gradient flows through the step, into the gradient of the"
            " task's loss."
        ),
    )
    train_previous_embeddings: bool = Field(
        False, description="Whether embeddings of earlier tasks continue to be trained."
    )

    @model_validator(mode="after")
    def _something_is_looked_at(self) -> Protection:
        for name in ("lookahead_like", "lookahead_gradient"):
            if not self.lookahead and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} says how to look ahead: set lookahead=true too")
        return self

    @model_validator(mode="after")
    def _samples_are_for_importance(self) -> Protection:
        if self.fisher_samples is not None and self.importance == "none":
            raise ValueError("fisher_samples is for importance: set importance=empirical too")
        return self
