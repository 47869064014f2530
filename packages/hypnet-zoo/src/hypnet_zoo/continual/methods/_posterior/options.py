"""Options of posterior replay."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.continual.methods.hypernet_options import EmbeddingSize, GeneratedParts

PosteriorKind = Literal["dirac", "gaussian", "radial", "implicit"]
Between = Literal["outputs", "means", "forward_kl", "reverse_kl", "w2"]
Estimator = Literal["avb", "ssge", "stein"]

_DEFAULT_HNET: Any = {"name": "hmlp", "hidden": (50, 50)}


class PosteriorOptions(TypedDict, total=False):
    """Options of `PosteriorReplay`."""

    posterior: Annotated[
        PosteriorKind,
        Field(
            default="gaussian",
            description=(
                "The distribution over weights: a point (`dirac`), independent Gaussians, radial"
                " ones, or any (`implicit`), which a generated network makes from noise."
            ),
        ),
    ]
    hnet: Annotated[
        HypernetChoice,
        Field(
            default=_DEFAULT_HNET,
            validate_default=True,
            description="The hypernetwork that writes the distributions, and its options.",
        ),
    ]
    embedding_size: EmbeddingSize
    generate: GeneratedParts
    prior_scale: Annotated[
        PositiveFloat, Field(default=1.0, description="Standard deviation of the Gaussian prior.")
    ]
    kl_scale: Annotated[
        NonNegativeFloat,
        Field(default=1.0, description="Strength of the divergence from the prior; 1 is Bayes."),
    ]
    noise_std: Annotated[
        PositiveFloat,
        Field(default=0.1, description="Standard deviation of the noise of regression targets."),
    ]
    draws: Annotated[PositiveInt, Field(default=10, description="Draws of weights per step.")]
    local: Annotated[
        bool,
        Field(
            default=True,
            description=(
                "Draw outputs of layers instead of weights while learning (local"
                " reparametrisation), for `gaussian`."
            ),
        ),
    ]
    predict_draws: Annotated[
        PositiveInt, Field(default=100, description="Draws of weights of a prediction.")
    ]
    scale_start: Annotated[
        PositiveFloat,
        Field(
            default=0.1,
            description=(
                "Scale of weights at the start, as a share of the standard deviation with which"
                " weights start; for `gaussian` and `radial`."
            ),
        ),
    ]
    beta: Annotated[
        NonNegativeFloat,
        Field(default=0.1, description="Strength of the regulariser of earlier posteriors."),
    ]
    between: Annotated[
        Between,
        Field(
            default="outputs",
            description=(
                "What keeps earlier posteriors: the squared change of what the hypernetwork writes"
                " (`outputs`) or of means, the divergence from the old to the new one"
                " (`forward_kl`) or back (`reverse_kl`), or their squared distance (`w2`)."
            ),
        ),
    ]
    prior_focused: Annotated[
        bool,
        Field(
            default=False,
            description=(
                "One posterior for all tasks, whose prior is that of the task before; for"
                " `gaussian`, `radial` and `implicit` by `avb`, with heads=multi."
            ),
        ),
    ]
    coreset: Annotated[
        NonNegativeInt,
        Field(
            default=0,
            description=(
                "Samples that are kept of each task. After a task, all posteriors are tuned to be"
                " uncertain about those of other tasks."
            ),
        ),
    ]
    coreset_steps: Annotated[
        PositiveInt, Field(default=200, description="Steps of that tuning after each task.")
    ]
    estimator: Annotated[
        Estimator,
        Field(
            default="avb",
            description=(
                "How `implicit` compares its draws with the prior: by a discriminator (`avb`), by"
                " an estimate of the score (`ssge`), or draws move by a kernel (`stein`)."
            ),
        ),
    ]
    latent_dim: Annotated[
        PositiveInt, Field(default=8, description="Dimensions of the noise of `implicit`.")
    ]
    latent_std: Annotated[
        PositiveFloat, Field(default=1.0, description="Standard deviation of that noise.")
    ]
    writer_hidden: Annotated[
        tuple[PositiveInt, ...],
        Field(
            default=(10, 10), description="Hidden layers of the generated network of `implicit`."
        ),
    ]
    spread: Annotated[
        NonNegativeFloat,
        Field(
            default=0.02,
            description=(
                "Further noise in each weight of `implicit`, as a share of the standard deviation"
                " with which weights start."
            ),
        ),
    ]
    discriminator_hidden: Annotated[
        tuple[PositiveInt, ...],
        Field(default=(50, 50), description="Hidden layers of the discriminator of `avb`."),
    ]
    discriminator_steps: Annotated[
        PositiveInt, Field(default=1, description="Steps of the discriminator for each step.")
    ]
    discriminator_lr: Annotated[
        PositiveFloat, Field(default=1e-3, description="Learning rate of the discriminator.")
    ]
