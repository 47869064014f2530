from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from hypnet_core import MainNetwork, Weights
from hypnet_core.errors import ConditionError, WeightsError
from hypnet_core.networks.materialize import materialize
from hypnet_core.networks.weights import weights_of


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.first(x))
        return y


Case = tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]
CASES: dict[str, Case] = {
    "tied": (Tied, lambda: torch.randn(3, 4)),
    "lstm": (lambda: nn.LSTM(3, 5), lambda: torch.randn(6, 2, 3)),
    "resnet18": (
        lambda: torchvision.models.resnet18(num_classes=3),
        lambda: torch.randn(2, 3, 32, 32),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_module_with_those_weights(name: str) -> None:
    torch.manual_seed(0)
    module, x = (make() for make in CASES[name])
    assert isinstance(module, nn.Module)
    assert isinstance(x, torch.Tensor)
    net = MainNetwork(copy.deepcopy(module)).eval()
    weights = Weights(weights_of(module).flat * 1.1, net.target)
    made = materialize(net, weights)
    assert [(n, p.shape) for n, p in made.named_parameters()] == [
        (n, p.shape) for n, p in module.named_parameters()
    ]
    assert made.state_dict().keys() == module.state_dict().keys()
    torch.testing.assert_close(made(x), net(x, weights=weights))
    torch.testing.assert_close(pickle.loads(pickle.dumps(made))(x), made(x))
    assert not list(net.parameters()), "the main network stays hollow"


def test_the_statistics_are_those_of_the_condition() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    weights = Weights(torch.randn(net.target.numel), net.target)
    for condition in range(3):
        net(torch.randn(20, 3) + condition, weights=weights, condition=condition)
    net.eval()
    x = torch.randn(5, 3)
    for chosen in (0, 1, 2):
        made = materialize(net, weights, condition=chosen)
        torch.testing.assert_close(made(x), net(x, weights=weights, condition=chosen))
        known = materialize(net, weights.belonging_to(chosen))
        torch.testing.assert_close(known(x), made(x))
    with pytest.raises(ConditionError, match="statistics of 3 conditions are kept"):
        materialize(net, weights)
    fresh = MainNetwork(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))).eval()
    torch.testing.assert_close(materialize(fresh, weights)(x), fresh(x, weights=weights))


def test_a_part_of_the_weights_joins_those_that_were_there() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), generate="1.*")
    weights = Weights(torch.randn(net.target.numel), net.target)
    made = materialize(net, weights)
    x = torch.randn(5, 3)
    torch.testing.assert_close(made(x), net(x, weights=weights))
    with torch.no_grad():
        made.get_parameter("0.weight").zero_()
    assert net.module.get_parameter("0.weight").abs().sum() > 0, "a copy"


def test_a_batch_of_weights_is_no_module() -> None:
    net = MainNetwork(nn.Linear(3, 2))
    with pytest.raises(WeightsError, match=r"weights\.index"):
        materialize(net, Weights(torch.zeros(4, 8), net.target))
