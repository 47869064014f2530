"""The published configurations: sizes by the formulas of their papers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.plugins import Entry, registry
from hypnet_core.recipes import configure, count_parameters
from hypnet_core.runs import Run, execute, load_config

RECIPES = [entry for entry in registry().entries("recipe") if entry.plugin == "zoo"]
PUBLISHED = {
    "hypercl_split_mnist",
    "hypercl_permuted_mnist_10",
    "hypercl_permuted_mnist_100",
    "hypercl_permuted_mnist_250",
    "hypercl_cifar_zenkenet",
    "hypercl_cifar_resnet32",
}


def dense(*widths: int) -> int:
    """Parameters of fully connected layers with biases."""
    return sum((n + 1) * m for n, m in itertools.pairwise(widths))


def conv(inputs: int, outputs: int) -> int:
    """Parameters of a 3x3 convolution with biases."""
    return (9 * inputs + 1) * outputs


def resnet32(outputs: int) -> int:
    """ResNet-32 with biases: 31 convolutions, each with batch norm, and a head."""
    widths = [16] * 10 + [32] * 10 + [64] * 10
    layers = zip([3, 16, *widths[:-1]], [16, *widths], strict=True)
    return sum(conv(n, m) + 2 * m for n, m in layers) + dense(64, outputs)


def zenkenet(outputs: int) -> int:
    convolutions = conv(3, 32) + conv(32, 32) + conv(32, 64) + conv(64, 64)
    return convolutions + dense(64 * 6 * 6, 512, outputs)


def chunked(target: int, chunk: int, sizes: tuple[int, int], hidden: list[int], tasks: int) -> int:
    """A chunked hypernetwork of the paper: an MLP, embeddings of chunks and tasks."""
    task_size, chunk_size = sizes
    chunks = math.ceil(target / chunk)
    return dense(task_size + chunk_size, *hidden, chunk) + chunks * chunk_size + tasks * task_size


# The defaults of the published code (github.com/chrhenning/hypercl): target, size of
# chunks, sizes of task and chunk embeddings, hidden layers, tasks.
CASES: dict[str, tuple[int, int, tuple[int, int], list[int], int]] = {
    "hypercl_split_mnist": (dense(784, 400, 400, 10), 42_000, (96, 96), [10, 10], 5),
    "hypercl_permuted_mnist_10": (dense(1024, 1000, 1000, 100), 78_000, (24, 8), [25, 25], 10),
    "hypercl_permuted_mnist_100": (
        dense(1024, 1000, 1000, 1000),
        7500,
        (128, 12),
        [200, 250, 350],
        100,
    ),
    "hypercl_permuted_mnist_250": (
        dense(1024, 1000, 1000, 2500),
        12_000,
        (128, 12),
        [200, 250, 350],
        250,
    ),
    "hypercl_cifar_zenkenet": (zenkenet(60), 5500, (48, 80), [100, 150, 200], 6),
    "hypercl_cifar_resnet32": (resnet32(60), 7000, (32, 32), [], 6),
    "hypercl_split_digits": (dense(64, 100, 100, 2), 850, (8, 8), [16, 16], 5),
}


def test_every_published_configuration_is_there() -> None:
    assert {entry.name for entry in RECIPES} >= PUBLISHED


def test_the_published_size_of_resnet_32_is_met() -> None:
    assert resnet32(60) == 468_540  # as the authors' later code states


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_those_of_the_formulas(name: str) -> None:
    target, chunk, sizes, hidden, tasks = CASES[name]
    configured = configure(registry().get("recipe", name))
    counts = configured.recipe.counts
    assert counts is not None
    found = count_parameters(configured.config, counts)
    parameters = chunked(target, chunk, sizes, hidden, tasks)
    assert (found.generated, found.own) == (target, 0)
    assert found.parameters == parameters
    assert found.conditional == tasks * sizes[0]
    assert counts.generated == target
    assert counts.parameters == parameters
    # The paper compares networks of about one size.
    assert 0.9 < parameters / target < 1.0


def test_a_run_has_the_published_sizes(tmp_path: Path) -> None:
    """On generated images, with all tasks of SplitMNIST."""
    configured = configure(registry().get("recipe", "hypercl_split_mnist"))
    recipe, model = configured.recipe, configured.experiment.options()
    assert recipe.smoke is not None
    config = load_config(
        model, overrides=["train.iterations=1"], layers=[recipe.options, recipe.smoke]
    )
    run = Run.create(tmp_path / "run", experiment="hypercl", config=config)
    summary = execute(configured.experiment.build(), config, run)
    assert recipe.counts is not None
    assert summary["generated_weights"] == recipe.counts.generated
    assert summary["parameters"] == recipe.counts.parameters
    assert summary["compression"] == pytest.approx(recipe.counts.compression, abs=5e-4)


def leaf_keys(options: Any, prefix: str = "") -> set[str]:
    if not isinstance(options, dict):
        return {prefix}
    return set().union(*(leaf_keys(value, f"{prefix}.{key}") for key, value in options.items()))


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_short_runs_change_data_and_length_alone(entry: Entry) -> None:
    """The networks and the method of a short run are those of the recipe."""
    recipe = entry.build()
    allowed: tuple[str, ...] = (".data", ".tasks", ".log", ".train")
    if recipe.experiment == "bnn":
        allowed += (".warmup", ".draws", ".sampler.num_steps", ".sampler.name")
    assert all(key.startswith(allowed) for key in leaf_keys(recipe.smoke))
    assert leaf_keys(recipe.smoke)
