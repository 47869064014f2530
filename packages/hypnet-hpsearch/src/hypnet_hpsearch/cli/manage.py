"""`hypnet search cancel`, `retry` and `clean`."""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli import Json, is_terminal, print_json, print_lines, print_table
from hypnet_core.errors import UsageError
from hypnet_hpsearch.cli.options import Directory, DryRun, Trials
from hypnet_hpsearch.cli.output import opened

if TYPE_CHECKING:
    from hypnet_hpsearch.results.clean import Removable

__all__ = ["cancel", "clean", "retry"]

_logger = logging.getLogger("hypnet.search")


def cancel(directory: Directory, trials: Trials = None, *, as_json: Json = False) -> None:
    """Stop a search that runs elsewhere, or end some of its trials.

    Without trials, all drivers of the search stop, wherever they run, and their trials
    are cancelled, as are trials that have outlived their driver. Cancelled trials are
    run again when the search is started again.
    """
    store, spec = opened(directory)
    from hypnet_hpsearch.execution import control
    from hypnet_hpsearch.searches import scheduler_of
    from hypnet_hpsearch.state.store import Store

    done = control.cancel(Store(store.directory), scheduler_of(spec), trials or ())
    if as_json:
        from hypnet_hpsearch.cli.schemas import CancelDocument

        print_json(CancelDocument(trials=done.trials, drivers=done.drivers))
        return
    _logger.info("%d trials cancelled, %d drivers stopped", len(done.trials), done.drivers)
    print_lines(done.trials)


def retry(directory: Directory, trials: Trials = None, *, as_json: Json = False) -> None:
    """Run trials again that have failed, were lost or were cancelled.

    An active driver runs them at once; otherwise the next one does.
    """
    store, _ = opened(directory)
    from hypnet_hpsearch.execution import control
    from hypnet_hpsearch.state.locks import present

    again = control.retry(store, trials or ())
    drivers = len(present(store.directory))
    if as_json:
        from hypnet_hpsearch.cli.schemas import RetryDocument

        print_json(RetryDocument(trials=again, drivers=drivers))
        return
    who = "an active driver" if drivers else "the next `hypnet search run`"
    _logger.info("%d trials will be run again by %s", len(again), who)
    print_lines(again)


def clean(
    directory: Directory,
    *,
    worse_than: Annotated[
        float | None,
        typer.Option(help="Trials whose metric is worse than this, or is NaN.", metavar="METRIC"),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=0, help="All trials except this many of the best.", metavar="COUNT"),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Trials that failed, were lost or were cancelled.")
    ] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete the output of trials that are not good enough.

    Their results stay, in the journal and in all tables; only the directories that the
    trials could write to are deleted. Running trials are left alone, and symbolic links
    are not followed.
    """
    from hypnet_hpsearch.results.clean import Criterion, removable, remove

    criterion = Criterion(worse_than, keep, failed)
    if criterion == Criterion():
        raise UsageError("clean what? --worse-than METRIC, --keep COUNT or --failed")
    if worse_than is not None and math.isnan(worse_than):
        raise UsageError("--worse-than: no metric can be compared with NaN")
    store, spec = opened(directory)
    found = removable(store, spec, criterion)
    if not as_json:
        _print_removable(spec.metric, found)
    if not dry_run and found:
        _confirm(len(found), yes=yes)
        remove(found)
    if as_json:
        from hypnet_hpsearch.cli.schemas import CleanDocument

        print_json(CleanDocument(deleted=not dry_run, attempts=found))
        return
    verb = "would be deleted" if dry_run else "deleted"
    _logger.info(
        "%d directories %s, %.1f MB", len(found), verb, sum(one.size for one in found) / 1e6
    )


def _print_removable(metric: str, found: list[Removable]) -> None:
    from hypnet_hpsearch.execution.display import metric_text

    rows = [
        (
            one.trial,
            one.state.value,
            metric_text(one.metric),
            one.directory,
        )
        for one in found
    ]
    if is_terminal():
        print_table(("trial", "state", metric, "directory"), rows, right=(metric,))
    else:
        print_lines("\t".join(row) for row in rows)


def _confirm(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("cannot ask for confirmation: pass --yes, or look with --dry-run first")
    typer.confirm(f"Delete these {count} directories?", abort=True, err=True)
