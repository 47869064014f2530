"""Mixtures of Gaussians: densities, responsibilities and divergences of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError

Array: TypeAlias = NDArray[np.float64]


class Coverage(NamedTuple):
    """The components of a mixture that samples cover.

    Attributes:
        covered: Number of components that are responsible for at least one sample.
        responsibilities: The scores `[n, K]` by which the samples were assigned:
            responsibilities, or the densities under each component.
    """

    covered: int
    responsibilities: Array


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""A mixture of Gaussians: $p(x) = \sum_k \pi_k\, N(x; \mu_k, \Sigma_k)$.

    All methods take inputs `[n, D]` as arrays or tensors and give numpy arrays in
    double precision.

    Attributes:
        means: $\mu$, `[K, D]`.
        covariances: $\Sigma$, `[K, D, D]`, symmetric and positive definite.
        weights: $\pi$, `[K]`, positive, with sum 1.

    Raises:
        ConfigError: Shapes do not fit together, a covariance is not positive definite,
            or weights do not sum to 1.

    Example:
        >>> mixture = GaussianMixture.of([[-1.0], [1.0]], [[1.0]])
        >>> mixture.responsibilities([[0.0], [9.0]]).round(3)
        array([[0.5, 0.5],
               [0. , 1. ]])
    """

    means: Array
    covariances: Array
    weights: Array

    @classmethod
    def of(cls, means: Any, covariance: Any, weights: Any = None) -> GaussianMixture:
        """A mixture from anything array-like.

        Args:
            means: One per component.
            covariance: One for all components, or one per component.
            weights: One per component; by default all are equal.
        """
        centres = np.atleast_2d(_numbers(means, "means"))
        if not centres.size:
            raise ConfigError("a mixture needs at least one component, got no means")
        given = _numbers(covariance, "covariances")
        count = len(centres)
        # A view: one covariance for all is stored once.
        spread = np.broadcast_to(given, (count, *given.shape)) if given.ndim == 2 else given
        shares = np.full(count, 1 / count) if weights is None else _numbers(weights, "weights")
        return cls(centres, spread, shares)

    def __post_init__(self) -> None:
        if self.means.ndim != 2:
            raise ConfigError(
                f"means must have the shape [components, size], got {list(self.means.shape)}"
            )
        count, size = self.means.shape
        if self.covariances.shape != (count, size, size):
            raise ConfigError(
                f"{count} means of size {size} need covariances of shape {[count, size, size]} (or"
                f" one for all), got {list(self.covariances.shape)}"
            )
        if (
            self.weights.shape != (count,)
            or (self.weights <= 0).any()
            or not np.isclose(self.weights.sum(), 1.0)
        ):
            raise ConfigError(
                f"{count} components need as many positive weights that sum to 1, got"
                f" {self.weights.tolist()}"
            )
        if not (
            np.isfinite(self.means).all()
            and np.allclose(self.covariances, self.covariances.transpose(0, 2, 1))
        ):
            raise ConfigError("means must be finite, and covariances symmetric")
        if (np.linalg.eigvalsh(self.covariances) <= 0).any():
            raise ConfigError(
                "a covariance is not positive definite: its eigenvalues must all be positive"
            )

    def __len__(self) -> int:
        """Number of components."""
        return len(self.means)

    def densities(self, x: Any) -> Array:
        r"""Densities $N(x; \mu_k, \Sigma_k)$ under each component `[n, K]`."""
        return np.exp(self._log_densities(x))

    def density(self, x: Any) -> Array:
        """Densities under the whole mixture `[n]`."""
        found: Array = self.densities(x) @ self.weights
        return found

    def responsibilities(self, x: Any) -> Array:
        r"""The posterior probability of each component given an input, `[n, K]`.

        $p(y_k = 1 \mid x) = \pi_k N(x; \mu_k, \Sigma_k) / p(x)$, computed from
        logarithms, so that rows sum to 1 even far away from all components.
        """
        joint = self._log_densities(x) + np.log(self.weights)
        # Subtracting the maximum avoids 0 / 0 far away from all components.
        joint = np.exp(joint - joint.max(axis=1, keepdims=True))
        found: Array = joint / joint.sum(axis=1, keepdims=True)
        return found

    def classify(self, x: Any) -> NDArray[np.int64]:
        """The most probable component of each input `[n]`."""
        # The logarithm is monotonic: densities could underflow to equal zeros.
        found: NDArray[np.int64] = (self._log_densities(x) + np.log(self.weights)).argmax(axis=1)
        return found

    def mode_coverage(self, fake: Any, *, responsibilities: Any = None) -> Coverage:
        """Count the components that samples cover.

        A component is covered if it is the most responsible one for at least one
        sample.

        Args:
            fake: Samples `[n, D]`, usually of a generator.
            responsibilities: Scores `[n, K]` to assign the samples by, if they are
                already known; they need not be normalised.

        References:
            V. Dumoulin et al., *Adversarially Learned Inference*, ICLR, 2017,
            arXiv:1606.00704.
        """
        given = (
            self.responsibilities(fake)
            if responsibilities is None
            else as_points(responsibilities, len(self))
        )
        return Coverage(len(np.unique(given.argmax(axis=1))), given)

    def symmetric_kl(
        self,
        fake: Any,
        real: Any,
        *,
        method: Literal["histogram", "kernel"] = "histogram",
        bandwidth: float = 1.0,
        floor: float = 1e-5,
    ) -> float:
        r"""Estimate the symmetric divergence between samples and the mixture.

        The divergence is $KL(q \,\|\, p) + KL(p \,\|\, q)$ between the distribution $q$
        of the samples and the mixture $p$. The density $q$ is estimated from the
        samples, and both terms are means over samples. Such an estimate is crude: use
        it for comparisons, not as an absolute number.

        Args:
            fake: Samples of $q$, `[n, D]`.
            real: Samples of $p$, `[m, D]`.
            method: Estimator of $q$: a histogram with $\sqrt{n}$ bins per dimension (at
                most two dimensions), or a Gaussian kernel around each sample.
            bandwidth: Standard deviation of the kernel.
            floor: Lower bound of densities before their logarithm is taken.

        Raises:
            ConfigError: The method is unknown or not possible, or a number is not
                positive.
        """
        if not (bandwidth > 0 and floor > 0):
            raise ConfigError(
                f"bandwidth and floor must be positive, got {bandwidth:g} and {floor:g}"
            )
        fakes, reals = as_points(fake, self.means.shape[1]), as_points(real, self.means.shape[1])
        if method == "histogram":
            at_fake, at_real = _histogram(fakes, reals)
        elif method == "kernel":
            at_fake, at_real = _kernels(fakes, reals, bandwidth)
        else:
            raise ConfigError(f"method must be 'histogram' or 'kernel', got {method!r}")

        def log(values: Array) -> Array:
            # Empty bins have density 0, whose logarithm is not finite.
            return np.log(np.maximum(values, floor))

        forward = (log(at_fake) - log(self.density(fakes))).mean()
        backward = (log(self.density(reals)) - log(at_real)).mean()
        return float(forward + backward)

    def _log_densities(self, x: Any) -> Array:
        points = as_points(x, self.means.shape[1])
        # Solving with Cholesky factors is stable; an inverse would not be.
        factors = np.linalg.cholesky(self.covariances)
        away = points[None] - self.means[:, None]  # [K, n, D]
        scaled = np.linalg.solve(factors, away.transpose(0, 2, 1))  # [K, D, n]
        volumes = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        size = self.means.shape[1]
        found: Array = (
            -0.5 * (scaled**2).sum(axis=1) - volumes[:, None] - 0.5 * size * np.log(2 * np.pi)
        ).T
        return found


