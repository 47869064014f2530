"""Every registered dataset passes the conformance suite, with several options."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.plugins import registry
from hypnet_core.testing import conformance

FILES = {"download": False, "verify": False}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "digits": [
        {},
        {"augmentation": True, "one_hot": True},
        {"validation_size": 0, "normalize": True},
    ],
    "generated_images": [
        {},
        {"in_shape": [3, 5, 7], "classes": 3, "validation_size": 9, "one_hot": True},
    ],
    "fashion_mnist": [{**FILES, "validation_size": 100, "augmentation": True}],
    "cifar10": [
        {"download": False, "validation_size": 20},
        {
            "download": False,
            "validation_size": 0,
            "augmentation": True,
            "cutout": True,
            "one_hot": True,
        },
    ],
    "cifar100": [{"download": False, "validation_size": 0, "augmentation": True}],
    "svhn": [
        {**FILES, "validation_size": 5},
        {**FILES, "extra": True, "augmentation": True, "cutout": True},
    ],
    "mnist": [
        {**FILES, "validation_size": 500},
        {**FILES, "validation_size": 0, "augmentation": True, "one_hot": True},
    ],
    "mnist_5000": [
        {},
        {"validation_size": 0, "augmentation": True, "one_hot": True, "seed": 1},
    ],
    "split_digits": [
        {},
        {"classes_per_task": 5, "full_out_dim": True, "augmentation": True},
        {"one_hot": True, "target_padding": 2},
    ],
    "split_mnist": [
        FILES,
        {**FILES, "labels": [[3, 5], [8]], "validation_size": 50, "augmentation": True},
    ],
    "split_cifar": [
        {"download": False},
        {"download": False, "tasks": 11, "augmentation": True, "cutout": True},
    ],
    "split": [
        {},
        {
            "data": {"name": "mnist", **FILES, "validation_size": 90},
            "classes_per_task": 5,
            "separate_heads": True,
        },
    ],
    "permuted_digits": [{}, {"tasks": 2, "padding": 1, "one_hot": True, "separate_heads": True}],
    "permuted_mnist": [
        {**FILES, "validation_size": 50},
        {**FILES, "padding": 0, "normalize": True, "validation_size": 0},
    ],
    "permuted": [
        {},
        {
            "data": {"name": "cifar10", "download": False, "validation_size": 9},
            "padding": 2,
            "first_unpermuted": True,
        },
    ],
    "bimodal_regression": [
        {},
        {"validation_interval": [0, 1], "validation_size": 9, "perturb_test_val": True},
    ],
    "donuts": [
        {},
        {"one_hot": True, "centers": [[0, 0], [1, 1], [2, 2]], "radii": [[0, 1], [2, 3], [3, 4]]},
    ],
    "gaussian": [{}, {"mean": [0, 1, 2], "covariance": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}],
    "gaussian_tasks": [
        {},
        {"means": [[0, 0], [1, 1]], "covariances": [[[1, 0], [0, 1]], [[2, 0], [0, 1]]]},
    ],
    "gaussian_mixture": [
        {},
        {"kind": "regression"},
        {"means": [[0, 0], [1, 1]], "weights": [0.25, 0.75], "one_hot": True},
    ],
    "polynomials": [{}, {"tasks": 2, "validation_size": 5, "std": 0.0}],
    "cub200": [
        {"download": False, "validation_per_class": 1},
        {"download": False, "one_hot": True, "workers": 1},
    ],
    "imagenet": [{"validation_per_class": 1}, {"augmentation": False, "one_hot": True}],
    "celeba": [{"size": [40, 30]}],
    "udacity_ch2": [{"size": [24, 32], "validation_size": 3}],
    "toy_regression": [
        {},
        {
            "function": "cube",
            "train_interval": [[-4, -2], [2, 4]],
            "std": 0.3,
            "perturb_test_val": True,
        },
        {
            "function": "numpy:cos",
            "std": "absolute",
            "validation_interval": [0, 1],
            "validation_size": 9,
        },
    ],
}


@pytest.fixture(scope="module", autouse=True)
def data_directory(
    mnist_root: Path,
    cifars: Any,
    svhn_writer: Any,
    trees: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Provide real files, in the formats of the datasets that need files."""
    root = tmp_path_factory.mktemp("all")
    shutil.copytree(mnist_root / "MNIST", root / "MNIST")
    shutil.copytree(mnist_root / "MNIST", root / "FashionMNIST")
    for archive in cifars.root.glob("*.tar.gz"):
        shutil.copy(archive, root)
    svhn_writer(root, train=40, test=20, extra=30)
    for write in (trees.cub200_tree, trees.imagenet_tree, trees.celeba_tree, trees.udacity_tree):
        write(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPNET_DATA", str(root))
        patch.setattr("hypnet_data.images.cifar.CIFAR", cifars.published)
        yield


test_conformance = conformance("data", options=OPTIONS)


def test_every_dataset_is_tested() -> None:
    assert {entry.name for entry in registry().entries("dataset") if entry.plugin == "data"} == set(
        OPTIONS
    )
