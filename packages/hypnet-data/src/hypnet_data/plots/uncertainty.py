"""Measures of the uncertainty of a mixture of Gaussians."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError
from hypnet_data.toy.mixture_model import GaussianMixture

Uncertainty = Literal["class", "density", "joint"]


def uncertainty(
    mixture: GaussianMixture, points: Any, kind: Uncertainty = "class"
) -> NDArray[np.float64]:
    r"""The uncertainty of a mixture at some inputs, `[n]`.

    - `class`: the entropy of the component, $-\sum_k p(y_k \mid x) \log p(y_k \mid x)$,
      divided by its largest possible value $\log K$.
    - `density`: the density $p(x)$ itself.
    - `joint`: the entropy of component and input at $x$, $-\sum_k p(x)\,p(y_k \mid x)
      \log [p(x)\,p(y_k \mid x)]$, where $p(x)$ is divided by its largest value among
      the inputs; it shows the overlap of components and the border of the data.

    Args:
        mixture: The mixture.
        points: Inputs `[n, D]`.
        kind: One of the three measures.

    Raises:
        ConfigError: There is no such kind.
    """
    shares = mixture.responsibilities(points)
    # 0 log 0 is 0.
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    if kind == "class":
        # With one component the entropy is 0, and so is its logarithm.
        found: NDArray[np.float64] = entropy / max(np.log(len(mixture)), np.finfo(float).tiny)
        return found
    density = mixture.density(points)
    if kind == "density":
        return density
    if kind == "joint":
        scaled = density / max(float(density.max()), np.finfo(float).tiny)
        # The sum over components, with log p(x) taken out of the brackets.
        joint: NDArray[np.float64] = scaled * entropy - scaled * np.log(
            np.where(scaled > 0, scaled, 1.0)
        )
        return joint
    raise ConfigError(f"kind must be 'class', 'density' or 'joint', got {kind!r}")
