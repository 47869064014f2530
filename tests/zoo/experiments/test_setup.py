from __future__ import annotations

import pytest
import torch

from hypnet_core import MainNetwork, TaskSpec
from hypnet_core.errors import ConfigError
from hypnet_core.runs import load_config
from hypnet_core.tasks import Split, Task
from hypnet_zoo.continual.methods import Hypernet
from hypnet_zoo.experiments import HyperCL, HyperCLConfig, continual

SPEC = TaskSpec(name="t", kind="classification", in_shape=(4,), out_shape=(3,))
SMALL = ["hnet.chunk_size=20", "mnet.hidden=[5]"]


def built(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> MainNetwork:
    torch.manual_seed(0)
    split = Split.of(torch.randn(6, 4), torch.arange(6) % 3)
    monkeypatch.setattr(continual, "load_tasks", lambda *_: [Task(SPEC, split, split)])
    config = load_config(HyperCLConfig, overrides=[*SMALL, *overrides])
    method = HyperCL()._taken(config).learning.method
    assert isinstance(method, Hypernet)
    return method.net


@pytest.mark.parametrize("scheme", ["xavier", "normal"])
@pytest.mark.parametrize("generate", ["null", "['weight', 'bias']"])
def test_a_start_of_a_main_network_that_is_generated_is_refused(
    monkeypatch: pytest.MonkeyPatch, scheme: str, generate: str
) -> None:
    options = [f"mnet_init.scheme={scheme}", f"generate={generate}"]
    with pytest.raises(ConfigError, match=rf"^mnet_init.scheme={scheme}: all weights.*hnet\.init$"):
        built(monkeypatch, *options)


def test_parameters_that_are_not_generated_start_by_mnet_init(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = built(monkeypatch, "generate=bias", "mnet_init.scheme=normal", "mnet_init.std=0")
    assert all(parameter.eq(0).all() for parameter in net.parameters())
    usual = built(monkeypatch, "generate=bias")
    assert any(parameter.ne(0).any() for parameter in usual.parameters())
    built(monkeypatch, "mnet_init.scheme=own")


@pytest.mark.parametrize("scheme", ["own", "xavier"])
def test_a_standard_deviation_that_is_not_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with pytest.raises(ConfigError, match=f"std is for scheme=normal, .* with {scheme}"):
        built(monkeypatch, "generate=bias", f"mnet_init.scheme={scheme}", "mnet_init.std=0.1")
