"""Options of training a sequence of tasks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from hypnet_core.errors import ConfigError, UsageError

OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop", "adadelta", "adagrad"]


class Section(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Group(Section):
    """Options of some parameters that differ from those of the others."""

    optimizer: OptimizerName | None = Field(
        None, description="An optimiser of their own; by default the one of all parameters."
    )
    lr: PositiveFloat | None = Field(
        None, description="Learning rate; that of all parameters by default."
    )
    optimizer_options: dict[str, Any] = Field(
        {}, description="Further arguments of the optimiser, such as weight_decay."
    )


class Schedule(Section):
    """How learning rates change while a task is learned; each task starts anew.

    A bare string is short for the name alone.
    """

    name: str = Field(
        description=(
            "A scheduler of torch, such as MultiStepLR or ReduceLROnPlateau (which follows the"
            " validation score), an import string, or `cifar`: a tenth after 80 epochs, and again"
            " after 120 and 160, half after 180."
        )
    )
    options: dict[str, Any] = Field({}, description="Arguments of the scheduler.")
    every: Literal["epoch", "step"] = Field(
        "epoch", description="Whether it steps after each epoch or after each training step."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _scores_come_after_epochs(self) -> Schedule:
        if self.name == "ReduceLROnPlateau" and self.every == "step":
            raise ValueError("ReduceLROnPlateau follows the validation score: every=epoch")
        return self


class Train(Section):
    """How each task is trained."""

    optimizer: OptimizerName = Field(
        "adam", description="The optimiser; each task starts with a new one."
    )
    lr: PositiveFloat = Field(1e-3, description="Learning rate.")
    optimizer_options: dict[str, Any] = Field(
        {}, description="Further arguments of the optimiser, such as momentum or betas."
    )
    groups: dict[str, Group] = Field(
        {},
        description=(
            "Optimiser options of some parameters: by the name of a group (`embeddings` and `theta`"
            " of a hypernetwork, `mainnet`), or by a glob over the names of parameters. The first"
            " one that fits counts."
        ),
    )
    schedule: Schedule | None = Field(
        None, description="How learning rates change; they stay by default."
    )
    batch_size: PositiveInt = Field(32, description="Samples per training step.")
    iterations: PositiveInt = Field(
        2000, description="Training steps per task, unless epochs is given."
    )
    epochs: PositiveInt | None = Field(
        None, description="Passes over a task's training samples, instead of iterations."
    )
    clip_norm: PositiveFloat | None = Field(
        None, description="Largest norm of the gradient of all parameters together."
    )
    clip_value: PositiveFloat | None = Field(
        None, description="Largest absolute value in a gradient."
    )
    validate_every: NonNegativeInt = Field(
        200, description="Steps between validations; 0 for none."
    )
    patience: PositiveInt | None = Field(
        None,
        description=(
            "Stop a task early after this many validations without an improvement, and restore the"
            " best networks."
        ),
    )
    hold_out: float = Field(
        0.1,
        ge=0.0,
        lt=1.0,
        description=(
            "Share of the training samples that is held out for validation, if a task has no"
            " validation samples of its own."
        ),
    )
    eval_batch_size: PositiveInt = Field(
        1000, description="Samples per step of validation and test."
    )

    @model_validator(mode="after")
    def _one_clipping(self) -> Train:
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value are mutually exclusive")
        return self

    def optimizer_of(self, group: Group) -> tuple[str, float, dict[str, Any]]:
        """Name, learning rate and options of the optimiser of a group."""
        # Options belong to their optimiser: another one starts without them.
        shared = self.optimizer_options if group.optimizer in {None, self.optimizer} else {}
        return (
            group.optimizer or self.optimizer,
            self.lr if group.lr is None else group.lr,
            {**shared, **group.optimizer_options},
        )

    @model_validator(mode="after")
    # Torch is loaded only where there are options to check.
    def _optimizers_take_their_options(self) -> Train:
        if self.optimizer_options or self.groups or self.schedule is not None:
            import torch

            from hypnet_zoo.optim.choose import make_optimizer
            from hypnet_zoo.optim.schedules import make_scheduler

            # Both check their options when they are built, even for one number.
            number = torch.nn.Parameter(torch.zeros(1))
            for key, group in {"": Group(), **self.groups}.items():
                try:
                    made = make_optimizer([number], *self.optimizer_of(group))
                except ConfigError as error:
                    where = f"groups.{key}.optimizer_options" if key else "optimizer_options"
                    raise ValueError(f"{where}: {error}") from error
            if self.schedule is not None:
                try:
                    make_scheduler(made, self.schedule.name, self.schedule.options)
                except UsageError as error:
                    raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Train:
        if self.patience is not None and self.validate_every == 0:
            raise ValueError("patience needs validation: validate_every is 0")
        return self
