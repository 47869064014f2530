"""Checks of what a method gives to the loop, each fault in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from hypnet_core.errors import ConfigError, SpecError, clipped, listed, safe_repr
from hypnet_core.protocols import BatchLike

_PARTS = ("scenarios", "begin", "step", "end", "predict", "state_dict", "load_state_dict")


def check_parts(made: Any, name: str) -> None:
    """Refuse an object that is no method.

    Args:
        made: The object.
        name: Name of the component, class or function that made it.

    Raises:
        ConfigError: It lacks a part of `hypnet_core.protocols.Method`.
    """
    missing = [part for part in _PARTS if not hasattr(made, part)]
    if missing:
        raise ConfigError(
            f"method: {name} makes a {type(made).__name__}, which has no {listed(missing)}: a"
            f" method has {', '.join(_PARTS)}"
        )


def check_losses(losses: Any, name: str) -> None:
    """Refuse what is not a mapping of scalar losses, without waiting for a GPU.

    Args:
        losses: The result of a step.
        name: Name of the method.

    Raises:
        SpecError: It is something else.
    """
    advice = 'expected losses by name, such as {"loss": loss.detach()}'
    if not isinstance(losses, Mapping) or "loss" not in losses:
        raise SpecError(f"the method {name}: step gives {_shown(losses)}: {advice}")
    for key, value in losses.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise SpecError(
                f"the method {name}: step gives {_shown(value)} as {key!r}: expected a tensor of"
                " one number"
            )


def check_outputs(
    outputs: Any, batch: BatchLike, out_shape: Sequence[int], *, where: str, sequence: bool
) -> None:
    """Refuse outputs that do not belong to a batch.

    Args:
        outputs: They should be `[B, *out_shape]`, or flat in all but the first
            dimension; of sequences also with a second dimension of steps.
        batch: The samples.
        out_shape: Shape of the outputs for one sample.
        where: The method and the task, for the error.
        sequence: Whether samples are sequences.

    Raises:
        SpecError: They have another shape, or are no tensor.
    """
    if not isinstance(outputs, Tensor):
        raise SpecError(f"{where}: predictions are {_shown(outputs)}, expected a tensor")
    size = len(batch)
    rows = [(size,), (size, batch.x.shape[1])] if sequence else [(size,)]
    shapes = tuple(out_shape), (math.prod(out_shape),)
    allowed = [(*row, *shape) for row in rows for shape in shapes]
    if tuple(outputs.shape) not in allowed:
        raise SpecError(
            f"{where}: predictions for {size} samples have shape {list(outputs.shape)}, expected"
            f" {list(allowed[0])}"
        )


def shown(value: Any) -> str:
    """Any value in one line."""
    return clipped(" ".join(safe_repr(value).split()))


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return shown(value)
