"""The configurations of `continual` and `hypercl`."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from hypnet_core.plugins import (
    DatasetChoice,
    HypernetChoice,
    LoggerChoices,
    MainnetChoice,
    MethodChoice,
    MethodChoices,
    default_loggers,
    default_methods,
)
from hypnet_core.runs import CheckpointOptions
from hypnet_core.tasks import HeadKind, Scenario
from hypnet_zoo.continual.inference import Infer
from hypnet_zoo.continual.methods import Protection
from hypnet_zoo.continual.methods.hypernet_options import (
    Distillation,
    EmbeddingSize,
    GeneratedParts,
    StatisticsOption,
)
from hypnet_zoo.continual.options import Section, Train
from hypnet_zoo.init.mainnet import MainnetInit


class LoopConfig(Section):
    """The options that all experiments of continual learning have in common."""

    data: DatasetChoice = DatasetChoice.default("split_digits")
    """The sequence of tasks, and its options."""
    tasks: PositiveInt | None = Field(None, description="Number of tasks to learn; all by default.")
    scenario: Scenario = Field(
        "task",
        description=(
            "Whether the task of a test sample is known (`task`), need not be known (`domain`), or"
            " must be found together with the class (`class`)."
        ),
    )
    heads: HeadKind | None = Field(
        None,
        description=(
            "One output layer for all tasks (`single`), outputs for each task (`multi`), or outputs"
            " that compete with those of all earlier tasks (`growing`); by the scenario by default."
        ),
    )
    infer: Infer | None = Field(
        None,
        description=(
            "How methods with weights for each task find the task of a sample: it is `given`, or"
            " the one by whose weights the prediction is most certain (`entropy`,"
            " `max_likelihood`), or agrees best among several draws (`agreement`)."
        ),
    )
    mnet: MainnetChoice = MainnetChoice.default("mlp")
    """The main network, and its options."""
    mnet_init: MainnetInit = MainnetInit()
    """How the main network's own parameters start: those that are not generated.

    Refused if all weights and biases are generated.
    """
    train: Train = Train()
    """How each task is trained."""
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
    """Which checkpoints are kept: one is due after each task.

    Its score is the mean validation score of the tasks so far. With `every` or
    `every_steps`, checkpoints are also due within a task.
    """


class ContinualConfig(LoopConfig):
    """Configuration of the experiment `continual`."""

    method: MethodChoice = MethodChoice.default("hypernet")
    """The method, and its options."""


class CompareConfig(LoopConfig):
    """Configuration of the experiment `compare`."""

    methods: MethodChoices = default_methods(
        "finetune", "ewc", "si", "lwf", "replay", "hypernet", "separate", "joint"
    )
    """The methods, and their options."""

    @model_validator(mode="after")
    def _there_is_a_method(self) -> CompareConfig:
        if not self.methods:
            raise ValueError("methods: name at least one, such as [ewc, replay]")
        return self


class HyperCLConfig(LoopConfig):
    """Configuration of the experiment `hypercl`."""

    generate: GeneratedParts
    hnet: HypernetChoice = HypernetChoice.default("chunked_hmlp", chunk_size=850, hidden=(16, 16))
    """The hypernetwork, and its options."""
    embedding_size: EmbeddingSize
    cl: Protection = Protection()
    """How earlier tasks are protected."""
    statistics: StatisticsOption
    distillation: Distillation
