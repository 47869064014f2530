"""The page of recipes is complete and up to date."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from hypnet_core.plugins import parse_recipe, registry

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


def test_the_example_of_the_page_is_a_recipe() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    recipe = parse_recipe(tomllib.loads(example), "example.toml")
    assert len(recipe.expected) == 3
    counts = recipe.counts
    assert counts is not None
    keys = (counts.mainnet, counts.hypernet, counts.embedding_size, counts.generate)
    plain = type(counts)(in_shape=(1,), out_features=1, tasks=1, generated=1)
    assert keys == (plain.mainnet, plain.hypernet, plain.embedding_size, plain.generate)
