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

METHODS = [
    Component.method(
        "hypernet",
        "hypnet_zoo.continual.methods:Hypernet",
        "A hypernetwork with one embedding per task, under the output regulariser.",
        options={"hnet": {"name": "hmlp", "hidden": [8]}},
    ),
    Component.method(
        "finetune",
        "hypnet_zoo.continual.methods:Finetune",
        "One network, trained on each task in turn: the lower bound.",
    ),
    Component.method(
        "separate",
        "hypnet_zoo.continual.methods:Separate",
        "A network of its own for each task.",
    ),
    Component.method(
        "ewc",
        "hypnet_zoo.continual.methods:EWC",
        "Elastic weight consolidation: the sum of one quadratic penalty per earlier task.",
        options={"strength": 1.0},
    ),
    Component.method(
        "online_ewc",
        "hypnet_zoo.continual.methods:OnlineEWC",
        "Online elastic weight consolidation, with one penalty whose importances decay.",
        options={"strength": 1.0},
    ),
    Component.method(
        "si",
        "hypnet_zoo.continual.methods:SI",
        "Synaptic intelligence: importances from the path that training takes.",
    ),
    Component.method(
        "lwf",
        "hypnet_zoo.continual.methods:LwF",
        "Learning without forgetting: the old network's predictions on new data are kept.",
        # Its tasks share inputs but not labels, which protection cannot reconcile.
        learns=75.0,
    ),
    Component.method(
        "replay",
        "hypnet_zoo.continual.methods:Replay",
        "Replay of kept samples: a reservoir, a ring, or herded exemplars.",
        options={"budget": 20},
    ),
    Component.method(
        "generative_replay",
        "hypnet_zoo.continual.methods:GenerativeReplay",
        "Replay of samples by an autoencoder with a generated decoder: HNET+R.",
        options={"hidden": [8], "latent": 2, "decoder": {"name": "hmlp", "hidden": [4]}},
    ),
    Component.method(
        "generative_inference",
        "hypnet_zoo.continual.methods:GenerativeInference",
        "A hypernetwork, and task inference learned from generated samples: HNET+TIR.",
        options={
            "hnet": {"name": "hmlp", "hidden": [8]},
            "hidden": [8],
            "latent": 2,
            "decoder": {"name": "hmlp", "hidden": [4]},
        },
    ),
    Component.method(
        "posterior_replay",
        "hypnet_zoo.continual.methods:PosteriorReplay",
        "A distribution over weights for each task, written by a hypernetwork.",
        options={"hnet": {"name": "hmlp", "hidden": [8]}, "draws": 4, "predict_draws": 16},
    ),
    Component.method(
        "masking",
        "hypnet_zoo.continual.methods:Masking",
        "Context-dependent gating: each task uses its own part of the hidden units.",
    ),
    Component.method(
        "joint",
        "hypnet_zoo.continual.methods:Joint",
        "One network, trained on all data so far: the upper bound.",
    ),
]

SAMPLERS = [
    Component.sampler(
        "nuts", "hypnet_zoo.bayes.samplers:NUTS", "The No-U-Turn sampler, which needs no tuning."
    ),
    Component.sampler(
        "hmc",
        "hypnet_zoo.bayes.samplers:HMC",
        "Hamiltonian Monte Carlo with a given number of steps.",
    ),
    Component.sampler(
        "metropolis",
        "hypnet_zoo.bayes.samplers:Metropolis",
        "Random-walk Metropolis, which needs no gradients.",
    ),
    Component.sampler(
        "sgld",
        "hypnet_zoo.bayes.samplers:SGLD",
        "Langevin dynamics with gradients from batches of the data.",
        options={"step_size": 0.02},
        bias=0.05,
        draws=1000,
    ),
    Component.sampler(
        "sghmc",
        "hypnet_zoo.bayes.samplers:SGHMC",
        "Hamiltonian dynamics with friction, and gradients from batches of the data.",
        options={"step_size": 0.002},
        bias=0.05,
        draws=500,
    ),
    Component.sampler(
        "ensemble",
        "hypnet_zoo.bayes.samplers:Ensemble",
        "An ensemble: members that start apart and climb to modes.",
        options={"lr": 0.05},
        warmup=500,
    ),
    Component.sampler(
        "bbb",
        "hypnet_zoo.bayes.samplers:BBB",
        "Bayes by Backprop: draws from independent Gaussians that were fitted.",
        warmup=1500,
        bias=0.3,
    ),
    Component.sampler(
        "implicit",
        "hypnet_zoo.bayes.samplers:Implicit",
        "Draws that a network makes from noise, fitted by its draws alone.",
        warmup=1000,
        bias=0.25,
    ),
]

EXPERIMENTS = [
    Component.experiment(
        "bnn",
        "hypnet_zoo.experiments:BNN",
        "A Bayesian neural network, by any sampler.",
        quick=["mnet.hidden=[5]", "chains=2", "warmup=20", "draws=20", "log_every=10", "log=[]"],
    ),
    Component.experiment(
        "continual",
        "hypnet_zoo.experiments:Continual",
        "Continual learning of a task sequence by any method, in three scenarios.",
        quick=[
            "tasks=3",
            "scenario=class",
            "method=finetune",
            "train.iterations=20",
            "train.validate_every=10",
            "checkpoint.every_steps=15",
            "log_every=10",
            "log=[]",
        ],
    ),
    Component.experiment(
        "compare",
        "hypnet_zoo.experiments:Compare",
        "Methods of continual learning side by side, in one table.",
        quick=[
            "tasks=2",
            "methods=[finetune,ewc]",
            "train.iterations=10",
            "train.validate_every=0",
            "log=[]",
        ],
    ),
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
    Component.experiment(
        "gan",
        "hypnet_zoo.experiments:Gan",
        "A hypernetwork as generator of samples, against a discriminator.",
        quick=["iterations=20", "checkpoint.every_steps=15", "log_every=10", "log=[]"],
    ),
]


@hookimpl
def hypnet_components() -> list[Component]:
    """The components of hypnet-zoo."""
    recipes = Component.recipes("hypnet_zoo.recipes")  # one TOML file each
    return [*MAINNETS, *HYPERNETS, *METHODS, *SAMPLERS, *EXPERIMENTS, *recipes]
