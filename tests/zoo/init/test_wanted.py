from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import TargetSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_zoo.init import Init, Moments, wanted_moments
from hypnet_zoo.init.moments import scalar_moments

LAYERS = nn.Sequential(
    nn.Linear(200, 50), nn.BatchNorm1d(50), nn.Conv2d(4, 8, 3, bias=False), nn.Embedding(5, 3)
)
TARGET = TargetSpec.of(LAYERS)


def starts(**options: Any) -> dict[str, Moments]:
    return dict(zip(TARGET.names, wanted_moments(TARGET, Init(**options)), strict=True))


def test_kaiming_and_xavier_variances_are_those_of_torch() -> None:
    """Torch's initialisers, measured on large samples, are the oracle."""
    weight = torch.empty(400, 900)
    target = TargetSpec.from_shapes([weight.shape])
    torch.manual_seed(0)
    cases: list[tuple[Any, dict[str, Any]]] = [
        (lambda: nn.init.kaiming_normal_(weight, mode="fan_in"), {"fan": "in"}),
        (lambda: nn.init.kaiming_normal_(weight, mode="fan_out"), {"fan": "out"}),
        (lambda: nn.init.xavier_normal_(weight), {"fan": "harmonic", "scheme": "xavier"}),
    ]
    for fill, options in cases:
        fill()
        assert wanted_moments(target, Init(**options))[0].variance == pytest.approx(
            weight.var().item(), rel=0.02
        )


def test_the_harmonic_mean_lies_between_the_two() -> None:
    inward, outward, harmonic = (
        starts(fan=fan)["0.weight"].variance for fan in ("in", "out", "harmonic")
    )
    assert (inward, outward) == pytest.approx((2 / 200, 2 / 50))
    assert harmonic == pytest.approx(2 * 2 / 250)
    assert inward < harmonic < outward


@pytest.mark.parametrize("fan", ["in", "out"])
def test_shared_biases_keep_the_size_of_activations_or_gradients(fan: Any) -> None:
    """Inputs of mean square 1 give 2 before the rectifier, as in the paper."""
    torch.manual_seed(0)
    n, m = (300, 600) if fan == "in" else (300, 900)
    target = TargetSpec.of(nn.Linear(n, m))
    w, b = wanted_moments(target, Init(fan=fan, bias="share"))
    x = torch.randn(400, n)
    y = x @ (torch.randn(n, m) * w.variance**0.5) + torch.randn(m) * b.variance**0.5
    assert y.square().mean().item() == pytest.approx(2.0, rel=0.1)
    if fan == "out":
        gradient = torch.randn(400, m) @ (torch.randn(m, n) * w.variance**0.5)
        assert gradient.square().mean().item() == pytest.approx(2.0, rel=0.1)
    else:
        assert n * w.variance == pytest.approx(b.variance)


def test_a_layer_without_a_bias_keeps_all_its_variance() -> None:
    assert starts(bias="share")["2.weight"].variance == pytest.approx(2 / 36)
    assert starts(bias="share")["0.weight"].variance == pytest.approx(1 / 200)


def test_biases_may_start_like_torchs() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(30, 20000)
    _, bias = wanted_moments(TargetSpec.of(layer), Init(bias="torch"))
    assert bias.variance == pytest.approx(layer.bias.var().item(), rel=0.05)


def test_norms_gains_and_embeddings_start_as_usual() -> None:
    found = starts()
    assert found["1.weight"] == Moments(1.0, 0.0)
    assert found["1.bias"] == Moments(0.0, 0.0)
    assert found["3.weight"] == Moments(0.0, 1.0)


def test_overrides_go_by_kind_and_by_name_and_the_last_wins() -> None:
    found = starts(
        overrides={"norm_scale": (0.5, 0.1), "*.weight": Moments(0.0, 7.0), "0.weight": (2.0, 0.0)}
    )
    assert found["1.weight"] == Moments(0.0, 7.0)
    assert found["0.weight"] == Moments(2.0, 0.0)
    with pytest.raises(SpecError, match="did you mean 'norm_scale'"):
        starts(overrides={"norm_scal": (1.0, 0.0)})
    with pytest.raises(ConfigError, match=r"overrides.bias.1: .*greater than or equal to 0"):
        starts(overrides={"bias": (0.0, -1.0)})


def test_scalars_repeat_what_their_tensor_wants() -> None:
    means, variances = scalar_moments(TARGET, wanted_moments(TARGET))
    assert means.shape == variances.shape == (TARGET.numel,)
    assert means[TARGET.slice_of("1.weight")].eq(1).all()
    assert variances[TARGET.slice_of("2.weight")].sub(2 / 36).abs().max() < 1e-7
