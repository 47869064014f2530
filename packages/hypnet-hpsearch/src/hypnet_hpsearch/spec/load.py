"""Search files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import validated
from hypnet_core.runs import read_mapping
from hypnet_hpsearch.spec.spec import SearchSpec

__all__ = ["load_spec"]


def load_spec(path: Path, **fields: Any) -> SearchSpec:
    """Read a search from a TOML or YAML file.

    By default the search has the name of the file, and its trials run in the file's
    directory.

    Args:
        path: The file.
        **fields: Fields that replace those of the file.

    Raises:
        ConfigError: The file cannot be read, or a field is unknown, missing or invalid.
    """
    table = {
        "name": re.sub(r"^[^\w]+|[^\w.-]+", "-", path.stem).strip("-") or "search",
        **read_mapping(path),
        **fields,
    }
    # The file may be moved together with its programs.
    table["cwd"] = str(path.absolute().parent / str(table.get("cwd", ".")))
    try:
        return validated(SearchSpec, table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
