from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypnet_core import MainNetwork, Weights, materialize
from hypnet_core.errors import ConditionError, SpecError
from hypnet_zoo.layers import ContextMod, Modulation, checkpoint_contexts, context_layers, modulate
from hypnet_zoo.mainnets import MLP


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gain_offset": True},
        {"softplus": True, "softplus_scale": 3.0},
        {"gains": False},
        {"shifts": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(5,), (4, 1, 1), (4, 2, 3), (7, 5)], ids=str)
@pytest.mark.parametrize("per_sample", [False, True])
def test_it_multiplies_by_the_gain_and_adds_the_shift(
    options: Any, shape: tuple[int, ...], per_sample: bool
) -> None:
    torch.manual_seed(0)
    layer = ContextMod(shape, **options)
    x = torch.randn(6, *{1: (5,), 2: (7, 5), 3: (4, 2, 3)}[len(shape)])
    size = (6, *shape) if per_sample else shape
    gain = torch.randn(size) if layer.gain is not None else None
    shift = torch.randn(size) if layer.shift is not None else None
    factor = torch.ones(()) if gain is None else gain
    if options.get("softplus"):
        factor = torch.log1p(torch.exp(3 * factor)) / 3
    if options.get("gain_offset"):
        factor = 1 + factor
    expected = x * factor + (torch.zeros(()) if shift is None else shift)
    torch.testing.assert_close(layer(x, gain=gain, shift=shift), expected)


def test_it_starts_as_no_modulation() -> None:
    x = torch.randn(3, 5)
    for offset in (False, True):
        torch.testing.assert_close(ContextMod((5,), gain_offset=offset)(x), x)


def test_initial_draws() -> None:
    torch.manual_seed(0)
    layer = ContextMod((10_000,))
    assert layer.gain is not None
    assert layer.shift is not None
    layer.normal_(0.5)
    assert layer.gain.mean().item() == pytest.approx(1, abs=0.02)
    assert layer.shift.std().item() == pytest.approx(0.5, abs=0.02)
    layer.uniform_(0.2)
    assert layer.gain.min() >= 0.8
    assert layer.gain.max() <= 1.2
    assert layer.shift.abs().max().item() == pytest.approx(0.2, abs=0.01)
    layer.sparse_(0.3)
    assert (layer.gain == 0).float().mean().item() == pytest.approx(0.3)
    assert (layer.gain == 1).float().mean().item() == pytest.approx(0.7)
    offset = ContextMod((10,), gain_offset=True)
    offset.sparse_(1.0)
    torch.testing.assert_close(offset(torch.ones(1, 10)), torch.zeros(1, 10))


def test_a_checkpoint_is_kept_apart_from_what_is_trained_on() -> None:
    layer = ContextMod((2,))
    layer.normal_()
    x = torch.randn(3, 2)
    first = layer(x)
    assert layer.checkpoint() == 0
    torch.testing.assert_close(layer(x), x)
    torch.testing.assert_close(layer(x, condition=0), first)
    torch.testing.assert_close(layer(x, condition=1), x)
    assert layer.checkpoint(reset=False) == 1
    twin = ContextMod((2,))
    twin.load_state_dict(layer.state_dict())
    torch.testing.assert_close(twin(x, condition=0), first)
    assert [name for name, _ in layer.named_parameters()] == ["gain", "shift"]
    with pytest.raises(ConditionError, match="no checkpoint 3"):
        layer(x, condition=3)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.net(x)
        return y


