"""The datasets that this package registers, and the command `hypnet data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypnet_core import Component, hookimpl

if TYPE_CHECKING:
    import typer


# One line per dataset: the name, its function in a public room, a summary.
@hookimpl
def hypnet_components() -> list[Component]:
    """Every component of hypnet-data."""
    dataset = Component.dataset
    return [
        # Images
        dataset(
            "digits",
            "hypnet_data.images:digits",
            "1,797 handwritten digits of 8x8 pixels; no download.",
        ),
        dataset("mnist", "hypnet_data.images:mnist", "70,000 handwritten digits of 28x28 pixels."),
        dataset(
            "mnist_5000",
            "hypnet_data.images:mnist_5000",
            "5,000 of MNIST's digits; no download.",
        ),
        dataset(
            "fashion_mnist",
            "hypnet_data.images:fashion_mnist",
            "70,000 clothes of 28x28 pixels.",
        ),
        dataset(
            "cifar10",
            "hypnet_data.images:cifar10",
            "60,000 photographs of 32x32 pixels in ten classes.",
        ),
        dataset(
            "cifar100",
            "hypnet_data.images:cifar100",
            "60,000 photographs of 32x32 pixels in a hundred classes.",
        ),
        dataset(
            "svhn",
            "hypnet_data.images:svhn",
            "99,289 house numbers of 32x32 pixels, and 531,131 extra ones.",
        ),
        dataset(
            "generated_images",
            "hypnet_data.images:generated_images",
            "A pattern for each class, in noise; any shape, no files.",
        ),
        # Images that stay on disk
        dataset(
            "cub200",
            "hypnet_data.ondisk:cub200",
            "11,788 photographs of 200 kinds of birds.",
        ),
        dataset(
            "imagenet",
            "hypnet_data.ondisk:imagenet",
            "ILSVRC2012: 1.3 million photographs in 1,000 classes.",
        ),
        dataset("celeba", "hypnet_data.ondisk:celeba", "202,599 faces with 40 attributes."),
        dataset(
            "udacity_ch2",
            "hypnet_data.ondisk:udacity_ch2",
            "Steering angles from pictures of a car's front camera.",
        ),
        # Toy problems
        dataset(
            "toy_regression",
            "hypnet_data.toy:toy_regression",
            "A function of one variable, with noise.",
        ),
        dataset(
            "bimodal_regression",
            "hypnet_data.toy:bimodal_regression",
            "A function of one variable, with bimodal noise.",
        ),
        dataset(
            "donuts",
            "hypnet_data.toy:donuts",
            "Points of a plane in rings, each ring a class.",
        ),
        dataset(
            "gaussian",
            "hypnet_data.toy:gaussian",
            "A function of Gaussian inputs, their density by default.",
        ),
        dataset(
            "gaussian_mixture",
            "hypnet_data.toy:gaussian_mixture",
            "Classification of inputs by the Gaussian that they come from.",
        ),
        # Task sequences
        dataset(
            "gaussian_tasks",
            "hypnet_data.toy:gaussian_tasks",
            "Twenty-five Gaussians on a grid, one after the other.",
        ),
        dataset(
            "polynomials",
            "hypnet_data.continual:polynomials",
            "Three polynomials, one after the other.",
        ),
        dataset(
            "split_digits",
            "hypnet_data.continual:split_digits",
            "The small digits, two classes per task; no download.",
        ),
        dataset(
            "split_mnist",
            "hypnet_data.continual:split_mnist",
            "MNIST, two classes per task.",
        ),
        dataset(
            "split_cifar",
            "hypnet_data.continual:split_cifar",
            "CIFAR-10, then slices of CIFAR-100.",
        ),
        dataset(
            "split",
            "hypnet_data.continual:split",
            "Any classification dataset, some of its classes per task.",
        ),
        dataset(
            "permuted_digits",
            "hypnet_data.continual:permuted_digits",
            "The small digits, their pixels permuted; no download.",
        ),
        dataset(
            "permuted_mnist",
            "hypnet_data.continual:permuted_mnist",
            "MNIST, its pixels permuted.",
        ),
        dataset(
            "permuted",
            "hypnet_data.continual:permuted",
            "Any classification dataset, its pixels permuted.",
        ),
    ]


@hookimpl
def hypnet_commands(app: typer.Typer) -> None:
    """The command `hypnet data`."""
    from hypnet_data.cli.app import data  # typer is only needed here

    app.add_typer(data, name="data")
