"""Options of main networks in full, against written-out computations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork, Weights
from hypnet_core.errors import SpecError
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.layers import ContextMod, Modulation, activation_module
from hypnet_zoo.mainnets import MLP, BiRNN, LeNet, ResNet, SimpleRNN, WideResNet


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# ---------------------------------------------------------------- activations


def bent(x: Tensor) -> Tensor:
    return x.sin() + x


@pytest.mark.parametrize(
    ("given", "function"),
    [
        ("mish", nn.functional.mish),
        ("SELU", nn.functional.selu),
        ("LeakyReLU", nn.functional.leaky_relu),
        ("log_sigmoid", nn.functional.logsigmoid),
        (torch.sin, torch.sin),
        (bent, bent),
        (nn.Softsign, nn.functional.softsign),
        (nn.Hardtanh(-0.1, 0.2), lambda x: x.clamp(-0.1, 0.2)),
        ("torch:cos", torch.cos),
        ("torch.nn:Tanhshrink", nn.functional.tanhshrink),
        ("softmax", lambda x: x.softmax(-1)),
        ("LogSoftmax", lambda x: x.log_softmax(-1)),
        (nn.Softmin, lambda x: (-x).softmax(-1)),
        (nn.Threshold(0.1, -1.0), lambda x: torch.where(x > 0.1, x, -1.0)),
        (None, lambda x: x),
    ],
    ids=[
        "mish",
        "SELU",
        "LeakyReLU",
        "log_sigmoid",
        "sin",
        "own",
        "class",
        "module",
        "import",
        "imported class",
        "softmax",
        "LogSoftmax",
        "softmin class",
        "threshold",
        "none",
    ],
)
def test_any_function_is_an_activation(given: Any, function: Any) -> None:
    torch.manual_seed(0)
    net = MLP((3,), 2, hidden=(4, 5), activation=given)
    x = torch.randn(6, 3)
    h = x
    linear = [layer for layer in net.hidden if isinstance(layer, nn.Linear)]
    for layer in linear:
        h = function(layer(h))
    torch.testing.assert_close(net(x), net.out(h))
    hypernet = HMLP(MainNetwork(net).target, ConditionSpec(count=2), activation=given)
    assert bool(hypernet([0, 1]).flat.isfinite().all())


class Swish(nn.Module):
    """An activation that torch does not know, with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weight * x).sigmoid()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("prelu", "hidden.1.weight"),
        (nn.PReLU, "hidden.1.weight"),
        (Swish, "hidden.1.function.weight"),
        (Swish(), "hidden.1.function.weight"),
    ],
    ids=["name", "class", "own class", "own module"],
)
def test_an_activation_with_parameters_has_them_from_outside(given: Any, name: str) -> None:
    net = MainNetwork(MLP((3,), 2, hidden=(4,), activation=given))
    assert name in net.target
    torch.manual_seed(0)
    weights, x = Weights(torch.randn(3, net.target.numel), net.target), torch.randn(5, 3)
    each = torch.stack([net(x, weights=one) for one in weights.unbind()])
    torch.testing.assert_close(net(x, weights=weights), each)


def test_what_is_no_activation_is_named() -> None:
    for given, said in (
        ("reluu", "there is no activation 'reluu'; did you mean 'relu'"),
        ("torch:no_such", "activation: .*no_such"),
        (3, "an activation is a name or a function, got 3"),
        ("Threshold", r"Threshold needs arguments: give a module, .* torch.nn.Threshold\(0.1"),
        (nn.Threshold, "Threshold needs arguments: give a module"),
        ("glu", "glu halves its input, so it cannot follow a layer"),
        ("MultiheadAttention", "MultiheadAttention reads three inputs"),
    ):
        with pytest.raises(SpecError, match=said):
            activation_module(given)  # type: ignore[arg-type]


def test_every_activation_of_torch_has_a_name_or_is_refused_by_it() -> None:
    refused = {"Threshold", "GLU", "Softmax2d", "MultiheadAttention"}
    for name in nn.modules.activation.__all__:
        if name in refused:
            with pytest.raises(SpecError, match=f"activation: {name}"):
                activation_module(name)
        else:
            assert activation_module(name)(torch.randn(2, 3)).shape == (2, 3)


