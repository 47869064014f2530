"""Regression of a function of one variable, with bimodal noise."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic.json_schema import SkipJsonSchema

from hypnet_core.errors import ConfigError
from hypnet_data.toy.functions import Function
from hypnet_data.toy.regression import RegressionOptions, RegressionTask, regression_task


def bimodal_regression(
    *,
    function: str | SkipJsonSchema[Function] = "zero",
    first_weight: float = 0.5,
    first_distance: float = 5.0,
    second_distance: float | None = None,
    first_std: float = 1.0,
    second_std: float | None = None,
    **options: Unpack[RegressionOptions],
) -> RegressionTask:
    r"""Regression of a function of one variable, with noise of two modes.

    The noise is a mixture of two Gaussians, one below the function and one above:

    $$ y = f(x) + \epsilon, \qquad \epsilon \sim \alpha\, N(-d_1, \sigma_1^2) + (1 -
    \alpha)\, N(d_2, \sigma_2^2) $$

    A network that predicts a single Gaussian cannot describe it. Inputs and targets
    have shape `(1,)` and are float32.

    Args:
        function: The function $f$: `zero`, `identity`, `absolute`, `square`, `cube`,
            `sine`, an import string such as `numpy:cos`, or in Python a function of a
            numpy array `[n]`.
        first_weight: $\alpha$, the probability of the first mode, between 0 and 1.
        first_distance: $d_1$, the distance of the first mode below the function.
        second_distance: $d_2$, the distance of the second mode above the function; by
            default as for the first mode.
        first_std: $\sigma_1$, the standard deviation of the first mode.
        second_std: $\sigma_2$, the standard deviation of the second mode; by default as
            for the first mode.
        **options: See `RegressionOptions`.

    Raises:
        ConfigError: An interval is empty, a size, weight or standard deviation is not
            possible, or a function is unknown or does not return numbers as it should.
    """
    if not 0 <= first_weight <= 1:
        raise ConfigError(f"first_weight must be between 0 and 1, got {first_weight}")
    distances = (first_distance, first_distance if second_distance is None else second_distance)
    deviations = (first_std, first_std if second_std is None else second_std)
    for deviation in deviations:
        if not (math.isfinite(deviation) and deviation >= 0):
            raise ConfigError(
                f"a standard deviation must be 0 or a positive number, got {deviation}"
            )
    # The first mode lies below the function, the second above.
    means, spreads = np.array([-distances[0], distances[1]]), np.array(deviations)

    def noise(x: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
        # The mode of each sample, then its noise: one draw each.
        mode = (random.random(len(x)) >= first_weight).astype(np.int64)
        added: NDArray[np.float64] = means[mode] + spreads[mode] * random.standard_normal(len(x))
        return added

    return regression_task(
        "bimodal_regression",
        function,
        noise,
        **options,
    )
