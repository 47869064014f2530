from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnet_core import TaskSpec
from hypnet_core.errors import ConfigError
from hypnet_core.runs import load_config
from hypnet_core.tasks import Split, Task
from hypnet_zoo.experiments import HyperCLConfig
from hypnet_zoo.experiments._hypercl.setup import build_networks

SPEC = TaskSpec(name="t", kind="classification", in_shape=(4,), out_shape=(3,))
SMALL = ["hnet.chunk_size=20", "mnet.hidden=[5]"]


def built(*overrides: str) -> Any:
    torch.manual_seed(0)
    split = Split.of(torch.randn(6, 4), torch.arange(6) % 3)
    config = load_config(HyperCLConfig, overrides=[*SMALL, *overrides])
    return build_networks(config, [Task(SPEC, split, split)], torch.device("cpu"))


@pytest.mark.parametrize("scheme", ["xavier", "normal"])
@pytest.mark.parametrize("generate", ["null", "['weight', 'bias']"])
def test_a_start_of_a_main_network_that_is_generated_is_refused(scheme: str, generate: str) -> None:
    options = [f"mnet_init.scheme={scheme}", f"generate={generate}"]
    with pytest.raises(ConfigError, match=rf"^mnet_init.scheme={scheme}: all weights.*hnet\.init$"):
        built(*options)


def test_parameters_that_are_not_generated_start_by_mnet_init() -> None:
    net, _ = built("generate=bias", "mnet_init.scheme=normal", "mnet_init.std=0")
    assert all(parameter.eq(0).all() for parameter in net.parameters())
    usual, _ = built("generate=bias")
    assert any(parameter.ne(0).any() for parameter in usual.parameters())
    built("mnet_init.scheme=own")


@pytest.mark.parametrize("scheme", ["own", "xavier"])
def test_a_standard_deviation_that_is_not_used_is_refused(scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"std is for scheme=normal, .* with {scheme}"):
        built("generate=bias", f"mnet_init.scheme={scheme}", "mnet_init.std=0.1")
