from __future__ import annotations

import doctest
from pathlib import Path

import torch

from hypnet_core.plugins import registry

README = Path(__file__).parents[2] / "packages" / "hypnet-data" / "README.md"


def test_the_examples_of_the_readme_run() -> None:
    with torch.random.fork_rng():
        results = doctest.testfile(
            str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
        )
    assert results.attempted > 10
    assert results.failed == 0


def test_the_readme_lists_every_dataset() -> None:
    text = README.read_text(encoding="utf-8")
    for entry in registry().entries("dataset"):
        if entry.plugin == "data":
            assert f"| `{entry.name}` |" in text
