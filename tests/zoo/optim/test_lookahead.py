from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hypnet_zoo.optim import lookahead

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam_fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adam_amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adadelta": torch.optim.Adadelta,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_is_the_step_of_a_real_optimiser_on_a_copy_and_changes_nothing(
    name: str, steps: int
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    twin = copy.deepcopy(net)
    optimizers = [OPTIMIZERS[name](n.parameters()) for n in (net, twin)]
    x = torch.randn(steps + 2, 5, 3)

    def backward(n: nn.Module, i: int) -> None:
        n.zero_grad()
        n(x[i]).square().sum().backward()

    for i in range(steps):
        for n, optimizer in zip((net, twin), optimizers, strict=True):
            backward(n, i)
            optimizer.step()
    for n in (net, twin):
        backward(n, steps)

    delta = lookahead(optimizers[0], dict(net.named_parameters()))
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    before = {key: p.detach().clone() for key, p in twin.named_parameters()}
    optimizers[1].step()
    for key, p in twin.named_parameters():
        torch.testing.assert_close(delta[key], p.detach() - before[key])

    # The optimiser itself goes on as if nobody had looked.
    optimizers[0].step()
    for n, optimizer in zip((net, twin), optimizers, strict=True):
        backward(n, steps + 1)
        optimizer.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_parameters_of_no_optimiser_do_not_move() -> None:
    net = nn.Linear(2, 2)
    net(torch.ones(1, 2)).sum().backward()
    assert set(lookahead(torch.optim.SGD([net.weight], lr=0.1), dict(net.named_parameters()))) == {
        "weight"
    }
