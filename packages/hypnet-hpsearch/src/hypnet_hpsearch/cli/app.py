"""The command `hypnet search`.

Modules that do the work are imported when a command runs, not when its help is shown.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli import Json, is_terminal, print_json, print_lines, print_table
from hypnet_hpsearch.cli.errors import errors
from hypnet_hpsearch.cli.imports import take_in
from hypnet_hpsearch.cli.manage import cancel, clean, retry
from hypnet_hpsearch.cli.options import Directory, MaxJobs, SchedulerName, Slots
from hypnet_hpsearch.cli.output import opened, print_pairs, run_search, with_scheduler
from hypnet_hpsearch.cli.publish import export, importances, plot, report
from hypnet_hpsearch.cli.seeds import seeds

if TYPE_CHECKING:
    from hypnet_hpsearch.results.table import SearchStatus, TrialResult
    from hypnet_hpsearch.searches import Search
    from hypnet_hpsearch.spec.spec import SearchSpec

__all__ = ["search"]

_logger = logging.getLogger("hypnet.search")
_MANY = 20  # command lines of a dry run that fit a terminal

search = typer.Typer(name="search", no_args_is_help=True)


@search.callback()
def _search() -> None:
    """Search over the options of an experiment or of any other command."""


@search.command()
def run(
    file: Annotated[
        Path, typer.Argument(help="TOML or YAML file that describes the search.", metavar="FILE")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="The search's directory; searches/NAME by default.", metavar="DIR"),
    ] = None,
    scheduler: SchedulerName = None,
    slots: Slots = None,
    max_jobs: MaxJobs = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything, print the trials' commands or the scripts to submit, and stop.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the trials of a search that are missing or have failed.

    It may be interrupted or killed, and started again, at any time: no result is lost,
    and no trial runs twice. The last line of the output is the search's directory.
    """
    from hypnet_hpsearch.searches import Search

    found = Search.load(file, out)
    spec = with_scheduler(found.spec, scheduler, slots)
    if spec != found.spec:
        found = Search(spec, found.directory)
    for remark in found.proposer.remarks:
        _logger.warning(remark)
    if dry_run:
        _print_plan(found, as_json=as_json)
        return
    status = run_search(found, max_jobs)
    _print_end(status, as_json=as_json)
    if status.done + status.pruned < status.total:
        raise typer.Exit(1)


@search.command()
def status(directory: Directory, *, as_json: Json = False) -> None:
    """Show the status of a search, also while it runs elsewhere."""
    store, spec = opened(directory)
    from hypnet_hpsearch.results.table import status_of

    found = status_of(store, spec)
    if as_json:
        _print_status(found)
        return
    from hypnet_hpsearch._tables import status_rows

    print_pairs(status_rows(found))


@search.command()
def table(
    directory: Directory,
    *,
    trials: Annotated[
        bool, typer.Option("--trials", help="Show each seed's trial in a line of its own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the trials of a search, best first.

    With several seeds, each line is a configuration, with the mean over its seeds and
    the standard error. In a pipe, it prints a header and lines of columns that are
    separated by tabs.
    """
    store, spec = opened(directory)
    if as_json:
        from hypnet_hpsearch.cli.schemas import TableDocument

        print_json(TableDocument.of(store, spec))
        return
    from hypnet_hpsearch.results.table import results_of, trials_of

    _print_trials(spec, (trials_of if trials else results_of)(store, spec))


@search.command()
def best(directory: Directory, *, as_json: Json = False) -> None:
    """Show the best trial of a search: its metric, options and directory.

    With several seeds, it is the best configuration, with the directories of all its
    trials. With several objectives, it is the table of the Pareto front.
    """
    store, spec = opened(directory)
    from hypnet_hpsearch.results.table import best_of, results_of, trials_of_best

    results = results_of(store, spec)
    trial = best_of(results, directory)
    front = [result for result in results if result.front]
    if as_json:
        from hypnet_hpsearch.cli.schemas import BestDocument

        print_json(BestDocument(metric=spec.metric, trial=trial, front=front or None))
        return
    from hypnet_hpsearch._tables import best_rows

    if front:
        _print_trials(spec, front)
        return
    print_pairs(best_rows(spec, trial))
    print_lines(one.directory for one in trials_of_best(store, spec, trial))


# The order of this list is that of the help.
for _command in (errors, export, plot, importances, report, seeds, cancel, retry, clean):
    search.command()(_command)
search.command("import")(take_in)


def _print_trials(spec: SearchSpec, results: Sequence[TrialResult]) -> None:
    from hypnet_hpsearch._tables import table_of

    columns, rows = table_of(spec, results)
    if is_terminal():
        print_table(columns, rows, right=(spec.metric, *spec.kept, "seconds"))
    else:
        print_lines("\t".join(row) for row in [columns, *rows])


def _print_plan(found: Search, *, as_json: bool) -> None:
    preview = found.preview()
    found.check_experiment()
    if as_json:
        from hypnet_hpsearch.cli.schemas import DryRunDocument

        print_json(DryRunDocument.of(found))
        return
    scripts = found.scripts()
    for script in scripts:
        print_lines([f"# {shlex.join(script.argv)}", script.text])
    for number, (_, argv) in enumerate(() if scripts else found.command_lines()):
        # A pipe gets all of them.
        if number == _MANY and is_terminal():
            print_lines([f"… and {len(preview) - number} more"])
            break
        print_lines([shlex.join(argv)])
    first = (
        ", of which this is the first; the others depend on results" if found.spec.adapts else ""
    )
    _logger.info("would run %d trials in %s%s", len(preview), found.directory, first)
    if preview.reused or preview.outside:
        outside = f"; {preview.outside} others do not belong to it" if preview.outside else ""
        _logger.info("would reuse %d finished trials%s", preview.reused, outside)


def _print_status(found: SearchStatus) -> None:
    from hypnet_hpsearch.cli.schemas import StatusDocument

    print_json(StatusDocument(search=found))


def _print_end(found: SearchStatus, *, as_json: bool) -> None:
    counts = {state: getattr(found, state) for state in ("pruned", "failed", "lost", "cancelled")}
    others = "".join(
        f", {count} {state}" for state, count in counts.items() if count or state == "failed"
    )
    _logger.info("%d of %d trials done%s", found.done, found.total, others)
    if found.without_number:
        have = "trial has" if found.without_number == 1 else "trials have"
        _logger.warning(
            "%d %s NaN or infinity for their %s", found.without_number, have, found.metric
        )
    if as_json:
        _print_status(found)
        return
    if found.best is not None:
        print_lines([f"best {found.metric}: {found.best.metric!r} ({found.best.trial})"])
    print_lines([found.directory])
