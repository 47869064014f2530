"""Regression of a function of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, Task
from hypnet_data.toy.functions import Function, evaluate, function_named

Interval: TypeAlias = tuple[float, float]
Array: TypeAlias = NDArray[np.float64]
Noise: TypeAlias = Callable[[Array, np.random.Generator], Array]
"""From places `[n]` and a source of randomness to the noise at these places."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RegressionTask(Task):
    """A regression task that knows the function that its samples come from.

    Attributes:
        function: The function, without noise.
        train_intervals: Intervals that training inputs are drawn from.
        test_interval: Interval of the test inputs.
        validation_interval: Interval of the validation inputs, or `None`.
    """

    function: Function
    train_intervals: tuple[Interval, ...]
    test_interval: Interval
    validation_interval: Interval | None = None


class RegressionOptions(TypedDict, total=False):
    """The samples of a regression of one variable."""

    train_interval: Annotated[
        Interval | tuple[Interval, ...],
        Field(
            default=(-10.0, 10.0),
            description="Where training inputs are drawn from; each of several intervals gets its"
            " share by length.",
        ),
    ]
    train_size: Annotated[int, Field(default=20, description="Number of training samples.")]
    test_interval: Annotated[
        Interval, Field(default=(-10.0, 10.0), description="Interval of the test inputs.")
    ]
    test_size: Annotated[int, Field(default=80, description="Number of test samples.")]
    validation_interval: Annotated[
        Interval | None,
        Field(
            default=None,
            description="Interval of the validation inputs; requires `validation_size`.",
        ),
    ]
    validation_size: Annotated[
        int,
        Field(default=0, description="Number of validation samples; 0 for no validation split."),
    ]
    perturb_test_val: Annotated[
        bool,
        Field(
            default=False,
            description="Whether test and validation targets have noise as well; by default only"
            " training targets do.",
        ),
    ]
    seed: Annotated[
        int,
        Field(
            default=0,
            description="Seed of inputs and noise. Training samples depend on nothing but the seed"
            " and the options of training.",
        ),
    ]


def toy_regression(
    *,
    function: str | SkipJsonSchema[Function] = "sine",
    std: float | str | SkipJsonSchema[Function] = 0.0,
    **options: Unpack[RegressionOptions],
) -> RegressionTask:
    r"""Regression of a function of one variable from noisy samples.

    $$ y = f(x) + \sigma(x)\,\epsilon, \qquad \epsilon \sim N(0, 1) $$

    Training inputs are drawn uniformly, test and validation inputs are equidistant
    (both ends included). Inputs and targets have shape `(1,)` and are float32.

    Args:
        function: The function $f$: `zero`, `identity`, `absolute`, `square`, `cube`,
            `sine`, an import string such as `numpy:cos`, or in Python a function of a
            numpy array `[n]`.
        std: Standard deviation of the noise: a number, or a function (named as above)
            whose values must not be negative.
        **options: See `RegressionOptions`.

    Raises:
        ConfigError: An interval is empty, a size is not possible, or a function is
            unknown or does not return numbers as it should.

    Example:
        >>> task = toy_regression(
        ...     function="square", train_interval=((-2, -1), (1, 2)), std=0.1, seed=3
        ... )
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
        # Drawn even for a deviation of 0, so that seeds mean the same draws.
        lambda x, random: _deviations(spread, x) * random.standard_normal(len(x)),
        **options,
    )


def regression_task(
    name: str, function: str | Function, noise: Noise, **options: Unpack[RegressionOptions]
) -> RegressionTask:
    """A regression task with any kind of noise.

    Args:
        name: The task's name.
        function: The function, or its name.
        noise: Draws the noise of the targets: a function from the places `[n]` and the
            source of randomness to `n` numbers.
        **options: See `RegressionOptions`.

    Raises:
        ConfigError: An option is not possible.
    """
    chosen = with_defaults(RegressionOptions, options)
    if (chosen["validation_interval"] is None) != (chosen["validation_size"] == 0):
        raise ConfigError(
            "validation_interval and validation_size go together: give both, or neither"
        )
    if chosen["seed"] < 0:
        raise ConfigError(f"seed must not be negative, got {chosen['seed']}")
    target = function_named(function) if isinstance(function, str) else function
    intervals = _intervals(chosen["train_interval"])
    parts, added = _places(intervals, noise, chosen)
    # One store for all splits, so that ids are unique.
    x = np.concatenate(parts)
    y = evaluate(target, x, "the function") + np.concatenate(added)
    samples = Samples(_column(x), _column(y))
    ends = np.cumsum([len(part) for part in parts])
    train, test, *val = (
        # Without validation there are only two parts.
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
        test_interval=chosen["test_interval"],
        validation_interval=chosen["validation_interval"],
    )


def _places(
    intervals: tuple[Interval, ...], noise: Noise, options: RegressionOptions
) -> tuple[list[Array], list[Array]]:
    """Inputs and noise of the training, test and validation samples."""
    random = np.random.default_rng(options["seed"])
    train = _drawn(intervals, _checked(options["train_size"], "train_size"), random)
    # Drawn before all other noise, so that training samples depend on nothing else.
    added = [noise(train, random)]
    others = [_spaced(options["test_interval"], _checked(options["test_size"], "test_size"))]
    if options["validation_interval"] is not None:
        size = _checked(options["validation_size"], "validation_size")
        others.append(_spaced(options["validation_interval"], size))
    perturb = options["perturb_test_val"]
    added += [noise(x, random) if perturb else np.zeros_like(x) for x in others]
    return [train, *others], added


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


def _drawn(intervals: tuple[Interval, ...], size: int, random: np.random.Generator) -> Array:
    """Uniform draws from the intervals, joined end to end."""
    lows, highs = np.array(intervals).T
    ends = np.cumsum(highs - lows)
    # A place along the joined intervals decides both interval and input.
    along = random.uniform(0.0, ends[-1], size)
    which = np.searchsorted(ends[:-1], along, side="right")
    drawn: Array = highs[which] - (ends[which] - along)
    return drawn


def _column(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None]


def _spaced(interval: Interval, size: int) -> Array:
    low, high = _interval(interval)
    return np.linspace(low, high, size)


def _deviation(std: float | str | Function) -> float | Function:
    if isinstance(std, str):
        return function_named(std)
    if isinstance(std, (int, float)) and not (math.isfinite(std) and std >= 0):
        raise ConfigError(f"std must be 0 or a positive number, got {std}")
    return std


def _deviations(std: float | Function, x: Array) -> Array:
    if not callable(std):
        return np.full_like(x, std)
    values = evaluate(std, x, "the function for std")
    if (values < 0).any():
        raise ConfigError(
            f"the function for std must not be negative, but is {values.min():g} at"
            f" {x[values.argmin()]:g}"
        )
    return values