def test_an_activation_that_changes_the_shape_is_named() -> None:
    net = MLP((3,), 2, hidden=(4,), activation=nn.GLU())
    with pytest.raises(
        SpecError, match=r"GLU\(dim=-1\) must keep the shape .* \[5, 2\] of \[5, 4\]"
    ):
        net(torch.randn(5, 3))


@pytest.mark.parametrize("given", [Swish, Swish(), bent, nn.Threshold(0.1, 0.0), "softmax"])
def test_the_output_of_any_activation_can_be_modulated(given: Any) -> None:
    torch.manual_seed(0)
    net = MLP((3,), 2, hidden=(4,), activation=given, context_mod=Modulation(position="after"))
    plain = MLP((3,), 2, hidden=(4,), activation=given)
    plain.load_state_dict(net.state_dict(), strict=False)
    context: Any = net.hidden[1].get_submodule("context")
    with torch.no_grad():
        context.normal_(0.5)
    x = torch.randn(5, 3)
    torch.testing.assert_close(net(x), plain.out(plain.hidden(x) * context.gain + context.shift))


def test_logits_before_the_output_activation() -> None:
    torch.manual_seed(0)
    net = MLP((3,), 2, out_activation="sigmoid")
    x = torch.randn(4, 3)
    outputs, logits = net(x, return_logits=True)
    torch.testing.assert_close(outputs, logits.sigmoid())
    torch.testing.assert_close(net(x), outputs)
    main = MainNetwork(net)
    weights = Weights(torch.randn(2, main.target.numel), main.target)
    both = main(x, weights=weights, return_logits=True)
    for i, one in enumerate(weights.unbind()):
        single = main(x, weights=one, return_logits=True)
        torch.testing.assert_close(both[0][i], single[0])
        torch.testing.assert_close(both[1][i], single[1])


# ---------------------------------------------------------------- modulation


def test_without_activations_the_layers_themselves_are_modulated() -> None:
    torch.manual_seed(0)
    modulation = Modulation(position="after", output=False)
    net = MLP((3,), 2, hidden=(4, 5), activation=None, context_mod=modulation)
    contexts: list[Any] = [m for m in net.modules() if isinstance(m, ContextMod)]
    assert [tuple(context.gain.shape) for context in contexts] == [(4,), (5,)]
    with torch.no_grad():
        for context in contexts:
            context.gain.fill_(2.0)
    x, first, second = torch.randn(6, 3), net.hidden[0], net.hidden[1]

    def plain(layer: Any, h: Tensor) -> Tensor:
        return nn.functional.linear(h, layer.weight, layer.bias)

    expected = net.out(2 * plain(second, 2 * plain(first, x)))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(
    ("options", "total"),
    # As the predecessor counts (hypnettorch 0.0.4), which modulates before norms and
    # knows no modulated shortcuts: their 24 feature maps have gains and shifts.
    [
        ({"shortcuts": False}, 5211),
        ({"position": "norm"}, 5211),
        ({"position": "preactivation"}, 5211),
        ({}, 5211 + 2 * (8 + 16)),
    ],
)
def test_shortcuts_and_places_of_modulation_in_wide_residual_networks(
    options: dict[str, Any], total: int
) -> None:
    net = WideResNet(
        (3, 8, 8), 5, n=1, k=1, feature_maps=(4, 4, 8, 16), context_mod=Modulation(**options)
    )
    assert count(net) == total


