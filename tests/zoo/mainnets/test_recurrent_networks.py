from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import MainNetwork, Weights
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import weights_of
from hypnet_zoo.layers import ContextMod, Modulation, Recurrent
from hypnet_zoo.mainnets import BiRNN, SimpleRNN

CELLS = ["elman", "lstm"]


def layers_of(net: SimpleRNN) -> list[Recurrent]:
    return [layer for layer in net.recurrent if isinstance(layer, Recurrent)]


def wrong(value: Any) -> Any:
    """A value of a type that checkers would refuse."""
    return value


def torchs(cell: str, *sizes: Any, **options: Any) -> Any:
    return (nn.LSTM if cell == "lstm" else nn.RNN)(*sizes, batch_first=True, **options)


def shake_contexts(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, ContextMod):
            layer.normal_(0.5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_recurrent_layers_equal_torchs(cell: Any, bias: bool, activation: Any) -> None:
    torch.manual_seed(0)
    # LSTM layers keep tanh; it is the activation of a layer around them.
    around = (5,) if (cell, activation) == ("lstm", "relu") else ()
    net = SimpleRNN(
        (3,), 2, recurrent=(5, 4), after=around, cell=cell, bias=bias, activation=activation
    )
    options = {} if cell == "lstm" else {"nonlinearity": activation}
    h = x = torch.randn(6, 7, 3)
    for layer, sizes in zip(layers_of(net), ((3, 5), (5, 4)), strict=True):
        reference = torchs(cell, *sizes, bias=bias, **options)
        reference.load_state_dict(layer.rnn.state_dict())
        h, _ = reference(h)
    torch.testing.assert_close(net(x), net.out(net.after(h)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options", [{}, {"position": "after"}, {"output": False, "inputs": True}], ids=str
)
@pytest.mark.parametrize("at", [{}, {"context_at": "last_step"}, {"context_steps": 9}], ids=str)
def test_neutral_modulation_changes_nothing(cell: Any, options: Any, at: Any) -> None:
    """The loop over time against torch's fused kernel."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"recurrent": (5, 4), "before": (3,), "after": (6,), "cell": cell}
    sizes["output_step"] = cell == "elman"
    plain = SimpleRNN((3,), 2, **sizes)
    net = SimpleRNN((3,), 2, **sizes, context_mod=Modulation(**options), **at)
    net.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(4, 7, 3)
    torch.testing.assert_close(net(x), plain(x))
    shake_contexts(net)
    assert not torch.allclose(net(x), plain(x))
    net(x).square().sum().backward()
    context = layers_of(net)[0].context
    assert context is not None
    assert context.gain is not None
    assert context.gain.grad is not None
    assert context.gain.grad.any()


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("at", [{}, {"context_at": "last_step"}, {"context_steps": 6}], ids=str)
@pytest.mark.parametrize("depth", [None, 1, 3])
def test_modulated_elman_steps_written_out(position: Any, at: Any, depth: int | None) -> None:
    torch.manual_seed(0)
    net = SimpleRNN(
        *((3,), 5),
        recurrent=(5,),
        cell="elman",
        fc_out=False,
        output_step=True,
        bptt_depth=depth,
        context_mod=Modulation(position=position),
        **at,
    )
    shake_contexts(net)
    w = {name.removeprefix("recurrent.0."): p for name, p in net.named_parameters()}
    x = torch.randn(4, 6, 3)
    h, expected = torch.zeros(4, 5), []
    for t in range(6):
        row = t if at.get("context_steps") else slice(None)

        def phi(z: Tensor, t: int = t, row: Any = row) -> Tensor:
            if at.get("context_at") == "last_step" and t < 5:
                return torch.tanh(z)
            gain, shift = w["context.gain"][row], w["context.shift"][row]
            return (
                torch.tanh(z * gain + shift)
                if position == "before"
                else torch.tanh(z) * gain + shift
            )

        h = phi(
            x[:, t] @ w["rnn.weight_ih_l0"].T
            + h @ w["rnn.weight_hh_l0"].T
            + w["rnn.bias_ih_l0"]
            + w["rnn.bias_hh_l0"]
        )
        expected.append(phi(h @ w["output.weight"].T + w["output.bias"]))
    torch.testing.assert_close(net(x), torch.stack(expected, 1))


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("steps", [0, 6])
def test_modulated_layers_around_a_recurrence_written_out(position: Any, steps: int) -> None:
    torch.manual_seed(0)
    net = SimpleRNN(
        *((3,), 2),
        recurrent=(5,),
        before=(4,),
        after=(7,),
        cell="elman",
        context_mod=Modulation(position=position, inputs=True),
        context_steps=steps,
    )
    shake_contexts(net)
    w = dict(net.named_parameters())
    place = "0" if position == "before" else "1"
    x = torch.randn(4, 6, 3)
    h, expected = torch.zeros(4, 5), []
    for t in range(6):
        row = t if steps else slice(None)

        def m(z: Tensor, name: str, row: Any = row) -> Tensor:
            return z * w[f"{name}context.gain"][row] + w[f"{name}context.shift"][row]

        def phi(z: Tensor, name: str, m: Any = m) -> Tensor:
            return torch.tanh(m(z, name)) if position == "before" else m(torch.tanh(z), name)

        z = m(x[:, t], "")
        z = phi(z @ w["before.0.weight"].T + w["before.0.bias"], f"before.{place}.")
        z = z @ w["recurrent.0.rnn.weight_ih_l0"].T + w["recurrent.0.rnn.bias_ih_l0"]
        h = phi(
            z + h @ w["recurrent.0.rnn.weight_hh_l0"].T + w["recurrent.0.rnn.bias_hh_l0"],
            "recurrent.0.",
        )
        z = phi(h @ w["after.0.weight"].T + w["after.0.bias"], f"after.{place}.")
        expected.append(m(z @ w["out.weight"].T + w["out.bias"], "out."))
    torch.testing.assert_close(net(x), torch.stack(expected, 1))


@pytest.mark.parametrize("position", ["before", "after"])
def test_modulated_lstm_steps_written_out(position: Any) -> None:
    torch.manual_seed(0)
    net = SimpleRNN(
        (3,),
        5,
        recurrent=(5,),
        fc_out=False,
        context_mod=Modulation(position=position, gain_offset=True),
    )
    shake_contexts(net)
    w = {name.removeprefix("recurrent.0."): p for name, p in net.named_parameters()}
    x = torch.randn(4, 6, 3)
    h = c = torch.zeros(4, 5)
    outputs, cells = [], []
    gain, shift = 1 + w["context.gain"], w["context.shift"]
    for t in range(6):
        z = (
            x[:, t] @ w["rnn.weight_ih_l0"].T
            + h @ w["rnn.weight_hh_l0"].T
            + w["rnn.bias_ih_l0"]
            + w["rnn.bias_hh_l0"]
        )
        i, f, g, o = z.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = (
            o.sigmoid() * torch.tanh(c * gain + shift)
            if position == "before"
            else o.sigmoid() * torch.tanh(c) * gain + shift
        )
        outputs.append(h)
        cells.append(c)
    y, hidden = net(x, return_hidden=True)
    torch.testing.assert_close(y, torch.stack(outputs, 1))
    torch.testing.assert_close(hidden.internal[0], torch.stack(cells, 1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("modulated", [False, True])
def test_gradients_reach_as_far_back_as_asked_for(cell: Any, modulated: bool) -> None:
    torch.manual_seed(0)
    modulation = Modulation() if modulated else None
    whole = SimpleRNN((3,), 2, recurrent=(5,), cell=cell, context_mod=modulation)
    net = SimpleRNN((3,), 2, recurrent=(5,), cell=cell, bptt_depth=2, context_mod=modulation)
    net.load_state_dict(whole.state_dict())
    x = torch.randn(1, 6, 3, requires_grad=True)
    torch.testing.assert_close(net(x), whole(x))
    (gradient,) = torch.autograd.grad(net(x)[:, -1].sum(), x)
    assert not gradient[:, :4].any()
    assert gradient[:, 4:].abs().sum(-1).min() > 0
    assert torch.autograd.grad(whole(x)[:, -1].sum(), x)[0].abs().sum(-1).min() > 0


def test_hidden_states_of_every_layer_on_request() -> None:
    torch.manual_seed(0)
    net = SimpleRNN((3,), 2, before=(4,), recurrent=(5, 6), after=(7,))
    x = torch.randn(4, 8, 3)
    y, hidden = net(x, return_hidden=True)
    torch.testing.assert_close(y, net(x))
    assert [list(h.shape) for h in hidden.outputs] == [[4, 8, units] for units in (4, 5, 6, 7)]
    assert [None if s is None else list(s.shape) for s in hidden.internal] == [
        None,
        [4, 8, 5],
        [4, 8, 6],
        None,
    ]
    _, (_, cells) = layers_of(net)[1].rnn(hidden.outputs[1])
    internal = hidden.internal[2]
    assert internal is not None
    torch.testing.assert_close(internal[:, -1], cells[0])
    elman = SimpleRNN((3,), 2, recurrent=(5,), cell="elman", output_step=True)
    _, hidden = elman(x, return_hidden=True)
    output = layers_of(elman)[0].output
    assert output is not None
    outer = torch.tanh(output(hidden.internal[0]))
    torch.testing.assert_close(hidden.outputs[0], outer)


def test_recurrent_initialisation() -> None:
    torch.manual_seed(0)
    net = SimpleRNN((3,), 2, recurrent=(8,), recurrent_init="orthogonal")
    for gate in layers_of(net)[0].rnn.get_parameter("weight_hh_l0").split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8))
    kaiming = SimpleRNN((300,), 2, recurrent=(50,), recurrent_init="kaiming")
    weight = layers_of(kaiming)[0].rnn.get_parameter("weight_ih_l0")
    assert weight.abs().max().item() == pytest.approx(300**-0.5, rel=0.01)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_from_outside(cell: Any) -> None:
    torch.manual_seed(0)
    module = SimpleRNN((3,), 2, recurrent=(5,), cell=cell)
    x = torch.randn(4, 6, 3)
    expected = module(x)
    weights = weights_of(module)
    weights.flat.requires_grad_()
    net = MainNetwork(module)
    y = net(x, weights=weights)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    assert weights.flat.grad is not None
    assert (weights.flat.grad != 0).all()
    several = Weights(torch.stack([weights.flat, 2 * weights.flat]), net.target)
    torch.testing.assert_close(net(x, weights=several)[0], expected)
    kinds = {param.name: param.kind.value for param in net.spec.params}
    assert kinds["recurrent.0.rnn.weight_hh_l0"] == "weight"
    assert kinds["recurrent.0.rnn.bias_hh_l0"] == "bias"


@pytest.mark.parametrize("cell", CELLS)
def test_without_padding_it_equals_torchs_bidirectional_layers(cell: Any) -> None:
    torch.manual_seed(0)
    net = BiRNN((3,), 10, recurrent=((5,), (5,)), head=None, cell=cell)
    reference = torchs(cell, 3, 5, num_layers=2, bidirectional=True)
    state = {}
    for layer in range(2):
        for suffix, direction in (("", net.forwards), ("_reverse", net.backwards)):
            network = direction[layer]
            assert isinstance(network, SimpleRNN)
            for name, parameter in layers_of(network)[0].rnn.named_parameters():
                state[name.replace("_l0", f"_l{layer}{suffix}")] = parameter.data
    reference.load_state_dict(state)
    x = torch.randn(4, 6, 3)
    torch.testing.assert_close(net(x), reference(x)[0])
    lengths = torch.tensor([6, 2, 4, 1])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    y = net(x, lengths=lengths)
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(y[i, :length], expected[i, :length])


def test_padding_does_not_change_outputs_at_real_frames() -> None:
    torch.manual_seed(0)
    net = BiRNN((2, 2), 3, recurrent=((4, 5), (6,)), before=(3,), head=(7,)).eval()
    x = torch.randn(2, 5, 2, 2)
    lengths = torch.tensor([5, 3])
    y = net(torch.cat([x, torch.randn(2, 4, 2, 2)], 1), lengths=lengths)
    torch.testing.assert_close(y[0, :5], net(x[:1])[0])
    torch.testing.assert_close(y[1, :3], net(x[1:, :3])[0])
    main = MainNetwork(net)
    weights = Weights(torch.randn(main.target.numel), main.target)
    assert main(x, weights=weights, lengths=lengths).shape == (2, 5, 3)


def doubled(x: Tensor, lengths: Tensor | None) -> Tensor:
    return torch.stack([x, 2 * x if lengths is None else x * lengths.view(-1, 1)], 2)


def test_inputs_are_preprocessed() -> None:
    torch.manual_seed(0)
    net = BiRNN((2,), 3)
    x = torch.randn(4, 5)
    expected = net(torch.stack([x, 2 * x], 2))
    net.preprocess = doubled
    torch.testing.assert_close(net(x), expected)
    with pytest.raises(SpecError, match="preprocess: cannot import no_such"):
        BiRNN((2,), 3, preprocess="no_such:function")
    relu: Any = torch.relu
    assert BiRNN((2,), 3, preprocess="torch:relu").preprocess is relu


def test_context_modulation_of_a_bidirectional_network() -> None:
    torch.manual_seed(0)
    net = BiRNN((2,), 3, recurrent=((4,), (5,)), head=(6,), context_mod=Modulation(inputs=True))
    contexts = {
        name: tuple(m.shape) for name, m in net.named_modules() if isinstance(m, ContextMod)
    }
    assert contexts["forwards.0.context"] == (2,)
    assert contexts["backwards.1.recurrent.0.context"] == (5,)
    assert contexts["head.out.context"] == (3,)
    assert "forwards.1.context" not in contexts


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SimpleRNN((3,), 2, recurrent=()), "at least one recurrent layer"),
        (
            lambda: SimpleRNN((3,), 2, recurrent=(0,)),
            "recurrent: a layer must have at least one unit",
        ),
        (lambda: SimpleRNN((3,), 2, before=(0,)), "before: a layer"),
        (lambda: SimpleRNN((3,), 0), "must be positive"),
        (lambda: SimpleRNN((3,), 2, fc_out=False), "must have 2 units, has 10"),
        (lambda: SimpleRNN((3,), 2, fc_out=False, after=(3,)), "must have 2 units, has 3"),
        (
            lambda: SimpleRNN((3,), 2, activation="relu"),
            "activation='relu' has no effect: LSTM layers keep tanh",
        ),
        (
            lambda: BiRNN((3,), 2, activation="relu"),
            "activation='relu' has no effect: LSTM layers keep tanh",
        ),
        (
            lambda: SimpleRNN((3,), 2, context_mod=Modulation(position="norm")),
            "recurrent networks have no norms",
        ),
        (
            lambda: BiRNN((3,), 2, recurrent=((4,), (5,)), after=((3,),)),
            "after: there are 2 bidirectional layers, got 1 entries",
        ),
        (
            lambda: BiRNN((3,), 2, layers=({"cel": "elman"},)),
            "layers.0.cel: there is no such option; did you mean .*'layers.0.cell'",
        ),
        (
            lambda: BiRNN((3,), 2, layers=({"bptt_depth": "x"},)),
            'layers.0.bptt_depth: "x" is not possible, expected a whole number',
        ),
        (
            lambda: BiRNN((3,), 2, layers=({"before": [2.5]},)),
            "layers.0.before.0: 2.5 is not possible, expected a whole number",
        ),
        (lambda: BiRNN((3,), 2, layers=wrong((3,))), "layers.0: 3 is not possible, expected a gr"),
        (lambda: BiRNN((3,), 2, layers=wrong(3)), "layers must have one entry per bidir"),
        (lambda: BiRNN((3,), 2, after=wrong((3,))), "after: each bidirectional layer has a list"),
        (
            lambda: BiRNN((3,), 2, layers=({"activation": "relu"},)),
            "activation='relu' has no effect: LSTM layers keep tanh",
        ),
        (
            lambda: BiRNN((3,), 20, head=None, activation="relu"),
            "activation='relu' has no effect: LSTM layers keep tanh, and there are no other hidden",
        ),
        (lambda: BiRNN((3,), 2, activation=None), "activation=None has no effect"),
        (lambda: Recurrent(3, 2, activation="relu"), "has no effect: LSTM layers keep tanh"),
        (lambda: SimpleRNN((3,), 2, cell=wrong("gru")), "cell: there is no 'gru'"),
        (lambda: SimpleRNN((3,), 2, bptt_depth=0), "bptt_depth must be at least 1"),
        (lambda: SimpleRNN((3,), 2, output_step=True), "belongs to Elman"),
        (
            lambda: SimpleRNN((3,), 2, recurrent_init=wrong("orthogonl")),
            "did you mean 'orthogonal'",
        ),
        (lambda: SimpleRNN((3,), 2, context_at=wrong("end")), "context_at: there is no 'end'"),
        (
            lambda: BiRNN((3,), 2, recurrent=((4,), (3, 0))),
            r"recurrent: a layer must have at least one unit, got \[3, 0\]",
        ),
        (lambda: SimpleRNN((3,), 2, context_steps=5), "context_mod modulates, which is not given"),
        (
            lambda: BiRNN((3,), 2, context_at="last_step"),
            "context_mod modulates, which is not given",
        ),
        (lambda: SimpleRNN((3,), 2, context_steps=-1), "context_steps must not be negative"),
        (
            lambda: SimpleRNN((3,), 2)(torch.zeros(4, 3)),
            r"expects sequences \[N, T, 3\], got inputs \[4, 3\]",
        ),
        (lambda: SimpleRNN((3,), 2)(torch.zeros(4, 0, 3)), "at least one time step"),
        (
            lambda: SimpleRNN((3,), 2, context_mod=Modulation(), context_steps=2)(
                torch.zeros(1, 3, 3)
            ),
            "has 3 time steps",
        ),
        (lambda: BiRNN((3,), 2, recurrent=()), "at least one recurrent layer"),
        (
            lambda: BiRNN((3,), 2, head=None),
            r"there are 20 outputs \(twice the last units\), not 2",
        ),
        (
            lambda: BiRNN((3,), 2)(torch.zeros(4, 5, 3), lengths=torch.ones(3)),
            r"lengths must have shape \[4\]",
        ),
        (
            lambda: BiRNN((3,), 2)(torch.zeros(2, 5, 3), lengths=torch.tensor([5, 6])),
            "between 1 and 5",
        ),
        (
            lambda: BiRNN((3,), 2)(torch.zeros(2, 5, 3), lengths=torch.ones(2)),
            "whole numbers, got torch.float32",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((SpecError, ConfigError), match=message):
        call()


def test_second_derivatives_of_an_elman_layer() -> None:
    torch.manual_seed(0)
    layer = SimpleRNN((2,), 3, recurrent=(3,), fc_out=False, cell="elman").double().recurrent[0]
    parameters = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, *tensors: Tensor) -> Any:
        return torch.func.functional_call(
            layer, dict(zip(parameters, tensors, strict=True)), (x,)
        ).outputs

    assert torch.autograd.gradcheck(call, (x, *parameters.values()))
    assert torch.autograd.gradgradcheck(call, (x, *parameters.values()))
