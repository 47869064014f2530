"""`hypnet search seeds`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hypnet_core.cli import Json, print_json, print_lines
from hypnet_hpsearch.cli.options import MaxJobs, SchedulerName, Slots
from hypnet_hpsearch.cli.output import opened, run_search, with_scheduler

__all__ = ["seeds"]

_logger = logging.getLogger("hypnet.search")


def seeds(
    source: Annotated[
        Path,
        typer.Argument(
            help=(
                "A search's directory, to take its best trial; a run's directory; or a search file"
                " with one configuration."
            ),
            metavar="SOURCE",
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(help="Options to change, such as train.lr=1e-3.", metavar="[key=value]..."),
    ] = None,
    *,
    count: Annotated[
        int,
        typer.Option("--count", "-n", min=1, help="Number of seeds, including reused runs."),
    ] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the search over the seeds; searches/NAME-seeds by default.",
            metavar="DIR",
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric; the search's own by default.", metavar="NAME")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A number to summarise, with its decimals: accuracy:2. May be a pattern.",
            metavar="NAME[:DECIMALS]",
        ),
    ] = None,
    error: Annotated[
        bool,
        typer.Option(
            "--sem", help="Show the standard error of the mean, not the standard deviation."
        ),
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="An option, or a group of options, to leave at the program's default.",
            metavar="KEY",
        ),
    ] = None,
    scheduler: SchedulerName = None,
    slots: Slots = None,
    max_jobs: MaxJobs = None,
    as_json: Json = False,
) -> None:
    """Run one configuration with several seeds, and summarise the results.

    The summary holds the mean, with the standard deviation or error. Finished runs are
    reused. This is a search of its own: when started again it goes on, and with a
    larger --count it adds seeds. The last line of the output is its directory.
    """
    from hypnet_hpsearch.results import seeds as work
    from hypnet_hpsearch.results import seeds_summary as says
    from hypnet_hpsearch.searches import Search
    from hypnet_hpsearch.state.store import Store

    for text in key or ():
        says.name_and_decimals(text)
    found = work.source_of(source, metric=metric)
    name = f"{str(found.fields['name'])[:90]}-seeds"
    directory = (Path("searches", name) if out is None else out).absolute()
    spec, runs = work.seeds_spec(
        found, count, ignore=ignore or (), force=options or (), before=_earlier(directory)
    )
    search = Search(with_scheduler(spec, scheduler, slots), directory)
    search.scheduler()  # refuse a wrong scheduler before anything is written
    # Results of two configurations have no common mean.
    store = Store.create(directory, search.spec, len(search.proposer), may_grow=False)
    adopted = work.adopt(store, search.spec, runs)
    if adopted:
        _logger.info("%d finished runs are reused", adopted)
    status = run_search(search, max_jobs)
    summary = says.summarise(opened(directory)[0], search.spec, key or ())
    says.write_summary(summary, error=error)
    if as_json:
        from hypnet_hpsearch.cli.schemas import SeedsDocument

        print_json(SeedsDocument(summary=summary))
    else:
        print_lines([says.as_text(summary, error=error).rstrip("\n"), str(directory)])
    if status.done < status.total:
        raise typer.Exit(1)


def _earlier(directory: Path) -> tuple[int, ...]:
    """The seeds of an earlier call."""
    from hypnet_hpsearch.state.store import Store

    return Store(directory).spec.seeds if (directory / "search.json").exists() else ()
