"""`hypnet search cancel`, `retry`, `export`, `plot` and `clean`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli import Json, is_terminal, print_json, print_lines, print_table
from hypnet_core.errors import UsageError
from hypnet_hpsearch.cli.output import Directory, looked_at

if TYPE_CHECKING:
    from hypnet_hpsearch.results.clean import Waste

__all__ = ["cancel", "clean", "export", "plot", "retry"]

_logger = logging.getLogger("hypnet.search")

Trials = Annotated[
    list[str] | None,
    typer.Argument(
        help="Ids of trials, or their beginnings; all by default.", metavar="[TRIAL]..."
    ),
]


def cancel(directory: Directory, trials: Trials = None, *, as_json: Json = False) -> None:
    """Stop a search that runs elsewhere, or end some of its trials.

    Without trials, all drivers of the search stop, wherever they run, and their trials
    are cancelled. So are trials that have outlived their driver. What is cancelled is
    run again when the search is started again.
    """
    store, spec = looked_at(directory)
    from hypnet_hpsearch.execution import control
    from hypnet_hpsearch.search import scheduler_of
    from hypnet_hpsearch.state.store import Store

    done = control.cancel(Store(store.directory), scheduler_of(spec), trials or ())
    if as_json:
        from hypnet_hpsearch.cli.schemas import CancelDocument

        print_json(CancelDocument(trials=done.trials, drivers=done.drivers))
        return
    _logger.info("%d trials cancelled, %d drivers stopped", len(done.trials), done.drivers)
    print_lines(done.trials)


def retry(directory: Directory, trials: Trials = None, *, as_json: Json = False) -> None:
    """Have trials run again that have failed, were lost or were cancelled.

    A driver at work runs them again at once; otherwise the next one does.
    """
    store, _ = looked_at(directory)
    from hypnet_hpsearch.execution import control
    from hypnet_hpsearch.state.locks import present

    again = control.retry(store, trials or ())
    drivers = len(present(store.directory))
    if as_json:
        from hypnet_hpsearch.cli.schemas import RetryDocument

        print_json(RetryDocument(trials=again, drivers=drivers))
        return
    who = "a driver at work" if drivers else "the next `hypnet search run`"
    _logger.info("%d trials will be run again by %s", len(again), who)
    print_lines(again)


def export(
    directory: Directory,
    *,
    trial: Annotated[
        str | None,
        typer.Option(
            help="Export the configuration of this trial, by its id, or of the 'best' one.",
            metavar="TRIAL",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="File to write; stdout by default.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export the results as CSV or JSON, or the configuration of one trial as YAML.

    A configuration of an experiment is resolved, and what `hypnet run EXPERIMENT
    --config FILE` takes.
    """
    store, spec = looked_at(directory)
    from hypnet_hpsearch.results.export import configuration, results_as

    kind = (
        "json"
        if as_json
        else to.suffix.removeprefix(".")
        if to is not None
        else "yaml"
        if trial
        else "csv"
    )
    kinds = ("yaml", "yml", "json") if trial else ("csv", "json")
    if kind not in kinds:
        raise UsageError(f"--to {to}: the file's name must end with .{' or .'.join(kinds)}")
    text = configuration(store, spec, trial, kind) if trial else results_as(store, spec, kind)
    if to is None:
        typer.echo(text, nl=False)
        return
    from hypnet_core.runs import write_atomic

    write_atomic(to, text)
    if trial and spec.experiment:
        _logger.info("to run it: hypnet run %s --config %s", spec.experiment, to)
    print_lines([str(to)])


def plot(
    directory: Directory,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where the files go; DIR/plots by default.", metavar="DIR")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--format", help="png or svg; both by default.", metavar="FORMAT"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the metric against each option, parallel coordinates, and the best result so far."""
    for one in kind or ():
        if one not in {"png", "svg"}:
            raise UsageError(f"--format {one}: there is png and svg")
    store, spec = looked_at(directory)
    from hypnet_hpsearch.results.plots import save_plots

    files = save_plots(
        store,
        spec,
        directory / "plots" if out is None else out,
        tuple(dict.fromkeys(kind or ("png", "svg"))),
    )
    if as_json:
        from hypnet_hpsearch.cli.schemas import PlotDocument

        print_json(PlotDocument(files=[str(file) for file in files]))
        return
    print_lines(map(str, files))


def clean(
    directory: Directory,
    *,
    worse_than: Annotated[
        float | None,
        typer.Option(
            help="Trials whose metric is worse than this, or is no number.", metavar="METRIC"
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, help="All trials but the best so many.", metavar="COUNT")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Trials that failed, were lost or were cancelled.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what trials wrote that are not good enough.

    Their results stay, in the journal and in all tables; only the directories go that
    the trials could write to. Trials that run stay as they are, and symbolic links are
    not followed.
    """
    from hypnet_hpsearch.results.clean import Criterion, remove, waste

    criterion = Criterion(worse_than, keep, failed)
    if criterion == Criterion():
        raise UsageError("clean what? --worse-than METRIC, --keep COUNT or --failed")
    if worse_than is not None and worse_than != worse_than:  # noqa: PLR0124  NaN
        raise UsageError("--worse-than: everything and nothing is worse than NaN")
    store, spec = looked_at(directory)
    found = waste(store, spec, criterion)
    if not as_json:
        _print_waste(spec.metric, found)
    if not dry_run and found:
        _make_sure(len(found), yes=yes)
        remove(found)
    if as_json:
        from hypnet_hpsearch.cli.schemas import CleanDocument

        print_json(CleanDocument(deleted=not dry_run, attempts=found))
        return
    verb = "would be deleted" if dry_run else "deleted"
    _logger.info(
        "%d directories %s, %.1f MB", len(found), verb, sum(one.size for one in found) / 1e6
    )


def _print_waste(metric: str, found: list[Waste]) -> None:
    rows = [
        (
            one.trial,
            one.state.value,
            "" if one.metric is None else f"{one.metric:.6g}",
            one.directory,
        )
        for one in found
    ]
    if is_terminal():
        print_table(("trial", "state", metric, "directory"), rows, right=(metric,))
    else:
        print_lines("\t".join(row) for row in rows)


def _make_sure(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked: say --yes, or see --dry-run first")
    typer.confirm(f"Delete these {count} directories?", abort=True, err=True)
