"""Precisions that users give: a number, a flat tensor, or one by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_zoo.regularizers._importance.chosen import Chosen

Precision: TypeAlias = float | Tensor | Mapping[str, Tensor | float]
"""A number for all parameters, one flat tensor, or a number or tensor per name."""


def flat_precision(chosen: Chosen, given: Precision) -> Tensor:
    """One number for each scalar of the chosen parameters, `[numel]`.

    Args:
        chosen: The parameters.
        given: The precision; parameters that a mapping does not name have none.

    Raises:
        SpecError: It is negative, has another shape, or names no chosen parameter.
    """
    dtype, device = chosen.dtype, chosen.device
    if isinstance(given, Mapping):
        unknown = next((name for name in given if name not in chosen.now), None)
        if unknown is not None:
            raise SpecError(
                f"prior_precision: there is no chosen parameter"
                f" {unknown!r}{did_you_mean(unknown, chosen.now)}"
            )
        parts = [
            _filled(given.get(name, 0.0), parameter.shape, name).to(device, dtype).flatten()
            for name, parameter in chosen.now.items()
        ]
        found = torch.cat(parts)
    else:
        found = _filled(given, torch.Size([chosen.spec.numel]), "").to(device, dtype)
    if not bool((found >= 0).all()):
        raise SpecError(f"prior_precision must not be negative, got {float(found.min())}")
    return found


def _filled(value: Tensor | float, shape: torch.Size, name: str) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    if tensor.ndim and tensor.shape != shape:
        of = f" of {name!r}" if name else ""
        raise SpecError(
            f"prior_precision{of} must be a number or have shape {list(shape)}, got"
            f" {list(tensor.shape)}"
        )
    return tensor.expand(shape)
