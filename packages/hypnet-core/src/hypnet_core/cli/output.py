"""Results on stdout: tables for people, names for pipes, JSON for programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The flag `--json` of every listing."""

_UNLIMITED = 100_000  # columns, wide enough never to fold


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def print_json(document: BaseModel) -> None:
    """Print a document as JSON; docs/command.md describes its fields."""
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
    """Print a table that fits the terminal; elsewhere it is as wide as its content.

    Args:
        columns: Headings.
        rows: Cells; markup in them is printed as text.
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
    """Print text or a rich renderable."""
    from rich.console import Console

    if is_terminal():
        # Names may hold brackets, which rich would take for markup.
        Console(markup=False, highlight=False, emoji=False).print(content)
        return
    # Into a pipe lines are never folded: other programs read them.
    text = io.StringIO()
    Console(file=text, markup=False, highlight=False, emoji=False, width=_UNLIMITED).print(content)
    print_lines(line.rstrip() for line in text.getvalue().splitlines())
