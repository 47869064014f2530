"""Trials that are calls of a function, each in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from hypnet_hpsearch.trial.files import (
    ATTEMPT,
    ERRORS,
    LONGEST_REASON,
    OUTPUT,
    RESULT,
    RUN,
    take_lock,
    write_once,
)
from hypnet_hpsearch.trial.outcomes import outcome_of
from hypnet_hpsearch.trial.records import AttemptRecord

__all__ = ["call"]


def call(directory: Path, function: Callable[..., Any]) -> int:
    """Call a function with the options of an attempt, and record the outcome.

    The process must be a fork that ends afterwards: its streams, environment and lock
    become those of the attempt. The function returns a mapping, which is the summary,
    or a number, which is the metric.

    Args:
        directory: The attempt's directory.
        function: Called with the options as keywords.

    Returns:
        0 if the trial is done, 1 if it failed, 75 if there was nothing to do.
    """
    lock = take_lock(directory, 5.0)
    if lock is None or directory.joinpath(RESULT).exists():
        return 75
    attempt: AttemptRecord = json.loads(directory.joinpath(ATTEMPT).read_text("utf-8"))
    directory.joinpath(RUN).mkdir(exist_ok=True)
    _redirect(directory)
    os.environ.update(attempt["env"])
    if "torch" in sys.modules:  # its threads do not survive a fork
        sys.modules["torch"].set_num_threads(1)
    started, since = time.time(), time.monotonic()
    reason = _called(function, attempt)
    seconds = time.monotonic() - since
    reason = None if reason is None else reason[:LONGEST_REASON]
    result = outcome_of(attempt, reason, started=started, seconds=seconds)
    write_once(directory / RESULT, json.dumps(result))
    return 0 if result["state"] == "done" else 1


def _redirect(directory: Path) -> None:
    """Send the output of this process to the attempt's files."""
    for descriptor, name in ((1, OUTPUT), (2, ERRORS)):
        file = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, descriptor)
        os.close(file)
    # A notebook's own streams would send the text to the notebook.
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _called(function: Callable[..., Any], attempt: AttemptRecord) -> str | None:
    """Call the function and write its summary; why it failed, if it did."""
    with _Failure() as failure:
        found = function(**attempt["options"])
        summary = dict(found) if isinstance(found, Mapping) else {attempt["metric"]: _plain(found)}
        text = json.dumps({key: _plain(value) for key, value in summary.items()})
        Path(attempt["summary"]).write_text(text, encoding="utf-8")
    return failure.reason


class _Failure:
    """Prints whatever the user's code raises, and keeps it as a reason."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> bool:
        if error is not None:
            traceback.print_exception(error)
            self.reason = f"{type(error).__name__}: {error}"
        return True


def _plain(value: Any) -> Any:
    """A scalar of numpy or torch as a number; anything else as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value
