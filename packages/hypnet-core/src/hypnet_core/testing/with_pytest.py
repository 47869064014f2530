"""The conformance kit as parametrised pytest tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from hypnet_core.errors import UsageError
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, suite_for

OptionSets: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]
ConformanceTest: TypeAlias = Callable[[Entry, Mapping[str, Any], Check, Path], None]


def conformance(
    plugin: str, only: str = "*", *, options: Mapping[str, OptionSets] | None = None
) -> ConformanceTest:
    """A parametrised pytest test of all components of a plugin. Needs pytest.

    Args:
        plugin: The plugin's name, the one of its entry point.
        only: Glob over the names of the components to test.
        options: By component name, the options to test it under, or several such sets;
            defaults otherwise.

    Raises:
        UsageError: The plugin has no component of that name, or is not installed.

    Example:
        ```python
        test_conformance = conformance("mylab")
        widths = [{"width": 1}, {"width": 64}]
        test_wide = conformance("mylab", "tinynet", options={"tinynet": widths})
        ```
    """
    # Only tests need pytest; the kit itself runs without it.
    import pytest

    entries = [
        entry
        for entry in registry().entries()
        if entry.plugin == plugin and fnmatchcase(entry.name, only)
    ]
    if not entries:
        raise UsageError(
            f"the plugin {plugin!r} offers no component {only!r}: `hypnet plugins` tells what is"
            " installed"
        )
    cases = [
        pytest.param(entry, chosen, check, id=f"{entry.kind}-{entry.name}{number}-{check.__name__}")
        for entry in entries
        for number, chosen in _option_sets((options or {}).get(entry.name, {}))
        for check in suite_for(entry.kind)
    ]

    def test_conformance(
        entry: Entry, chosen: Mapping[str, Any], check: Check, tmp_path: Path
    ) -> None:
        try:
            check(Subject(entry, tmp_path, chosen))
        except NotApplicableError as reason:
            pytest.skip(str(reason))

    test: ConformanceTest = pytest.mark.parametrize(("entry", "chosen", "check"), cases)(
        test_conformance
    )
    return test


def _option_sets(options: OptionSets) -> list[tuple[str, Mapping[str, Any]]]:
    """The sets of options, each with a suffix for the id of the test."""
    if isinstance(options, Mapping):
        return [("", options)]
    return [(f"-{number}", chosen) for number, chosen in enumerate(options)]