def test_norms_are_modulated_before_the_activation() -> None:
    torch.manual_seed(0)
    net = WideResNet(
        (3, 8, 8), 5, n=1, k=1, feature_maps=(4, 4, 8, 16), context_mod=Modulation(position="norm")
    ).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, ContextMod):
                module.normal_(0.5)
    x = torch.randn(2, 3, 8, 8)

    def modulated(norm: Any, h: Tensor) -> Tensor:
        y = nn.functional.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        shifted: Tensor = y * norm.context.gain + norm.context.shift
        return shifted

    h = net.conv1(x)
    blocks: list[Any] = [block for group in net.groups.children() for block in group.children()]
    for block in blocks:
        activated = modulated(block.norm1, h).relu()
        y = block.conv2(modulated(block.norm2, block.conv1(activated)).relu())
        h = y + (h if block.shortcut is None else block.shortcut(activated))
    h = modulated(net.norm, h).relu().mean((2, 3))
    out: Any = net.out
    expected = nn.functional.linear(h, out.weight, out.bias) * out.context.gain + out.context.shift
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("statistics", ["running", None])
def test_inputs_of_activations_are_modulated_before_their_norm(statistics: Any) -> None:
    torch.manual_seed(0)
    net = WideResNet(
        (3, 8, 8),
        5,
        n=2,
        k=1,
        feature_maps=(4, 4, 8, 16),
        statistics=statistics,
        context_mod=Modulation(position="preactivation"),
    ).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, ContextMod):
                module.normal_(0.5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]

    def activated(norm: Any, relu: Any, h: Tensor) -> Tensor:
        context = (relu if statistics is None else norm).context
        h = h * context.gain + context.shift
        if statistics is not None:
            h = (h - norm.running_mean.view(-1, 1, 1)) / (
                norm.running_var.view(-1, 1, 1) + norm.eps
            ).sqrt()
            h = h * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        return h.clamp_min(0.0)

    x = torch.randn(2, 3, 8, 8)
    h = net.conv1(x)
    blocks: list[Any] = [block for group in net.groups.children() for block in group.children()]
    for block in blocks:
        a = activated(block.norm1, block.relu1, h)
        y = block.conv2(activated(block.norm2, block.relu2, block.conv1(a)))
        # The stream itself goes on unmodulated.
        h = y + (h if block.shortcut is None else block.shortcut(a))
    h = activated(net.norm, net.relu, h).mean((2, 3))
    out: Any = net.out
    expected = nn.functional.linear(h, out.weight, out.bias) * out.context.gain + out.context.shift
    torch.testing.assert_close(net(x), expected)
    # One per convolution and one for the outputs, as many as without shortcuts.
    assert sum(isinstance(m, ContextMod) for m in net.modules()) == 1 + 3 * 4 + 1


def test_where_layers_precede_norms_their_outputs_are_the_inputs_of_activations() -> None:
    torch.manual_seed(0)
    outputs = []
    for position in ("before", "preactivation"):
        torch.manual_seed(0)
        net = MLP(
            (3,),
            2,
            hidden=(4, 5),
            batch_norm=True,
            context_mod=Modulation.model_validate({"position": position}),
        ).eval()
        torch.manual_seed(1)
        for module in net.modules():
            if isinstance(module, ContextMod):
                module.normal_(0.5)
        outputs.append(net(torch.linspace(-1, 1, 12).view(4, 3)))
    assert torch.equal(*outputs)
    for cell in ("elman", "lstm"):
        rnns = []
        for position in ("before", "preactivation"):
            torch.manual_seed(0)
            rnn = SimpleRNN(
                (3,),
                2,
                cell=cell,
                after=(4,),
                context_mod=Modulation.model_validate({"position": position}),
            )
            for module in rnn.modules():
                if isinstance(module, ContextMod):
                    module.normal_(0.5)
            rnns.append(rnn(torch.linspace(-1, 1, 24).view(2, 4, 3)))
        assert torch.equal(*rnns)


def test_networks_without_norms_have_none_to_modulate() -> None:
    with pytest.raises(SpecError, match="LeNet has no norms to modulate: use 'before' or 'after'"):
        LeNet((1, 28, 28), 3, context_mod=Modulation(position="norm"))
    net = ResNet((3, 16, 16), 3, n=1, context_mod=Modulation(position="norm", output=False))
    assert sum(isinstance(m, ContextMod) for m in net.modules()) == 1 + 3 * 2


# ---------------------------------------------------------------- recurrence


def test_linear_recurrence_is_a_power_of_its_matrix() -> None:
    torch.manual_seed(0)
    net = SimpleRNN(
        (2,), 3, recurrent=(3,), cell="elman", activation=None, bias=False, fc_out=False
    )
    layer: Any = net.recurrent[0]
    with torch.no_grad():
        layer.rnn.weight_hh_l0.mul_(0.5)
    inward, again = layer.rnn.weight_ih_l0, layer.rnn.weight_hh_l0
    x = torch.zeros(1, 5, 2)
    x[0, 0] = torch.tensor([1.0, -2.0])  # an impulse
    powers = [torch.linalg.matrix_power(again, t) @ inward @ x[0, 0] for t in range(5)]
    torch.testing.assert_close(net(x)[0], torch.stack(powers))


