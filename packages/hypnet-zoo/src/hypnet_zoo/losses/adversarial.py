"""Losses and scores of generative adversarial networks."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.errors import SpecError, did_you_mean

GanLoss = Literal["vanilla", "least_squares", "pearson", "wasserstein"]
r"""Which losses play against each other.

- `vanilla`: cross-entropy, with the generator's non-saturating loss (Goodfellow et al.,
  NIPS 2014, arXiv:1406.2661).
- `least_squares`: squared errors to 1 for real and 0 for generated samples (Mao et al.,
  ICCV 2017, arXiv:1611.04076, $a = 0, b = c = 1$).
- `pearson`: squared errors to 1 and -1; the generator aims at 0, which minimises
  Pearson's $\chi^2$ ($a = -1, b = 1, c = 0$).
- `wasserstein`: the difference of mean outputs (Arjovsky et al., ICML 2017,
  arXiv:1701.07875). The discriminator must be Lipschitz: clip its weights.
"""

_LABELS = {"least_squares": (0.0, 1.0, 1.0), "pearson": (-1.0, 1.0, 0.0)}
"""Aims for generated and real samples, and the generator's own aim."""


def discriminator_loss(
    real: Tensor, fake: Tensor, kind: GanLoss = "vanilla", *, smoothing: float = 0.1
) -> Tensor:
    r"""Loss of a discriminator, a scalar.

    Args:
        real: Its outputs for real samples, of any shape, without a last activation.
        fake: Those for generated ones.
        kind: Which loss.
        smoothing: How far labels of real samples are below 1 in `vanilla` (one-sided
            label smoothing, Salimans et al., arXiv:1606.03498); 0 for none.

    Raises:
        SpecError: There is no such loss, or the smoothing is not in [0, 1).

    Example:
        >>> real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
        >>> discriminator_loss(real, fake, "wasserstein")
        tensor(-3.)
    """
    _check(kind)
    if not 0 <= smoothing < 1:
        raise SpecError(f"smoothing must lie in [0, 1), got {smoothing}")
    if kind == "vanilla":
        labels = torch.full_like(real, 1.0 - smoothing)
        own = F.binary_cross_entropy_with_logits(real, labels)
        return own + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    low, high, _ = _LABELS[kind]
    return 0.5 * ((real - high).square().mean() + (fake - low).square().mean())


def generator_loss(fake: Tensor, kind: GanLoss = "vanilla") -> Tensor:
    """Loss of a generator, a scalar.

    Args:
        fake: Outputs of the discriminator for generated samples, of any shape.
        kind: Which loss, that of the discriminator.

    Raises:
        SpecError: There is no such loss.
    """
    _check(kind)
    if kind == "vanilla":
        # Non-saturating: gradients do not vanish where the discriminator is right.
        return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    if kind == "wasserstein":
        return -fake.mean()
    return 0.5 * (fake - _LABELS[kind][2]).square().mean()


def discriminator_accuracy(real: Tensor, fake: Tensor, kind: GanLoss = "vanilla") -> Tensor:
    """Share of samples on the right side of the discriminator's threshold.

    That lies in the middle of the aims: at 0.5 for `least_squares`, else at 0, which is
    a probability of one half for the logits of `vanilla`. For `wasserstein`, whose
    outputs have no zero, the number only shows a tendency.

    Args:
        real: Outputs for real samples.
        fake: Outputs for generated samples.
        kind: Which loss the discriminator is trained with.

    Returns:
        A scalar from 0 to 1.

    Raises:
        SpecError: There is no such loss.
    """
    _check(kind)
    threshold = 0.5 if kind == "least_squares" else 0.0
    right = torch.cat([(real > threshold).flatten(), (fake <= threshold).flatten()])
    return right.float().mean()


def with_mean_statistics(x: Tensor) -> Tensor:
    """Append the mean over the batch to each sample, so that a lack of variety shows.

    Args:
        x: Samples `[B, n]`.

    Returns:
        `[B, 2 n]`.

    Raises:
        SpecError: The samples are no vectors.
    """
    if x.ndim != 2:
        raise SpecError(f"samples [B, n] are expected, got shape {list(x.shape)}")
    return torch.cat([x, x.mean(dim=0, keepdim=True).expand_as(x)], dim=1)


def _check(kind: str) -> None:
    known = get_args(GanLoss)
    if kind not in known:
        raise SpecError(f"there is no loss {kind!r}{did_you_mean(kind, known)}")
