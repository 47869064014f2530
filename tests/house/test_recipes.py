"""The page of recipes is complete and up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypnet_core.plugins import registry

ROOT = Path(__file__).parents[2]
SHIPPED = [entry for entry in registry().entries("recipe") if entry.distribution != "mylab-nets"]


def test_every_recipe_is_on_the_page_with_its_figures() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert len(SHIPPED) > 6
    for entry in SHIPPED:
        section = page.partition(f"\n### `{entry.name}`\n")[2].partition("\n### ")[0]
        recipe = entry.build()
        assert recipe.summary in section
        for expected in recipe.expected:
            assert f"| {expected.label} | {expected.range} |" in section


def test_the_page_is_what_the_measurements_make_of_it() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "recipes.py"), "--compare"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr or "run: python benchmarks/recipes.py --render"
