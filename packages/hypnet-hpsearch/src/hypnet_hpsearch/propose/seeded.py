"""Seeded random numbers."""

from __future__ import annotations

import random

__all__ = ["seeded"]


def seeded(seed: int | str) -> random.Random:
    """A generator of random numbers that are the same on every machine."""
    return random.Random(seed)  # noqa: S311  nothing here is secret
