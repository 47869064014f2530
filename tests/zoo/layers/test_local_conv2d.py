from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import MainNetwork, TargetSpec, Weights
from hypnet_core.errors import SpecError
from hypnet_zoo.layers import LocalConv2d


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": (2, 1)},
        {"kernel_size": 3, "padding": (1, 0), "stride": 2},
    ],
    ids=str,
)
def test_with_all_filters_equal_it_is_a_convolution(options: Any, bias: bool, batch: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 5, bias=bias, dtype=torch.float64, **options)
    local = LocalConv2d(2, 5, (6, 7), bias=bias, **options).double()
    with torch.no_grad():
        local.weight.copy_(conv.weight)
        if local.bias is not None and conv.bias is not None:
            local.bias.copy_(conv.bias)
    x = torch.randn(batch, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(local(x), conv(x))
    gradients = [
        torch.autograd.grad(net(x).square().sum(), [x, net.weight]) for net in (local, conv)
    ]
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    torch.testing.assert_close(gradients[0][1].sum((0, 1)), gradients[1][1])


def test_each_pixel_has_filters_of_its_own() -> None:
    torch.manual_seed(0)
    layer = LocalConv2d(2, 3, 4, 2, stride=2)
    assert layer.weight.shape == (2, 2, 3, 2, 2, 2)
    x = torch.randn(5, 2, 4, 4)
    y = layer(x)
    assert layer.bias is not None
    for h in range(2):
        for w in range(2):
            patch = x[:, :, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2]
            torch.testing.assert_close(
                y[:, :, h, w],
                torch.einsum("nikl,oikl->no", patch, layer.weight[h, w]) + layer.bias[h, w],
            )


def test_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    layer = LocalConv2d(1, 2, 3, 2).double()
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def call(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
        return y

    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(call, (x, weight))
    assert torch.autograd.gradgradcheck(call, (x, weight))


@pytest.mark.parametrize("batching", ["vmap", "loop"])
def test_batches_of_weights(batching: Any) -> None:
    torch.manual_seed(0)
    net = MainNetwork(LocalConv2d(1, 2, 3, 2), batching=batching)
    weights = Weights(torch.randn(4, net.target.numel, requires_grad=True), net.target)
    x = torch.randn(3, 1, 3, 3)
    y = net(x, weights=weights)
    torch.testing.assert_close(y, torch.stack([net(x, weights=one) for one in weights.unbind()]))
    assert net.batching_used == batching


def test_its_fans_are_those_of_one_pixel() -> None:
    weight, bias = TargetSpec.of(LocalConv2d(2, 5, 8, 3)).params
    assert (weight.kind, weight.fan_in, weight.fan_out) == ("weight", 18, 45)
    assert (bias.kind, bias.fan_in) == ("bias", 18)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((1, 1, 4, 5), {}, r"kernel_size \[5, 5\] is larger than the image \[4, 4\]"),
        ((1, 1, 4, 0), {}, "kernel_size must be positive"),
        ((1, 1, 4, 2), {"stride": 0}, "stride must be positive"),
        ((1, 1, 4, 2), {"padding": -1}, "padding must not be negative"),
        ((0, 1, 4, 2), {}, "channels must be positive"),
    ],
)
def test_impossible_sizes_are_named(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        LocalConv2d(*arguments, **options)


def test_inputs_of_the_wrong_shape_are_named() -> None:
    with pytest.raises(SpecError, match=r"expected inputs \[N, 1, 4, 4\], got \[2, 1, 4, 5\]"):
        LocalConv2d(1, 1, 4, 2)(torch.zeros(2, 1, 4, 5))
