"""Options that several main networks share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hypnet_zoo.layers.batch_norm import Statistics
from hypnet_zoo.layers.hidden import SpectralOption
from hypnet_zoo.layers.modulation import ContextOption
from hypnet_zoo.layers.recurrent_options import RecurrentInit, RecurrentLayerOptions


class ImageOptions(SpectralOption, ContextOption, total=False):
    """Options of networks for images."""


class ResidualOptions(ImageOptions, total=False):
    """Options of residual networks."""

    conv_bias: Annotated[
        bool,
        Field(
            default=False,
            description="Whether convolutions have biases; those of shortcuts never have.",
        ),
    ]
    out_bias: Annotated[
        bool, Field(default=True, description="Whether the linear layer has a bias.")
    ]
    statistics: Annotated[
        Statistics | None,
        Field(
            default="running",
            description=(
                "Statistics of the batch norms: `running`, `batch`, `frozen` or `learnable`; `None`"
                " for no batch norm."
            ),
        ),
    ]


class CifarResidualOptions(ResidualOptions, total=False):
    """Options of residual networks for small images."""

    feature_maps: Annotated[
        tuple[int, ...],
        Field(
            default=(16, 16, 32, 64),
            description=(
                "Feature maps of the first convolution and of the three groups, before widening."
            ),
        ),
    ]


class RecurrentOptions(RecurrentLayerOptions, ContextOption, total=False):
    """Options of recurrent networks."""

    before: Annotated[
        tuple[int, ...],
        Field(
            default=(),
            description=(
                "Units of each fully connected hidden layer before the recurrent ones (in a"
                " bidirectional layer, of each direction)."
            ),
        ),
    ]
    recurrent_init: Annotated[
        RecurrentInit,
        Field(
            default="uniform",
            description=(
                "Draw of recurrent layers: torch's uniform one, with `orthogonal` hidden-to-hidden"
                " matrices, or Kaiming's."
            ),
        ),
    ]
