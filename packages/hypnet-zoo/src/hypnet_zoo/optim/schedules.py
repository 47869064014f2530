"""Schedulers of learning rates by name, with their options checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import lr_scheduler

from hypnet_core.errors import ConfigError, HypnetError, did_you_mean, error_line
from hypnet_core.import_strings import import_object


def cifar_factor(epoch: int) -> float:
    """Factor of the learning rate after some epochs, of residual networks on CIFAR."""
    for after, factor in ((180, 0.5e-3), (160, 1e-3), (120, 1e-2), (80, 1e-1)):
        if epoch > after:
            return factor
    return 1.0


def make_scheduler(optimizer: torch.optim.Optimizer, name: str, options: Mapping[str, Any]) -> Any:
    """Make one of torch's schedulers of learning rates, or a user's.

    Args:
        optimizer: The optimiser.
        name: A class of `torch.optim.lr_scheduler`, `cifar`, or an import string.
        options: Its arguments.

    Raises:
        ConfigError: There is no such scheduler or option, or a value is refused.
    """
    if name == "cifar":
        if options:
            raise ConfigError("schedule.options: cifar takes no options")
        return lr_scheduler.LambdaLR(optimizer, cifar_factor)
    made = _scheduler_type(name)
    known = set(inspect.signature(made).parameters) - {"optimizer"}
    for option in options:
        if option not in known:
            raise ConfigError(
                f"schedule.options: {name} has no option {option!r}{did_you_mean(option, known)}"
            )
    try:
        return made(optimizer, **options)
    except HypnetError:
        raise
    # Schedulers index and compare their options before they check them.
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        raise ConfigError(f"schedule.options: {error_line(error, ValueError)}") from error


def follows_score(name: str) -> bool:
    """Whether a scheduler follows the validation score, as ReduceLROnPlateau does.

    Raises:
        ConfigError: There is no such scheduler.
    """
    if name == "cifar":
        return False
    made = _scheduler_type(name)
    return isinstance(made, type) and issubclass(made, lr_scheduler.ReduceLROnPlateau)


_NOT_OFFERED = {"LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}
"""The base, and those that take functions or other schedulers."""


def _scheduler_type(name: str) -> Callable[..., Any]:
    if ":" in name:
        found: Callable[..., Any] = import_object(name)
        return found
    offered = {
        key: kind
        for key, kind in vars(lr_scheduler).items()
        if isinstance(kind, type)
        and issubclass(kind, lr_scheduler.LRScheduler)
        and not key.startswith("_")
        and key not in _NOT_OFFERED
    }
    if name not in offered:
        raise ConfigError(
            f"schedule.name: there is no {name!r}{did_you_mean(name, ['cifar', *offered])}"
        )
    return offered[name]
