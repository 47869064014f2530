"""Losses of adversarial networks, against their formulas and optima."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hypnet_core.errors import SpecError
from hypnet_zoo.losses import (
    discriminator_accuracy,
    discriminator_loss,
    generator_loss,
    with_mean_statistics,
)

REAL, FAKE = torch.tensor([2.0, -0.5, 0.3]), torch.tensor([-1.0, 0.7])


def test_vanilla_losses_are_cross_entropies_with_smooth_labels() -> None:
    p, q = REAL.sigmoid(), FAKE.sigmoid()
    smooth = -(0.9 * p.log() + 0.1 * (1 - p).log()).mean()
    torch.testing.assert_close(
        discriminator_loss(REAL, FAKE), smooth - (1 - q).log().mean(), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        discriminator_loss(REAL, FAKE, smoothing=0.0), -p.log().mean() - (1 - q).log().mean()
    )
    torch.testing.assert_close(generator_loss(FAKE), -q.log().mean())


def test_labels_are_smooth_for_real_samples_alone() -> None:
    """The best output for real samples is finite, that for generated ones is not."""
    real = torch.zeros(1, requires_grad=True)
    fake = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([real], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = discriminator_loss(real, fake, smoothing=0.2)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(real.detach().sigmoid()) == pytest.approx(0.8, abs=1e-3)
    (slope,) = torch.autograd.grad(discriminator_loss(real, torch.tensor([-8.0]) + fake), fake)
    assert float(slope) > 0


@pytest.mark.parametrize(
    ("kind", "low", "high", "aim"),
    [("least_squares", 0.0, 1.0, 1.0), ("pearson", -1.0, 1.0, 0.0)],
)
def test_squared_losses_have_the_aims_of_the_paper(
    kind: Any, low: float, high: float, aim: float
) -> None:
    wanted = 0.5 * F.mse_loss(REAL, torch.full((3,), high))
    wanted = wanted + 0.5 * F.mse_loss(FAKE, torch.full((2,), low))
    torch.testing.assert_close(discriminator_loss(REAL, FAKE, kind), wanted)
    torch.testing.assert_close(
        generator_loss(FAKE, kind), 0.5 * F.mse_loss(FAKE, torch.full((2,), aim))
    )


def test_wasserstein_losses_are_differences_of_means() -> None:
    assert float(discriminator_loss(REAL, FAKE, "wasserstein")) == pytest.approx(-0.15 - 0.6)
    assert float(generator_loss(FAKE, "wasserstein")) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("kind", "right"),
    [("vanilla", 3), ("least_squares", 2), ("pearson", 3), ("wasserstein", 3)],
)
def test_accuracy_has_the_threshold_of_its_loss(kind: Any, right: int) -> None:
    """0.3 is real for logits, and below the middle of 0 and 1."""
    assert float(discriminator_accuracy(REAL, FAKE, kind)) == pytest.approx(right / 5)


def test_mean_statistics_stand_beside_each_sample() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    wanted = torch.tensor([[1.0, 2.0, 2.0, 4.0], [3.0, 6.0, 2.0, 4.0]])
    assert torch.equal(with_mean_statistics(x), wanted)
    with pytest.raises(SpecError, match=r"samples \[B, n\] are expected"):
        with_mean_statistics(torch.zeros(3))


def test_other_losses_and_labels_are_named() -> None:
    with pytest.raises(SpecError, match="there is no loss 'vanila'; did you mean 'vanilla'"):
        generator_loss(FAKE, "vanila")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"smoothing must lie in \[0, 1\), got 1"):
        discriminator_loss(REAL, FAKE, smoothing=1.0)
