"""`hypnet search seeds`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hypnet_core.cli import Json, print_json, print_lines
from hypnet_hpsearch.cli.output import carry_out, with_scheduler

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
        typer.Option(
            "--count", "-n", min=1, help="How many seeds, those of reused runs among them."
        ),
    ] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where they are gathered; searches/NAME-seeds by default.", metavar="DIR"
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric; the search's own by default.", metavar="NAME")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A number to summarise, with its decimals: accuracy:2. Patterns will do.",
            metavar="NAME[:DECIMALS]",
        ),
    ] = None,
    error: Annotated[
        bool, typer.Option("--sem", help="Show the standard error of the mean, not the deviation.")
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="An option, or a group, to leave to the program's default.", metavar="KEY"
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Scheduler to use, with its defaults.")
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, help="How many cores jobs may use together (scheduler local)."),
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="How many jobs may be queued or running at once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run one configuration with several seeds, and summarise: mean, and standard deviation or error.

    Runs that there are already are reused. It is a search of its own: started again, it
    goes on; with a larger --count, it adds seeds. The last line of the output is its
    directory.
    """
    from hypnet_hpsearch.results import seeds as work
    from hypnet_hpsearch.results import seeds_summary as says
    from hypnet_hpsearch.search import Search
    from hypnet_hpsearch.state.store import Store

    for text in key or ():
        says.name_and_decimals(text)
    found = work.source_of(source, metric=metric)
    name = f"{str(found.fields['name'])[:90]}-seeds"
    directory = (Path("searches", name) if out is None else out).absolute()
    spec, runs = work.seeds_spec(
        found, count, ignore=ignore or (), force=options or (), before=_before(directory)
    )
    search = Search(with_scheduler(spec, scheduler, slots), directory)
    search.scheduler()  # refused before anything is written
    store = Store.create(directory, search.spec, len(search.plan))
    adopted = work.adopt(store, search.spec, runs)
    if adopted:
        _logger.info("%d finished runs are reused", adopted)
    status = carry_out(search, max_jobs)
    store = Store(directory)
    store.glimpse()
    summary = says.summarise(store, search.spec, key or ())
    says.write_summary(summary, error=error)
    if as_json:
        from hypnet_hpsearch.cli.schemas import SeedsDocument

        print_json(SeedsDocument(summary=summary))
    else:
        print_lines([says.as_text(summary, error=error).rstrip("\n"), str(directory)])
    if status.done < status.total:
        raise typer.Exit(1)


def _before(directory: Path) -> tuple[int, ...]:
    """The seeds that were gathered before."""
    from hypnet_hpsearch.state.store import Store

    return Store(directory).spec.seeds if (directory / "search.json").exists() else ()
