"""The guide to schedulers says what is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hypnet_core.plugins import Kind, registry
from hypnet_hpsearch import load_spec

GUIDE = Path(__file__).parents[3] / "docs" / "schedulers.md"
SEARCHES = (
    re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    if GUIDE.exists()
    else []
)


def test_the_guide_has_an_example_for_every_scheduler() -> None:
    tables = [tomllib.loads(text)["scheduler"] for text in SEARCHES]
    named = {table["name"] for table in tables if isinstance(table, dict)}
    ours = {
        entry.name for entry in registry().entries(Kind.SCHEDULER) if entry.plugin == "hpsearch"
    }
    assert named == ours
    rows = re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == ours


@pytest.mark.parametrize("text", SEARCHES)
def test_its_examples_are_searches(text: str, tmp_path: Path) -> None:
    path = tmp_path / "search.toml"
    path.write_text(text)
    spec = load_spec(path)
    options = dict(spec.scheduler)
    registry().get(Kind.SCHEDULER, options.pop("name")).build(**options)