def as_points(x: Any, size: int) -> Array:
    """Inputs as an array `[n, size]`.

    Raises:
        ConfigError: Their shape differs, there are none, or one is not finite.
    """
    # On the CPU, since numpy computes.
    points = _numbers(x.detach().cpu() if isinstance(x, torch.Tensor) else x, "inputs")
    if points.ndim != 2 or points.shape[1] != size or not len(points):
        raise ConfigError(f"inputs of shape [n, {size}] were expected, got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ConfigError(
            f"inputs must be finite, but row {np.isfinite(points).all(axis=1).argmin()} is not"
        )
    return points


def _numbers(values: Any, what: str) -> Array:
    """Anything array-like as an array.

    Raises:
        ConfigError: They are not numbers, or rows have different lengths.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what} must be numbers, in rows of equal length ({error})") from error


def _histogram(fakes: Array, reals: Array) -> tuple[Array, Array]:
    if fakes.shape[1] > 2:
        raise ConfigError(
            f"a histogram in {fakes.shape[1]} dimensions would be empty almost everywhere: choose"
            " method='kernel'"
        )
    # The usual rule of thumb for the number of bins.
    bins = max(int(np.sqrt(len(fakes))), 1)
    counts, edges = np.histogramdd(fakes, bins=bins, density=True)

    def look_up(points: Array) -> Array:
        # A bin includes its lower edge; the last bin includes both.
        where = [
            np.searchsorted(edge, column, side="right") - 1
            for edge, column in zip(edges, points.T, strict=True)
        ]
        where = [
            np.where(column == edge[-1], bins - 1, place)
            for place, edge, column in zip(where, edges, points.T, strict=True)
        ]
        inside = np.all([(place >= 0) & (place < bins) for place in where], axis=0)
        found = np.zeros(len(points))
        found[inside] = counts[tuple(place[inside] for place in where)]
        return found

    return look_up(fakes), look_up(reals)


def _kernels(fakes: Array, reals: Array, bandwidth: float) -> tuple[Array, Array]:
    from sklearn.neighbors import KernelDensity

    estimate = KernelDensity(kernel="gaussian", bandwidth=bandwidth).fit(fakes)
    return np.exp(estimate.score_samples(fakes)), np.exp(estimate.score_samples(reals))
