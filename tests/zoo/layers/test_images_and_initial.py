from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypnet_core import MainNetwork, TargetSpec
from hypnet_core.errors import SpecError, WeightsError
from hypnet_core.networks import weights_of
from hypnet_zoo.init import normal_, start_from, xavier_
from hypnet_zoo.layers import FromFlatHWC, LocalConv2d, with_spectral_norms
from hypnet_zoo.layers.images import halved
from hypnet_zoo.mainnets import MLP


def test_flat_hwc_images_become_chw() -> None:
    x = torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(FromFlatHWC((3, 5, 6))(x.permute(0, 2, 3, 1).flatten(1)), x)
    with pytest.raises(SpecError, match=r"expected flat images \[N, 90\]"):
        FromFlatHWC((3, 5, 6))(x)
    with pytest.raises(SpecError, match="in_shape must be"):
        FromFlatHWC((3, 5))


def network() -> Any:
    return nn.Sequential(
        LocalConv2d(2, 50, 6, 3), nn.BatchNorm2d(50), nn.Flatten(), nn.Linear(800, 300)
    )


def test_xavier_and_normal_draws() -> None:
    torch.manual_seed(0)
    net = network()
    xavier_(net)
    assert net[0].weight.std().item() == pytest.approx((2 / (18 + 450)) ** 0.5, rel=0.02)
    assert net[3].weight.std().item() == pytest.approx((2 / 1100) ** 0.5, rel=0.02)
    assert not net[3].bias.any()
    assert torch.equal(net[1].weight, torch.ones(50))
    nn.init.ones_(net[3].bias)
    normal_(net, std=0.1, zero_bias=False)
    assert net[0].weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert torch.equal(net[3].bias, torch.ones(300))


def test_weights_from_outside_are_copied() -> None:
    net, other = network(), network()
    start_from(net, weights_of(other))
    torch.testing.assert_close(weights_of(net, TargetSpec.of(net)).flat, weights_of(other).flat)
    with pytest.raises(WeightsError, match="missing"):
        start_from(net, {})


def test_spectral_norm_of_every_layer() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    with_spectral_norms(net)
    for _ in range(50):
        net(torch.randn(1, 1, 4, 4))
    for layer in (net[0], net[2]):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=1e-2
        )


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (1, 20, 7, 9), (4, 5, 2, 3), (3, 4, 5, 1, 2, 2)])
@pytest.mark.parametrize("channels_first", [True, False])
def test_pooling_without_gradients_is_torch_s(shape: tuple[int, ...], channels_first: bool) -> None:
    x = torch.randn(shape)
    x[0, 0, ..., 0, 0] = torch.nan
    if not channels_first:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    flat = x.reshape(-1, *shape[-3:])
    expected = F.max_pool2d(flat, 2).reshape(*shape[:-2], shape[-2] // 2, shape[-1] // 2)
    torch.testing.assert_close(halved(x), expected, equal_nan=True, rtol=0, atol=0)
    if x.ndim == 4:
        torch.testing.assert_close(
            halved(x.requires_grad_()), expected, equal_nan=True, rtol=0, atol=0
        )


def test_spectral_norm_is_not_put_in_twice_nor_on_weights_from_outside() -> None:
    network = MLP((4,), 2, spectral_norm=True)
    names = [name for name, _ in network.named_modules()]
    with_spectral_norms(network)
    assert [name for name, _ in network.named_modules()] == names
    with pytest.raises(SpecError, match="comes from outside"):
        with_spectral_norms(MainNetwork(MLP((4,), 2)).module)


def test_a_network_starts_from_one_set_of_weights() -> None:
    with pytest.raises(WeightsError, match=r"one set of weights, got a batch of \[3\]"):
        start_from(nn.Linear(2, 2), {"weight": torch.zeros(3, 2, 2), "bias": torch.zeros(3, 2)})
