"""Hints for those who look for several values per option in `hypnet run`."""

from __future__ import annotations

from collections.abc import Iterable

from hypnet_core.errors import clipped
from hypnet_core.plugins.validation import InvalidOptionsError


def sweep_hint(experiment: str, grid: str) -> str:
    """The line that says how `hypnet search` runs several values.

    Args:
        experiment: Name of the experiment.
        grid: A line of the grid.
    """
    return (
        f'for several values, `hypnet search run FILE`: experiment = "{experiment}", metric = …,'
        f" and below [grid] {grid}"
    )


def with_sweep_hint(error: InvalidOptionsError, experiment: str, overrides: Iterable[str]) -> str:
    """The message of an error, with a hint if an override holds several values.

    Args:
        error: The error.
        experiment: Name of the experiment.
        overrides: The overrides that it is about, such as `train.lr=1e-3,1e-2`.
    """
    wrong = {".".join(map(str, mistake.path)) for mistake in error.mistakes}
    for override in overrides:
        key, _, value = override.partition("=")
        if key.strip() in wrong and "," in value and value.strip()[:1] not in "[{'\"":
            values = ", ".join(part.strip() for part in value.split(","))
            hint = sweep_hint(experiment, f"{clipped(key.strip())} = [{clipped(values)}]")
            return f"{error}\n{hint}"
    return str(error)
