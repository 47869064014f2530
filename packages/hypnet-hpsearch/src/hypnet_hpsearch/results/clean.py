"""Deletion of the output of trials that are not good enough.

The results stay: in the journal, in `result.json` and in all tables.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypnet_core.errors import RunError
from hypnet_hpsearch.results.record import ResultModel
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.configurations import Configurations
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

__all__ = ["Criterion", "Removable", "removable", "remove"]


@dataclass(frozen=True)
class Criterion:
    """The trials whose output is to be deleted.

    A trial is chosen if any of these fields says so; trials that run or wait are not.

    Attributes:
        worse_than: Trials whose metric is worse than this number, or is NaN.
        keep: All but this many of the best.
        failed: Trials that failed, were lost or were cancelled.
    """

    worse_than: float | None = None
    keep: int | None = None
    failed: bool = False


class Removable(ResultModel):
    """The output of one attempt at a trial.

    Attributes:
        trial: The trial's id.
        state: The trial's state.
        metric: Its metric.
        directory: The directory to delete.
        size: Its size in bytes.
    """

    trial: str
    state: TrialState
    metric: float | None
    directory: str
    size: int


def removable(store: Store, spec: SearchSpec, criterion: Criterion) -> list[Removable]:
    """The directories that a criterion selects.

    Directories that a symbolic link leads to, or that lie outside the search's
    directory, are never among them.
    """
    root = store.directory.resolve()
    found = []
    for record in _chosen(store, spec, criterion):
        # Earlier attempts wrote output, too.
        for number in range(1, record.attempt + 1):
            path = store.attempt(record.id, number).run
            # A link anywhere on the way would lead elsewhere.
            expected = root / path.relative_to(store.directory)
            if path.is_dir() and not path.is_symlink() and path.resolve() == expected:
                size = sum(_sizes(path))
                found.append(
                    Removable(
                        trial=record.id,
                        state=record.state,
                        metric=record.metric,
                        directory=str(path),
                        size=size,
                    )
                )
    return found


def _chosen(store: Store, spec: SearchSpec, criterion: Criterion) -> Iterator[TrialRecord]:
    sign = 1 if spec.direction == "maximize" else -1
    records = list(store.ledger.trials.values())
    configurations = Configurations.of(store.ledger, spec)
    ranked = configurations.ranked()[: criterion.keep]
    best = {record.id for found in ranked for record in found.trials.values()}
    for record in records:
        if record.state is TrialState.RUNNING:
            continue
        if not record.state.final:
            misses = criterion.failed
        else:
            found = configurations.of_trial(record.id)
            metric = record.metric if found is None else found.value(spec)
            if metric is None and spec.reports_metric:
                metric = record.reported
            value = None if metric is None or math.isnan(metric) else sign * metric
            misses = criterion.keep is not None and record.id not in best
            limit = criterion.worse_than
            misses = misses or (limit is not None and (value is None or value < sign * limit))
        if misses:
            yield record


def _sizes(directory: Path) -> Iterator[int]:
    for entry in os.scandir(directory):
        yield entry.stat(follow_symlinks=False).st_size
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(Path(entry.path))


def remove(found: Iterable[Removable]) -> None:
    """Delete directories. A symbolic link in them is deleted, its target is not.

    Raises:
        RunError: A directory cannot be deleted; those before it have been.
    """
    for one in found:
        try:
            shutil.rmtree(one.directory)
        except OSError as error:
            raise RunError(f"cannot delete {one.directory}: {error.strerror}") from None
