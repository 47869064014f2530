"""The logger `csv`: a table for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnet_core.loggers._common import cut_lines
from hypnet_core.runs.files import append_line, write_atomic

_COLUMNS = ("step", "task", "metric", "value")


class CsvLogger:
    """Writes metrics as a table with the columns `step`, `task`, `metric`, `value`.

    One row per number, so that metrics of any name fit; `task` counts from 0 and is
    empty where a metric belongs to no task. `pandas.DataFrame.pivot` makes columns of
    metrics.

    Args:
        file: Name of the file in the run's directory.
    """

    def __init__(self, *, file: str = "metrics.csv") -> None:
        self.file = file
        self._path = Path(file)

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        """Write the headings, or drop the rows of steps that are run again."""
        del experiment, config
        self._path = directory / self.file
        cut_lines(self._path, lambda line: line.startswith("step,") or _step(line) <= step)
        if not self._path.exists():
            write_atomic(self._path, ",".join(_COLUMNS) + "\n")

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Add one row for each number."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows(
            (step, "" if task is None else task, name, value) for name, value in metrics.items()
        )
        if metrics:
            append_line(self._path, text.getvalue().removesuffix("\n"))

    def image(self, step: int, name: str, png: bytes) -> None:
        """Leave images out: a table has no place for them."""

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        """Leave the results out, which are in `summary.json`."""


def _step(line: str) -> float:
    number = line.partition(",")[0]
    # A metric whose name has a line break continues its row.
    return int(number) if number.isdecimal() else 0
