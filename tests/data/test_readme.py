from __future__ import annotations

import doctest
from pathlib import Path

import torch

from hypnet_core.plugins import registry

ROOT = Path(__file__).parents[2]
README = ROOT / "packages" / "hypnet-data" / "README.md"


def test_the_examples_of_the_readme_run() -> None:
    with torch.random.fork_rng():
        results = doctest.testfile(
            str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
        )
    assert results.attempted > 10
    assert results.failed == 0


def test_the_examples_about_mnist_run() -> None:
    page = ROOT / "docs" / "data" / "mnist.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 3
    assert results.failed == 0


def test_the_readme_lists_every_dataset() -> None:
    text = README.read_text(encoding="utf-8")
    for entry in registry().entries("dataset"):
        if entry.plugin == "data":
            assert f"| `{entry.name}` |" in text
