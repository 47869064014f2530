"""Shapes, as they are written on a command line."""

from __future__ import annotations


def shape_of(text: str) -> tuple[int, ...] | None:
    """The shape that a text such as `1,28,28` tells; `None` if it tells none."""
    try:
        # Parentheses and brackets, as Python prints shapes.
        shape = tuple(int(size) for size in text.strip("()[] ").split(","))
    except ValueError:
        return None
    return shape if min(shape) > 0 else None