def network() -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.Tanh(),
        nn.Linear(4, 2),
    )


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, {"0": (3, 1, 1), "4": (4,), "6": (2,)}),
        ({"output": False}, {"0": (3, 1, 1), "4": (4,)}),
        ({"position": "after"}, {"2": (3, 1, 1), "5": (4,), "6": (2,)}),
        ({"position": "after", "output": False, "pixelwise": True}, {"2": (3, 2, 2), "5": (4,)}),
        (
            {"inputs": True, "output": False, "pixelwise": True},
            {"in": (2, 4, 4), "0": (3, 2, 2), "4": (4,)},
        ),
        ({"inputs": True, "output": False}, {"in": (2, 1, 1), "0": (3, 1, 1), "4": (4,)}),
    ],
    ids=str,
)
def test_modulation_goes_where_it_is_asked_for(
    options: Any, shapes: dict[str, tuple[int, ...]]
) -> None:
    net: Any = Named()
    before = dict(net.named_parameters())
    modulate(net, (2, 4, 4), Modulation(**options))
    found = {
        name.split(".")[1] if "." in name else "in": m.shape
        for name, m in net.named_modules()
        if isinstance(m, ContextMod)
    }
    assert found == shapes
    assert before.items() <= dict(net.named_parameters()).items()
    assert net.training
    assert int(net.net[1].num_batches_tracked) == 0


def test_it_equals_the_computation_written_out() -> None:
    torch.manual_seed(0)
    net = MLP((3,), 2, hidden=(4,))
    modulate(net, (3,), Modulation(inputs=True, gain_offset=True))
    for layer in net.modules():
        if isinstance(layer, ContextMod):
            layer.normal_()
    w = dict(net.named_parameters())
    x = torch.randn(5, 3)
    h = x * (1 + w["context.gain"]) + w["context.shift"]
    h = torch.relu(
        F.linear(h, w["hidden.0.weight"], w["hidden.0.bias"]) * (1 + w["hidden.0.context.gain"])
        + w["hidden.0.context.shift"]
    )
    y = (
        F.linear(h, w["out.weight"], w["out.bias"]) * (1 + w["out.context.gain"])
        + w["out.context.shift"]
    )
    torch.testing.assert_close(net(x), y)


def test_contexts_alone_may_come_from_a_hypernetwork_one_for_each_sample() -> None:
    torch.manual_seed(0)
    module = network().eval()
    modulate(module, (2, 4, 4), Modulation())
    net = MainNetwork(module, generate=("gain", "shift")).eval()
    assert net.target.numel == 2 * (3 + 4 + 2)
    weights = Weights(torch.randn(5, net.target.numel), net.target)
    x = torch.randn(5, 2, 4, 4)
    y = net(x.unsqueeze(1), weights=weights, paired=True).squeeze(1)
    torch.testing.assert_close(
        y, torch.cat([net(x[i : i + 1], weights=weights.index(i)) for i in range(5)])
    )


