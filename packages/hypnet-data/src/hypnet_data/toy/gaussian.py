"""Inputs that are drawn from Gaussians: one task each, a sequence of them, or all in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.json_schema import SkipJsonSchema
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import SplitLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, Task, TaskSequence
from hypnet_data.toy.functions import import_function
from hypnet_data.toy.mixture_model import GaussianMixture, Mesh, mesh
from hypnet_data.transforms import OneHot

Vector: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[Vector, ...]
MapFunction: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From inputs `[n, D]` to values `[n]`."""

Sizes: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""How many training and how many test inputs come from each component."""

COVARIANCE: Matrix = ((0.0025, 0.0), (0.0, 0.0025))
MEANS: Matrix = tuple(
    (float(first), float(second)) for first in range(-4, 5, 2) for second in range(-4, 5, 2)
)
"""Twenty-five points of a grid."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MixtureTask(Task):
    """A task whose inputs are drawn from a Gaussian, or from a mixture of several, and that knows it.

    Attributes:
        mixture: The distribution of the inputs; it has densities, responsibilities,
            mode coverage and divergences.
    """

    mixture: GaussianMixture

    def symmetric_kl(self, fake: Any, **options: Any) -> float:
        """How far samples are from the inputs' distribution: `GaussianMixture.symmetric_kl` with the training inputs as real ones."""
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
            first: Lowest and highest first coordinate; by default all training and test
                inputs are inside, with a margin of a twentieth.
            second: Likewise the second coordinate.
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
    return next(split.batches(len(split))).x


def gaussian(
    *,
    mean: Vector = (0.0, 0.0),
    covariance: Matrix = COVARIANCE,
    train_size: int = 100,
    test_size: int = 100,
    function: str | SkipJsonSchema[MapFunction] | None = None,
    seed: int = 0,
) -> MixtureTask:
    """Regression of a function of inputs that are drawn from a Gaussian; by default, of the Gaussian's own density.

    Inputs are `(D,)` with as many dimensions as the mean, targets `(1,)`, both float32.

    Args:
        mean: The mean of the inputs.
        covariance: Their covariance.
        train_size: Number of training samples.
        test_size: Number of test samples.
        function: What to learn: an import string `package.module:function`, or in
            Python a function from inputs `[n, D]` to values `[n]`; by default the
            density of the inputs.
        seed: What inputs are drawn from.

    Raises:
        ConfigError: The covariance does not fit the mean or is not positive definite, a
            size is not possible, or the function does not give one number per input.

    References:
        The inputs follow the toy example of V. Dumoulin et al., *Adversarially Learned
        Inference*, ICLR, 2017, arXiv:1606.00704.
    """
    mixture = GaussianMixture.of([mean], covariance)
    found = import_function(function) if isinstance(function, str) else function
    return _regression("gaussian", mixture, ([train_size], [test_size]), [found], seed=seed)


def gaussian_tasks(
    *,
    means: Matrix = MEANS,
    covariances: tuple[Matrix, ...] = (COVARIANCE,),
    train_size: int = 100,
    test_size: int = 100,
    functions: tuple[str, ...] | SkipJsonSchema[tuple[MapFunction, ...]] | None = None,
    seed: int = 0,
) -> TaskSequence:
    """A sequence of `gaussian` regression tasks, by default twenty-five on a grid.

    Args:
        means: The mean of each task's inputs.
        covariances: The covariance of each task's inputs, or one for all.
        train_size: Number of training samples of each task.
        test_size: Number of test samples of each task.
        functions: What to learn in each task, or one for all, as for `gaussian`; by
            default each task's own density.
        seed: What inputs are drawn from; a task's inputs do not depend on how many
            tasks there are.

    Raises:
        ConfigError: There is not one covariance or function per task, or a task is not
            possible.
    """
    chosen = _functions(functions, len(means))
    if len(covariances) not in {1, len(means)}:
        raise ConfigError(
            f"there must be one covariance, or one per mean ({len(means)}), got {len(covariances)}"
        )
    tasks = []
    for number, mean in enumerate(means):
        mixture = GaussianMixture.of([mean], covariances[number % len(covariances)])
        task = _regression(
            f"gaussian_tasks_{number}",
            mixture,
            ([train_size], [test_size]),
            [chosen[number]],
            seed=seed,
            first=number,
        )
        tasks.append(task)
    return TaskSequence("gaussian_tasks", tuple(tasks))


