"""Three polynomials in sequence: the toy problem of continual learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import TaskSequence
from hypnet_data.toy.functions import Function
from hypnet_data.toy.regression import Interval, RegressionTask, regression_task


@dataclass(frozen=True)
class Polynomial:
    """A polynomial around a centre, with coefficients from the constant upwards.

    Example:
        >>> Polynomial((-1.0, 0.0, 2.0))(np.array([0.0, 1.0]))
        array([-1.,  1.])
    """

    coefficients: tuple[float, ...]
    centre: float = 0.0

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate the polynomial."""
        values = np.polynomial.polynomial.polyval(x - self.centre, self.coefficients)
        return np.asarray(values, dtype=np.float64)


# The toy problem of von Oswald et al.
PUBLISHED: Sequence[tuple[Function, Interval]] = (
    (Polynomial((3.0, 1.0)), (-4.0, -2.0)),
    (Polynomial((-1.0, 0.0, 2.0)), (-1.0, 1.0)),
    (Polynomial((0.0, 0.0, 0.0, 1.0), centre=3.0), (2.0, 4.0)),
)
"""The functions and the interval of each."""


def polynomials(
    *,
    tasks: int = 3,
    train_size: int = 20,
    test_size: int = 50,
    validation_size: int = 0,
    std: float = 0.05,
    seed: int = 0,
) -> TaskSequence:
    """Three regression tasks in sequence, each a polynomial on its own interval.

    The functions are x + 3 on [-4, -2], 2x² - 1 on [-1, 1] and (x - 3)³ on [2, 4].
    Training inputs are drawn uniformly, and training targets have Gaussian noise; test
    and validation inputs are equidistant, and their targets have no noise.

    Args:
        tasks: Number of tasks, up to three.
        train_size: Number of training samples of each task.
        test_size: Number of test samples of each task.
        validation_size: Number of validation samples of each task; 0 for no validation
            split.
        std: Standard deviation of the noise of training targets.
        seed: Seed of inputs and noise, from which each task gets its own.

    Raises:
        ConfigError: A number is not possible.

    References:
        J. von Oswald, C. Henning, B. F. Grewe and J. Sacramento, *Continual Learning
        with Hypernetworks*, ICLR, 2020, arXiv:1906.00695.
    """
    if not 1 <= tasks <= len(PUBLISHED):
        raise ConfigError(f"tasks must be between 1 and {len(PUBLISHED)}, got {tasks}")
    if not (np.isfinite(std) and std >= 0):
        raise ConfigError(f"std must be 0 or a positive number, got {std}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")

    def noise(x: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
        added: NDArray[np.float64] = std * random.standard_normal(len(x))
        return added

    def task(number: int, function: Function, interval: Interval) -> RegressionTask:
        return regression_task(
            f"polynomials_{number}",
            function,
            noise,
            train_interval=interval,
            train_size=train_size,
            test_interval=interval,
            test_size=test_size,
            validation_interval=interval if validation_size else None,
            validation_size=validation_size,
            perturb_test_val=False,
            # Independent seeds, so that tasks do not share their noise.
            seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
        )

    return TaskSequence(
        "polynomials", tuple(task(number, *entry) for number, entry in enumerate(PUBLISHED[:tasks]))
    )
