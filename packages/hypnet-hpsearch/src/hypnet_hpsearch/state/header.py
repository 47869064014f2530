"""The file `search.json`: the search of a directory, resolved, with its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError, listed
from hypnet_core.runs import read_json, write_atomic
from hypnet_hpsearch.spec.spec import SearchSpec

__all__ = ["SEARCH_FILE", "check_same", "header_of", "read_header", "write_header"]

SEARCH_FILE = "search.json"

_FORMAT = 1


def header_of(spec: SearchSpec, total: int) -> dict[str, Any]:
    """The content of `search.json`.

    Args:
        spec: The search.
        total: The number of trials.
    """
    return {
        "format": _FORMAT,
        "fingerprint": spec.fingerprint(),
        "trials": total,
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


def check_same(header: Mapping[str, Any], spec: SearchSpec, directory: Path) -> None:
    """Check that a directory holds this search.

    Raises:
        RunError: It holds another one; the message names the fields that differ.
    """
    if header.get("fingerprint") == spec.fingerprint():
        return
    old, new = SearchSpec(**header["spec"]).identity(), spec.identity()
    differing = sorted(_differences(old, new))
    raise RunError(
        f"{directory} holds another search, which differs in {listed(differing)}: choose another"
        " directory with --out, or undo the change"
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in old.keys() | new.keys():
        left, right = old.get(key), new.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            yield f"{prefix}{key}"
