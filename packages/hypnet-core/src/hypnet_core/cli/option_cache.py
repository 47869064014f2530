"""Options of components for completion, kept in files.

To know its options, a component must be imported, often with torch, which takes longer
than a Tab may take. The file of a component holds as long as no module of its package
and of the core changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hypnet_core.errors import RunError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.containment import cache_directory
from hypnet_core.plugins.registry import Entry
from hypnet_core.runs.files import write_atomic

_MOST_FILES = 2000
"""Files of a package whose times are compared."""


class CachedOption(NamedTuple):
    """An option, as completion needs it.

    Attributes:
        key: Dotted key.
        description: One sentence.
        values: Its values, if they are few.
        kind: The kind of component that it chooses; empty for other options.
        chosen: The component that it chooses by default.
        several: Whether it chooses several components, which have no dotted options.
    """

    key: str
    description: str
    values: list[str]
    kind: str
    chosen: str
    several: bool


def cached_options(entry: Entry) -> list[CachedOption]:
    """The options of a component, from its file where that is up to date.

    Raises:
        HypnetError: The component cannot be loaded.
    """
    path = _path(entry)
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [CachedOption(*found) for found in json.loads(path.read_text(encoding="utf-8"))]
    options = list(_options(entry))
    with contextlib.suppress(OSError, RunError):  # a read-only home makes it slow, not wrong
        _store(path, options)
    return options


def _options(entry: Entry) -> Iterator[CachedOption]:
    # Lazily: pydantic's models are only needed here.
    from hypnet_core.plugins.describe import describe, kind_of, kind_of_several, values_of_type

    for option in describe(entry.options()):
        kind, several = kind_of(option.annotation), kind_of_several(option.annotation)
        default = option.default.get("name", "") if isinstance(option.default, dict) else ""
        yield CachedOption(
            option.key,
            option.description,
            values_of_type(option.annotation),
            (kind or several or ""),
            default if kind else "",
            several is not None,
        )


def _store(path: Path, options: list[CachedOption]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of a former version of the component.
    for old in path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.json"):
        old.unlink(missing_ok=True)
    # Two shells may ask at once: a reader sees a whole file or none.
    write_atomic(path, json.dumps(options))


def _path(entry: Entry) -> Path:
    package = entry.component.target.partition(".")[0].partition(":")[0]
    facts = [entry.component.target, entry.version, _newest(package), _newest("hypnet_core")]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    # Names of modules and components hold nothing that a file name cannot.
    name = f"{entry.kind}-{entry.full_name}".replace(":", "-")
    return cache_directory() / "options" / f"{name}-{digest}.json"


def _newest(package: str) -> list[Any]:
    """The number of files of a top-level package or module, and the latest change."""
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    files = origin.parent.rglob("*.py") if spec.submodule_search_locations else [origin]
    times = [file.stat().st_mtime_ns for file in islice(files, _MOST_FILES)]
    return [len(times), max(times, default=0)]


def kind_named(name: str) -> Kind | None:
    """The kind of a name in a cached option; `None` if it is empty."""
    return Kind(name) if name else None
