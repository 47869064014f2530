"""Samplers that fit a distribution: what each can express, and resumption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnet_core import TargetSpec
from hypnet_core.errors import ConfigError
from hypnet_core.networks import Weights
from hypnet_zoo.bayes import sample

SPEC = TargetSpec.from_shapes([[3]], names=["w"])
MEAN = torch.tensor([1.0, -2.0, 0.5])
SCALE = torch.tensor([0.1, 1.0, 3.0])
ONE = TargetSpec.from_shapes([[1]], names=["w"])


def gaussian(params: Mapping[str, Tensor]) -> Tensor:
    return -0.5 * ((params["w"] - MEAN) / SCALE).square().sum(dim=1)


def two_modes(params: Mapping[str, Tensor]) -> Tensor:
    """w² = 1 was observed."""
    w = params["w"][:, 0]
    return -20.0 * (w.square() - 1.0).square() - 0.5 * w.square()


def starts(spec: TargetSpec, chains: int = 4) -> Weights:
    generator = torch.Generator().manual_seed(0)
    return Weights(torch.randn(chains, spec.numel, generator=generator), spec)


def drawn(density: Any, sampler: Any, spec: TargetSpec, **options: Any) -> Tensor:
    chosen = {"chains": 4, "warmup": 1500, "draws": 500, "progress": False, **options}
    return sample(density, sampler, starts(spec), **chosen).weights["w"].flatten(0, 1)


def test_independent_gaussians_are_found_exactly() -> None:
    """Scales thirty times apart; 2,000 independent draws."""
    w = drawn(gaussian, {"name": "bbb", "lr": 0.05}, SPEC, warmup=3000)
    errors = 5.0 * SCALE / 2000**0.5 + 0.05 * SCALE
    assert ((w.mean(dim=0) - MEAN).abs() < errors).all()
    torch.testing.assert_close(w.std(dim=0), SCALE, rtol=0.12, atol=0.0)


@pytest.mark.parametrize(
    ("sampler", "both"),
    [
        ({"name": "bbb"}, False),
        ({"name": "implicit"}, True),
        ({"name": "implicit", "estimator": "stein"}, True),
    ],
)
def test_only_implicit_draws_hold_two_modes(sampler: Any, both: bool) -> None:
    w = drawn(two_modes, sampler, ONE, warmup=1000)
    positive = float((w > 0).float().mean())
    assert float((w.abs() - 1.0).abs().mean()) < 0.3
    if both:
        assert 0.25 < positive < 0.75
    else:
        assert positive in {0.0, 1.0}


def test_implicit_draws_are_correlated_as_the_density_is() -> None:
    """Mean-field Gaussians have no correlation; the truth is 0.9."""
    precision = torch.linalg.inv(torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    spec = TargetSpec.from_shapes([[2]], names=["w"])

    def density(params: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = -0.5 * ((params["w"] @ precision) * params["w"]).sum(dim=1)
        return found

    found = {
        name: float(torch.corrcoef(drawn(density, {"name": name}, spec).T)[0, 1])
        for name in ("bbb", "implicit")
    }
    assert abs(found["bbb"]) < 0.1
    assert found["implicit"] == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("name", ["bbb", "implicit"])
def test_an_interrupted_fit_goes_on_to_the_same_draws(tmp_path: Path, name: str) -> None:
    options: Any = {"warmup": 60, "draws": 20, "save_every": 10}
    whole = drawn(gaussian, {"name": name}, SPEC, **options)
    calls = 0

    def stops(params: Mapping[str, Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 75:
            raise KeyboardInterrupt
        return gaussian(params)

    with pytest.raises(KeyboardInterrupt):
        drawn(stops, {"name": name}, SPEC, directory=tmp_path / "chains", **options)
    calls = -10_000
    resumed = drawn(stops, {"name": name}, SPEC, directory=tmp_path / "chains", **options)
    assert torch.equal(resumed, whole)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"name": "bbb", "lr": 0.0}, "lr must be positive"),
        ({"name": "bbb", "start_scale": -1.0}, "start_scale must be positive"),
        ({"name": "implicit", "fit_draws": 1}, "at least 2 are needed"),
        ({"name": "implicit", "latent_std": 0.0}, "latent_std must be positive"),
    ],
)
def test_impossible_options_are_named(sampler: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        drawn(gaussian, sampler, SPEC)
