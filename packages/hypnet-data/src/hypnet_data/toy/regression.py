"""Regression of a function of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.json_schema import SkipJsonSchema
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, Task
from hypnet_data.toy.functions import Function, evaluate, function_named

Interval: TypeAlias = tuple[float, float]
Noise: TypeAlias = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]
"""From places `[n]` and a source of randomness to what is added to the function's values there."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RegressionTask(Task):
    """A regression task that knows the function behind its samples.

    Attributes:
        function: The function, without noise.
        train_intervals: Where training inputs were drawn from.
        test_interval: Where test inputs are.
        validation_interval: Where validation inputs are; `None` if there are none.
    """

    function: Function
    train_intervals: tuple[Interval, ...]
    test_interval: Interval
    validation_interval: Interval | None = None


def toy_regression(
    *,
    function: str | SkipJsonSchema[Function] = "sine",
    train_interval: Interval | tuple[Interval, ...] = (-10.0, 10.0),
    train_size: int = 20,
    test_interval: Interval = (-10.0, 10.0),
    test_size: int = 80,
    validation_interval: Interval | None = None,
    validation_size: int = 0,
    std: float | str | SkipJsonSchema[Function] = 0.0,
    perturb_test_val: bool = False,
    seed: int = 0,
) -> RegressionTask:
    r"""A function of one variable, learnt from noisy samples: $y = f(x) + \sigma(x)\,\epsilon$ with $\epsilon \sim N(0, 1)$.

    Training inputs are drawn uniformly, test and validation inputs are equidistant
    (both ends included). Inputs and targets have shape `(1,)` and are float32.

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
        std: Standard deviation of the noise: a number for the same noise everywhere, or
            a function (named as above) whose values must not be negative.
        perturb_test_val: Whether test and validation targets have noise as well; by
            default only training targets do.
        seed: Seed of inputs and noise. Training samples depend on nothing else but
            their own options.

    Raises:
        ConfigError: An interval is empty, a size is not possible, or a function is
            unknown or does not give numbers as it should.

    Example:
        >>> task = toy_regression(function="square", train_interval=((-2, -1), (1, 2)), std=0.1, seed=3)
        >>> len(task.train), bool((task.train.all().x.abs() >= 1).all())
        (20, True)
        >>> x, y = task.test[0]
        >>> x.item(), y.item()
        (-10.0, 100.0)
    """
    spread = _deviation(std)
    return regression_task(
        "toy_regression",
        function,
        lambda x, random: _deviations(spread, x) * random.standard_normal(len(x)),
        train_interval=train_interval,
        train_size=train_size,
        test_interval=test_interval,
        test_size=test_size,
        validation_interval=validation_interval,
        validation_size=validation_size,
        perturb_test_val=perturb_test_val,
        seed=seed,
    )


def regression_task(
    name: str,
    function: str | Function,
    noise: Noise,
    *,
    train_interval: Interval | Sequence[Interval],
    train_size: int,
    test_interval: Interval,
    test_size: int,
    validation_interval: Interval | None,
    validation_size: int,
    perturb_test_val: bool,
    seed: int,
) -> RegressionTask:
    """A regression task with noise of any kind; see `toy_regression` for the options.

    Args:
        name: The task's name.
        function: The function, or its name.
        noise: What is added to its values: from the places `[n]` and the source of
            randomness to `n` numbers.
        train_interval: Where training inputs are drawn from.
        train_size: Number of training samples.
        test_interval: Where test inputs are.
        test_size: Number of test samples.
        validation_interval: Where validation inputs are.
        validation_size: Number of validation samples.
        perturb_test_val: Whether test and validation targets have noise as well.
        seed: Seed of inputs and noise.

    Raises:
        ConfigError: An option is not possible.
    """
    if (validation_interval is None) != (validation_size == 0):
        raise ConfigError(
            "validation_interval and validation_size go together: give both, or neither"
        )
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    target = function_named(function) if isinstance(function, str) else function
    intervals = _intervals(train_interval)
    random = np.random.default_rng(seed)
    parts = [_drawn(intervals, _checked(train_size, "train_size"), random)]
    added = [
        noise(parts[0], random)
    ]  # before all else, so that training samples depend on nothing else
    parts.append(_spaced(test_interval, _checked(test_size, "test_size")))
    if validation_interval is not None:
        parts.append(_spaced(validation_interval, _checked(validation_size, "validation_size")))
    added += [noise(x, random) if perturb_test_val else np.zeros_like(x) for x in parts[1:]]

    x = np.concatenate(parts)
    samples = Samples(
        _column(x), _column(evaluate(target, x, "the function") + np.concatenate(added))
    )
    ends = np.cumsum([len(part) for part in parts])
    train, test, *val = (
        Split(samples, torch.arange(end - len(part), end))
        for part, end in zip(parts, ends, strict=True)
    )
    return RegressionTask(
        TaskSpec(name=name, kind="regression", in_shape=(1,), out_shape=(1,)),
        train,
        test,
        val[0] if val else None,
        function=target,
        train_intervals=intervals,
        test_interval=test_interval,
        validation_interval=validation_interval,
    )


def _intervals(given: Interval | Sequence[Interval]) -> tuple[Interval, ...]:
    ends = np.asarray(given, dtype=np.float64).reshape(-1, 2)
    if not len(ends):
        raise ConfigError("train_interval must hold at least one interval")
    return tuple(_interval((float(low), float(high))) for low, high in ends)


def _interval(interval: Interval) -> Interval:
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"an interval needs a lower and a higher end, got {low:g} to {high:g}")
    return interval


def _checked(size: int, name: str) -> int:
    if size < 1:
        raise ConfigError(f"{name} must be at least 1, got {size}")
    return size


def _drawn(
    intervals: tuple[Interval, ...], size: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Uniform draws from the intervals, laid end to end."""
    lows, highs = np.array(intervals).T
    ends = np.cumsum(highs - lows)
    along = random.uniform(0.0, ends[-1], size)
    which = np.searchsorted(ends[:-1], along, side="right")
    drawn: NDArray[np.float64] = highs[which] - (ends[which] - along)
    return drawn


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None]


def _spaced(interval: Interval, size: int) -> NDArray[np.float64]:
    low, high = _interval(interval)
    return np.linspace(low, high, size)


def _deviation(std: float | str | Function) -> float | Function:
    if isinstance(std, str):
        return function_named(std)
    if isinstance(std, (int, float)) and not (math.isfinite(std) and std >= 0):
        raise ConfigError(f"std must be 0 or a positive number, got {std}")
    return std


def _deviations(std: float | Function, x: NDArray[np.float64]) -> NDArray[np.float64]:
    if not callable(std):
        return np.full_like(x, std)
    values = evaluate(std, x, "the function for std")
    if (values < 0).any():
        raise ConfigError(
            f"the function for std must not be negative, but is {values.min():g} at"
            f" {x[values.argmin()]:g}"
        )
    return values
