from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import MainNetwork
from hypnet_core.errors import SpecError
from hypnet_zoo.mainnets import ChunkedMLP, module


def test_each_chunk_goes_through_the_shared_network_with_the_embedding_of_its_place() -> None:
    torch.manual_seed(0)
    net = ChunkedMLP(
        (5, 5), 2, chunk_size=10, chunk_features=3, embedding_size=4, activation="tanh"
    )
    x = torch.randn(6, 5, 5)
    padded = torch.cat([x.flatten(1), torch.zeros(6, 5)], 1)
    parts = [
        net.reduce(
            torch.cat([padded[:, 10 * k : 10 * k + 10], net.embeddings.weight[k].expand(6, 4)], 1)
        )
        for k in range(3)
    ]
    torch.testing.assert_close(net(x), net.mlp(torch.tanh(torch.cat(parts, 1))))


def test_only_embeddings_and_the_next_layer_grow_with_the_input() -> None:
    def counts(features: int) -> dict[str, int]:
        with torch.device("meta"):
            net = ChunkedMLP((features,), 10)
        return {
            name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()
        }

    small, large = counts(1_000), counts(100_000)
    assert large["reduce"] == small["reduce"]
    assert large["embeddings"] == 1000 * 8
    assert large["mlp"] - small["mlp"] == 10 * 10 * (1000 - 10)


@pytest.mark.parametrize("name", ["chunk_size", "chunk_features", "embedding_size"])
def test_impossible_sizes_are_named(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(SpecError, match=f"{name} must be positive, got 0"):
        ChunkedMLP((5,), 2, **options)


def test_inputs_of_the_wrong_shape_are_named() -> None:
    with pytest.raises(SpecError, match=r"expects samples of shape \[5\], got inputs \[2, 6\]"):
        ChunkedMLP((5,), 2)(torch.zeros(2, 6))


def test_a_torchvision_model_becomes_a_main_network() -> None:
    made = module(
        (3, 32, 32),
        7,
        factory="torchvision.models:resnet18",
        arguments={"num_classes": "$out_features", "zero_init_residual": True},
    )
    assert MainNetwork(made, generate="fc.*").target.numel == 7 * 513


def test_a_class_of_ones_own() -> None:
    made: Any = module(
        (2, 4, 4),
        3,
        factory="torch.nn:Conv2d",
        arguments={"in_channels": "$channels", "out_channels": 5, "kernel_size": 1},
    )
    assert isinstance(made, nn.Conv2d)
    assert made.in_channels == 2
    linear: Any = module((2, 3), 4)
    assert (linear.in_features, linear.out_features) == (6, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "torch.nn.Linear"}, "is not an import string: write package.module:attribute"),
        ({"factory": "no_such_package:net"}, "factory: cannot import no_such_package"),
        ({"factory": "torch.nn:Lineer"}, "did you mean 'Linear'"),
        ({"factory": "math:pi"}, "is not a function or class, but a float"),
        (
            {"factory": "math:isfinite", "arguments": {}},
            "cannot be called with them",
        ),
        ({"factory": "builtins:dict"}, "must return an nn.Module, returned a dict"),
        ({"arguments": {"in_features": "$inputs"}}, "in_features is '\\$inputs'; there is"),
    ],
)
def test_bad_input_is_named(options: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        module((2, 3), 4, **options)
