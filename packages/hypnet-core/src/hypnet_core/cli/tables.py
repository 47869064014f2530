"""Tables for terminals of any width: keys are never folded."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 2
_LEAST = 40
"""Columns below which a text that is wrapped in a cell is hard to read."""


class Layout:
    """Cells of a table, laid out for a width.

    Args:
        columns: Headings.
        rows: Cells.
        right: Headings of the columns of numbers.
        total: Cells of a last row.
        details: Headings of the columns of texts, which may be wrapped, or move to a
            second line of their row.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Sequence[str] = (),
        total: Sequence[str] = (),
        details: Sequence[str] = (),
    ) -> None:
        self.columns = columns
        self.rows = rows
        self.right = right
        self.total = total
        self.details = details

    def fits(self, width: int) -> bool:
        """Whether a plain table is readable at this width."""
        natural = dict(zip(self.columns, self._widths(range(len(self.columns))), strict=True))
        # A text may be wrapped as long as its column stays wide.
        least = [
            min(size, _LEAST) if name in self.details else size for name, size in natural.items()
        ]
        return sum(least) + _GAP * (len(least) - 1) <= width

    def table(self) -> Table:
        """The plain table."""
        from rich.table import Table

        table = Table(
            box=None,
            pad_edge=False,
            show_footer=bool(self.total),
            header_style="bold",
            footer_style="bold",
        )
        for index, column in enumerate(self.columns):
            table.add_column(
                column,
                footer=self.total[index] if self.total else "",
                justify="right" if column in self.right else "left",
                no_wrap=column not in self.details,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*row)
        return table

    def lines(self, width: int) -> Iterator[tuple[str, bool]]:
        """Two lines per row, and whether each is a heading.

        The first has the cells that are not texts, or the first cell alone; the second,
        indented, has the others.
        """
        indices = range(len(self.columns))
        head = [i for i in indices if self.columns[i] not in self.details]
        if not self.details or sum(self._widths(head)) + _GAP * len(head) > width:
            head = [0]
        rest = [i for i in indices if i not in head]
        widths = dict(zip(head, self._widths(head), strict=True))
        for number, row in enumerate(self._all_rows):
            heading = number == 0 or number > len(self.rows)
            yield "  ".join(self._padded(row, i, widths[i]) for i in head).rstrip(), heading
            text = "  ".join(row[i] for i in rest if row[i])
            # A key inside a text is not cut either.
            for line in textwrap.wrap(
                text, max(width - 4, 20), break_long_words=False, break_on_hyphens=False
            ):
                yield f"    {line}", heading

    def _padded(self, row: Sequence[str], index: int, width: int) -> str:
        from rich.cells import cell_len

        space = " " * (width - cell_len(row[index]))
        return space + row[index] if self.columns[index] in self.right else row[index] + space

    def _widths(self, indices: Sequence[int]) -> list[int]:
        from rich.cells import cell_len

        return [max(cell_len(row[index]) for row in self._all_rows) for index in indices]

    @property
    def _all_rows(self) -> list[Sequence[str]]:
        return [self.columns, *self.rows, *([self.total] if self.total else [])]
