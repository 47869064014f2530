"""A main network by import string."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from hypnet_core.errors import ImportStringError, SpecError
from hypnet_core.import_strings import import_callable


def module(
    in_shape: Sequence[int],
    out_features: int,
    *,
    factory: str = "torch.nn:Linear",
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """Build a network by a function or class: a torchvision or timm model, or your own.

    Values of `arguments` may be `$in_shape`, `$in_features` (its product), `$channels`
    (its first size) and `$out_features`; the sizes of the task replace them.

    Args:
        in_shape: Shape of one sample.
        out_features: Number of outputs.
        factory: `module:name` of the function or class; `torch.nn:Linear` by default.
        arguments: Its keyword arguments; with the default factory those of a linear
            model unless given.

    Raises:
        SpecError: The factory cannot be imported or called with these arguments, a
            `$name` does not exist, or it does not return a module.

    Example:
        >>> arguments = {"num_classes": "$out_features"}
        >>> factory = "torchvision.models:resnet18"
        >>> resnet = module((3, 32, 32), 10, factory=factory, arguments=arguments)
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
    try:
        function = import_callable(factory)
    except ImportStringError as error:
        raise SpecError(f"factory: {error}") from error
    return made(
        function,
        {key: _value(key, value, values) for key, value in arguments.items()},
    )


def made(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    """Call the factory, and check that it returns a module.

    Raises:
        SpecError: The arguments are wrong, or the result is not a module.
    """
    try:
        # Torch's constructors raise `RuntimeError` too, for impossible sizes.
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
