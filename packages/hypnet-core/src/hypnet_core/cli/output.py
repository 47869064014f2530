"""Writing results to stdout: tables for people, names for pipes, JSON for programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The flag that every listing has."""

_UNLIMITED = 100_000


def is_terminal() -> bool:
    """Whether a person reads stdout as it is written."""
    return sys.stdout.isatty()


def print_json(document: BaseModel) -> None:
    """Print a document; what it holds, docs/command.md says."""
    typer.echo(document.model_dump_json(indent=2, by_alias=True))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        typer.echo(line)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    total: Sequence[str] = (),
) -> None:
    """Print a table, as wide as the terminal, or as wide as it needs to be elsewhere.

    Args:
        columns: Headings.
        rows: Cells; what looks like markup is text.
        right: Headings of the columns of numbers.
        total: Cells of a last row below a line.
    """
    from rich.table import Table

    table = Table(
        box=None, pad_edge=False, show_footer=bool(total), header_style="bold", footer_style="bold"
    )
    for index, column in enumerate(columns):
        footer = total[index] if total else ""
        table.add_column(
            column, footer=footer, justify="right" if column in right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    print_rich(table)


def print_rich(content: Any) -> None:
    """Print something that rich can render, or text."""
    from rich.console import Console

    if is_terminal():
        Console(markup=False, highlight=False, emoji=False).print(content)
        return
    text = io.StringIO()
    Console(file=text, markup=False, highlight=False, emoji=False, width=_UNLIMITED).print(content)
    print_lines(line.rstrip() for line in text.getvalue().splitlines())
