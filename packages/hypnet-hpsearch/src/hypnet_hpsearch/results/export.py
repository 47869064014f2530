"""Configurations of trials as files for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypnet_core.errors import RunError
from hypnet_core.runs import to_yaml
from hypnet_hpsearch.results.table import best_of, results_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.store import Store
from hypnet_hpsearch.trial.files import read_text

__all__ = ["configuration", "nested"]


def configuration(store: Store, spec: SearchSpec, trial: str, kind: str) -> str:
    """The configuration of a trial, as YAML or JSON.

    For an experiment it is the configuration that the run has resolved, if that can
    still be read; otherwise it is the options that the search gave the trial.

    Args:
        store: The search's directory.
        spec: The search.
        trial: Id of the trial, a unique prefix of it, or `best`.
        kind: `yaml` or `json`.

    Raises:
        RunError: There is no such trial, or its options are lost.
    """
    name = best_of(results_of(store, spec), store.directory).trial if trial == "best" else trial
    record = store.matching([name])[0]
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
        config = json.loads(read_text(store.attempt(trial, attempt).run / "config.json"))["config"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return config if isinstance(config, dict) else None


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with dotted names as nested tables.

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
                raise RunError(f"{name!r} lies within another option, which has a value itself")
        place[last] = value
    return tree
