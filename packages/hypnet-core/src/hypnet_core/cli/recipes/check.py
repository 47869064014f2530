"""`hypnet check RECIPE --seeds`: run a recipe and judge its figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import typer

from hypnet_core.cli.directories import new_directory
from hypnet_core.cli.output import print_json, print_lines
from hypnet_core.cli.recipes.figures import print_figures
from hypnet_core.cli.schemas import CheckDocument, ComponentDocument
from hypnet_core.cli.settings import complain
from hypnet_core.errors import ComponentError, UsageError, clipped
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.recipe import Recipe
from hypnet_core.plugins.registry import Entry, registry, with_article
from hypnet_core.recipes.figures import Verdict, measured
from hypnet_core.recipes.seeds import Configured, changes, configure, run_seeds
from hypnet_core.runs.config import parse_overrides


def check_seeds(
    entry: Entry, overrides: Sequence[str], seeds: str, out: Path | None, *, as_json: bool
) -> None:
    """Run a recipe with several seeds and judge its figures.

    Raises:
        typer.Exit: A figure is missed; the exit code is 1.
    """
    if entry.kind is not Kind.RECIPE:
        raise UsageError(f"--seeds is for recipes, and this is {with_article(entry.kind)}")
    recipe: Recipe = entry.load()
    if not recipe.expected:
        raise UsageError(f"{entry.label} expects no figures: check it without --seeds")
    chosen = _seeds(seeds, recipe)
    configured = configure(entry, overrides=overrides)
    others = {name: configure(_other(entry, name)) for name in _compared(recipe)}
    _prepare(configured, *others.values())
    directory = new_directory(f"check-{entry.name}", make=True) if out is None else out
    try:
        summaries = dict(run_seeds(configured, chosen, directory))
        bases = {name: dict(run_seeds(other, chosen, directory)) for name, other in others.items()}
    # As after a single run: finished runs are read, the others resumed.
    except KeyboardInterrupt:
        flags = ["--seeds", seeds, "--out", str(directory)]
        again = shlex.join(["hypnet", "check", entry.full_name, *overrides, *flags])
        typer.echo(f"To resume: {again}", err=True)
        raise
    figures = measured(recipe.expected, summaries, bases, source=recipe.source)
    document = CheckDocument(
        component=ComponentDocument.of(entry),
        options=parse_overrides(overrides),
        passed=all(figure.verdict is Verdict.MET for figure in figures),
        results=[],
        seeds=list(chosen),
        directory=str(directory),
        figures=figures,
    )
    if as_json:
        print_json(document)
    else:
        _print(entry, document)
    if not document.passed:
        raise typer.Exit(1)


def _prepare(configured: Configured, *others: Configured) -> None:
    """Everything that can fail before the first run, which may take hours."""
    changed = changes(configured.entry, configured.config.model_dump(mode="json"))
    if changed:
        complain([f"the expected figures belong to other options: {changed}"])
    for one in (configured, *others):
        complain(one.prepare())


def _print(entry: Entry, document: CheckDocument) -> None:
    print_figures(document.figures)
    missed = sum(figure.verdict is not Verdict.MET for figure in document.figures)
    tally = f"{len(document.figures) - missed} met, {missed} missed"
    print_lines([f"{entry.label}, {len(document.seeds)} seeds: {tally}"])
    print_lines([str(document.directory)])


def _compared(recipe: Recipe) -> list[str]:
    """The recipes that figures are compared with."""
    return sorted({one.minus for one in recipe.expected if one.minus is not None})


def _other(entry: Entry, name: str) -> Entry:
    """A recipe that a figure of `entry` is compared with: of its own plugin first."""
    try:
        return registry().get(Kind.RECIPE, f"{entry.plugin}:{name}")
    except ComponentError:
        return registry().get(Kind.RECIPE, name)


def _seeds(text: str, recipe: Recipe) -> tuple[int, ...]:
    if text == "own":
        return recipe.seeds
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or parts == ["0"]:
        raise UsageError(
            f"--seeds {clipped(text)}: expected a number of seeds (5), seeds (3,7,9), or own"
        )
    numbers = tuple(map(int, parts))
    if len(parts) == 1 and "," not in text:
        return tuple(range(numbers[0]))
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--seeds {clipped(text)}: a seed is given twice")
    return numbers
