"""Everything that hypnet-zoo offers.

To add a component, write its module and one line here.
"""

from __future__ import annotations

from hypnet_core import Component, hookimpl

MAINNETS = [
    Component.mainnet("mlp", "hypnet_zoo.mainnets.mlp:MLP", "A multi-layer perceptron."),
    Component.mainnet(
        "lenet",
        "hypnet_zoo.mainnets.lenet:LeNet",
        "LeNet in three sizes, for MNIST and CIFAR.",
        in_shapes=[(1, 16, 16), (2, 18, 20)],
    ),
    Component.mainnet(
        "resnet",
        "hypnet_zoo.mainnets.resnet:ResNet",
        "The residual network with 6n + 2 layers for CIFAR.",
        in_shapes=[(1, 8, 8), (3, 9, 6)],
    ),
    Component.mainnet(
        "resnet_imagenet",
        "hypnet_zoo.mainnets.resnet_imagenet:ResNetImageNet",
        "ResNet-18 to ResNet-152.",
        in_shapes=[(1, 32, 32)],
    ),
    Component.mainnet(
        "wide_resnet",
        "hypnet_zoo.mainnets.wide_resnet:WideResNet",
        "The wide residual network.",
        in_shapes=[(1, 6, 6)],
    ),
    Component.mainnet(
        "zenkenet",
        "hypnet_zoo.mainnets.zenkenet:ZenkeNet",
        "The convolutional network of synaptic intelligence.",
        in_shapes=[(3, 10, 12)],
    ),
    Component.mainnet(
        "bio_conv_net",
        "hypnet_zoo.mainnets.bio_conv_net:BioConvNet",
        "A locally connected network.",
        in_shapes=[(1, 13, 14)],
    ),
    Component.mainnet(
        "simple_rnn",
        "hypnet_zoo.mainnets.simple_rnn:SimpleRNN",
        "Elman or LSTM layers between fully connected ones.",
        in_shapes=[(3,), (2, 2)],
        sequence_length=5,
    ),
    Component.mainnet(
        "bi_rnn",
        "hypnet_zoo.mainnets.bi_rnn:BiRNN",
        "Bidirectional recurrent layers and an MLP.",
        in_shapes=[(3,)],
        sequence_length=5,
    ),
    Component.mainnet(
        "chunked_mlp",
        "hypnet_zoo.mainnets.chunked_mlp:ChunkedMLP",
        "An MLP that reads large inputs chunk by chunk.",
        in_shapes=[(1, 8, 8), (130,)],
    ),
    Component.mainnet(
        "module",
        "hypnet_zoo.mainnets.module:module",
        "Any module of your own, by import string.",
        in_shapes=[(6,)],
    ),
]

HYPERNETS = [
    Component.hypernet(
        "hmlp", "hypnet_zoo.hypernets.hmlp:HMLP", "An MLP that writes all weights at once."
    ),
    Component.hypernet(
        "chunked_hmlp",
        "hypnet_zoo.hypernets.chunked:ChunkedHMLP",
        "An MLP that writes the weights chunk by chunk.",
    ),
    Component.hypernet(
        "chunked",
        "hypnet_zoo.hypernets.chunked:chunked",
        "Any hypernetwork, writing the weights chunk by chunk.",
    ),
    Component.hypernet(
        "structured_hmlp",
        "hypnet_zoo.hypernets.structured_hmlp:structured_hmlp",
        "MLPs that write chunks which respect the layers of the target.",
    ),
    Component.hypernet(
        "hdeconv",
        "hypnet_zoo.hypernets.hdeconv:HDeconv",
        "Transposed convolutions that draw all weights as an image.",
        options={"filters": [32, 16, 16, 8]},
    ),
    Component.hypernet(
        "chunked_hdeconv",
        "hypnet_zoo.hypernets.hdeconv:ChunkedHDeconv",
        "Transposed convolutions that draw the weights chunk by chunk.",
        options={"image_shape": [8, 8], "filters": [32, 16, 16, 8]},
    ),
    Component.hypernet(
        "shared_hmlp",
        "hypnet_zoo.hypernets.shared_hmlp:SharedHMLP",
        "An MLP with one head for all tensors of a shape.",
    ),
    Component.hypernet(
        "delta",
        "hypnet_zoo.hypernets.delta:delta",
        "Differences from weights that all conditions share.",
    ),
    Component.hypernet(
        "low_rank",
        "hypnet_zoo.hypernets.low_rank:low_rank",
        "Products of two generated factors, as in LoRA.",
    ),
    Component.hypernet(
        "container",
        "hypnet_zoo.hypernets.container:container",
        "A mixture of hypernetworks, shared and conditional tensors.",
    ),
    Component.hypernet(
        "perturbation",
        "hypnet_zoo.hypernets.perturbation:perturbation",
        "A hypernetwork whose weights get noise on top.",
    ),
    Component.hypernet(
        "magnitude_invariant",
        "hypnet_zoo.hypernets.encoded:magnitude_invariant",
        "A hypernetwork whose output does not grow with its input.",
    ),
]

EXPERIMENTS = [
    Component.experiment(
        "hypercl",
        "hypnet_zoo.experiments.hypercl:HyperCL",
        "Continual learning of a task sequence with a task-conditioned hypernetwork.",
        quick=[
            "tasks=3",
            "train.iterations=20",
            "train.validate_every=10",
            "log_every=10",
            "tensorboard=false",
        ],
    ),
]


@hookimpl
def hypnet_components() -> list[Component]:
    """The components of hypnet-zoo."""
    return [*MAINNETS, *HYPERNETS, *EXPERIMENTS]
