"""Results and configurations as files for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypnet_core.errors import RunError
from hypnet_core.runs import read_json, to_yaml
from hypnet_hpsearch.cli.schemas import TableDocument
from hypnet_hpsearch.execution.control import found
from hypnet_hpsearch.results.table import as_csv, best_of, results_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.ledger import TrialState
from hypnet_hpsearch.state.store import Store

__all__ = ["configuration", "nested", "results_as"]


def results_as(store: Store, spec: SearchSpec, kind: str) -> str:
    """All trials that were ever begun, best first, as `csv` or as `json`."""
    results = results_of(store, spec)
    if kind == "csv":
        return as_csv(
            [one for one in results if one.state is not TrialState.RUNNING], spec.searched
        )
    document = TableDocument(metric=spec.metric, direction=spec.direction, trials=results)
    return document.model_dump_json(indent=2, by_alias=True) + "\n"


def configuration(store: Store, spec: SearchSpec, trial: str, kind: str) -> str:
    """The configuration of a trial as `yaml` or `json`: as its run resolved it, or else the options that the search gave it.

    Args:
        store: The search's directory.
        spec: The search.
        trial: The trial's id, its beginning, or `best`.
        kind: `yaml` or `json`.

    Raises:
        RunError: There is no such trial, or its options are lost.
    """
    name = best_of(results_of(store, spec), store.directory).trial if trial == "best" else trial
    record = found(store, [name])[0]
    values = _resolved(store, record.id, record.attempt) if spec.experiment else None
    if values is None:
        if not record.options:
            raise RunError(f"the options of the trial {record.id} are lost")
        values = nested(record.options) if spec.experiment else record.options
    return (
        to_yaml(values)
        if kind != "json"
        else json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    )


def _resolved(store: Store, trial: str, attempt: int) -> dict[str, Any] | None:
    try:
        config = read_json(store.attempt(trial, attempt).run / "config.json")["config"]
    except (RunError, KeyError, TypeError):
        return None
    return config if isinstance(config, dict) else None


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with dotted names as tables in tables.

    Raises:
        RunError: An option is a value as well as a table of others.

    Example:
        >>> nested({"train.lr": 0.1, "train.steps": 5, "seed": 1})
        {'train': {'lr': 0.1, 'steps': 5}, 'seed': 1}
    """
    tree: dict[str, Any] = {}
    for name, value in options.items():
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise RunError(f"{name!r} lies within another option that has a value of its own")
        place[last] = value
    return tree
