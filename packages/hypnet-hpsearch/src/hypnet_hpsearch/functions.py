"""Searches over a function of Python, from a script or a notebook."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, overload

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.execution.display import live_display
from hypnet_hpsearch.execution.forks import Forks
from hypnet_hpsearch.execution.observers import Inventory, SearchObserver, SearchProgress
from hypnet_hpsearch.results.table import SearchStatus, TrialResult
from hypnet_hpsearch.searches import Search
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.ledger import TrialRecord

__all__ = ["SearchResults", "search"]


class SearchResults(Sequence[TrialResult]):
    """The results of a search, best first.

    Args:
        found: The search.

    Attributes:
        search: The search, with its directory.
        status: How many trials are in each state.
    """

    def __init__(self, found: Search) -> None:
        self.search = found
        self.status: SearchStatus = found.status()
        self._rows = found.results()

    @overload
    def __getitem__(self, place: int) -> TrialResult: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[TrialResult]: ...
    def __getitem__(self, place: int | slice) -> TrialResult | Sequence[TrialResult]:
        return self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def best(self) -> TrialResult:
        """The best trial, or configuration.

        Raises:
            RunError: No trial has a finite metric.
        """
        return self.search.best()

    @property
    def front(self) -> list[TrialResult]:
        """With several objectives, the trials that no other one dominates."""
        return [row for row in self._rows if row.front]

    def columns(self) -> dict[str, list[Any]]:
        """The results by column, as `pandas.DataFrame` and others take them."""
        spec = self.search.spec
        options = dict.fromkeys(key for row in self._rows for key in row.options)
        numbers = dict.fromkeys(name for row in self._rows for name in row.numbers)
        return {
            **{key: [row.options.get(key) for row in self._rows] for key in options},
            spec.metric: [row.metric for row in self._rows],
            **{name: [row.numbers.get(name) for row in self._rows] for name in numbers},
            "state": [row.state.value for row in self._rows],
            "seconds": [row.seconds for row in self._rows],
            "trial": [row.trial for row in self._rows],
        }

    def __repr__(self) -> str:
        return f"<{len(self)} results of a search in {self.search.directory}>"

    def _repr_html_(self) -> str:
        from hypnet_hpsearch._tables import table_of

        columns, rows = table_of(self.search.spec, self._rows)
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><tr>{head}</tr>{body}</table>"


def search(
    function: Callable[..., Any],
    space: Mapping[str, Any],
    *,
    directory: Path | str | None = None,
    slots: int = 1,
    callbacks: Sequence[SearchObserver] = (),
    progress: bool = True,
    **fields: Any,
) -> SearchResults:
    """Search over the arguments of a function.

    Each trial calls the function in a fork of this process, so that the function may be
    one of a notebook, and neither an exception nor a crash of a trial ends the search.
    The output of the function is in the trial's `output.txt` and `errors.txt`. It may
    call `hypnet_hpsearch.report`. In a fork torch computes with one thread, and cannot
    use CUDA if this process has used it. The call may be interrupted and repeated:
    finished trials are not run again, and every `hypnet search` command but `run` works
    on the directory.

    Args:
        function: Called with the options of a trial as keywords; returns the metric, or
            a mapping of numbers with the metric among them.
        space: For each option a list of values, a range as a table (`{"low": 1e-4,
            "high": 1.0, "log": True}`) or `RangeSpec`, or a single value that all
            trials share.
        directory: Directory of the search. By default it is
            `searches/FUNCTION-HASH`, with a hash of the function's source: after a
            change of the function another search begins.
        slots: The number of trials that run at the same time.
        callbacks: Observers of the search; see `Watcher`.
        progress: Whether to show the progress in a terminal or a notebook.
        **fields: Further fields of `SearchSpec`; `metric` is `value` and `direction`
            is `minimize` by default.

    Raises:
        ConfigError: A field or the space is invalid, or the function has no source and
            there is no directory.

    Example:
        >>> from tempfile import mkdtemp
        >>> def loss(x, shift):
        ...     return (x - shift) ** 2
        >>> space = {"x": [1, 2, 3], "shift": 2}
        >>> found = search(loss, space, directory=mkdtemp(), progress=False)
        >>> found.best.options["x"], found.best.metric
        (2, 0.0)
    """
    name = getattr(function, "__qualname__", type(function).__qualname__)
    name = re.sub(r"[^\w.-]+", "-", name.replace("<locals>.", "")).strip("-.") or "function"
    where = Path("searches", f"{name}-{_hash_of(function)}") if directory is None else directory
    objectives = {} if "metrics" in fields else {"metric": "value", "direction": "minimize"}
    spec = SearchSpec(
        **{
            **objectives,
            "name": name[:90],
            "command": (f"python:{name}", "{options}"),
            "style": "key=value",
            **_parts(space),
            **fields,
        }
    )
    found, scheduler = Search(spec, where), Forks(function, slots)
    with live_display(shown=progress) as shown:
        try:
            found.run(scheduler, observer=_Several([shown, *callbacks]))
        finally:
            scheduler.close()
    return SearchResults(found)


def _parts(space: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The space as fields of a search."""
    parts: dict[str, dict[str, Any]] = {"base": {}, "grid": {}, "ranges": {}}
    for key, value in space.items():
        is_range = isinstance(value, RangeSpec) or (
            isinstance(value, Mapping) and {"low", "high"} <= value.keys()
        )
        part = "ranges" if is_range else "grid" if isinstance(value, list | tuple) else "base"
        parts[part][key] = list(value) if part == "grid" else value
    return parts


def _hash_of(function: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise ConfigError(
            f"the source of {function!r} cannot be found, so that a change of it could not be"
            " noticed: give a directory"
        ) from None
    return blake2b(source.encode(), digest_size=4).hexdigest()


class _Several:
    """Passes the events of a driver to several observers."""

    def __init__(self, observers: Sequence[SearchObserver]) -> None:
        self._observers = observers

    def __iter__(self) -> Iterator[SearchObserver]:
        return iter(self._observers)

    def started(self, inventory: Inventory) -> None:
        """The driver begins."""
        for one in self:
            one.started(inventory)

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        """An attempt at a trial has ended."""
        for one in self:
            one.ended(record, progress)

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """The driver is still at work."""
        for one in self:
            one.working(progress)

    def warned(self, message: str) -> None:
        """The driver has a warning."""
        for one in self:
            one.warned(message)
