"""Optimisers by name, with their options checked."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hypnet_core.errors import ConfigError, did_you_mean, error_line

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
}
# They choose among implementations of the same optimiser.
_IMPLEMENTATIONS = {"foreach", "fused", "capturable"}
# Given otherwise, or without use here: nothing differentiates through a step.
_NOT_OFFERED = {"params", "lr", "differentiable"}


def make_optimizer(
    parameters: Iterable[nn.Parameter], name: str, lr: float, options: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Make one of torch's optimisers.

    Where torch has a fused implementation it is used: several times faster even on a
    CPU.

    Args:
        parameters: The parameters to optimise.
        name: `adam`, `adamw`, `sgd`, `rmsprop`, `adadelta` or `adagrad`.
        lr: Learning rate.
        options: Its further arguments.

    Raises:
        ConfigError: There is no such optimiser or option, or a value is refused.
    """
    if name not in _OPTIMIZERS:
        raise ConfigError(f"there is no optimiser {name!r}{did_you_mean(name, _OPTIMIZERS)}")
    kind = _OPTIMIZERS[name]
    known = set(inspect.signature(kind).parameters) - _NOT_OFFERED
    for option in options:
        if option not in known:
            raise ConfigError(f"{name} has no option {option!r}{did_you_mean(option, known)}")
    # The caller's choice of an implementation has priority.
    fused = {"fused": True} if "fused" in known and not _IMPLEMENTATIONS & options.keys() else {}
    try:
        return kind([*parameters], **{"lr": lr, **fused, **options})
    # Optimisers index and compare their options before they check them.
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        raise ConfigError(f"{name}: {error_line(error, ValueError)}") from error
