from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import MainNetwork, TargetSpec, Weights
from hypnet_core.errors import SpecError
from hypnet_core.networks import weights_of
from hypnet_zoo.mainnets import MLP, BiRNN, LeNet


@pytest.mark.parametrize(
    ("in_shape", "out", "options", "count"),
    [
        ((784,), 10, {"hidden": (400, 400)}, 478_410),
        ((1, 28, 28), 10, {"hidden": (400, 400)}, 478_410),
        ((784,), 10, {"hidden": (100, 100)}, 89_610),
        ((1024,), 100, {"hidden": (1000, 1000)}, 2_126_100),
        ((3,), 2, {"hidden": ()}, 8),
        ((3,), 2, {"hidden": (5,), "bias": False}, 25),
        ((3,), 2, {"hidden": (5,), "batch_norm": True}, 20 + 12 + 10),
    ],
)
def test_parameter_counts(
    in_shape: tuple[int, ...], out: int, options: dict[str, Any], count: int
) -> None:
    assert sum(p.numel() for p in MLP(in_shape, out, **options).parameters()) == count


def test_it_equals_a_sequence_of_torchs_layers() -> None:
    torch.manual_seed(0)
    net = MLP((2, 3), 4, hidden=(5, 7), activation="tanh", out_activation="sigmoid")
    reference = nn.Sequential(
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.Tanh(),
        nn.Linear(5, 7),
        nn.Tanh(),
        nn.Linear(7, 4),
        nn.Sigmoid(),
    )
    reference.load_state_dict(
        dict(zip(reference.state_dict(), net.state_dict().values(), strict=True))
    )
    x = torch.randn(8, 2, 3)
    torch.testing.assert_close(net(x), reference(x))


def test_batch_norm_stands_before_the_activation_and_dropout_after_it() -> None:
    net = MLP((3,), 2, hidden=(4,), batch_norm=True, dropout=0.25)
    assert [type(layer).__name__ for layer in net.hidden] == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Dropout",
    ]
    assert (
        not MLP((3,), 2, hidden=(4,), batch_norm=True, track_statistics=False)
        .hidden[1]
        .track_running_stats
    )


def test_spectral_norm_bounds_every_layer() -> None:
    torch.manual_seed(0)
    net = MLP((20,), 10, hidden=(30,), spectral_norm=True)
    for _ in range(50):
        net(torch.randn(2, 20))
    for layer in (net.hidden[0], net.out):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"hidden": ()}, {"activation": None}, {"out_activation": "tanh"}],
    ids=str,
)
@pytest.mark.parametrize("paired", [False, True])
def test_its_batched_form_equals_the_loop(options: dict[str, Any], paired: bool) -> None:
    torch.manual_seed(0)
    net, loop = (
        MainNetwork(MLP((2, 2), 3, **options), batching=way).double() for way in ("auto", "loop")
    )
    weights = Weights(
        torch.randn(4, net.target.numel, dtype=torch.float64, requires_grad=True), net.target
    )
    x = torch.randn(*((4,) if paired else ()), 5, 2, 2, dtype=torch.float64)
    actual, expected = (n(x, weights=weights, paired=paired) for n in (net, loop))
    assert net.batching_used == "native"
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad(y.square().sum(), weights.flat)[0] for y in (actual, expected)]
    torch.testing.assert_close(*gradients)


def test_its_batched_form_also_works_with_a_part_of_the_weights_and_steps_aside_for_norms() -> None:
    net = MainNetwork(MLP((4,), 3), generate="out.*")
    weights = Weights(torch.randn(2, net.target.numel), net.target)
    x = torch.randn(5, 4)
    torch.testing.assert_close(net(x, weights=weights)[1], net(x, weights=weights.index(1)))
    normed = MainNetwork(MLP((4,), 3, batch_norm=True)).eval()
    normed(x, weights=Weights(torch.randn(2, normed.target.numel), normed.target))
    assert normed.batching_used != "native"


def test_dropout_in_the_batched_form_differs_between_sets_and_averages_out() -> None:
    torch.manual_seed(0)
    net = MainNetwork(MLP((1,), 1, hidden=(2000,), activation=None, bias=False, dropout=0.5))
    flat = torch.cat([torch.ones(2000), torch.ones(2000) / 2000]).expand(2, -1)
    y = net(torch.ones(1, 1), weights=Weights(flat, net.target)).flatten()
    assert y[0] != y[1]
    torch.testing.assert_close(y, torch.ones(2), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3,), 0, {}), "must be positive"),
        (((3,), 2, {"hidden": (4, 0)}), "at least one unit"),
        (((3,), 2, {"dropout": 1.0}), "dropout must lie in"),
        (((3,), 2, {"activation": "rellu"}), "did you mean 'relu'"),
    ],
)
def test_impossible_options_are_named(arguments: Any, message: str) -> None:
    in_shape, out, options = arguments
    with pytest.raises(SpecError, match=message):
        MLP(in_shape, out, **options)


def test_inputs_of_the_wrong_shape_are_named() -> None:
    with pytest.raises(SpecError, match=r"expects samples of shape \[2, 3\], got inputs \[4, 5\]"):
        MLP((2, 3), 2)(torch.zeros(4, 5))


def test_initial_weights_may_be_a_draw_from_outside() -> None:
    net = MLP((3,), 2)
    draw = weights_of(MLP((3,), 2))
    net.load_state_dict(dict(draw))
    torch.testing.assert_close(weights_of(net, TargetSpec.of(net)).flat, draw.flat)


def wrong(value: Any) -> Any:
    """A value of a type that checkers would refuse."""
    return value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MLP(wrong(784), 10),
            r"in_shape must be a sequence of sizes such as \(784,\), got 784",
        ),
        (
            lambda: MLP((784,), 10, hidden=wrong(100)),
            r"hidden must be a sequence of widths such as \(100,\), got 100",
        ),
        (lambda: LeNet(wrong(28), 10), r"in_shape must be \(C, H, W\), got 28"),
        (
            lambda: BiRNN((3,), 2, recurrent=wrong((10,))),
            "each bidirectional layer needs at least one recurrent layer",
        ),
    ],
)
def test_a_number_for_a_sequence_is_named(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()
