"""Regression of a function of one variable, with noise of two modes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic.json_schema import SkipJsonSchema

from hypnet_core.errors import ConfigError
from hypnet_data.toy.functions import Function
from hypnet_data.toy.regression import Interval, RegressionTask, regression_task


def bimodal_regression(
    *,
    function: str | SkipJsonSchema[Function] = "zero",
    train_interval: Interval | tuple[Interval, ...] = (-10.0, 10.0),
    train_size: int = 20,
    test_interval: Interval = (-10.0, 10.0),
    test_size: int = 80,
    validation_interval: Interval | None = None,
    validation_size: int = 0,
    first_weight: float = 0.5,
    first_distance: float = 5.0,
    second_distance: float | None = None,
    first_std: float = 1.0,
    second_std: float | None = None,
    perturb_test_val: bool = False,
    seed: int = 0,
) -> RegressionTask:
    r"""A function of one variable, learnt from samples whose noise is a mixture of two Gaussians, one below and one above.

    $$ y = f(x) + \epsilon, \qquad \epsilon \sim \alpha\, N(-d_1, \sigma_1^2) + (1 -
    \alpha)\, N(d_2, \sigma_2^2) $$

    A network that predicts a single Gaussian cannot describe it. Inputs and targets
    have shape `(1,)` and are float32.

    Args:
        function: The function: `zero`, `identity`, `absolute`, `square`, `cube`,
            `sine`, an import string such as `numpy:cos`, or in Python a function of a
            numpy array `[n]`.
        train_interval: Where training inputs are drawn from; of several intervals, each
            gets its share by length.
        train_size: Number of training samples.
        test_interval: Where test inputs are.
        test_size: Number of test samples.
        validation_interval: Where validation inputs are; goes with `validation_size`.
        validation_size: Number of validation samples; 0 for no validation split.
        first_weight: $\alpha$, how probable the first mode is, between 0 and 1.
        first_distance: $d_1$, how far below the function the first mode is.
        second_distance: $d_2$, how far above it the second mode is; by default as far
            as the first.
        first_std: $\sigma_1$, the standard deviation of the first mode.
        second_std: $\sigma_2$, that of the second mode; by default as the first.
        perturb_test_val: Whether test and validation targets have noise as well; by
            default only training targets do.
        seed: Seed of inputs and noise. Training samples depend on nothing else but
            their own options.

    Raises:
        ConfigError: An interval is empty, a size, weight or standard deviation is not
            possible, or a function is unknown or does not give numbers as it should.
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
    means, spreads = np.array([-distances[0], distances[1]]), np.array(deviations)

    def noise(x: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
        mode = (random.random(len(x)) >= first_weight).astype(np.int64)
        added: NDArray[np.float64] = means[mode] + spreads[mode] * random.standard_normal(len(x))
        return added

    return regression_task(
        "bimodal_regression",
        function,
        noise,
        train_interval=train_interval,
        train_size=train_size,
        test_interval=test_interval,
        test_size=test_size,
        validation_interval=validation_interval,
        validation_size=validation_size,
        perturb_test_val=perturb_test_val,
        seed=seed,
    )
