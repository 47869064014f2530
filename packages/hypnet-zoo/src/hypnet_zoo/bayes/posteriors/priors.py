"""Distributions over weights before any data were seen."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.networks import Weights
from hypnet_core.specs import ParamKind, TargetSpec
from hypnet_zoo.bayes.posteriors.gaussian import Gaussian


def gaussian_prior(
    spec: TargetSpec,
    scale: float | Mapping[str, float] = 1.0,
    *,
    like: Tensor | None = None,
) -> Gaussian:
    """Independent Gaussians around zero.

    Args:
        spec: Names and shapes of the weights.
        scale: Standard deviation: a number, or numbers by kind of parameter (`weight`,
            `bias`, …), with 1 for the others.
        like: A tensor of the wanted device and precision.

    Raises:
        SpecError: There is no such kind, or a number is not positive.
    """
    like = torch.zeros(()) if like is None else like
    known = [kind.value for kind in ParamKind]
    values = scale if isinstance(scale, Mapping) else dict.fromkeys(known, scale)
    for kind, number in values.items():
        if kind not in known:
            raise SpecError(f"scale: there is no kind {kind!r}{did_you_mean(kind, known)}")
        if not number > 0:
            raise SpecError(f"scale must be positive, got {number}")
    each = [torch.full((p.numel,), float(values.get(p.kind.value, 1.0))) for p in spec.params]
    scales = torch.cat(each).to(like)
    return Gaussian(Weights(torch.zeros_like(scales), spec), scales)


class ScaleMixture:
    r"""Two Gaussians around zero, a wide and a narrow one, for each weight.

    $$ \log p(w) = \sum_i \log \bigl( \pi \, \mathcal{N}(w_i; 0, \sigma_1^2) + (1 -
    \pi) \, \mathcal{N}(w_i; 0, \sigma_2^2) \bigr) $$

    Args:
        spec: Names and shapes of the weights.
        wide: $\sigma_1$.
        narrow: $\sigma_2$.
        share: $\pi$, the probability of the wide one.

    Raises:
        SpecError: A scale is not positive, or the share not between 0 and 1.

    References:
        C. Blundell et al.: Weight uncertainty in neural networks. ICML 2015,
        arXiv:1505.05424, eq. 7.
    """

    def __init__(
        self, spec: TargetSpec, *, wide: float = 1.0, narrow: float = 0.0025, share: float = 0.5
    ) -> None:
        if not (wide > 0 and narrow > 0 and 0 < share < 1):
            raise SpecError(
                "a scale mixture needs positive scales and a share between 0 and 1, got"
                f" wide={wide}, narrow={narrow}, share={share}"
            )
        self.spec = spec
        self.wide, self.narrow, self.share = wide, narrow, share

    def log_prob(self, weights: Weights) -> Tensor:
        """The logarithm of the density, `[*batch]`."""
        parts = [
            math.log(share) - 0.5 * (weights.flat / scale).square() - math.log(scale)
            for share, scale in ((self.share, self.wide), (1.0 - self.share, self.narrow))
        ]
        each = torch.logsumexp(torch.stack(parts), dim=0) - 0.5 * math.log(2.0 * math.pi)
        return each.sum(dim=-1)


class LearnedPrior(nn.Module):
    """A Gaussian prior whose scales are learned, one for each tensor.

    Trained together with a posterior, it maximises the evidence (empirical Bayes). Call
    it for the distribution.

    Args:
        spec: Names and shapes of the weights.
        scale: Standard deviation at the start.
        learn_mean: Whether each tensor's mean is learned, too; it is zero otherwise.

    Raises:
        SpecError: The scale is not positive.
    """

    def __init__(self, spec: TargetSpec, scale: float = 1.0, *, learn_mean: bool = False) -> None:
        super().__init__()
        if not scale > 0:
            raise SpecError(f"scale must be positive, got {scale}")
        self.spec = spec
        self.log_scale = nn.Parameter(torch.full((len(spec.params),), math.log(scale)))
        self.mean = nn.Parameter(torch.zeros(len(spec.params)), requires_grad=learn_mean)

    def forward(self) -> Gaussian:
        """The prior as it is now."""
        sizes = torch.tensor(self.spec.sizes, device=self.mean.device)
        mean, log_scale = (
            values.repeat_interleave(sizes) for values in (self.mean, self.log_scale)
        )
        return Gaussian(Weights(mean, self.spec), log_scale.exp())
