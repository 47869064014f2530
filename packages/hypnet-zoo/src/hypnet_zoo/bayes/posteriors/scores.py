r"""Directions in which draws from an unknown density should move.

An implicit distribution $q$ has draws, but no density. Both functions here use a radial
kernel $k(x, y) = \exp(-\lVert x - y \rVert^2 / 2 h^2)$ between draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.errors import SpecError


def ssge(draws: Tensor, *, width: float | None = None, share: float = 0.99) -> Tensor:
    r"""Estimate the score $\nabla \log q$ at draws of $q$ (spectral Stein estimator).

    With the eigenvectors $u_j$ and eigenvalues $\lambda_j$ of the kernel between $M$
    draws, the score is a sum over eigenfunctions $\psi_j$,

    $$ \nabla \log q(x) \approx \sum_{j \le J} \beta_j \psi_j(x), \qquad \beta_j =
    -\frac{1}{M} \sum_m \nabla \psi_j(x_m) $$

    Args:
        draws: `[M, n]`.
        width: $h$; the median distance between draws by default.
        share: $J$ is the least number of eigenvalues with this share of their sum.

    Returns:
        `[M, n]`, without gradient.

    Raises:
        SpecError: There are fewer than 2 draws.

    References:
        J. Shi, S. Sun, J. Zhu: A spectral approach to gradient estimation for implicit
        distributions. ICML 2018, arXiv:1806.02925, eq. 8 and 14.
    """
    x = draws.detach()
    kernel, width = _kernel(x, width)
    count = len(x)
    values, vectors = torch.linalg.eigh(kernel.double())
    values, vectors = values.flip(0).clamp(min=1e-12), vectors.flip(1)
    kept = int((values.cumsum(0) / values.sum() < share).sum()) + 1
    values, vectors = values[:kept].to(x), vectors[:, :kept].to(x)
    # Sums over x_m of the gradient of k(x_m, x_n) in its first argument.
    slopes = (kernel.sum(dim=0)[:, None] * x - kernel @ x) / width**2
    betas = -(vectors.T @ slopes) / (values[:, None] * count**0.5)
    found: Tensor = count**0.5 * vectors @ betas
    return found


def stein_direction(draws: Tensor, scores: Tensor, *, width: float | None = None) -> Tensor:
    r"""The direction that decreases $KL(q \,\|\, p)$ fastest, at draws of $q$.

    $$ \phi(x_i) = \frac{1}{M} \sum_j k(x_j, x_i) \nabla \log p(x_j) + \nabla_{x_j}
    k(x_j, x_i) $$

    A network that makes the draws follows it by the loss $-\sum_i \phi(x_i)^\top x_i$
    with $\phi$ held fixed (amortised).

    Args:
        draws: `[M, n]`.
        scores: $\nabla \log p$ at the draws, `[M, n]`; constants of $p$ do not matter.
        width: $h$; by default $h^2 = m^2 / 2 \log (M + 1)$ with the median distance
            $m$.

    Returns:
        `[M, n]`, without gradient.

    Raises:
        SpecError: There are fewer than 2 draws, or shapes differ.

    References:
        Q. Liu, D. Wang: Stein variational gradient descent. NIPS 2016,
        arXiv:1608.04471, eq. 8. Y. Feng, D. Wang, Q. Liu: Learning to draw samples with
        amortized Stein variational gradient descent. UAI 2017, arXiv:1707.06626.
    """
    if scores.shape != draws.shape:
        raise SpecError(
            f"scores {list(scores.shape)} are expected in the shape of draws {list(draws.shape)}"
        )
    x, scores = draws.detach(), scores.detach()
    if width is None:
        median = _median_distance(x)
        width = median / (2.0 * torch.log(torch.tensor(len(x) + 1.0)).item()) ** 0.5
    kernel, width = _kernel(x, width)
    repulsion = (kernel.sum(dim=0)[:, None] * x - kernel @ x) / width**2
    return (kernel @ scores + repulsion) / len(x)


def _kernel(x: Tensor, width: float | None) -> tuple[Tensor, float]:
    if x.ndim != 2 or len(x) < 2:
        raise SpecError(f"at least 2 draws [M, n] are needed, got shape {list(x.shape)}")
    width = _median_distance(x) if width is None else width
    return torch.exp(-0.5 * (torch.cdist(x, x) / width).square()), width


def _median_distance(x: Tensor) -> float:
    """The median distance of two draws; 1 if all are the same."""
    if len(x) < 2:
        return 1.0
    distance = float(torch.nn.functional.pdist(x).median())
    return distance if distance > 0 else 1.0
