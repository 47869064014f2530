"""Error output of trials."""

from __future__ import annotations

from collections.abc import Sequence

from hypnet_hpsearch.results.record import ResultModel
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store
from hypnet_hpsearch.trial.files import read_text

__all__ = ["TrialErrors", "errors_of"]

_MOST_BYTES = 1 << 20  # of one file
_FAILED = (TrialState.FAILED, TrialState.LOST, TrialState.CANCELLED)


class TrialErrors(ResultModel):
    """The error output of a trial's latest attempt.

    Attributes:
        trial: The trial's id.
        state: Its state.
        attempt: Number of the attempt.
        reason: Why it failed.
        file: The file with the whole output.
        lines: The last lines of the output.
        more: Whether there are lines before them.
    """

    trial: str
    state: TrialState
    attempt: int
    reason: str | None
    file: str
    lines: list[str]
    more: bool


def errors_of(store: Store, names: Sequence[str] = (), *, last: int = 20) -> list[TrialErrors]:
    """The error output of some trials.

    Args:
        store: The search.
        names: Ids of trials, or unique prefixes of them; all that have failed, were
            lost or cancelled, if there are none.
        last: The number of lines of each; all of them if 0, up to a mebibyte.

    Raises:
        RunError: There is no such trial.
    """
    if names:
        records = store.matching(names)
    else:
        records = [one for one in store.ledger.trials.values() if one.state in _FAILED]
    return [_of(store, record, last) for record in records]


def _of(store: Store, record: TrialRecord, last: int) -> TrialErrors:
    path = store.latest(record).errors
    try:
        lines = read_text(path, _MOST_BYTES).splitlines()
        whole = path.stat().st_size <= _MOST_BYTES
    except OSError:  # it has not begun, or the trial has put something else there
        lines, whole = [], True
    shown = lines[-last:] if last else lines
    return TrialErrors(
        trial=record.id,
        state=record.state,
        attempt=record.attempt,
        reason=record.reason,
        file=str(path),
        lines=shown,
        more=len(shown) < len(lines) or not whole,
    )
