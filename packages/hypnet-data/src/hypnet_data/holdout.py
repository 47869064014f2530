"""Deterministic choices of the samples that are held out for validation or testing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError

HoldOut: TypeAlias = Callable[[Tensor, int], Tensor]
"""From labels `[n]` and the number of samples to hold out to a flag per sample."""


def hold_out_first(labels: Tensor, count: int) -> Tensor:
    """Hold out the first `count` samples.

    Raises:
        ConfigError: No training samples would be left.
    """
    _check(len(labels), count)
    return torch.arange(len(labels)) < count


def hold_out_stratified(labels: Tensor, count: int) -> Tensor:
    """Hold out `count` samples, a proportional share of every class, spread evenly.

    Shares are rounded down; the samples that are then missing come from the classes
    that lost most by rounding (from the smaller label in a tie). Of the `m` samples of
    a class, `k` are chosen: number `(2 j + 1) m // 2 k` for each `j < k`.

    Raises:
        ConfigError: No training samples would be left.

    Example:
        >>> hold_out_stratified(torch.tensor([0, 1, 0, 1, 0, 1]), 2).long()
        tensor([0, 0, 1, 1, 0, 0])
    """
    _check(len(labels), count)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    present, sizes = torch.unique(labels, return_counts=True)
    # In whole numbers: floats could round a share up.
    shares = sizes * count // max(len(labels), 1)
    # The remainders, in units of 1 / len(labels).
    lost = sizes * count - shares * len(labels)
    # Stable, so that the smaller label wins a tie.
    shares[torch.argsort(lost, descending=True, stable=True)[: count - int(shares.sum())]] += 1
    for label, share in zip(present.tolist(), shares.tolist(), strict=True):
        members = torch.nonzero(labels == label).flatten()
        # The middle of each of `share` equal parts of the file.
        # `max` only guards the division: a share of 0 has no places.
        places = (2 * torch.arange(share) + 1) * len(members) // max(2 * share, 1)
        held_out[members[places]] = True
    return held_out


def _check(size: int, count: int) -> None:
    if count < 0:
        raise ConfigError(f"the size of a validation set must not be negative, got {count}")
    if count and count >= size:
        raise ConfigError(
            f"{count} samples cannot be held out for validation: there are only {size} training"
            " samples"
        )
