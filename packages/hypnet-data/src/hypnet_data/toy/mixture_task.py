"""Tasks whose inputs come from a known mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import SplitLike
from hypnet_core.tasks import Task
from hypnet_data.toy.mesh import Mesh, mesh
from hypnet_data.toy.mixture_model import GaussianMixture


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MixtureTask(Task):
    """A task that knows the mixture of Gaussians that its inputs are drawn from.

    Attributes:
        mixture: The distribution of the inputs; it has densities, responsibilities,
            mode coverage and divergences.
    """

    mixture: GaussianMixture

    def symmetric_kl(self, fake: Any, **options: Any) -> float:
        """Estimate the symmetric divergence between samples and the training inputs.

        See `GaussianMixture.symmetric_kl`.
        """
        return self.mixture.symmetric_kl(fake, inputs(self.train), **options)

    def input_mesh(
        self,
        first: tuple[float, float] | None = None,
        second: tuple[float, float] | None = None,
        *,
        size: int | tuple[int, int] = 1000,
    ) -> Mesh:
        """An even grid of inputs.

        Args:
            first: Limits of the first coordinate; by default those of all training and
                test inputs, with a margin of a twentieth.
            second: Limits of the second coordinate, likewise.
            size: Number of points along each coordinate.

        Raises:
            ConfigError: Inputs are not two-dimensional, or there are fewer than two
                points.
        """
        if self.spec.in_shape != (2,):
            raise ConfigError(
                f"a grid needs inputs of shape [2], {self.spec.name!r} has"
                f" {list(self.spec.in_shape)}"
            )
        points = torch.cat([inputs(self.train), inputs(self.test)]).numpy().astype(np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        margin = (high - low) / 20
        ranges = [(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]
        return mesh(first or ranges[0], second or ranges[1], size)


def inputs(split: SplitLike) -> Tensor:
    """All inputs of a split `[n, D]`."""
    # One batch that holds the whole split.
    return next(split.batches(len(split))).x
