"""The configuration of `bnn`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hypnet_core.plugins import (
    DatasetChoice,
    LoggerChoices,
    MainnetChoice,
    SamplerChoice,
    default_loggers,
)
from hypnet_zoo.bayes.priors import Prior
from hypnet_zoo.continual.options import Section


class BNNConfig(Section):
    """Configuration of the experiment `bnn`."""

    data: DatasetChoice = DatasetChoice.default("toy_regression", std=0.1)
    """The task, and its options."""
    mnet: MainnetChoice = MainnetChoice.default("mlp", hidden=(50,))
    """The network, and its options."""
    sampler: SamplerChoice = SamplerChoice.default("nuts")
    """The sampler, and its options; `ensemble` trains its chains instead."""
    prior: Prior = Prior(scale=2.0, by_fan_in=True)
    """The prior of the network's parameters."""
    noise: PositiveFloat | None = Field(
        None,
        description="Standard deviation of the noise of a regression, in the units of its targets;"
        " by default it is learned.",
    )
    expected_noise: PositiveFloat = Field(
        0.1,
        description="Median of learned noise under its prior, as a share of the deviation of the"
        " targets; within a factor of about three.",
    )
    standardize: bool = Field(
        True,
        description="Whether inputs that are vectors, and targets of a regression, are scaled to"
        " mean 0 and deviation 1; results are in the original units.",
    )
    batch_size: PositiveInt | None = Field(
        None,
        description="Samples per gradient, for `sgld`, `sghmc` and `ensemble`; all by default.",
    )
    chains: PositiveInt = Field(4, description="Number of chains, or members of an ensemble.")
    warmup: NonNegativeInt = Field(
        500, description="Steps before the first draw, in which samplers adapt."
    )
    draws: PositiveInt | None = Field(
        None, description="Draws of each chain: 500 by default, 1 for an ensemble."
    )
    thin: PositiveInt = Field(1, description="Steps per draw.")
    predict_draws: PositiveInt = Field(
        1000, description="The most draws, of all chains together, that predictions are made with."
    )
    precision: Literal["float32", "float64"] = Field(
        "float32", description="Type of the parameters; float64 is slower and more exact."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of all randomness.")
    device: str = Field(
        "auto",
        description=(
            'Where to compute: "cpu", "cuda", "cuda:1", …; "auto" takes a GPU if there is one.'
        ),
    )
    threads: PositiveInt | None = Field(
        None, description="Threads on a CPU; by default one for small networks."
    )
    log_every: PositiveInt = Field(50, description="Steps between entries in metrics.jsonl.")
    save_every: PositiveInt = Field(
        200, description="Steps between states from which an interrupted run goes on."
    )
    log: LoggerChoices = default_loggers("tensorboard")
    """Loggers beside `metrics.jsonl`, such as `[tensorboard, csv]`; `[]` for none."""