@pytest.mark.parametrize("batched", [False, True])
def test_a_main_network_uses_the_context_of_its_condition(batched: bool) -> None:
    torch.manual_seed(0)
    module = network()
    modulate(module, (2, 4, 4), Modulation())
    net = MainNetwork(module, generate=("weight", "bias")).eval()
    weights = Weights(torch.randn(net.target.numel), net.target)
    x = torch.randn(3, 2, 4, 4)
    outputs = []
    for number in range(2):
        for layer in module.modules():
            if isinstance(layer, ContextMod):
                layer.normal_()
        # The next number stands for the gains and shifts in use.
        outputs.append(net(x, weights=weights, condition=number))
        assert checkpoint_contexts(module) == number
    outputs.append(net(x, weights=weights, condition=2))
    with pytest.raises(ConditionError, match="layers keep tensors of earlier conditions"):
        net(x, weights=weights)
    if batched:
        stacked = Weights(weights.flat.expand(3, -1), net.target)
        found = net(x, weights=stacked, condition=[0, 1, 2])
    else:
        found = torch.stack([net(x, weights=weights, condition=i) for i in range(3)])
    torch.testing.assert_close(found, torch.stack(outputs))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ContextMod((3,), gains=False, shifts=False), "needs gains or shifts"),
        (lambda: ContextMod((3, 0)), r"sizes must be positive, got \[3, 0\]"),
        (lambda: ContextMod((3,), softplus_scale=0), "softplus_scale must be positive"),
        (
            lambda: ContextMod((3,))(torch.zeros(2, 3), gain=torch.ones(4)),
            r"gain must have shape \[3\] or \[2, 3\], got \[4\]",
        ),
        (
            lambda: ContextMod((3,), gains=False)(torch.zeros(2, 3), gain=torch.ones(3)),
            "has no gains",
        ),
        (lambda: ContextMod((3,)).sparse_(2.0), r"sparsity must lie in \[0, 1\]"),
        (lambda: modulate(nn.ReLU(), (3,), Modulation()), "no linear layer"),
        (
            lambda: modulate(network(), (2, 4, 4), Modulation(inputs=True)),
            "inputs of an nn.Sequential",
        ),
        (lambda: checkpoint_contexts(nn.Linear(1, 1)), "no context modulation"),
        (lambda: ContextMod((3,)).tensors_at(-1), "a number from 0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((SpecError, ConditionError), match=message):
        call()


def test_a_networks_dtype_and_device_are_those_of_its_context() -> None:
    network = MLP((4,), 3, hidden=(5,)).double()
    modulate(network, (4,), Modulation(inputs=True))
    assert {p.dtype for p in network.parameters()} == {torch.double}
    on_meta = MLP((4,), 3, hidden=(5,)).to("meta")
    modulate(on_meta, (4,), Modulation(inputs=True))
    assert {p.device.type for p in on_meta.parameters()} == {"meta"}


def test_batch_norm_without_running_statistics_can_be_modulated() -> None:
    network = MLP(
        (4,), 3, hidden=(5,), batch_norm=True, track_statistics=False, context_mod=Modulation()
    )
    assert [name for name, _ in network.named_parameters() if "gain" in name] == [
        "hidden.0.context.gain",
        "out.context.gain",
    ]


@pytest.mark.parametrize("output", [True, False])
def test_an_activation_of_the_outputs_is_not_a_hidden_one(output: bool) -> None:
    network = MLP(
        (4,),
        3,
        hidden=(5,),
        out_activation="tanh",
        context_mod=Modulation(position="after", output=output),
    )
    gains = [name for name, _ in network.named_parameters() if "gain" in name]
    assert gains == ["hidden.1.context.gain", *(["out.context.gain"] if output else [])]


def test_a_materialised_network_has_the_context_of_its_condition() -> None:
    module = MLP((4,), 3, hidden=(5,), context_mod=Modulation())
    for layer in context_layers(module):
        layer.normal_()
    checkpoint_contexts(module)
    net = MainNetwork(module, generate="weight")
    weights = Weights(torch.randn(net.target.numel), net.target)
    x = torch.randn(6, 4)
    expected = net(x, weights=weights, condition=0)
    torch.testing.assert_close(materialize(net, weights, condition=0)(x), expected)
    assert not torch.allclose(materialize(net, weights, condition=1)(x), expected)
    with pytest.raises(ConditionError, match="layers keep tensors of earlier conditions"):
        materialize(net, weights)


def test_a_network_is_modulated_once() -> None:
    with pytest.raises(SpecError, match="MLP is modulated already"):
        modulate(MLP((4,), 3, context_mod=Modulation()), (4,), Modulation())


def test_samples_keep_their_gains_at_all_time_steps() -> None:
    x, gain, shift = torch.randn(5, 5, 2), torch.randn(5, 2), torch.randn(5, 2)
    y = ContextMod((2,))(x, gain=gain, shift=shift)
    torch.testing.assert_close(y, torch.stack([x[n] * gain[n] + shift[n] for n in range(5)]))


@pytest.mark.parametrize(
    ("shape", "x"), [((5,), (2, 6)), ((5,), (2, 1)), ((4, 1, 1), (2, 3, 6, 6)), ((4, 1, 1), (2, 4))]
)
def test_activations_of_another_shape_are_named(shape: tuple[int, ...], x: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="does not fit activations"):
        ContextMod(shape)(torch.zeros(x))
