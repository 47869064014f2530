"""The logger `jsonl`: everything that happens, one JSON object per line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError
from hypnet_core.loggers._common import cut_lines
from hypnet_core.runs.files import append_line, write_atomic


class JsonlLogger:
    """Writes events with the time of each, one JSON object per line.

    Beside metrics these are the beginning with the configuration, images, and the end
    with the results. `metrics.jsonl`, which every run has, holds metrics alone and no
    times, so that equal runs have equal files.

    Args:
        file: Name of the file in the run's directory.
    """

    def __init__(self, *, file: str = "events.jsonl") -> None:
        self.file = file
        self._path = Path(file)

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        """Open the file, and drop the events of steps that are run again."""
        self._path = directory / self.file
        cut_lines(self._path, lambda line: _step(line) <= step)
        self._write("begin", step, experiment=experiment, config=config)

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Write metrics; `task` is left out where they belong to no task."""
        of_task = {} if task is None else {"task": task}
        self._write("metrics", step, **of_task, metrics=dict(metrics))

    def image(self, step: int, name: str, png: bytes) -> None:
        """Write the image beside the file, and its name into it."""
        path = self._path.with_name(f"{self._path.stem}-{name}.png")
        write_atomic(path, png)
        self._write("image", step, name=name, file=path.name)

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        """Write the results; null if the run stopped early."""
        self._write("end", step, summary=summary)

    def _write(self, event: str, step: int, **values: Any) -> None:
        record = {"event": event, "time": time.time(), "step": step, **values}
        append_line(self._path, json.dumps(record, ensure_ascii=False))


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"a line of the event file is damaged: {line.strip()[:80]!r}") from error
