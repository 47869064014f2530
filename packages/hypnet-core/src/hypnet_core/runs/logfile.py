"""The log of a run: `log.txt`, and the logger `hypnet`."""

from __future__ import annotations

import logging
from pathlib import Path

from hypnet_core.errors import RunError
from hypnet_core.runs.files import append_line


class _LinesInFile(logging.Handler):
    """Appends each record to a file, which is closed in between."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.failed = False
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            append_line(self.path, self.format(record))
        except RunError as error:
            # Once: a full disk would repeat it with each record, and the run goes on.
            if not self.failed:
                self.failed = True
                logging.getLogger("hypnet").warning("%s", error)


def file_logger(path: Path) -> logging.Logger:
    """The logger of one run, which also passes records on to `hypnet`."""
    # Not from `getLogger`, which would keep the logger of every run.
    logger = logging.Logger("hypnet.run", logging.INFO)  # noqa: LOG001
    logger.parent = logging.getLogger("hypnet")
    logger.addHandler(_LinesInFile(path))
    return logger
