"""Modules that recompute activations in the backward pass, against plain copies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnet_core import MainNetwork, Weights, weights_of
from hypnet_core.errors import WeightsError


class Checkpointed(nn.Module):
    """Two blocks that are recomputed in the backward pass."""

    def __init__(self, reentrant: bool | None, *, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.a = nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6) if norm else nn.Identity(), nn.Dropout(dropout)
        )
        self.b = nn.Sequential(nn.Tanh(), nn.Linear(6, 4), nn.ReLU(inplace=True))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in (self.a, self.b):
            x = (
                block(x)
                if self.reentrant is None
                else checkpoint(block, x, use_reentrant=self.reentrant)
            )
        y: Tensor = self.head(x)
        return y


def plain_gradients(module: nn.Module, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradients of a plain copy without recomputation."""
    fresh = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            parameter.copy_(weights[name])
    torch.manual_seed(7)
    y = fresh(x)
    y.cos().sum().backward()
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in fresh.parameters()]
    return y.detach(), torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["plain", "norm", "dropout"])
def test_outputs_and_gradients_equal_a_plain_copys(
    reentrant: bool, training: bool, kind: str
) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"norm": kind == "norm", "dropout": 0.5 * (kind == "dropout")}
    module = Checkpointed(None, **options).train(training)
    net = MainNetwork(Checkpointed(reentrant, **options).train(training))
    # The inputs carry gradients, as checkpoints of that kind need.
    x = torch.randn(5, 4, requires_grad=True)
    sets = [weights_of(module) + 0.3 * torch.randn(net.target.numel) for _ in range(2)]
    for weights in (*sets, sets[0]):
        leaf = weights.flat.clone().requires_grad_()
        torch.manual_seed(7)
        y = net(x, weights=Weights(leaf, net.target))
        y.cos().sum().backward()
        expected, gradient = plain_gradients(module, weights, x)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(leaf.grad, gradient)


@pytest.mark.parametrize("reentrant", [False, True])
def test_two_calls_before_one_backward_pass_keep_their_own_weights(reentrant: bool) -> None:
    torch.manual_seed(0)
    module = Checkpointed(None)
    net = MainNetwork(Checkpointed(reentrant))
    x = torch.randn(5, 4, requires_grad=True)
    batch = torch.randn(3, net.target.numel, requires_grad=True)
    net(x, weights=Weights(batch, net.target)).cos().sum().backward()
    assert batch.grad is not None
    for i in range(3):
        _, gradient = plain_gradients(module, Weights(batch[i].detach(), net.target), x)
        torch.testing.assert_close(batch.grad[i], gradient)
    assert net.batching_used == "loop"


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_reach_the_hypernetwork_once(reentrant: bool) -> None:
    """A graph behind the weights, which nested backward passes would free."""
    torch.manual_seed(0)
    net = MainNetwork(Checkpointed(reentrant))
    head = nn.Linear(3, net.target.numel)
    x, e = torch.randn(5, 4, requires_grad=True), torch.randn(3)
    flat = head(e).tanh()
    net(x, weights=Weights(flat, net.target)).cos().sum().backward()
    _, gradient = plain_gradients(Checkpointed(None), Weights(flat.detach(), net.target), x)
    expected = torch.outer(gradient * (1 - flat.detach() ** 2), e)
    torch.testing.assert_close(head.weight.grad, expected)


def test_own_parameters_and_inputs_get_their_gradients() -> None:
    torch.manual_seed(0)
    module = Checkpointed(False)
    plain = Checkpointed(None)
    plain.load_state_dict(module.state_dict())
    net = MainNetwork(module, generate="a.*")
    x, y = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    with torch.no_grad():
        y.copy_(x)
    weights = weights_of(plain, net.target)
    net(x, weights=weights).sum().backward()
    plain(y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(module.head.weight.grad, plain.head.weight.grad)
    torch.testing.assert_close(module.b[1].weight.grad, plain.b[1].weight.grad)


def test_recomputation_reads_the_statistics_of_its_condition() -> None:
    torch.manual_seed(0)
    nets = [MainNetwork(Checkpointed(way, norm=True), generate="head.*") for way in (None, False)]
    nets[1].load_state_dict(nets[0].state_dict())
    weights = Weights(torch.randn(3, nets[0].target.numel), nets[0].target)
    for net in nets:
        for i, one in enumerate(weights.unbind()):
            torch.manual_seed(i)
            net(torch.randn(8, 4) * (1 + 3 * i) + i, weights=one, condition=i)
    nets[1].bank.load_state_dict(nets[0].bank.state_dict())
    grads = []
    for net in nets:
        net.eval()
        torch.manual_seed(1)
        x = torch.randn(5, 4, requires_grad=True)
        net(x, weights=weights, condition=[0, 1, 2]).cos().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_the_first_call_leaves_no_trace_of_a_second_attempt() -> None:
    torch.manual_seed(0)
    plain = MainNetwork(nn.Sequential(nn.BatchNorm1d(4), Checkpointed(None, dropout=0.5)))
    net = MainNetwork(nn.Sequential(nn.BatchNorm1d(4), Checkpointed(False, dropout=0.5)))
    weights, x = Weights(torch.randn(plain.target.numel), plain.target), torch.randn(8, 4)
    outputs = []
    for one in (plain, net):
        torch.manual_seed(3)
        outputs.append(one(x, weights=weights, condition=0))
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(dict(plain.bank.named_buffers()), dict(net.bank.named_buffers()))


def test_checkpointing_that_is_switched_on_later_is_right_or_named() -> None:
    torch.manual_seed(0)
    plain, x = Checkpointed(None), torch.randn(5, 4, requires_grad=True)
    for reentrant in (False, True):
        module = Checkpointed(None)
        net = MainNetwork(module)
        leaf = torch.randn(net.target.numel, requires_grad=True)
        weights = Weights(leaf, net.target)
        net(x, weights=weights).sum().backward()
        leaf.grad = None
        module.reentrant = reentrant
        loss = net(x, weights=weights).cos().sum()
        if reentrant:
            with pytest.raises(WeightsError, match="comes from outside and has no value here"):
                loss.backward()
        else:
            loss.backward()
            _, gradient = plain_gradients(plain, Weights(leaf.detach(), net.target), x)
            torch.testing.assert_close(leaf.grad, gradient)


def test_second_derivatives_are_refused() -> None:
    net = MainNetwork(Checkpointed(False))
    leaf = torch.randn(net.target.numel, requires_grad=True)
    loss = net(torch.randn(5, 4), weights=Weights(leaf, net.target)).cos().sum()
    (grad,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


def test_saved_tensors_hooks_of_the_caller_stay_in_force() -> None:
    plain = nn.Linear(4, 2)
    net = MainNetwork(nn.Linear(4, 2))
    packed: list[Tensor] = []
    leaf = weights_of(plain).flat.requires_grad_()

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = net(torch.ones(1, 4), weights=Weights(leaf, net.target)).cos()
    assert packed
    y.sum().backward()
    assert leaf.grad is not None
