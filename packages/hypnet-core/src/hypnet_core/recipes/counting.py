"""Exact numbers of parameters of a main network and its hypernetwork."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from hypnet_core.errors import ConfigError
from hypnet_core.plugins.choice import HypernetChoice, MainnetChoice
from hypnet_core.plugins.recipe import Counts
from hypnet_core.specs import ConditionSpec

_NOTHING = object()


class Counted(NamedTuple):
    """Numbers of parameters.

    Attributes:
        generated: Generated weights of the main network.
        own: Its other parameters.
        conditional: Parameters of all conditions together.
        unconditional: Other parameters of the hypernetwork.
    """

    generated: int
    own: int
    conditional: int
    unconditional: int

    @classmethod
    def of(cls, net: Any, hypernet: Any) -> Counted:
        """Count those of a `MainNetwork` and its hypernetwork."""
        return cls(
            net.target.numel,
            net.spec.numel - net.target.numel,
            sum(parameter.numel() for parameter in hypernet.conditional_parameters()),
            sum(parameter.numel() for parameter in hypernet.unconditional_parameters()),
        )

    @property
    def parameters(self) -> int:
        """All parameters of the hypernetwork."""
        return self.conditional + self.unconditional

    @property
    def compression(self) -> float:
        """Parameters of the hypernetwork per generated weight."""
        return self.parameters / self.generated


def count_parameters(config: BaseModel, counts: Counts) -> Counted:
    """Build the networks of a configuration, without memory, and count.

    Args:
        config: The configuration of an experiment.
        counts: Sizes, and the options that choose the networks.

    Raises:
        ConfigError: The configuration has no such option, or it chooses no network.
    """
    import torch  # reading a recipe needs none

    from hypnet_core.networks.main_network import MainNetwork

    mainnet = _option(config, counts.mainnet, MainnetChoice)
    hypernet = _option(config, counts.hypernet, HypernetChoice)
    size = counts.embedding_size
    size = _option(config, size, int) if isinstance(size, str) else size
    generate: Any = _value(config, counts.generate)
    with torch.device("meta"):
        module = mainnet.build(counts.in_shape, counts.out_features)
        net = MainNetwork(module, None if generate is _NOTHING else generate)
        conditions = ConditionSpec(count=counts.tasks, size=size)
        return Counted.of(net, hypernet.build(net.target, conditions))


def wrong_counts(config: BaseModel, counts: Counts) -> list[str]:
    """The counts that are not as a recipe says, one line each.

    Raises:
        ConfigError: The configuration has no such option, or it chooses no network.
    """
    found = count_parameters(config, counts)
    lines = []
    for name, expected in counts.expected.items():
        number = getattr(found, name)
        number = round(number, 3) if name == "compression" else number
        if number != expected:
            lines.append(f"counts.{name} is {expected:,}, but there are {number:,}")
    return lines


def _option(config: BaseModel, key: str, kind: type[Any]) -> Any:
    found = _value(config, key)
    if not isinstance(found, kind):
        what = "there is no such option" if found is _NOTHING else f"it is no {kind.__name__}"
        raise ConfigError(f"counts: {key!r}: {what}")
    return found


def _value(config: Any, key: str) -> Any:
    """The value at a dotted key, also inside the options of a component."""
    for part in key.split("."):
        if isinstance(config, Mapping):
            config = config.get(part, _NOTHING)
        elif isinstance(config, Sequence) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            config = getattr(config, part, _NOTHING)
    return config
