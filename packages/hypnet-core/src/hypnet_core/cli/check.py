"""`hypnet check`: the conformance kit from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypnet_core.cli.output import Json, print_json, print_lines
from hypnet_core.cli.recipes.check import check_seeds
from hypnet_core.cli.schemas import CheckDocument, ComponentDocument
from hypnet_core.cli.settings import log_errors_only, settings_of
from hypnet_core.cli.shapes import shape_of
from hypnet_core.cli.show import KindOption, Name, find
from hypnet_core.errors import UsageError, clipped
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import with_article
from hypnet_core.runs.config import parse_overrides
from hypnet_core.testing.kit import CheckResult, Outcome, each_check

_MARKS = {Outcome.PASSED: "ok", Outcome.FAILED: "FAILED", Outcome.SKIPPED: "skipped"}


def check(
    ctx: typer.Context,
    name: Name,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Options to check it under."),
    ] = None,
    *,
    kind: KindOption = None,
    in_shape: Annotated[
        str | None,
        typer.Option(metavar="3,64,64", help="Shape of one input of a main network."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Run a recipe with the seeds 0 to N-1 and judge its figures; 3,7,9 for these"
            " seeds, own for those of the recipe.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the runs of --seeds; those that are there are resumed, or read if"
            " they have finished.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the conformance kit over a component.

    A main network of your own is checked as `module`, with factory=mypackage:MyNetwork.
    A recipe is checked without training it, or with --seeds by its figures. The exit
    code is 1 if a check fails. With -v the tracebacks are shown.
    """
    entry = find(name, kind)
    if seeds is not None:
        check_seeds(entry, options or [], seeds, out, as_json=as_json)
        return
    if out is not None:
        raise UsageError("--out is for --seeds: nothing else is kept")
    hints = {} if in_shape is None else {"in_shapes": [_shape(in_shape, entry.kind)]}
    chosen = parse_overrides(options or [])
    talkative = settings_of(ctx).verbosity > 0
    if not talkative:
        log_errors_only()  # warnings of the components would bury the results
    results = []
    for result in each_check(entry, chosen, hints=hints):
        results.append(result)
        # Printed as they come, because some checks take a while.
        if not as_json:
            print_lines(_lines(result, story=talkative))
    passed = all(result.outcome is not Outcome.FAILED for result in results)
    if as_json:
        component = ComponentDocument.of(entry)
        print_json(
            CheckDocument(component=component, options=chosen, passed=passed, results=results)
        )
    else:
        print_lines([_tally(entry.label, results)])
    if not passed:
        raise typer.Exit(1)


def _shape(text: str, kind: Kind) -> tuple[int, ...]:
    if kind is not Kind.MAINNET:
        raise UsageError(f"--in-shape is for main networks, and this is {with_article(kind)}")
    shape = shape_of(text)
    if shape is None:
        raise UsageError(f"--in-shape is written as 3,64,64, got {clipped(text)!r}")
    return shape


def _lines(result: CheckResult, *, story: bool) -> list[str]:
    lines = [f"{_MARKS[result.outcome]:<8} {result.claim}"]
    if result.message:
        lines.append(f"{'':<8} {result.check}: {result.message}")
    if story:
        lines.extend(f"{'':<8} {line}" for line in result.traceback.splitlines())
    return lines


def _tally(label: str, results: list[CheckResult]) -> str:
    counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    return f"{label}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
