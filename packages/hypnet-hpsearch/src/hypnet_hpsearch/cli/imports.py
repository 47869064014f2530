"""`hypnet search import`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hypnet_core.cli import Json, print_json, print_lines

__all__ = ["take_in"]

_logger = logging.getLogger("hypnet.search")


def take_in(
    search: Annotated[
        Path,
        typer.Argument(
            help="The search: its directory, or its file before the first run.", metavar="SEARCH"
        ),
    ],
    other: Annotated[
        str,
        typer.Argument(
            help="Another search's directory, a CSV file, or a journal (.log) or storage"
            " (sqlite:///FILE) of Optuna.",
            metavar="OTHER",
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With a file, the search's directory; searches/NAME by default.", metavar="DIR"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in the results of another search, of a study of Optuna, or of a CSV file.

    Results whose options belong to the search become trials that are done: they are not
    run again, and samplers learn from them. They count as trials of `max_trials`.
    """
    from hypnet_hpsearch.cli.output import opened
    from hypnet_hpsearch.results.imports import found_in
    from hypnet_hpsearch.results.imports import take_in as work
    from hypnet_hpsearch.searches import Search
    from hypnet_hpsearch.state.store import Store

    if search.is_dir():
        directory, spec = search.absolute(), opened(search)[1]
    else:
        found = Search.load(search, out)
        directory, spec = found.directory.absolute(), found.spec
    # First, since a mistake must leave nothing behind.
    results = list(found_in(other, spec))
    if search.is_dir():
        store = Store(directory)
    else:
        store = Store.create(directory, spec, len(found.proposer))
    done = work(store, spec, results, other)
    if as_json:
        from hypnet_hpsearch.cli.schemas import ImportDocument

        print_json(
            ImportDocument(
                directory=str(store.directory),
                trials=done.trials,
                known=done.known,
                outside=done.outside,
            )
        )
        return
    _logger.info(
        "%d trials imported; %d were known, %d do not belong to the search",
        len(done.trials),
        done.known,
        done.outside,
    )
    print_lines(done.trials)
