"""Modules that nobody here wrote: right, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hypnet_core import ConditionSpec, HyperNetwork, MainNetwork, TargetSpec, Weights, weights_of
from hypnet_core.errors import SpecError, WeightsError


def batch_of(net: MainNetwork, count: int = 3) -> Weights:
    torch.manual_seed(0)
    return Weights(torch.randn(count, net.target.numel) / 3, net.target)


@pytest.mark.parametrize("batching", ["auto", "loop", "vmap"])
def test_a_first_layer_that_works_in_place_changes_no_other_sets_input(batching: Any) -> None:
    net = MainNetwork(nn.Sequential(nn.LeakyReLU(inplace=True), nn.Linear(4, 2)), batching=batching)
    weights, x = batch_of(net), torch.randn(5, 4)
    expected = torch.stack([net(x.clone(), weights=one) for one in weights.unbind()])
    torch.testing.assert_close(net(x.clone(), weights=weights), expected)


def test_a_module_that_writes_into_its_input_is_refused_in_a_loop() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2)
            out: Tensor = self.layer(x)
            return out

    net = MainNetwork(Writes(), batching="loop")
    with pytest.raises(WeightsError, match="Writes writes into its input"):
        net(torch.ones(2, 3), weights=batch_of(net))


class Returns(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(3, 2), kind

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        return {
            "normal": Normal(y, 1.0),
            "nothing": (y, None),
            "number": {"y": y, "n": 3},
            "differing": (y, float(y.detach().sum())),
            "nested": [y, (y + 1, {"z": y * 2})],
        }[self.kind]


@pytest.mark.parametrize("kind", ["nothing", "number", "nested"])
def test_outputs_that_are_no_tensors_are_kept_where_all_sets_agree(kind: str) -> None:
    net = MainNetwork(Returns(kind), batching="loop")
    weights, x = batch_of(net), torch.randn(4, 3)
    got = net(x, weights=weights)
    each = [net(x, weights=one) for one in weights.unbind()]
    if kind == "nothing":
        assert got[1] is None
        torch.testing.assert_close(got[0], torch.stack([y for y, _ in each]))
    elif kind == "number":
        assert got["n"] == 3
        torch.testing.assert_close(got["y"], torch.stack([out["y"] for out in each]))
    else:
        torch.testing.assert_close(got[1][1]["z"], torch.stack([out[1][1]["z"] for out in each]))


@pytest.mark.parametrize(("kind", "named"), [("normal", "Normal"), ("differing", "float")])
def test_outputs_that_cannot_be_combined_are_refused_by_name(kind: str, named: str) -> None:
    net = MainNetwork(Returns(kind), batching="loop")
    with pytest.raises(WeightsError, match=f"outputs of type {named} cannot be combined"):
        net(torch.randn(4, 3), weights=batch_of(net))
    one = net(torch.randn(4, 3), weights=batch_of(net).index(0))
    assert one is not None


def test_one_wrong_call_does_not_turn_vmap_off() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    weights = batch_of(net)
    with pytest.raises(RuntimeError):
        net(torch.randn(5, 7), weights=weights)
    net(torch.randn(5, 4), weights=weights)
    assert net.batching_used == "vmap"


def test_what_vmap_cannot_do_is_remembered_once_the_loop_has_done_it() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            return y if bool((y > 0).any()) else -y

    net = MainNetwork(Branches())
    for _ in range(2):
        net(torch.randn(4, 3), weights=batch_of(net))
        assert (net.batching_used, net.batching_reason[:22]) == ("loop", "not possible with vmap")


@pytest.mark.parametrize(
    "module",
    [
        nn.MultiheadAttention(4, 2, batch_first=True),
        nn.TransformerDecoder(
            nn.TransformerDecoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 1
        ),
    ],
    ids=["attention", "decoder"],
)
def test_attention_runs_forward_and_backward_in_batches(module: nn.Module) -> None:
    net = MainNetwork(module.eval()).eval()
    start = batch_of(net).flat.requires_grad_()
    weights = Weights(start, net.target)
    x = torch.randn(2, 3, 4)
    inputs = (x, x, x) if isinstance(net.module, nn.MultiheadAttention) else (x, x)

    def output(out: Any) -> Tensor:
        found: Tensor = out[0] if isinstance(out, tuple) else out
        return found

    batch = output(net(*inputs, weights=weights))
    each = torch.stack([output(net(*inputs, weights=one)) for one in weights.unbind()])
    torch.testing.assert_close(batch, each)
    (got,) = torch.autograd.grad(batch.square().sum(), start, retain_graph=True)
    (expected,) = torch.autograd.grad(each.square().sum(), start)
    torch.testing.assert_close(got, expected)


class Listed(nn.Module):
    def __init__(self, kept: str) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        if kept == "list":
            self.ws: Any = [self.a, self.b]
        elif kept == "dict":
            self.ws = {"inner": [self.b]}
        else:
            object.__setattr__(self, "ws", self.a)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.a


@pytest.mark.parametrize(("kept", "name"), [("list", "a"), ("dict", "b"), ("attribute", "a")])
def test_parameters_in_plain_attributes_are_refused_by_name(kept: str, name: str) -> None:
    with pytest.raises(SpecError, match=f"ws holds the parameter 0.{name} outside of the module"):
        MainNetwork(nn.Sequential(Listed(kept)))
    untouched = "b" if name == "a" else "a"
    if kept == "attribute":
        MainNetwork(Listed(kept), generate=untouched)  # a parameter that stays may be kept twice


def test_recurrent_layers_keep_their_flat_list() -> None:
    layer = nn.LSTM(3, 4)
    net = MainNetwork(nn.LSTM(3, 4))
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(net(x, weights=weights_of(layer))[0], layer(x)[0])


class Linear(HyperNetwork):
    def __init__(self, target: Any, conditions: Any) -> None:
        super().__init__(target, conditions)
        self.head = nn.Linear(conditions.size, target.numel)

    def generate(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(inputs)
        return out


def test_wrong_arguments_of_constructors_are_named() -> None:
    net = MainNetwork(nn.Linear(3, 2))
    target = net.target
    with pytest.raises(SpecError, match="a TargetSpec, got a MainNetwork: pass its `target`"):
        Linear(net, ConditionSpec())
    with pytest.raises(SpecError, match=r"got 3: write ConditionSpec\(count=3\)"):
        Linear(target, 3)
    with pytest.raises(SpecError, match="a ConditionSpec, got a list"):
        Linear(target, [3])
    with pytest.raises(WeightsError, match="a tensor and a TargetSpec, got a int and a TargetSpec"):
        Weights(5, target)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="got a Tensor and a list"):
        Weights(torch.zeros(3), [3])  # type: ignore[arg-type]
    assert isinstance(target, TargetSpec)
