"""The configuration of `hypercl`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import (
    DatasetChoice,
    HypernetChoice,
    LoggerChoices,
    MainnetChoice,
    default_loggers,
)
from hypnet_core.runs import CheckpointOptions
from hypnet_zoo.init.mainnet import MainnetInit
from hypnet_zoo.optim import Like

Optimizer = Literal["adam", "adamw", "sgd", "rmsprop", "adadelta", "adagrad"]


class Section(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TrainConfig(Section):
    """How each task is trained."""

    optimizer: Optimizer = Field(
        "adam", description="The optimiser; each task starts with a new one."
    )
    lr: PositiveFloat = Field(1e-3, description="Learning rate.")
    optimizer_options: dict[str, Any] = Field(
        {}, description="Further arguments of the optimiser, such as momentum or betas."
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
    eval_batch_size: PositiveInt = Field(
        1000, description="Samples per step of validation and test."
    )

    @model_validator(mode="after")
    def _one_clipping(self) -> TrainConfig:
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value are mutually exclusive")
        return self

    @model_validator(mode="after")
    # Torch is loaded only where there are options to check.
    def _optimizer_takes_its_options(self) -> TrainConfig:
        if self.optimizer_options:
            import torch

            from hypnet_zoo.optim.choose import make_optimizer

            try:
                make_optimizer(
                    # Optimisers check their options when they are built, even for one
                    # number.
                    [torch.nn.Parameter(torch.zeros(1))],
                    self.optimizer,
                    self.lr,
                    self.optimizer_options,
                )
            except ConfigError as error:
                raise ValueError(f"optimizer_options: {error}") from error
        return self

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> TrainConfig:
        if self.patience is not None and self.validate_every == 0:
            raise ValueError("patience needs validation: validate_every is 0")
        return self


class ContinualConfig(Section):
    """How earlier tasks are protected."""

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
    def _something_is_looked_at(self) -> ContinualConfig:
        for name in ("lookahead_like", "lookahead_gradient"):
            if not self.lookahead and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} says how to look ahead: set lookahead=true too")
        return self


class HyperCLConfig(Section):
    """Configuration of the experiment `hypercl`."""

    data: DatasetChoice = DatasetChoice.default("split_digits")
    """The sequence of tasks, and its options."""
    tasks: PositiveInt | None = Field(None, description="Number of tasks to learn; all by default.")
    mnet: MainnetChoice = MainnetChoice.default("mlp")
    """The main network, and its options."""
    mnet_init: MainnetInit = MainnetInit()
    """How the main network's own parameters start: those that are not generated.

    Refused if all weights and biases are generated.
    """
    generate: tuple[str, ...] | str | None = Field(
        None,
        description=(
            "Kinds or globs of the main network's parameters that are generated; all by default."
            " The rest is shared by all tasks and trained on each, without protection from"
            " forgetting."
        ),
    )
    hnet: HypernetChoice = HypernetChoice.default("chunked_hmlp", chunk_size=850, hidden=(16, 16))
    """The hypernetwork, and its options."""
    embedding_size: PositiveInt = Field(8, description="Length of a task's embedding.")
    train: TrainConfig = TrainConfig()
    """How each task is trained."""
    cl: ContinualConfig = ContinualConfig()
    """How earlier tasks are protected."""
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of all randomness.")
    device: str = Field(
        "auto",
        description=(
            'Where to compute: "cpu", "cuda", "cuda:1", …; "auto" takes a GPU if there is one.'
        ),
    )
    threads: PositiveInt | None = Field(
        None,
        description=(
            "Threads on a CPU; by default one for networks of less than a million parameters, else"
            " torch's own number."
        ),
    )
    deterministic: bool = Field(
        False,
        description=(
            "Deterministic algorithms alone, also on a GPU, and no TF32; slower. An operation"
            " without a deterministic form is named."
        ),
    )
    debug: bool = Field(
        False,
        description=(
            "Check generated weights, losses, gradients and parameters at every step, to find"
            " where infinity or NaN arises; slower."
        ),
    )
    log_every: PositiveInt = Field(50, description="Steps between entries in metrics.jsonl.")
    log: LoggerChoices = default_loggers("tensorboard")
    """Loggers beside `metrics.jsonl`, such as `[tensorboard, csv]`; `[]` for none."""
    checkpoint: CheckpointOptions = CheckpointOptions()
    """Which checkpoints are kept: one is due after each task, scored by the mean."""
