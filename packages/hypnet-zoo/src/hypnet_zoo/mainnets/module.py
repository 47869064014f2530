"""Any module of the user's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from hypnet_core.errors import SpecError
from hypnet_zoo.mainnets.imports import imported


def module(
    in_shape: Sequence[int],
    out_features: int,
    *,
    factory: str = "torch.nn:Linear",
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """A network that a function or class of somebody else's makes: a torchvision or timm model, or one's own.

    Values of `arguments` may be `$in_shape`, `$in_features` (their product),
    `$channels` (its first size) and `$out_features`, which stand for what the task asks
    for.

    Args:
        in_shape: Shape of one sample.
        out_features: Number of outputs.
        factory: `module:name` of the function or class; `torch.nn:Linear` by default.
        arguments: Its keyword arguments; with the default factory those of a linear
            model unless given.

    Raises:
        SpecError: It cannot be imported or called with these arguments, a `$name` does
            not exist, or it returns no module.

    Example:
        >>> resnet = module((3, 32, 32), 10, factory="torchvision.models:resnet18", arguments={"num_classes": "$out_features"})
        >>> resnet.fc.out_features
        10
    """
    if arguments is None:
        arguments = (
            {"in_features": "$in_features", "out_features": "$out_features"}
            if factory == "torch.nn:Linear"
            else {}
        )
    values = {
        "$in_shape": tuple(in_shape),
        "$in_features": math.prod(in_shape),
        "$channels": in_shape[0] if in_shape else 1,
        "$out_features": out_features,
    }
    return made(
        imported(factory, "factory"),
        {key: _value(key, value, values) for key, value in arguments.items()},
    )


def made(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    """What the factory returns, once it is known to be a module.

    Raises:
        SpecError: The arguments are wrong, or it returns something else.
    """
    try:
        network = factory(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(
            f"arguments: {getattr(factory, '__name__', factory)} cannot be called with them:"
            f" {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise SpecError(
            f"factory: it must return an nn.Module, returned a {type(network).__name__}"
        )
    return network


def _value(key: str, value: Any, values: Mapping[str, Any]) -> Any:
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    if value not in values:
        raise SpecError(f"arguments: {key} is {value!r}; there is: {', '.join(values)}")
    return values[value]