def test_bidirectional_layers_have_options_and_hidden_layers_of_their_own() -> None:
    torch.manual_seed(0)
    net = BiRNN(
        (3,),
        2,
        recurrent=((4,), (5,)),
        after=((6, 7), ()),
        layers=({"cell": "elman", "activation": "relu"}, {"cell": "lstm"}),
        head=(8,),
        head_batch_norm=True,
    ).eval()
    x = torch.randn(2, 4, 3)
    first: Any = net.forwards[0]
    reference = nn.RNN(3, 4, batch_first=True, nonlinearity="relu")
    reference.load_state_dict(first.recurrent[0].rnn.state_dict())
    h, _ = reference(x)
    for layer in (first.after[0], first.after[2]):
        h = layer(h).relu()
    torch.testing.assert_close(first(x), h)
    second: Any = net.forwards[1]
    assert second.recurrent[0].rnn.input_size == 2 * 7
    assert isinstance(second.recurrent[0].rnn, nn.LSTM)
    head: Any = net.head
    assert isinstance(head.hidden[1], nn.BatchNorm1d)
    assert net(x).shape == (2, 4, 2)
    # Padding does not reach the real frames.
    lengths = torch.tensor([4, 2])
    padded = x.clone()
    padded[1, 2:] = math.pi
    torch.testing.assert_close(net(padded, lengths=lengths)[1, :2], net(x, lengths=lengths)[1, :2])


def test_a_bidirectional_layer_has_its_own_modulation_and_any_function() -> None:
    torch.manual_seed(0)
    net = BiRNN(
        (3,),
        10,
        recurrent=((4,), (5,)),
        layers=(
            {"cell": "elman", "activation": torch.sin, "context_mod": {"position": "after"}},
            {"context_mod": None},
        ),
        head=None,
        context_mod=Modulation(),
    )
    first: Any = net.forwards[0]
    layer = first.recurrent[0]
    assert [isinstance(m, ContextMod) for m in net.forwards[1].modules()].count(True) == 0
    with torch.no_grad():
        layer.context.normal_(0.5)
    x = torch.randn(2, 4, 3)
    h, expected = torch.zeros(2, 4), []
    for t in range(4):
        z = nn.functional.linear(x[:, t], layer.rnn.weight_ih_l0, layer.rnn.bias_ih_l0)
        z = z + nn.functional.linear(h, layer.rnn.weight_hh_l0, layer.rnn.bias_hh_l0)
        h = z.sin() * layer.context.gain + layer.context.shift
        expected.append(h)
    torch.testing.assert_close(first(x), torch.stack(expected, 1))


def test_the_activation_of_a_bidirectional_network_is_that_of_its_other_layers() -> None:
    torch.manual_seed(0)
    net = BiRNN((3,), 2, head=(6,), activation="relu")
    x = torch.randn(2, 4, 3)
    reference = nn.LSTM(3, 10, batch_first=True, bidirectional=True)
    own: Any = (net.forwards[0], net.backwards[0])
    with torch.no_grad():
        for direction, suffix in zip(own, ("", "_reverse"), strict=True):
            for name, value in direction.recurrent[0].rnn.named_parameters():
                reference.get_parameter(name + suffix).copy_(value)
    h, _ = reference(x)
    head: Any = net.head
    torch.testing.assert_close(net(x), head.out(head.hidden[0](h).relu()))


def test_without_an_output_layer_the_last_hidden_layer_gives_the_outputs() -> None:
    torch.manual_seed(0)
    net = SimpleRNN((3,), 2, recurrent=(4,), after=(5, 2), fc_out=False)
    x = torch.randn(2, 6, 3)
    outputs, hidden = net(x, return_hidden=True)
    torch.testing.assert_close(outputs, hidden.outputs[-1])
    assert float(outputs.detach().abs().max()) <= 1.0  # tanh
