"""`hypnet list`: the installed components."""

from __future__ import annotations

from typing import Annotated

import typer

from hypnet_core.cli.completion import complete_kind
from hypnet_core.cli.output import Json, is_terminal, print_json, print_lines, print_table
from hypnet_core.cli.schemas import ComponentDocument, ListDocument
from hypnet_core.plugins.registry import registry


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="dataset, mainnet, hypernet, method, logger, scheduler, experiment or recipe; all"
            " by default.",
            autocompletion=complete_kind,
        ),
    ] = None,
    glob: Annotated[
        str | None, typer.Argument(help="Only names that match, such as 'split_*'.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """List components.

    Into a pipe, it prints one name per line, after its kind and a tab unless the kind
    was given.
    """
    # `hypnet list 'split_*'`: a lone glob cannot be a kind.
    if kind is not None and glob is None and set(kind) & set("*?["):
        kind, glob = None, kind
    found = registry()
    entries = found.entries(kind, glob or "*")
    if as_json:
        print_json(ListDocument(components=[ComponentDocument.of(entry) for entry in entries]))
    elif not is_terminal():
        # Without a kind the names alone would not say what they are.
        named = [(entry.kind.value, found.shortest_name(entry)) for entry in entries]
        print_lines(name if kind is not None else f"{of}\t{name}" for of, name in named)
    elif not entries:
        typer.echo("There is none.", err=True)
    else:
        rows = [
            (entry.kind.value, found.shortest_name(entry), entry.component.summary, entry.plugin)
            for entry in entries
        ]
        print_table(("kind", "name", "summary", "plugin"), rows, details=("summary",))
