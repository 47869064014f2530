"""Tasks with Gaussian inputs: one Gaussian, a sequence of them, or a mixture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, TaskSequence
from hypnet_data.toy.functions import import_function
from hypnet_data.toy.mixture_model import GaussianMixture
from hypnet_data.toy.mixture_task import MixtureTask
from hypnet_data.transforms import OneHot

Vector: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[Vector, ...]
MapFunction: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From inputs `[n, D]` to values `[n]`."""

Sizes: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""Numbers of training and of test inputs of each component."""

# A standard deviation of 0.05, small against the distance of 2.
COVARIANCE: Matrix = ((0.0025, 0.0), (0.0, 0.0025))
MEANS: Matrix = tuple(
    (float(first), float(second)) for first in range(-4, 5, 2) for second in range(-4, 5, 2)
)
"""Twenty-five points of a grid."""


class DrawOptions(TypedDict, total=False):
    """The number and the seed of samples."""

    train_size: Annotated[
        int,
        Field(default=100, description="Number of training samples of each Gaussian (on average)."),
    ]
    test_size: Annotated[
        int,
        Field(default=100, description="Number of test samples of each Gaussian (on average)."),
    ]
    seed: Annotated[
        int,
        Field(
            default=0,
            description="Seed of the inputs. Those of one Gaussian do not depend on the others.",
        ),
    ]


class GaussiansOptions(DrawOptions, total=False):
    """Several Gaussians and the functions of their inputs."""

    means: Annotated[
        Matrix,
        Field(default=MEANS, description="Mean of each Gaussian, by default on a grid."),
    ]
    covariances: Annotated[
        tuple[Matrix, ...],
        Field(default=(COVARIANCE,), description="Covariance of each Gaussian, or one for all."),
    ]
    functions: Annotated[
        tuple[str, ...] | SkipJsonSchema[tuple[MapFunction, ...]] | None,
        Field(
            default=None,
            description="The regression target of each Gaussian, or one function for all: an"
            " import string `package.module:function`, or in Python a function from inputs"
            " `[n, D]` to values `[n]`; by default the density of the Gaussian.",
        ),
    ]


def gaussian(
    *,
    mean: Vector = (0.0, 0.0),
    covariance: Matrix = COVARIANCE,
    function: str | SkipJsonSchema[MapFunction] | None = None,
    **options: Unpack[DrawOptions],
) -> MixtureTask:
    """Regression of a function of Gaussian inputs; by default, of their own density.

    Inputs are `(D,)` with as many dimensions as the mean, targets `(1,)`, both float32.

    Args:
        mean: The mean of the inputs.
        covariance: The covariance of the inputs.
        function: The function: an import string `package.module:function`, or in Python
            a function from inputs `[n, D]` to values `[n]`; by default the density of
            the inputs.
        **options: See `DrawOptions`.

    Raises:
        ConfigError: The covariance does not fit the mean or is not positive definite, a
            size is not possible, or the function does not return one number per input.

    References:
        The inputs follow the toy example of V. Dumoulin et al., *Adversarially Learned
        Inference*, ICLR, 2017, arXiv:1606.00704.
    """
    chosen = with_defaults(DrawOptions, options)
    sizes = ([chosen["train_size"]], [chosen["test_size"]])
    mixture = GaussianMixture.of([mean], covariance)
    found = import_function(function) if isinstance(function, str) else function
    return _regression("gaussian", mixture, sizes, [found], seed=chosen["seed"])


def gaussian_tasks(**options: Unpack[GaussiansOptions]) -> TaskSequence:
    """A sequence of `gaussian` regression tasks, by default twenty-five on a grid.

    Args:
        **options: See `GaussiansOptions`.

    Raises:
        ConfigError: There is not one covariance or function per task, or a task is not
            possible.
    """
    chosen = with_defaults(GaussiansOptions, options)
    functions = _functions(chosen["functions"], len(chosen["means"]))
    covariances = _covariances(chosen)
    sizes = ([chosen["train_size"]], [chosen["test_size"]])
    tasks = [
        _regression(
            f"gaussian_tasks_{number}",
            GaussianMixture.of([mean], covariances[number]),
            sizes,
            [functions[number]],
            seed=chosen["seed"],
            first=number,
        )
        for number, mean in enumerate(chosen["means"])
    ]
    return TaskSequence("gaussian_tasks", tuple(tasks))


def gaussian_mixture(
    *,
    kind: Literal["classification", "regression"] = "classification",
    weights: Vector | None = None,
    one_hot: bool = False,
    **options: Unpack[GaussiansOptions],
) -> MixtureTask:
    """The inputs of all `gaussian_tasks` in one task, to classify or for regression.

    The task's `mixture` gives densities and responsibilities, the number of modes that
    samples cover, and the divergence between samples and the mixture.

    Args:
        kind: Whether the target is the Gaussian that an input comes from (a class), or
            the value of that Gaussian's function.
        weights: Probability of each Gaussian; by default all are equal. Each gets its
            share of all samples, rounded to whole numbers.
        one_hot: Whether targets are one-hot rows instead of class indices.
        **options: See `GaussiansOptions`.

    Raises:
        ConfigError: There is not one covariance, weight or function per Gaussian, or a
            number is not possible.
    """
    chosen = with_defaults(GaussiansOptions, options)
    mixture = GaussianMixture.of(chosen["means"], _covariances(chosen), weights)
    sizes = (
        _shares(mixture.weights, _size(chosen["train_size"], "train_size") * len(mixture)),
        _shares(mixture.weights, _size(chosen["test_size"], "test_size") * len(mixture)),
    )
    if kind == "regression":
        if one_hot:
            raise ConfigError("one_hot is for classes: set kind='classification'")
        functions = _functions(chosen["functions"], len(mixture))
        return _regression("gaussian_mixture", mixture, sizes, functions, seed=chosen["seed"])
    if chosen["functions"] is not None:
        raise ConfigError("functions are for regression: set kind='regression'")
    x = _drawn(mixture, sizes, chosen["seed"])
    y = np.concatenate([np.repeat(np.arange(len(mixture)), part) for part in sizes])
    size = sum(sizes[0])
    return _task(
        "gaussian_mixture", "classification", mixture, (x, y), train_size=size, one_hot=one_hot
    )


def _covariances(options: GaussiansOptions) -> tuple[Matrix, ...]:
    """One covariance per mean."""
    given, count = options["covariances"], len(options["means"])
    if len(given) not in {1, count}:
        raise ConfigError(
            f"there must be one covariance, or one per mean ({count}), got {len(given)}"
        )
    return given * count if len(given) == 1 else given


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
    # Filled component by component, in the order of the store.
    y = np.empty(len(x))
    # Each component has its own function, even in a mixture.
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
    """Inputs, training before test, component by component."""
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    # A factor L of the covariance turns standard normals into L z.
    factors = np.linalg.cholesky(mixture.covariances)
    parts = []
    for part, counts in enumerate(sizes):
        for number, size in enumerate(counts):
            # Seeded separately, so that other components and sizes change nothing here.
            random = np.random.default_rng([seed, part, first + number])
            normal = random.standard_normal((size, mixture.means.shape[1]))
            parts.append(mixture.means[number] + normal @ factors[number].T)
    return np.concatenate(parts)


def _shares(weights: NDArray[np.float64], total: int) -> list[int]:
    """The integers nearest to the weights that sum to `total`."""
    exact = weights * total
    shares = np.floor(exact).astype(np.int64)
    # The largest remainders get the samples that rounding down left over.
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
            "the function must return one finite number per input, but returned shape"
            f" {list(values.shape)} for {len(x)} inputs"
        )
    return values


def _size(size: int, name: str) -> int:
    if size < 1:
        raise ConfigError(f"{name} must be at least 1, got {size}")
    return size
