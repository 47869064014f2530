"""Generated weights start with the mean squares that the main network needs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import weights_of
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP, structured_hmlp
from hypnet_zoo.init import Init, start_by_bias, xavier_fan_in_
from hypnet_zoo.init.activations import gain_of, second_moment
from hypnet_zoo.init.chunks import sizes_of_chunks
from hypnet_zoo.init.moments import scalar_moments
from hypnet_zoo.init.trunk import draw_trunk
from hypnet_zoo.layers import activation_module
from hypnet_zoo.layers.activations import activation_type
from hypnet_zoo.mainnets import MLP

NETWORK = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.BatchNorm2d(8),
    nn.Flatten(),
    nn.Linear(72, 40),
    nn.ReLU(),
    nn.Linear(40, 10),
    nn.Embedding(6, 9),
)
TARGET = TargetSpec.of(NETWORK)
CONDITIONS = 100


def mean_squares(hypernet: HyperNetwork, **inputs: Any) -> dict[str, float]:
    weights = (
        hypernet(list(range(CONDITIONS)), **inputs)
        if hypernet.conditions.count
        else hypernet(**inputs)
    )
    return {name: tensor.square().mean().item() for name, tensor in weights.items()}


def check(hypernet: Any, **inputs: Any) -> None:
    measured = mean_squares(hypernet, **inputs)
    for name, start in zip(TARGET.names, hypernet.starts, strict=True):
        assert measured[name] == pytest.approx(start.mean_square, rel=0.1, abs=1e-9), name


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
@pytest.mark.parametrize("scheme", ["kaiming", "xavier"])
@pytest.mark.parametrize("bias", ["zero", "share", "torch"])
def test_every_method_at_every_depth(depth: int, fan: Any, scheme: Any, bias: Any) -> None:
    torch.manual_seed(depth)
    hypernet = HMLP(TARGET, ConditionSpec(count=CONDITIONS, size=8), hidden=(50,) * depth)
    hypernet.initialize(Init(fan=fan, scheme=scheme, bias=bias))
    check(hypernet)


@pytest.mark.parametrize(
    "activation", ["relu", "tanh", "gelu", "sigmoid", "elu", "softplus", "leaky_relu", "silu", None]
)
@pytest.mark.parametrize("trunk", ["isometric", "kaiming", "xavier_fan_in", "orthogonal"])
def test_every_activation_and_start_of_the_trunk(activation: Any, trunk: Any) -> None:
    torch.manual_seed(0)
    hypernet = HMLP(
        TARGET, ConditionSpec(count=CONDITIONS, size=8), hidden=(50, 60), activation=activation
    )
    hypernet.initialize(Init(trunk=trunk, bias="torch"))
    check(hypernet)


@pytest.mark.parametrize(("cond_var", "uncond_var"), [(1.0, 1.0), (0.01, 4.0), (9.0, 0.25)])
def test_embeddings_from_the_caller_mixed_with_unconditional_inputs(
    cond_var: float, uncond_var: float
) -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=0, size=30, input_size=50), hidden=(60,))
    hypernet.initialize(Init(cond_var=cond_var, uncond_var=uncond_var))
    check(
        hypernet,
        cond_input=cond_var**0.5 * torch.randn(1000, 30),
        uncond_input=uncond_var**0.5 * torch.randn(1000, 50),
    )


def test_own_means_and_variances_by_kind_and_name() -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=CONDITIONS))
    hypernet.initialize(
        Init(overrides={"bias": (0.0, 0.3), "norm_scale": (2.0, 0.5), "3.weight": (0.0, 0.7)})
    )
    check(hypernet)
    assert hypernet(list(range(CONDITIONS)))["1.weight"].mean().item() == pytest.approx(
        2.0, abs=0.3
    )


def test_with_batch_norm_in_training() -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=CONDITIONS), hidden=(50, 50), batch_norm=True)
    check(hypernet.train())
    assert hypernet.trunk.get_buffer("1.running_mean").abs().max() > 0, (
        "the first training step is the first to be tracked"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fan": "inn"}, "^fan: \"inn\" is not possible, expected 'in', 'out' or 'harmonic'"),
        ({"scheme": "kaimin"}, "^scheme: .*expected 'kaiming' or 'xavier'"),
        ({"bias": "shared"}, "^bias: .*expected 'zero', 'share' or 'torch'"),
        (
            {"trunk": "orthogonl"},
            "^trunk: .*expected 'isometric', 'kaiming', 'xavier_fan_in' or 'orthogonal'",
        ),
        ({"cond_var": -1.0}, "^cond_var: -1.0 .*greater than or equal to 0"),
        ({"uncond_var": -1.0}, "^uncond_var: -1.0 .*greater than or equal to 0"),
        ({"min_variance": 0.0}, "^min_variance: 0.0 .*greater than 0"),
        ({"condition_share": 1.0}, "^condition_share: 1.0 .*less than 1"),
        ({"fann": "in"}, "did you mean 'fan'"),
    ],
)
def test_an_impossible_start_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Init(**options)


def test_constants_are_exact() -> None:
    weights = HMLP(TARGET, ConditionSpec(count=3))([0, 1, 2])
    assert torch.equal(weights["1.weight"], torch.ones(3, 8))
    assert weights["1.bias"].abs().max() == weights["3.bias"].abs().max() == 0


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
@pytest.mark.parametrize("conditional", [False, True])
def test_chunks_have_the_mean_square_that_their_tensors_want_on_average(
    depth: int, fan: Any, conditional: bool
) -> None:
    torch.manual_seed(depth)
    target = TargetSpec.of(MLP((64,), 10, hidden=(100, 30)))
    hypernet = ChunkedHMLP(
        target,
        ConditionSpec(count=CONDITIONS, size=8),
        chunk_size=500,
        hidden=(40,) * depth,
        conditional_chunks=conditional,
    )
    hypernet.initialize(Init(fan=fan, bias="torch", uniform_chunks=conditional))
    flat = hypernet(list(range(CONDITIONS))).flat.square().mean(dim=0)
    means, variances = scalar_moments(target, hypernet.starts)
    assert not means.any()
    sizes, scale = sizes_of_chunks(variances, 500)
    wanted = sizes.repeat_interleave(500)[: target.numel] * scale.square()
    for k, chunk in enumerate(flat.split(500)):
        assert chunk.mean().item() == pytest.approx(wanted.split(500)[k].mean().item(), rel=0.1), k


def test_a_chunk_is_as_large_as_its_largest_weights_and_the_scale_makes_up_for_the_rest() -> None:
    variances = torch.tensor([0.25] * 4 + [0.0, 0.01] + [0.0] * 3 + [1.0])
    sizes, scale = sizes_of_chunks(variances, 3)
    torch.testing.assert_close(sizes, torch.tensor([0.25, 0.25, 0.25, 1.0]))
    torch.testing.assert_close(
        scale, torch.tensor([1.0, 1.0, 1.0, 1.0, 0.1, 0.2, 0.1, 0.1, 0.1, 1.0])
    )
    sizes, scale = sizes_of_chunks(torch.zeros(4), 3)
    assert sizes.tolist() == pytest.approx([0.02**2] * 2)
    assert scale.tolist() == pytest.approx([0.1] * 4)


@pytest.mark.parametrize("chunk_size", [64, 500, 2000])
@pytest.mark.parametrize("kind", ["chunked", "structured"])
def test_chunks_give_norms_biases_and_weights_their_own_moments(kind: str, chunk_size: int) -> None:
    torch.manual_seed(chunk_size)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    target, conditions = TargetSpec.of(layer), ConditionSpec(count=200, size=8)
    hypernet = (
        ChunkedHMLP(target, conditions, chunk_size=chunk_size, hidden=(40, 40))
        if kind == "chunked"
        else structured_hmlp(target, conditions)
    )
    with torch.no_grad():
        weights = hypernet(list(range(200)))
    largest = max(one.variance for one in hypernet.starts)
    for param, start in zip(target.params, hypernet.starts, strict=True):
        values = weights[param.name]
        # A tenth of a chunk's size is left to what should not vary.
        spread = math.sqrt(max(start.variance, 0.01 * largest))
        assert abs(float(values.mean()) - start.mean) < spread, param.name
        if start.variance:
            ratio = float(values.var()) / start.variance
            assert 0.7 < ratio < 1.4, (param.name, ratio)
        else:
            assert float(values.std()) < 0.12 * math.sqrt(largest), param.name
    scales = torch.cat([weights[name].flatten() for name in target.names if name == "norm1.weight"])
    assert bool((scales > 0.5).all())


def test_by_bias_every_condition_starts_at_one_conventional_draw() -> None:
    draw = weights_of(NETWORK)
    hypernet = HMLP(TARGET, ConditionSpec(count=4))
    start_by_bias(hypernet.linear_heads(), draw)
    weights = hypernet([0, 1, 2, 3])
    assert torch.equal(weights.flat, draw.flat.expand(4, -1))
    weights.flat.square().sum().backward()
    assert hypernet.linear_heads()[0].weight.grad is not None
    with pytest.raises(SpecError, match="a bias for every generated weight"):
        start_by_bias(HMLP(TARGET, ConditionSpec(), bias=False).linear_heads(), draw)


@pytest.mark.parametrize(
    "activation", ["relu", "tanh", "gelu", "sigmoid", "elu", "softplus", "leaky_relu", "silu", None]
)
def test_second_moments_and_gains_agree_with_samples(activation: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2_000_000, generator=generator)
    phi = activation_module(activation)
    assert phi(1.5 * z).square().mean().item() == pytest.approx(
        second_moment(activation_type(activation), 1.5), rel=0.01
    )
    if activation not in {"tanh", "sigmoid"}:
        assert phi(
            gain_of(activation_type(activation)) * z
        ).square().mean().item() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("activation", ["relu", "gelu", "elu", None])
def test_a_deep_trunk_keeps_the_mean_square(activation: Any) -> None:
    torch.manual_seed(0)
    net = MLP((400,), 1, hidden=(400,) * 6, activation=activation)
    draw_trunk(net.hidden, activation_type(activation))
    assert net.hidden(torch.randn(500, 400)).square().mean().item() == pytest.approx(1.0, rel=0.25)


def test_xavier_fan_in_has_variance_one_over_fan_in() -> None:
    torch.manual_seed(0)
    weight = xavier_fan_in_(torch.empty(300, 20, 3, 3))
    assert weight.var().item() == pytest.approx(1 / 180, rel=0.02)
    assert weight.abs().max().item() <= (3 / 180) ** 0.5
    with pytest.raises(ValueError, match="at least two dimensions"):
        xavier_fan_in_(torch.empty(3))


def test_the_command_shows_wanted_and_measured_mean_squares(inspected: Any) -> None:
    tensors = inspected(
        *("--mainnet", "mlp", "--hypernet", "hmlp", "--in-shape", "20", "--out", "3"),
        *("--conditions", "100", "--init"),
    )["target"]
    assert [tensor["wanted"] for tensor in tensors] == pytest.approx(
        [2 / 20, 0, 2 / 100, 0, 2 / 100, 0]
    )
    for tensor in tensors:
        assert tensor["measured"] == pytest.approx(tensor["wanted"], rel=0.1, abs=1e-9)
