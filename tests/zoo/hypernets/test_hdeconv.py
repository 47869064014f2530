"""Weights drawn as images: sizes, layers, and the variance with which they start."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork, TargetSpec
from hypnet_core.errors import ConditionError, SpecError
from hypnet_zoo.hypernets import ChunkedHDeconv, HDeconv
from hypnet_zoo.hypernets._shared.images import channels_of
from hypnet_zoo.init import Init
from hypnet_zoo.init.chunks import sizes_of_chunks
from hypnet_zoo.init.moments import scalar_moments
from hypnet_zoo.layers import SelfAttention
from hypnet_zoo.layers.enlarge import Enlarge, sizes_backwards
from hypnet_zoo.mainnets import MLP

TARGET = TargetSpec.from_shapes([[30, 20], [30], [10, 30], [10]])  # 940 weights
SMALL: dict[str, Any] = {"filters": (16, 16, 8, 8)}


def layers(hypernet: HDeconv, kind: Any) -> list[Any]:
    return [layer for layer in hypernet.trunk if isinstance(layer, kind)]


def test_every_layer_doubles_the_size_unless_its_input_would_be_smaller_than_four() -> None:
    assert sizes_backwards((64, 64), 5) == ((4, 4), (8, 8), (16, 16), (32, 32), (64, 64))
    assert sizes_backwards((32, 32), 5) == ((4, 4), (4, 4), (8, 8), (16, 16), (32, 32))
    assert sizes_backwards((7, 100), 3) == ((4, 25), (4, 50), (7, 100))
    assert sizes_backwards((3, 6), 3) == ((3, 6), (3, 6), (3, 6))


def test_filters_are_128_before_the_last_layer_and_double_backwards() -> None:
    assert channels_of(5, None) == [1024, 512, 256, 128]
    hypernet = HDeconv(
        TargetSpec.from_shapes([[8, 8]]), ConditionSpec(), num_layers=3, attention_after=()
    )
    assert [(one.in_channels, one.out_channels) for one in layers(hypernet, Enlarge)] == [
        (256, 128),
        (128, 1),
    ]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, (2, 5)])
@pytest.mark.parametrize(
    ("before", "after"), [((4, 4), (4, 4)), ((4, 4), (7, 8)), ((5, 4), (10, 4)), ((4, 6), (4, 11))]
)
def test_an_enlargement_is_torchs_transposed_convolution_of_the_right_size(
    kernel: Any, before: Any, after: Any
) -> None:
    pair = (kernel, kernel) if isinstance(kernel, int) else kernel
    layer = Enlarge((3, before), (2, after), pair, bias=True)
    x = torch.randn(2, 3, *before)
    full = nn.ConvTranspose2d.forward(layer, x)
    assert layer(x).shape == (2, 2, *after)
    torch.testing.assert_close(layer(x), full[..., : after[0], : after[1]])
    assert all(0 <= large - small <= 2 for large, small in zip(full.shape[-2:], after, strict=True))


def test_the_image_is_the_smallest_square_that_is_large_enough() -> None:
    assert HDeconv(TARGET, ConditionSpec(), **SMALL).image_shape == (1, 31, 31)
    assert HDeconv(TargetSpec.from_shapes([[30, 30]]), ConditionSpec(), **SMALL).image_shape == (
        1,
        30,
        30,
    )
    assert HDeconv(TARGET, ConditionSpec(), image_shape=(3, 10, 40), **SMALL).image_shape == (
        3,
        10,
        40,
    )


def test_weights_are_the_pixels_row_by_row_and_the_surplus_is_dropped() -> None:
    torch.manual_seed(0)
    hypernet = HDeconv(TARGET, ConditionSpec(count=2, size=4, input_size=3), **SMALL)
    noise = torch.randn(3)
    image = hypernet.trunk(torch.cat([hypernet.embedding(1), noise]).unsqueeze(0))
    assert image.shape == (1, 1, 31, 31)
    gain, shift = hypernet.per_tensor.gain, hypernet.per_tensor.shift
    flat = image.flatten()[:940] * hypernet.signs
    assert set(hypernet.signs.tolist()) == {-1, 1}
    for t, (name, start) in enumerate(zip(TARGET.names, TARGET.offsets, strict=True)):
        expected = gain[t] * flat[start : start + TARGET[name].numel] + shift[t]
        torch.testing.assert_close(hypernet(1, uncond_input=noise)[name].flatten(), expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_size": (3, 4, (1, 5), 2)},
        {"attention_after": ()},
        {"num_layers": 2, "filters": (6,), "attention_after": (0,)},
        {"activation": "tanh", "bias": False},
        {"spectral_norm": True},
        {"batch_norm": True},
        {"image_shape": (2, 22, 23)},
    ],
    ids=str,
)
def test_a_batch_of_conditions_equals_one_by_one(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    hypernet = (
        HDeconv(TARGET, ConditionSpec(count=3, size=4), **{**SMALL, **options}).eval().double()
    )
    with torch.no_grad():  # attention starts as the identity
        for layer in layers(hypernet, SelfAttention):
            layer.gamma.fill_(0.5)
    torch.testing.assert_close(
        hypernet([2, 0]).flat, torch.stack([hypernet(2).flat, hypernet(0).flat])
    )


def test_self_attention_stands_after_the_chosen_layers() -> None:
    hypernet = HDeconv(TARGET, ConditionSpec(), attention_after=(0, 2), **SMALL)
    names = [type(layer).__name__ for layer in hypernet.trunk]
    assert names == [
        *(
            "Linear",
            "Unflatten",
            "ReLU",
            "SelfAttention",
            "Enlarge",
            "ReLU",
            "Enlarge",
            "ReLU",
            "SelfAttention",
        ),
        *("Enlarge", "ReLU", "Enlarge"),
    ]


def test_spectral_norm_and_batch_norm_are_everywhere() -> None:
    hypernet = HDeconv(TARGET, ConditionSpec(count=2), spectral_norm=True, batch_norm=True, **SMALL)
    assert len(layers(hypernet, nn.BatchNorm2d)) == 4
    originals = [name for name, _ in hypernet.trunk.named_parameters() if name.endswith("original")]
    assert len(originals) == 5 + 2 * 3, "five layers, and three convolutions in each self-attention"
    with pytest.raises(ConditionError, match="at least two conditions"):
        hypernet(0)
    assert hypernet([0, 1]).flat.isfinite().all()


@pytest.mark.parametrize("layers_before", [2, 3, 5])
@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
@pytest.mark.parametrize("bias", ["zero", "share", "torch"])
def test_generated_tensors_start_as_wanted(layers_before: int, fan: Any, bias: Any) -> None:
    torch.manual_seed(layers_before)
    target = TargetSpec.of(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(72, 40), nn.Embedding(6, 9))
    )
    filters = (16,) * (layers_before - 1)
    hypernet = HDeconv(
        target,
        ConditionSpec(count=100),
        num_layers=layers_before,
        filters=filters,
        attention_after=(),
    )
    hypernet.initialize(Init(fan=fan, bias=bias))
    for (name, tensor), start in zip(
        hypernet(list(range(100))).items(), hypernet.starts, strict=True
    ):
        assert tensor.square().mean().item() == pytest.approx(
            start.mean_square, rel=0.1, abs=1e-9
        ), name


@pytest.mark.parametrize("start", ["kaiming", "xavier_fan_in", "orthogonal"])
@pytest.mark.parametrize("norm", [False, True])
def test_every_start_of_the_layers(start: Any, norm: bool) -> None:
    torch.manual_seed(0)
    hypernet = HDeconv(
        TARGET, ConditionSpec(count=100), batch_norm=norm, activation="gelu", **SMALL
    )
    hypernet.initialize(Init(trunk=start, overrides={"bias": (0.2, 0.1)}))
    for (name, tensor), wanted in zip(
        hypernet(list(range(100))).items(), hypernet.starts, strict=True
    ):
        assert tensor.square().mean().item() == pytest.approx(wanted.mean_square, rel=0.1), name


@pytest.mark.parametrize(
    ("fan", "conditional_chunks"), [("in", False), ("out", True), ("harmonic", False)]
)
def test_chunks_start_as_their_tensors_want_on_average(fan: Any, conditional_chunks: bool) -> None:
    torch.manual_seed(0)
    target = TargetSpec.of(MLP((32,), 10, hidden=(60, 30)))
    hypernet = ChunkedHDeconv(
        target,
        ConditionSpec(count=40),
        image_shape=(20, 20),
        conditional_chunks=conditional_chunks,
        init=Init(fan=fan, bias="torch"),
        **{**SMALL, "attention_after": (0,)},
    )
    # Pixels differ in size by their place, so chunks are measured without their scales.
    origin = hypernet.origin
    written = (hypernet(list(range(40))).flat - origin.offset) / origin.scale
    squares = written.square().mean(dim=0)
    sizes, _ = sizes_of_chunks(scalar_moments(target, hypernet.starts)[1], 400)
    for k, chunk in enumerate(squares.split(400)):
        assert chunk.mean().item() == pytest.approx(sizes[k].item(), rel=0.1), k


def test_a_chunk_is_an_image() -> None:
    torch.manual_seed(0)
    hypernet = ChunkedHDeconv(
        TARGET, ConditionSpec(count=2, size=3), image_shape=(2, 10, 11), **SMALL
    )
    assert (hypernet.num_chunks, hypernet.inner.image_shape) == (math.ceil(940 / 220), (2, 10, 11))
    embeddings = hypernet.chunk_embeddings
    assert embeddings is not None
    chunks = [
        hypernet.inner(cond_input=torch.cat([hypernet.embedding(1), c])).flat for c in embeddings
    ]
    expected = hypernet.origin.offset + hypernet.origin.scale * torch.cat(chunks)[:940]
    torch.testing.assert_close(hypernet(1).flat, expected)


@pytest.mark.parametrize("make", [HDeconv, ChunkedHDeconv])
def test_everything_starts_at_zero_and_still_learns(make: Any) -> None:
    small = {**SMALL, **({"image_shape": (16, 16)} if make is ChunkedHDeconv else {})}
    hypernet = make(TARGET, ConditionSpec(count=2), **small)
    hypernet.start_at_zero()
    weights = hypernet([0, 1]).flat
    assert weights.abs().max() == 0
    weights.sum().backward()
    per_tensor = (hypernet if make is HDeconv else hypernet.inner).per_tensor
    assert per_tensor.gain.grad.abs().min() > 0
    assert per_tensor.shift.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_shape": (20, 20)},
            (
                r"image_shape \[20, 20\] is too small: it has 400 pixels, the target 940 weights;"
                r" it ends within 0 \[30, 20\]"
            ),
        ),
        ({"image_shape": (1000,)}, r"image_shape must be \(height, width\)"),
        ({"num_layers": 1}, "num_layers must be at least 2"),
        ({"filters": (8, 8)}, "filters must be 4 positive numbers for 5 layers"),
        ({"kernel_size": (3, 3)}, "kernel_size must be one positive number, or 4 numbers or pairs"),
        ({"kernel_size": 0}, "kernel_size must be one positive number"),
        ({"attention_after": (4,)}, "there is no layer 4 before the last; there are 0 to 3"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HDeconv(TARGET, ConditionSpec(), **{**SMALL, **options})
    with pytest.raises(SpecError, match="has no input"):
        HDeconv(TARGET, ConditionSpec(size=0), **SMALL)


def test_the_command_shows_wanted_and_measured_mean_squares(inspected: Any) -> None:
    found = inspected(
        *("--mainnet", "mlp", "--hypernet", "hdeconv", "--in-shape", "20", "--out", "10"),
        *("--conditions", "100", "--init", "mainnet.hidden=[30]", "hypernet.filters=[16,16,8,8]"),
    )
    for tensor in found["target"]:
        assert tensor["measured"] == pytest.approx(tensor["wanted"], rel=0.1, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_deep_network_of_pixels_starts_with_outputs_of_due_size(seed: int) -> None:
    """Without signs they have root mean squares from 0.4 to hundreds."""
    torch.manual_seed(seed)
    net = MainNetwork(MLP((64,), 10, hidden=(100, 100, 100)))
    hypernet = HDeconv(net.target, ConditionSpec(count=20), **{**SMALL, "attention_after": ()})
    with torch.no_grad():
        y = net(torch.randn(200, 64), weights=hypernet(list(range(20))))
    sizes = y.square().mean(dim=(1, 2)).sqrt()
    assert sizes.min() > 0.4
    assert sizes.max() < 5.0