def gaussian_mixture(
    *,
    kind: Literal["classification", "regression"] = "classification",
    means: Matrix = MEANS,
    covariances: tuple[Matrix, ...] = (COVARIANCE,),
    weights: Vector | None = None,
    train_size: int = 100,
    test_size: int = 100,
    functions: tuple[str, ...] | SkipJsonSchema[tuple[MapFunction, ...]] | None = None,
    one_hot: bool = False,
    seed: int = 0,
) -> MixtureTask:
    """All inputs of `gaussian_tasks` in one task: which component they come from, or the regression of each one's function.

    The task's `mixture` tells densities and responsibilities, how many modes some
    samples cover, and how far they are from it.

    Args:
        kind: Whether the target is the component (a class), or what the component's
            task asks for.
        means: The mean of each component.
        covariances: The covariance of each component, or one for all.
        weights: How probable each component is; by default all are the same. Components
            get their shares of all samples, as exactly as whole numbers can.
        train_size: Number of training samples per component, on average.
        test_size: Number of test samples per component, on average.
        functions: What to learn for each component, or one function for all, as for
            `gaussian`; by default its own density.
        one_hot: Whether classes are one-hot rows instead of indices.
        seed: What inputs are drawn from.

    Raises:
        ConfigError: There is not one covariance, weight or function per component, or a
            number is not possible.
    """
    if len(covariances) not in {1, len(means)}:
        raise ConfigError(
            f"there must be one covariance, or one per mean ({len(means)}), got {len(covariances)}"
        )
    mixture = GaussianMixture.of(
        means, covariances[0] if len(covariances) == 1 else covariances, weights
    )
    shares = [
        _shares(mixture.weights, _size(size, name) * len(mixture))
        for size, name in ((train_size, "train_size"), (test_size, "test_size"))
    ]
    sizes = (shares[0], shares[1])
    if kind == "regression":
        if one_hot:
            raise ConfigError("one_hot is for classes: set kind='classification'")
        return _regression(
            "gaussian_mixture", mixture, sizes, _functions(functions, len(mixture)), seed=seed
        )
    if functions is not None:
        raise ConfigError("functions are for regression: set kind='regression'")
    x = _drawn(mixture, sizes, seed)
    y = np.concatenate([np.repeat(np.arange(len(mixture)), part) for part in sizes])
    return _task(
        "gaussian_mixture",
        "classification",
        mixture,
        (x, y),
        train_size=sum(sizes[0]),
        one_hot=one_hot,
    )


def _regression(
    name: str,
    mixture: GaussianMixture,
    sizes: Sizes,
    functions: Sequence[MapFunction | None],
    *,
    seed: int,
    first: int = 0,
) -> MixtureTask:
    for what, part in zip(("train_size", "test_size"), sizes, strict=True):
        _size(sum(part), what)
    x = _drawn(mixture, sizes, seed, first=first)
    component = np.concatenate([np.repeat(np.arange(len(mixture)), part) for part in sizes])
    y = np.empty(len(x))
    for number, function in enumerate(functions):
        here = x[component == number]
        if len(here):
            y[component == number] = (
                mixture.densities(here)[:, number] if function is None else _values(function, here)
            )
    return _task(
        name, "regression", mixture, (x, y[:, None].astype(np.float32)), train_size=sum(sizes[0])
    )


def _task(
    name: str,
    kind: Literal["classification", "regression"],
    mixture: GaussianMixture,
    data: tuple[NDArray[np.float64], NDArray[Any]],
    *,
    train_size: int,
    one_hot: bool = False,
) -> MixtureTask:
    x, y = data
    samples = Samples.of(x.astype(np.float32), y)
    rows = torch.arange(len(samples))
    out_shape = (len(mixture),) if kind == "classification" else (1,)
    targets = (OneHot(len(mixture)),) if one_hot else ()
    train, test = (
        Split(samples, part, target_transforms=targets)
        for part in (rows[:train_size], rows[train_size:])
    )
    return MixtureTask(
        TaskSpec(name=name, kind=kind, in_shape=x.shape[1:], out_shape=out_shape),
        train,
        test,
        mixture=mixture,
    )


def _drawn(
    mixture: GaussianMixture, sizes: Sizes, seed: int, *, first: int = 0
) -> NDArray[np.float64]:
    """Inputs, training before test, component by component; each component and part has a source of randomness of its own."""
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    factors = np.linalg.cholesky(mixture.covariances)
    parts = []
    for part, counts in enumerate(sizes):
        for number, size in enumerate(counts):
            normal = np.random.default_rng([seed, part, first + number]).standard_normal(
                (size, mixture.means.shape[1])
            )
            parts.append(mixture.means[number] + normal @ factors[number].T)
    return np.concatenate(parts)


def _shares(weights: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers that sum to `total` and come nearest to the weights."""
    exact = weights * total
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: total - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def _functions(given: Sequence[str | MapFunction] | None, count: int) -> list[MapFunction | None]:
    if given is None:
        return [None] * count
    if len(given) not in {1, count}:
        raise ConfigError(
            f"there must be one function, or one per mean ({count}), got {len(given)}"
        )
    found = [
        import_function(function) if isinstance(function, str) else function for function in given
    ]
    return list(found * (count if len(found) == 1 else 1))


def _values(function: MapFunction, x: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(function(x), dtype=np.float64)
    if values.shape != (len(x),) or not np.isfinite(values).all():
        raise ConfigError(
            f"the function must give one finite number per input: {list(values.shape)} values came"
            f" for {len(x)} inputs"
        )
    return values


def _size(size: int, name: str) -> int:
    if size < 1:
        raise ConfigError(f"{name} must be at least 1, got {size}")
    return size
