from __future__ import annotations

import pytest
import torch

from hypnet_core import TargetSpec
from hypnet_zoo.init import Moments
from hypnet_zoo.layers import PerTensor

TARGET = TargetSpec.from_shapes([[4, 5], [0], [3]])


def test_each_tensor_has_its_own_gain_and_shift() -> None:
    layer = PerTensor(TARGET)
    with torch.no_grad():
        layer.gain.copy_(torch.tensor([2.0, 5.0, -1.0]))
        layer.shift.copy_(torch.tensor([0.5, 5.0, 1.0]))
    flat = torch.randn(2, 23)
    torch.testing.assert_close(
        layer(flat), torch.cat([2 * flat[:, :20] + 0.5, 1 - flat[:, 20:]], dim=1)
    )


def test_means_and_variances_are_reached_exactly_on_the_sample() -> None:
    torch.manual_seed(0)
    layer, sample = PerTensor(TARGET), 3 * torch.randn(50, 23) + 1
    layer.fit((Moments(0.0, 4.0), Moments(0.0, 1.0), Moments(-2.0, 0.25)), sample)
    first, second = layer(sample)[:, :20], layer(sample)[:, 20:]
    assert first.square().mean().item() == pytest.approx(4.0, rel=1e-4)
    assert second.mean().item() == pytest.approx(-2.0, rel=1e-4)
    assert second.var(correction=0).item() == pytest.approx(0.25, rel=1e-4)


def test_at_zero_the_gradient_reaches_the_gains() -> None:
    layer = PerTensor(TARGET)
    layer.zero_()
    out = layer(torch.ones(1, 23, requires_grad=True))
    assert out.abs().max() == 0
    out.sum().backward()
    assert layer.gain.grad is not None
    assert layer.gain.grad.tolist() == [20.0, 0.0, 3.0]
