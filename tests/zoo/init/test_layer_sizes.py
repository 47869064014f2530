"""`hypnet inspect --variance` measures layers as they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hypnet_core.plugins import registry

MLP = ("--mainnet", "mlp", "--in-shape", "200", "--out", "10", "mainnet.hidden=[200,200]")
SMALL: dict[str, list[str]] = {
    "hdeconv": ["hypernet.filters=[8,8,8,8]", "hypernet.attention_after=[]"],
    "chunked_hdeconv": ["hypernet.filters=[8,8,8,8]", "hypernet.attention_after=[]"],
    "shared_hmlp": ["mainnet.hidden=[30]"],
}


def test_layers_have_the_sizes_that_theory_gives(inspected: Callable[..., Any]) -> None:
    document = inspected(*MLP, "--hypernet", "hmlp", "--conditions", "60", "--variance")
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert list(layers)[:4] == ["hidden.0", "hidden.1", "hidden.2", "hidden.3"]
    # Plain layers of torch have weights and biases of variance 1 / (3 * 200).
    first = 1 / 3 + 1 / 600
    assert layers["hidden.0"]["plain"] == pytest.approx(first, rel=0.05)
    assert layers["hidden.1"]["plain"] == pytest.approx(first / 2, rel=0.05)
    assert layers["hidden.2"]["plain"] == pytest.approx(first / 6 + 1 / 600, rel=0.05)
    # Kaiming: 2 before a rectifier, 1 after it.
    for number, wanted in enumerate([2, 1, 2, 1]):
        assert layers[f"hidden.{number}"]["median"] == pytest.approx(wanted, rel=0.1)
    for layer in layers.values():
        assert 0 < layer["low"] <= layer["median"] <= layer["high"]
    assert layers["output"] == {**layers["out"], "name": "output"}


def test_norms_bring_both_to_one_size(inspected: Callable[..., Any]) -> None:
    shapes = ("--in-shape", "3,8,8", "--out", "4", "mainnet.n=1")
    document = inspected("--mainnet", "resnet", *shapes, "--hypernet", "hmlp", "--variance")
    norms = [layer for layer in document["layers"] if layer["name"].endswith("norm1")]
    assert norms
    for layer in norms:
        assert layer["plain"] == pytest.approx(1.0, rel=0.01)
        assert layer["median"] == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("conditions", ["0", "3"])
@pytest.mark.parametrize(
    "name", [one.name for one in registry().entries("hypernet") if "zoo" in one.component.target]
)
def test_every_hypernetwork_can_be_measured(
    name: str, conditions: str, inspected: Callable[..., Any]
) -> None:
    small = ["mainnet.hidden=[20]", *SMALL.get(name, [])]
    arguments = ("--mainnet", "mlp", "--in-shape", "6", "--out", "4", "--hypernet", name)
    document = inspected(*arguments, "--conditions", conditions, "--variance", *small)
    assert document["layers"][-1]["name"] == "output"
    assert document["layers"][-1]["high"] > 0


def test_sequences_get_their_steps(inspected: Callable[..., Any]) -> None:
    arguments = ("--mainnet", "simple_rnn", "--in-shape", "6", "--out", "4")
    layers = inspected(*arguments, "--hypernet", "hmlp", "--variance")["layers"]
    assert layers[-1]["median"] > 0


def test_a_network_that_reads_something_else_is_one_line(in_process: Callable[..., Any]) -> None:
    done = in_process(
        *("inspect", "--mainnet", "module", "mainnet.factory=torch.nn:Embedding"),
        *("mainnet.arguments.num_embeddings=5", "mainnet.arguments.embedding_dim=3"),
        *("--hypernet", "hmlp", "--in-shape", "6", "--out", "4", "--variance"),
    )
    assert done.returncode == 2
    assert "cannot read standard normal inputs of shape [64, 6]" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_measured_unless_asked_for(inspected: Callable[..., Any]) -> None:
    assert inspected(*MLP, "--hypernet", "hmlp")["layers"] == []
