"""The components of hypnet-zoo.

To add a component, write its module and one line here.
"""

from __future__ import annotations

from hypnet_core import Component, hookimpl

MAINNETS = [
    Component.mainnet("mlp", "hypnet_zoo.mainnets:MLP", "A multi-layer perceptron."),
    Component.mainnet(
        "lenet",
        "hypnet_zoo.mainnets:LeNet",
        "LeNet in three sizes, for MNIST and CIFAR.",
        in_shapes=[(1, 16, 16), (2, 18, 20)],
    ),
    Component.mainnet(
        "resnet",
        "hypnet_zoo.mainnets:ResNet",
        "The residual network with 6n + 2 layers for CIFAR.",
        in_shapes=[(1, 8, 8), (3, 9, 6)],
        options={"n": 2},
    ),
    Component.mainnet(
        "resnet_imagenet",
        "hypnet_zoo.mainnets:ResNetImageNet",
        "ResNet-18 to ResNet-152.",
        in_shapes=[(1, 32, 32)],
        options={"feature_maps": [16, 16, 32, 32, 64]},
    ),
    Component.mainnet(
        "wide_resnet",
        "hypnet_zoo.mainnets:WideResNet",
        "The wide residual network.",
        in_shapes=[(1, 6, 6)],
        options={"n": 1, "k": 2},
    ),
    Component.mainnet(
        "zenkenet",
        "hypnet_zoo.mainnets:ZenkeNet",
        "The convolutional network of synaptic intelligence.",
        in_shapes=[(3, 10, 12)],
    ),
    Component.mainnet(
        "bio_conv_net",
        "hypnet_zoo.mainnets:BioConvNet",
        "A locally connected network.",
        in_shapes=[(1, 13, 14)],
    ),
    Component.mainnet(
        "simple_rnn",
        "hypnet_zoo.mainnets:SimpleRNN",
        "Elman or LSTM layers between fully connected ones.",
        in_shapes=[(3,), (2, 2)],
        sequence_length=5,
    ),
    Component.mainnet(
        "bi_rnn",
        "hypnet_zoo.mainnets:BiRNN",
        "Bidirectional recurrent layers and an MLP.",
        in_shapes=[(3,)],
        sequence_length=5,
    ),
    Component.mainnet(
        "chunked_mlp",
        "hypnet_zoo.mainnets:ChunkedMLP",
        "An MLP that reads large inputs chunk by chunk.",
        in_shapes=[(1, 8, 8), (130,)],
    ),
    Component.mainnet(
        "module",
        "hypnet_zoo.mainnets:module",
        "Any module, by import string.",
        in_shapes=[(6,)],
    ),
]

HYPERNETS = [
    Component.hypernet(
        "hmlp", "hypnet_zoo.hypernets:HMLP", "An MLP that writes all weights at once."
    ),
    Component.hypernet(
        "chunked_hmlp",
        "hypnet_zoo.hypernets:ChunkedHMLP",
        "An MLP that writes the weights chunk by chunk.",
    ),
    Component.hypernet(
        "chunked",
        "hypnet_zoo.hypernets:chunked",
        "Any hypernetwork, writing the weights chunk by chunk.",
    ),
    Component.hypernet(
        "structured_hmlp",
        "hypnet_zoo.hypernets:structured_hmlp",
        "MLPs that write chunks which respect the layers of the target.",
    ),
    Component.hypernet(
        "hdeconv",
        "hypnet_zoo.hypernets:HDeconv",
        "Transposed convolutions that draw all weights as an image.",
        options={"filters": [16, 8, 8, 8]},
    ),
    Component.hypernet(
        "chunked_hdeconv",
        "hypnet_zoo.hypernets:ChunkedHDeconv",
        "Transposed convolutions that draw the weights chunk by chunk.",
        options={"image_shape": [8, 8], "filters": [16, 8, 8, 8]},
    ),
    Component.hypernet(
        "shared_hmlp",
        "hypnet_zoo.hypernets:SharedHMLP",
        "An MLP with one head for all tensors of a shape.",
    ),
    Component.hypernet(
        "delta",
        "hypnet_zoo.hypernets:delta",
        "Differences from weights that all conditions share.",
    ),
    Component.hypernet(
        "low_rank",
        "hypnet_zoo.hypernets:low_rank",
        "Products of two generated factors, as in LoRA.",
    ),
    Component.hypernet(
        "container",
        "hypnet_zoo.hypernets:container",
        "A mixture of hypernetworks, shared and conditional tensors.",
    ),
    Component.hypernet(
        "perturbation",
        "hypnet_zoo.hypernets:perturbation",
        "A hypernetwork whose weights get noise on top.",
    ),
    Component.hypernet(
        "magnitude_invariant",
        "hypnet_zoo.hypernets:magnitude_invariant",
        "A hypernetwork whose output does not grow with its input.",
    ),
]

EXPERIMENTS = [
    Component.experiment(
        "hypercl",
        "hypnet_zoo.experiments:HyperCL",
        "Continual learning of a task sequence with a task-conditioned hypernetwork.",
        quick=[
            "tasks=3",
            "train.iterations=20",
            "train.validate_every=10",
            "log_every=10",
            "log=[]",
        ],
    ),
]


@hookimpl
def hypnet_components() -> list[Component]:
    """The components of hypnet-zoo."""
    return [*MAINNETS, *HYPERNETS, *EXPERIMENTS, *Component.recipes("hypnet_zoo.recipes")]
