from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnet_core.errors import SpecError
from hypnet_zoo.layers import SelfAttention


def test_it_starts_as_the_identity() -> None:
    x = torch.randn(2, 16, 3, 3)
    torch.testing.assert_close(SelfAttention(16)(x), x)


def test_each_pixel_mixes_the_values_of_all_pixels() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16).double()
    torch.nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)
    y, attention = layer(x, return_attention=True)
    torch.testing.assert_close(layer(x), y)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 12, dtype=torch.float64))
    query, key, value = (f(x).flatten(2) for f in (layer.query, layer.key, layer.value))
    for j in (0, 7):
        scores = torch.stack([(query[:, :, j] * key[:, :, i]).sum(1) for i in range(12)], 1)
        row = scores.exp() / scores.exp().sum(1, keepdim=True)
        torch.testing.assert_close(attention[:, j], row)
        mixed = (value * row.unsqueeze(1)).sum(-1)
        torch.testing.assert_close(y.flatten(2)[:, :, j], 0.7 * mixed + x.flatten(2)[:, :, j])


def test_spectral_norm_bounds_its_convolutions() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16, spectral_norm=True)
    for _ in range(50):
        layer(torch.randn(1, 16, 2, 2))
    for convolution in (layer.query, layer.key, layer.value):
        assert torch.linalg.matrix_norm(convolution.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=1e-2
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SelfAttention(4), "channels must be at least reduction"),
        (lambda: SelfAttention(8)(torch.zeros(1, 9, 2, 2)), r"expected inputs \[N, 8, H, W\]"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        call()
