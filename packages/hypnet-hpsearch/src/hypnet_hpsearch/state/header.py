"""The file `search.json`: the search of a directory, resolved, with its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError, listed
from hypnet_core.runs import read_json, write_atomic
from hypnet_hpsearch.spec.spec import SearchSpec

__all__ = ["SEARCH_FILE", "changes", "header_of", "read_header", "write_header"]

SEARCH_FILE = "search.json"

_FORMAT = 1
_MEANING = {"experiment", "command", "style", "summary", "parser", "metric", "direction"}
_MEANING |= {"metrics", "constraints"}


def header_of(spec: SearchSpec, total: int, *, changed: bool = False) -> dict[str, Any]:
    """The content of `search.json`.

    Args:
        spec: The search.
        total: The number of trials.
        changed: Whether the search had other configurations before.
    """
    return {
        "format": _FORMAT,
        "fingerprint": spec.fingerprint(),
        "trials": total,
        "changed": changed,
        "spec": spec.model_dump(mode="json"),
    }


def read_header(directory: Path) -> dict[str, Any]:
    """Read `search.json`.

    Raises:
        RunError: The directory holds no search, or one that is damaged.
    """
    path = directory / SEARCH_FILE
    if not path.exists():
        raise RunError(f"{directory} holds no search: there is no {SEARCH_FILE}")
    header = read_json(path)
    if not isinstance(header, dict) or header.get("format") != _FORMAT or "spec" not in header:
        raise RunError(f"{path} is damaged, or was written by another version")
    return header


def write_header(directory: Path, header: Mapping[str, Any]) -> None:
    """Write `search.json`."""
    # Indented, because people read this file.
    text = json.dumps(header, indent=2, ensure_ascii=False) + "\n"
    write_atomic(directory / SEARCH_FILE, text)


def changes(
    header: Mapping[str, Any], spec: SearchSpec, directory: Path, *, may_grow: bool = True
) -> list[str]:
    """The fields in which a search differs from the one that a directory holds.

    A search may grow: its grid, ranges, conditions, base, seeds and sampler may change,
    because a trial is known by all its options. With `may_grow=False` they may not.

    Raises:
        RunError: It is another search, whose results mean something else; the message
            names the fields that differ.
    """
    if header.get("fingerprint") == spec.fingerprint():
        return []
    old, new = SearchSpec(**header["spec"]).identity(), spec.identity()
    differing = sorted(_differences(old, new))
    fixed = [name for name in differing if not may_grow or name.partition(".")[0] in _MEANING]
    if fixed:
        raise RunError(
            f"{directory} holds another search, which differs in {listed(fixed)}: choose another"
            " directory with --out, or undo the change"
        )
    return differing


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in old.keys() | new.keys():
        left, right = old.get(key), new.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            yield f"{prefix}{key}"
