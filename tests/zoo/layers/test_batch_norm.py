from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork, TargetSpec
from hypnet_core.errors import SpecError
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.layers import BatchNorm

GIVEN = "given"


def statistics_of(layer: BatchNorm, given: tuple[Tensor, Tensor] | None) -> list[Tensor]:
    kept = given or (layer.running_mean, layer.running_var)
    return [t.detach().clone() for t in kept if t is not None]


@pytest.mark.parametrize(
    ("training", "kind", "uses_batch", "updates"),
    [
        (True, GIVEN, True, True),
        (True, "running", True, True),
        (True, "frozen", False, False),
        (True, "learnable", True, True),
        (True, "batch", True, False),
        (False, "running", False, False),
        (False, "frozen", False, False),
        (False, "learnable", False, False),
        (False, GIVEN, False, False),
        (False, "batch", True, False),
    ],
)
@pytest.mark.parametrize("space", [(), (5,), (2, 3)], ids=str)
def test_which_statistics_are_used_and_which_updated(
    training: bool, kind: Any, uses_batch: bool, updates: bool, space: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = BatchNorm(4, statistics="running" if kind == GIVEN else kind).train(training)
    given = (torch.randn(4), torch.rand(4) + 1) if kind == GIVEN else None
    x = 3 * torch.randn(6, 4, *space) + 1
    before = statistics_of(layer, given)
    y = layer(x, *(given or ()))
    after = statistics_of(layer, given)
    dims = [0, *range(2, x.ndim)]
    batch_mean = x.mean(dims, keepdim=True)
    centred = (x - batch_mean) / (x.var(dims, unbiased=False, keepdim=True) + 1e-5).sqrt()
    if uses_batch:
        torch.testing.assert_close(y, centred)
    else:
        mean, var = before or (torch.zeros(4), torch.ones(4))
        shape = (1, 4, *(1 for _ in space))
        torch.testing.assert_close(y, (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) is updates
    if updates:
        torch.testing.assert_close(after[0], 0.9 * before[0] + 0.1 * batch_mean.flatten())
        torch.testing.assert_close(after[1], 0.9 * before[1] + 0.1 * x.var(dims, unbiased=True))


def test_running_statistics_are_torchs_own_layer() -> None:
    torch.manual_seed(0)
    ours, torchs = BatchNorm(3), nn.BatchNorm2d(3)
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    for _ in range(3):
        x = torch.randn(4, 3, 5, 5)
        torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(dict(ours.state_dict()), dict(torchs.state_dict()))
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x))


def test_learnable_statistics_learn_by_gradients_in_evaluation() -> None:
    layer = BatchNorm(2, statistics="learnable").eval()
    layer(torch.randn(5, 2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    kinds = {p.name: p.kind.value for p in TargetSpec.of(layer).params}
    assert kinds == {
        "weight": "norm_scale",
        "bias": "norm_shift",
        "running_mean": "norm_shift",
        "running_var": "norm_scale",
    }


def test_given_statistics_may_carry_a_gradient() -> None:
    mean = torch.zeros(2, requires_grad=True)
    BatchNorm(2).eval()(torch.randn(5, 2), mean, torch.ones(2)).sum().backward()
    torch.testing.assert_close(mean.grad, torch.full((2,), -5.0), atol=1e-3, rtol=0)


def test_each_condition_has_statistics_of_its_own() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(2, 3), BatchNorm(3)), generate="0.*").train()
    weights = {"0.weight": torch.ones(3, 2), "0.bias": torch.zeros(3)}
    net(torch.randn(8, 2), weights=weights, condition=0)
    net(10 + torch.randn(8, 2), weights=weights, condition=1)
    assert (
        net.statistics(1)["1.running_mean"].mean() > 1 > net.statistics(0)["1.running_mean"].mean()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BatchNorm(0), "num_features must be positive, got 0"),
        (lambda: BatchNorm(3, **cast("Any", {"statistics": "runing"})), "did you mean 'running'"),
        (lambda: BatchNorm(3)(torch.zeros(2, 4)), r"expects inputs \[N, 3, ...\], got \[2, 4\]"),
        (lambda: BatchNorm(3)(torch.zeros(2, 3), torch.zeros(3)), "given together"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        call()


@pytest.mark.parametrize("condition", [0, [0, 1]], ids=str)
def test_generated_statistics_are_never_written_to(condition: Any) -> None:
    torch.manual_seed(0)
    net = MainNetwork(nn.Sequential(nn.Linear(2, 3), BatchNorm(3, statistics="learnable"))).train()
    hnet = HMLP(net.target, ConditionSpec(count=2, size=4))
    weights = hnet(condition)
    before = weights.flat.detach().clone()
    net(torch.randn(8, 2), weights=weights).square().sum().backward()
    torch.testing.assert_close(weights.flat, before, rtol=0, atol=0)
    assert all(p.grad is not None for p in hnet.unconditional_parameters())
    with torch.no_grad():
        net(torch.randn(8, 2), weights=weights.detach())
    torch.testing.assert_close(weights.flat, before, rtol=0, atol=0)


def test_given_statistics_that_are_computed_stay_as_they_are() -> None:
    mean, var = torch.zeros(2, 2, requires_grad=True).exp().unbind(0)
    BatchNorm(2).train()(torch.randn(5, 2), mean, var).square().sum().backward()
    assert mean.tolist() == var.tolist() == [1.0, 1.0]
