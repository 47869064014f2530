"""Measured figures beside those that a recipe expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypnet_core.cli.output import print_lines, print_table
from hypnet_core.cli.settings import complain
from hypnet_core.errors import ComponentError, HypnetError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.recipe import Recipe
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.recipes.figures import Figure, measured, measured_text
from hypnet_core.recipes.seeds import changes
from hypnet_core.runs.run import Run


def started_recipe(run: Run) -> Entry | None:
    """The recipe that a run was started from; `None` if none, or if it is gone."""
    if run.recipe is None:
        return None
    try:
        return registry().get(Kind.RECIPE, run.recipe)
    except ComponentError as error:  # the run itself does not need it
        complain([str(error)])
        return None


def figures_of(
    entry: Entry, config: Mapping[str, Any], summary: Mapping[str, Any]
) -> Sequence[Figure]:
    """The figures of one run, beside those of its recipe.

    A run that has finished must not fail any more: faults become lines on stderr.

    Args:
        entry: The recipe.
        config: The run's configuration, as JSON.
        summary: Its results.
    """
    try:
        recipe: Recipe = entry.load()
        changed = changes(entry, config)
        if changed:
            complain([f"the expected figures belong to other options: {changed}"])
        seed = config.get("seed", 0)
        return measured(recipe.expected, {seed: summary}, {}, source=recipe.source)
    except HypnetError as error:
        complain(str(error).splitlines())
        return ()


def print_figures(figures: Iterable[Figure]) -> None:
    """Print expected and measured figures as a table, if there are any."""
    rows = [
        (figure.figure, figure.expected, measured_text(figure), figure.verdict, figure.note)
        for figure in figures
    ]
    if rows:
        print_lines([""])
        columns = ("figure", "expected", "measured", "", "note")
        print_table(columns, rows, details=("expected", "note"))
