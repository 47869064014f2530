"""A recipe for people: experiment, options, expected figures, counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hypnet_core.cli.output import print_lines, print_table
from hypnet_core.plugins.recipe import Counts, Recipe
from hypnet_core.runs.parsing import to_yaml


def print_recipe(recipe: Recipe) -> None:
    """Print the content of a recipe."""
    print_lines(_facts(recipe))
    _print_section("options", recipe.options)
    if recipe.expected:
        print_lines(["", "expected figures"])
        rows = [(one.label, one.range, one.source or recipe.source) for one in recipe.expected]
        print_table(("figure", "expected", "source"), rows, details=("expected", "source"))
    if recipe.counts is not None:
        print_lines(["", "counts", *_counts(recipe.counts)])
    if recipe.smoke is not None:
        _print_section("options of a short run (hypnet check)", recipe.smoke)


def _facts(recipe: Recipe) -> Iterator[str]:
    yield f"experiment  {recipe.experiment}"
    if recipe.source:
        yield f"published   {recipe.source}"
    yield f"seeds       {' '.join(map(str, recipe.seeds))}"
    if recipe.minutes is not None:
        yield f"minutes     about {recipe.minutes:g} per seed"


def _counts(counts: Counts) -> Iterator[str]:
    shape = " x ".join(map(str, counts.in_shape))
    yield f"    inputs {shape}, {counts.out_features} outputs, {counts.tasks} tasks"
    for name, number in counts.expected.items():
        yield f"    {name:<12}{number:>12,}"


def _print_section(title: str, options: Mapping[str, Any]) -> None:
    lines = to_yaml(dict(options)).splitlines() if options else ["none"]
    print_lines(["", title, *(f"    {line}" for line in lines)])
