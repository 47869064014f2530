"""Exact numbers of parameters, without data and without memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from tests.core.cli.conftest import LAB, PARTS

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import Counts, HypernetChoice, MainnetChoice
from hypnet_core.plugins.registry import Registry
from hypnet_core.recipes import count_parameters, wrong_counts


class Inner(BaseModel):
    hypernetwork: HypernetChoice = HypernetChoice.default("linear")
    size: int = 5


class Config(BaseModel):
    net: MainnetChoice = MainnetChoice.default("tiny", width=2)
    inner: Inner = Field(default_factory=Inner)
    only: str = "*.weight"


KEYS: dict[str, Any] = {
    "mainnet": "net",
    "hypernet": "inner.hypernetwork",
    "embedding_size": "inner.size",
    "generate": "only",
}
SIZES: dict[str, Any] = {"in_shape": (3,), "out_features": 4, "tasks": 6}
GENERATED = 3 * 2 + 2 * 4  # the weights alone


@pytest.fixture
def config(register: Callable[..., Registry], site: Path) -> Iterator[Config]:
    (site / "stranger_lab_parts.py").write_text(PARTS, encoding="utf-8")
    register(lab=LAB)
    yield Config()
    # Other tests have a module of that name.
    sys.modules.pop("stranger_lab_parts", None)


def test_counts_are_those_of_the_networks(config: Config) -> None:
    found = count_parameters(config, Counts(**SIZES, **KEYS, generated=1))
    assert found.generated == GENERATED
    assert found.own == 2 + 4
    assert found.conditional == 6 * 5
    assert found.unconditional == (5 + 1) * GENERATED
    assert found.parameters == found.conditional + found.unconditional
    assert found.compression == found.parameters / GENERATED


def test_all_is_generated_if_there_is_no_such_option(config: Config) -> None:
    keys = {**KEYS, "generate": "no.such"}
    found = count_parameters(config, Counts(**SIZES, **keys, generated=1))
    assert (found.generated, found.own) == (3 * 2 + 2 + 2 * 4 + 4, 0)


def test_the_length_of_embeddings_may_be_given_itself(config: Config) -> None:
    keys = {**KEYS, "embedding_size": 7}
    assert count_parameters(config, Counts(**SIZES, **keys, generated=1)).conditional == 6 * 7


def test_wrong_counts_are_named_and_the_ratio_has_three_decimals(config: Config) -> None:
    parameters = 6 * 5 + 6 * GENERATED
    right: dict[str, Any] = {"generated": GENERATED, "parameters": parameters, "conditional": 30}
    ratio = round(parameters / GENERATED, 3)
    assert wrong_counts(config, Counts(**SIZES, **KEYS, **right, compression=ratio)) == []
    wrong = Counts(**SIZES, **KEYS, **{**right, "parameters": 1}, compression=ratio + 0.001)
    first, second = wrong_counts(config, wrong)
    assert first == f"counts.parameters is 1, but there are {parameters}"
    assert second.startswith("counts.compression is ")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mainnet": "mnet"}, "counts: 'mnet': there is no such option"),
        ({"hypernet": "net"}, "counts: 'net': it is no HypernetChoice"),
        ({"embedding_size": "inner.sise"}, "counts: 'inner.sise': there is no such option"),
    ],
)
def test_an_option_that_is_not_there_is_named(
    config: Config, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        count_parameters(config, Counts(**SIZES, **{**KEYS, **keys}, generated=1))
